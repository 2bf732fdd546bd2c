"""Layers against each other: lazy by imbalance, layers that do not learn, broken conservation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from layerwise.diagnosis.advice import balanced, turned
from layerwise.diagnosis.evidence import (
    adam_free,
    all_of,
    config,
    first,
    known,
    last,
    moved,
    optimizer,
    plain_descent,
    still,
)
from layerwise.diagnosis.finding import Finding, NotJudged, Premise, counted
from layerwise.trace import Trace

__all__ = ["broken_conservation", "exploding_imbalance", "idle_layer", "lazy_by_imbalance"]

# r^2 = (share r)^2 + (1 - share^2) r^2 of the weight-to-target ratio r: imbalance is the larger
# part of it from here on.
SHARE: Final = 1 / math.sqrt(2)
# Relative motions of a pair of weights a, b are as 1/a^2 to 1/b^2: squares ten to one apart.
UNEVEN: Final = 0.1
KEPT: Final = 0.1  # drift of the imbalance, of all squared weights, up to which it counts as kept
NONE: Final = 1e-6  # relative motion: some roundings of float32
DISCRETE: Final = 1e-4  # by which (1 - lr decay)^steps may differ from the exponential, relatively
MOVED: Final = 1e-3  # relative motion of a layer that learns
EXPLODED: Final = 10.0  # drift of the imbalance over all squared weights at the start
STEPS: Final = 10.0  # times what finite steps explain: gradients are sampled at the looks only
UNKNOWN: Final = (
    "needs the series balance_drift/P: nothing is known to be conserved, or how it decays is not"
)
FLOOR: Final = 0.01  # drift that is no fault: small CNNs under descent kept theirs to 1 %


def lazy_by_imbalance(trace: Trace) -> Finding | None:
    """Find layers that are much larger than those they feed, or are fed by, and therefore stay.

    In a pair of weights relative motions are as the inverse squares: the smaller side alone does
    the work. The sides are those of a conserved quantity, the weights that write some hidden units
    and those that read them. A late layer that is larger (upstream) makes a ReLU network learn
    features all the same: then they move.
    """
    shares, motions = all_of(trace, "balance_share"), all_of(trace, "motion")
    if not shares or not motions:
        raise NotJudged("needs the series balance_share/P and motion/L of two layers")
    stayed = still(trace)
    found = []
    for name, series in shares.items():
        share = first(trace, series)
        early, late = _sides(trace, name, motions)
        heavy, light = (late, early) if share > 0 else (early, late)
        if abs(share) < SHARE or not heavy or not light:
            continue
        slow = max(last(trace, motions[layer]) for layer in heavy)
        fast = max(last(trace, motions[layer]) for layer in light)
        if slow < UNEVEN * fast:
            found.append((slow / fast, name, share, heavy, light))
    if not found or stayed.holds is False:
        return None
    ratio, name, share, heavy, light = min(found)
    drift = last(trace, f"balance_drift/{name}")
    where = "later" if share > 0 else "earlier"
    evidence = {"balance_share": share, "motion_ratio": ratio, "balance_drift": drift}
    turn = (turned(share),) if -1 < share < 0 and len(motions) == 2 else ()
    return Finding(
        "lazy by imbalance",
        "warning",
        f"Of {name} the {where} side, {', '.join(heavy)}, is much the larger one and hardly moves; "
        f"{', '.join(light)} alone fits the data, with the features that the start happens to "
        "have.",
        evidence | moved(trace),
        (
            stayed,
            adam_free(trace),
            Premise(
                "the imbalance is kept",
                None if math.isnan(drift) else drift <= KEPT,
                f"drift {drift:.2g} of the squared weights",
            ),
        ),
        (balanced(share, first(trace, "weight_to_target")), *turn),
    )


def _sides(trace: Trace, name: str, motions: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the layers that write and those that read what a conserved quantity is made of."""
    quantity = (config(trace, "conserved") or {}).get(name, {})
    early, late = quantity.get("writers", ()), quantity.get("readers", ())
    return [one for one in early if one in motions], [one for one in late if one in motions]


