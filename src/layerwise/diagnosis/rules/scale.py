"""Lazy by scale: the weights are so large beside the target that they need not move."""

from __future__ import annotations

import math
from typing import Final

from layerwise.diagnosis.advice import Remedy, scale_to
from layerwise.diagnosis.evidence import (
    DEGREE,
    all_of,
    config,
    degree,
    first,
    fitted,
    known,
    last,
    need,
)
from layerwise.diagnosis.finding import Finding, Premise
from layerwise.theory.regime import LAZY, RICH
from layerwise.trace import Trace

__all__ = ["STILL", "UNEVEN", "downscaling", "homogeneous", "lazy_by_scale", "moved", "still"]

# Centred distances from the start once fitted; small CNN on digits, three seeds, upstream or
# balanced against downstream: features .15 and more against .0016 and less, tangent kernel .095
# and more against .0018 and less.
STILL: Final = 0.02
# Relative motions of a pair of weights a, b are as 1/a^2 to 1/b^2: squares ten to one apart.
UNEVEN: Final = 0.1
STRENGTH: Final = 10.0  # of a remedy: outputs / 10 and targets x 10 ended the delay on MNIST


def lazy_by_scale(trace: Trace) -> Finding | None:
    """Find weights so large beside the target that features hardly change.

    Predicted by a weight-to-target ratio above 3 at the start (weights then grow by less than a
    fifth). Of a network that ratio is an upper bound, so that features that have moved refute it.
    """
    need(trace, "weight_to_target")
    ratio, growth = first(trace, "weight_to_target"), first(trace, "gamma_plus")
    stayed = still(trace)
    if ratio <= LAZY or stayed.holds is False:
        return None
    spread = uneven(trace)
    premises = (
        homogeneous(trace),
        stayed,
        Premise(
            "no layer is much larger than its neighbour",
            None if math.isnan(spread) else spread >= UNEVEN,
            f"least motion of a layer over the largest {spread:.2g}",
        ),
    )
    return Finding(
        "lazy by scale",
        "warning",
        f"The initial weights are {ratio:.3g} times what the target asks for: the run fits by "
        "small changes of its weights and learns no features.",
        {"weight_to_target": ratio, "gamma_plus": growth, "degree": degree(trace)} | moved(trace),
        premises,
        downscaling(trace),
    )


def downscaling(trace: Trace) -> tuple[Remedy, ...]:
    """Return the remedies that bring the ratio down tenfold, or to where a run is rich."""
    ratio, L = first(trace, "weight_to_target"), degree(trace)
    if not ratio > RICH:
        return ()
    layers = None if homogeneous(trace).holds else len(config(trace, "layers") or ()) or None
    goal = max(RICH, ratio / STRENGTH)
    return scale_to(goal, ratio, first(trace, "gamma_plus"), L, saturated=layers)


def homogeneous(trace: Trace) -> Premise:
    """Say whether the outputs are as homogeneous in the weights as the layers are many."""
    name, layers = "outputs are homogeneous in the weights", len(config(trace, "layers") or ())
    if not layers or config(trace, "degree") is None:
        return Premise(name, None, "layers or degree not known")
    L = degree(trace)
    return Premise(name, abs(L - layers) <= DEGREE, f"degree {L:.2f} of {layers} layers")


def moved(trace: Trace) -> dict[str, float]:
    """Return how far the features that moved most have moved, or else the kernel; may be empty.

    The tangent kernel is the second choice, since it moves as well where a large initial function
    has to be undone.
    """
    distances = {name: last(trace, name) for name in all_of(trace, "feature_distance").values()}
    if not distances and known(trace, "kernel_distance"):
        distances = {"kernel_distance": last(trace, "kernel_distance")}
    most = max(distances, key=distances.__getitem__, default=None)
    return {} if most is None else {most: distances[most]}


def still(trace: Trace) -> Premise:
    """Say whether the features stayed what they were while the data were fitted."""
    name, found, fit = "features stay what they were", moved(trace), fitted(trace)
    if not found:
        return Premise(name, None, "neither features nor kernel measured")
    ((what, distance),) = found.items()
    if distance > STILL:
        return Premise(name, False, f"{what} {distance:.2g}, above {STILL:g}")
    unfit = "" if fit else ", but the data are not fitted yet"
    return Premise(name, True if fit else None, f"{what} {distance:.2g}{unfit}")


def uneven(trace: Trace) -> float:
    """Return the least relative motion of a layer over the largest; NaN if none has moved."""
    motions = [last(trace, name) for name in all_of(trace, "motion").values()]
    return min(motions) / max(motions) if motions and max(motions) > 0 else math.nan
