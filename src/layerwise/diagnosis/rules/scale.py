"""Lazy by scale: the weights are so large beside the target that they need not move."""

from __future__ import annotations

from typing import Final

from layerwise.diagnosis.advice import Remedy, scale_to
from layerwise.diagnosis.evidence import DEGREE, config, degree, first, moved, need, still
from layerwise.diagnosis.finding import Finding, NotJudged, Premise
from layerwise.diagnosis.rules.balance import lazy_by_imbalance
from layerwise.theory.regime import LAZY, RICH
from layerwise.trace import Trace

__all__ = ["downscaling", "lazy_by_scale"]

EVEN: Final = "no layer is much larger than its neighbours"
FLAT: Final = 1.25  # degree: below, as with norms behind all layers, weights have hardly a scale
GOAL: Final = 1.0  # ratio: neither lazy nor rich in the scalar model, of a network at most that


def lazy_by_scale(trace: Trace) -> Finding | None:
    """Find weights so large beside the target that features hardly change.

    Predicted by a weight-to-target ratio above 3 at the start (weights then grow by less than a
    fifth). Of a network that ratio is an upper bound, so that features or a tangent kernel that
    have moved refute it, and one layer that is much larger than its neighbour makes it large as
    well: what is lazy by imbalance is not told again.
    """
    need(trace, "weight_to_target")
    ratio, growth = first(trace, "weight_to_target"), first(trace, "gamma_plus")
    stayed = still(trace)
    if ratio <= LAZY or stayed.holds is False:
        return None
    try:
        uneven = lazy_by_imbalance(trace)
    except NotJudged as reason:
        alone = Premise(EVEN, None, str(reason))
    else:
        if uneven is not None:
            return None
        alone = Premise(EVEN, True, "the larger layers move as the smaller ones do")
    verb = "fits" if stayed.holds else "is expected to fit"
    return Finding(
        "lazy by scale",
        "warning",
        f"The initial weights are {ratio:.3g} times what the target asks for: the run {verb} by "
        "small changes of its weights, without learning features.",
        {"weight_to_target": ratio, "gamma_plus": growth, "degree": degree(trace)} | moved(trace),
        (stayed, alone, _scaled(trace)),
        downscaling(trace, GOAL),
    )


def _scaled(trace: Trace) -> Premise:
    name, L = "outputs grow with the weights", degree(trace)
    if config(trace, "degree") is None:
        return Premise(name, None, "degree not known")
    return Premise(name, L >= FLAT, f"as their power {L:.2f}")


def downscaling(trace: Trace, goal: float) -> tuple[Remedy, ...]:
    """Return the remedies that bring the ratio down to `goal`, or to where a run is rich."""
    ratio, L = first(trace, "weight_to_target"), degree(trace)
    if not ratio > RICH:
        return ()
    layers = None if _homogeneous(trace) else len(config(trace, "layers") or ()) or None
    return scale_to(max(RICH, goal), ratio, first(trace, "gamma_plus"), L, saturated=layers)


def _homogeneous(trace: Trace) -> bool:
    """Return whether the outputs are known to be as homogeneous as the layers are many."""
    layers = len(config(trace, "layers") or ())
    return config(trace, "degree") is not None and abs(degree(trace) - layers) <= DEGREE