def idle_layer(trace: Trace) -> Finding | None:
    """Find a layer that gets no gradient.

    A layer that moved and shrank exactly as decay does it counts as one without a gradient; where
    decay has done much, one that learned a thousandth of its size looks the same.
    """
    motions = all_of(trace, "motion")
    if len(motions) < 2:
        raise NotJudged("needs the series motion/L of two layers or more")
    last_step = trace.clock[-1]
    tau = last(trace, "decay_budget") if known(trace, "decay_budget") else 0.0
    decayed = -math.expm1(-tau)
    path = {layer: last(trace, name) for layer, name in motions.items()}
    left = {layer: last(trace, name) / first(trace, name) for layer, name in _norms(trace).items()}
    dead = [
        layer
        for layer, motion in path.items()
        if _near(motion, decayed) and _near(left.get(layer, 1 - decayed), 1 - decayed)
    ]
    works = len(dead) < len(path) and max(path.values()) > decayed + MOVED
    if dead and works:
        settings = optimizer(trace)
        return Finding(
            "idle layer",
            "fault",
            f"{', '.join(dead)} did not learn in {counted(last_step)} steps: "
            f"{'only decay has moved it' if tau else 'it has not moved'}. It gets no gradient "
            "(dead units before it, a detached path) or the optimiser does not have it.",
            {f"motion/{layer}": path[layer] for layer in dead} | {"decay_budget": tau},
            (
                Premise(
                    "the optimiser has every trained layer",
                    settings.get("uniform"),
                    "one rate and decay for all" if settings.get("uniform") else
                    "groups of different rates, or layers left out" if settings else
                    "pass optimizer= to the probe",
                ),
            ),
        )  # fmt: skip
    return None


def exploding_imbalance(trace: Trace) -> Finding | None:
    """Find a layer that runs away from its neighbour."""
    drifts = {pair: last(trace, name) for pair, name in all_of(trace, "balance_drift").items()}
    if not drifts:
        raise NotJudged(UNKNOWN)
    worst = max(drifts, key=drifts.__getitem__)
    if drifts[worst] <= EXPLODED:
        return None
    return Finding(
        "exploding imbalance",
        "fault",
        f"Of {worst} one side outgrows the other: their imbalance has moved by "
        f"{drifts[worst]:.3g} times all squared weights at the start, which gradient flow would "
        "have conserved. The steps are too large.",
        {"balance_drift": drifts[worst], "balance_share": last(trace, f"balance_share/{worst}")},
        (plain_descent(trace),),
    )


def _norms(trace: Trace) -> dict[str, str]:
    return {layer: name for layer, name in all_of(trace, "norm").items() if first(trace, name) > 0}


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) <= NONE + DISCRETE * expected


def broken_conservation(trace: Trace) -> Finding | None:
    """Find an imbalance that moved by more than step size and decay explain.

    A step of plain descent moves it by at most ``lr^2`` times the squared gradients, which the
    probe adds up. Without that bound, where the probe saw no gradients, only a drift of a tenth is
    told.
    """
    drifts = all_of(trace, "balance_drift")
    if not drifts:
        raise NotJudged(UNKNOWN)
    plain = plain_descent(trace)
    if plain.holds is None:
        raise NotJudged("needs the optimiser: without it decay is not told from a fault")
    if not plain.holds:
        raise NotJudged(f"{plain.seen}, conserves no imbalance, whatever its step size")
    bounds = all_of(trace, "balance_allowed")
    allowed = {
        pair: STEPS * last(trace, bounds[pair]) + FLOOR if pair in bounds else KEPT
        for pair in drifts
    }
    excess = {pair: last(trace, name) / allowed[pair] for pair, name in drifts.items()}
    worst = max(excess, key=excess.__getitem__)
    if excess[worst] <= 1:
        return None
    drift = last(trace, drifts[worst])
    return Finding(
        "broken conservation",
        "fault",
        f"The imbalance of {worst} moved by {drift:.2g} of the squared weights, where steps and "
        f"decay explain at most {allowed[worst]:.2g}. Something else changes these weights: "
        "clipping, rates that differ by layer, a norm or a tie the probe does not know, a rewrite.",
        {"balance_drift": drift, "allowed": allowed[worst]},
        (
            Premise(
                "the work of finite steps is known",
                worst in bounds,
                "gradients were seen at the looks" if worst in bounds else
                f"not known; a drift of {KEPT:g} is allowed",
            ),
            Premise(
                "one rate and decay for all layers",
                optimizer(trace).get("uniform"),
                "uniform" if optimizer(trace).get("uniform") else "groups differ",
            ),
        ),
    )  # fmt: skip
