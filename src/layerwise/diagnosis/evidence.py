"""What rules read off a trace: the series a probe fills, by their short names."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from layerwise.diagnosis.finding import NotJudged, Premise
from layerwise.diagnosis.forecast import FIT
from layerwise.names import PREFIX
from layerwise.trace import Trace

__all__ = [
    "DEGREE",
    "FIT",
    "adam_free",
    "all_of",
    "at_every_look",
    "config",
    "curve",
    "degree",
    "first",
    "fitted",
    "known",
    "last",
    "moved",
    "need",
    "optimizer",
    "plain_descent",
    "progress",
    "still",
]

Array = npt.NDArray[np.float64]

DESCENT: Final = ("SGD", "Descent")  # optimisers of which a step is the gradient times the rate
DEGREE: Final = 0.5  # by which a degree may miss a number of layers
# Centred distances from the start once fitted; small CNN on digits, three seeds, upstream or
# balanced against downstream: features .15 and more against .0016 and less, tangent kernel .095
# and more against .0018 and less.
STILL: Final = 0.02
BEGUN: Final = 0.25  # share of the data that is learned: before it nothing can be told of features
LEARNED: Final = 0.1  # of its first value: a train loss that has come down to it has learned


def curve(trace: Trace, name: str) -> tuple[Array, Array]:
    """Return the steps and values of a series where it was measured; empty if it never was.

    `name` is that of a series of the probe without its prefix, or one of the user's own.

    Examples
    --------
    >>> from layerwise.trace import Provenance
    >>> series = {"layerwise/nc1/f": [1.0, float("nan"), 0.5]}
    >>> curve(Trace([0, 1, 2], series, Provenance("probe", "optimiser steps")), "nc1/f")
    (array([0., 2.]), array([1. , 0.5]))
    """
    values = at_every_look(trace, name)
    seen = np.isfinite(values)
    return trace.clock[seen].astype(float), values[seen]


def at_every_look(trace: Trace, name: str) -> Array:
    """Return the values of a series at every look, NaN where it was not measured."""
    full = PREFIX + name if PREFIX + name in trace else name
    if full not in trace or trace[full].ndim != 1:
        return np.full(len(trace), math.nan)
    return trace[full].astype(float)


def known(trace: Trace, name: str) -> bool:
    """Return whether a series was measured at all."""
    return len(curve(trace, name)[0]) > 0


def first(trace: Trace, name: str) -> float:
    """Return the first measured value; NaN if there is none."""
    values = curve(trace, name)[1]
    return float(values[0]) if len(values) else math.nan


def last(trace: Trace, name: str) -> float:
    """Return the last measured value; NaN if there is none."""
    values = curve(trace, name)[1]
    return float(values[-1]) if len(values) else math.nan


def all_of(trace: Trace, kind: str) -> dict[str, str]:
    """Return the names of measured series ``kind/THING`` by thing, in the trace's order."""
    short = (name.removeprefix(PREFIX) for name in trace)
    things = {n.removeprefix(f"{kind}/"): n for n in short if n.startswith(f"{kind}/")}
    return {thing: name for thing, name in things.items() if known(trace, name)}


def need(trace: Trace, *names: str) -> None:
    """Raise NotJudged unless every series was measured."""
    missing = [name for name in names if not known(trace, name)]
    if missing:
        raise NotJudged(f"needs the series {', '.join(missing)}")


def config(trace: Trace, name: str) -> Any:
    """Return an entry of the configuration; None where there is none."""
    return trace.provenance.config.get(name)


def optimizer(trace: Trace) -> dict[str, Any]:
    """Return what is known of the optimiser; empty if nothing is."""
    return dict(config(trace, "optimizer") or {})


def degree(trace: Trace) -> float:
    """Return the degree of the outputs in the weights; 2 where it is not known."""
    found = config(trace, "degree")
    return 2.0 if found is None else float(found)


def fitted(trace: Trace) -> bool | None:
    """Return whether the training data are fitted; None if neither accuracy nor loss is known.

    That is a train accuracy of 0.99, or without one a train loss down to a tenth of its start.
    """
    accuracy = curve(trace, "train_accuracy")[1]
    if len(accuracy):
        return bool(np.max(accuracy) >= FIT)
    loss = curve(trace, "train_loss")[1]
    return bool(np.min(loss) <= LEARNED * loss[0]) if len(loss) > 1 else None


def progress(trace: Trace) -> float:
    """Return how much of the training data has been learned beyond chance; NaN if not known.

    That is ``(accuracy - 1/C)/(1 - 1/C)`` of the last train accuracy, chance being nothing where
    the number C of classes is not known.
    """
    classes = config(trace, "classes")
    chance = 1 / classes if classes else 0.0
    return max((last(trace, "train_accuracy") - chance) / (1 - chance), 0.0)


def moved(trace: Trace) -> dict[str, float]:
    """Return how far the features that moved most, and the tangent kernel, have moved."""
    features = {name: last(trace, name) for name in all_of(trace, "feature_distance").values()}
    most = max(features, key=features.__getitem__, default=None)
    found = {} if most is None else {most: features[most]}
    if known(trace, "kernel_distance"):
        found["kernel_distance"] = last(trace, "kernel_distance")
    return found


def still(trace: Trace) -> Premise:
    """Say whether features and tangent kernel stayed what they were while the data were learned.

    Their centred distances are quadratic in how far the weights have moved, and that grows with
    what is learned: a run that has learned a share p may have moved by ``p^2`` of what one may that
    has fitted.

    Raises
    ------
    NotJudged
        If little has been learned yet.
    """
    name, found, fit, share = "features stay what they were", moved(trace), fitted(trace), 1.0
    if not found:
        return Premise(name, None, "neither features nor kernel measured")
    if len(trace) < 2 or (fit is False and progress(trace) < BEGUN):
        raise NotJudged("needs looks at which something is learned: features that stay tell then")
    if not fit and known(trace, "train_accuracy"):
        share = progress(trace) ** 2
    most = max(found, key=found.__getitem__)
    unfit = "" if fit else ", the data not being fitted yet" if fit is False else ""
    if found[most] > STILL * share:
        return Premise(name, False, f"{most} {found[most]:.2g}, above {STILL * share:.2g}{unfit}")
    return Premise(name, True if fit else None, f"{most} {found[most]:.2g}{unfit}")


def plain_descent(trace: Trace) -> Premise:
    """Say whether the optimiser is plain descent, whose flow conserves the imbalance."""
    found = optimizer(trace)
    kind, momentum = found.get("kind"), found.get("momentum", 0.0)
    if kind is None:
        return Premise("plain gradient descent", None, "pass optimizer= to the probe")
    holds = kind in DESCENT and not momentum
    return Premise("plain gradient descent", holds, f"{kind}, momentum {momentum:g}")


def adam_free(trace: Trace) -> Premise:
    """Say whether the size of a gradient decides how far a layer moves."""
    kind = optimizer(trace).get("kind")
    name = "layers move as far as their gradients say"
    if kind is None:
        return Premise(name, None, "pass optimizer= to the probe")
    return Premise(name, kind in DESCENT, kind)
