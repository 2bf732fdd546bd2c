"""Fitted but not generalising: what decay will end, and what it never will."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from layerwise.diagnosis.advice import Remedy, decayed
from layerwise.diagnosis.evidence import (
    DEGREE,
    FIT,
    config,
    curve,
    degree,
    first,
    known,
    last,
    need,
    optimizer,
)
from layerwise.diagnosis.finding import Finding, Premise, counted, told
from layerwise.diagnosis.forecast import Forecast, NotPredicted, forecast_trace
from layerwise.diagnosis.rules.collapse import minority_below_the_threshold
from layerwise.diagnosis.rules.noise import fits_noise
from layerwise.diagnosis.rules.scale import downscaling
from layerwise.measures import first_reached
from layerwise.theory.laws.decay import rich_time
from layerwise.theory.regime import LAZY, RICH
from layerwise.trace import Trace

__all__ = ["LEVEL", "decay_too_weak", "memorised_and_waiting"]

LEVEL: Final = 0.85  # test accuracy that counts as generalising, as the forecasts were calibrated
# Train less test accuracy. MNIST, 1000 images, at the fit: .64 to .75 where generalisation was
# late, .07 to .2 where a remedy had removed the delay.
GAP: Final = 0.3
MEMORISED: Final = 0.8  # train accuracy from which on such a gap is memory
# Times the steps to the fit. Delays that were seen to end took 3 to 95 times as long; beyond that,
# weaker decay, or none, ended none in the budgets tried.
PATIENCE: Final = 100.0
CLASSES: Final = 10  # of the runs that forecasts were calibrated on
STRENGTH: Final = 10.0  # of a remedy: outputs / 10 and targets x 10 ended the delay on MNIST
FASTER: Final = 3.0  # decay 0.3 to 1 kept its product with the time of generalising


def memorised_and_waiting(trace: Trace) -> Finding | None:
    """Find a run that has fitted its data and will generalise once decay has done its work.

    Large weights fit by a small change, so that off the data the initial function stays until decay
    has shrunk it: at ``tau = learning rate x decay x steps`` of order ln(scale).
    """
    if not _memorised(trace):
        return None
    forecast, wait, source = _wait(trace)
    if wait is not None and wait > PATIENCE * _fitted_at(trace):
        return None
    end = "a step not known"
    if wait is not None:
        end = f"{'' if forecast else 'about '}step {counted(wait)}"
    return Finding(
        "memorised and waiting",
        "warning",
        f"The data are memorised (test accuracy {last(trace, 'test_accuracy'):.2f}) and decay is "
        f"at work: the run will likely generalise late, at {end}.",
        _evidence(trace) | ({} if wait is None else {"steps": wait}),
        (*_premises(trace), source),
        _remedies(trace),
        forecast,
    )


def decay_too_weak(trace: Trace) -> Finding | None:
    """Find a run that has fitted its data and waits for a decay that is absent or too weak."""
    if not _memorised(trace):
        return None
    forecast, wait, source = _wait(trace)
    if wait is None or wait <= PATIENCE * _fitted_at(trace):
        return None
    end = "without decay nothing will end this"
    if math.isfinite(wait):
        decay = last(trace, "weight_decay")
        end = f"decay {decay:.3g} will end this only about step {counted(wait)}"
    return Finding(
        "decay too weak",
        "warning",
        f"The data are memorised (test accuracy {last(trace, 'test_accuracy'):.2f}), and {end}; "
        f"{counted(trace.clock[-1])} steps are made so far.",
        _evidence(trace) | {"steps": wait},
        (*_premises(trace), source),
        _remedies(trace),
        forecast,
    )


def _memorised(trace: Trace) -> bool:
    """Return whether the data are fitted and not general, for no other reason that is known.

    Noise that is fitted undoes what was general, and classes that are lost are missed in the test.
    """
    need(trace, "train_accuracy", "test_accuracy")
    gap = last(trace, "train_accuracy") - last(trace, "test_accuracy")
    general = gap < GAP or last(trace, "test_accuracy") >= LEVEL
    memorised = last(trace, "train_accuracy") >= MEMORISED and not general
    others = fits_noise, minority_below_the_threshold
    return memorised and not any(told(rule, trace) for rule in others)


def _wait(trace: Trace) -> tuple[Forecast | None, float | None, Premise]:
    """Return forecast and step of generalising, and what that rests on; None if not known."""
    need(trace, "learning_rate", "weight_decay")
    rate, decay = last(trace, "learning_rate"), last(trace, "weight_decay")
    kind = optimizer(trace).get("kind", "unknown")
    name = "the run is like those of the calibration"
    if not decay:
        return None, math.inf, Premise(name, True, "without decay nothing ends a delay")
    try:
        forecast = forecast_trace(trace, rate, decay, LEVEL, kind.lower())
    except NotPredicted:
        ratio, shrunk = first(trace, "weight_to_target"), last(trace, "decay_budget")
        if math.isnan(ratio) or not shrunk > 0:
            return None, None, Premise(name, None, f"{kind}, and no work of decay known")
        pace = shrunk / trace.clock[-1]  # e-foldings a step so far
        steps = max(float(rich_time(ratio, pace, degree(trace))), float(trace.clock[-1]))
        seen = f"{kind}: not calibrated; ln(ratio)/(degree x decay) of the scalar model"
        return None, steps, Premise(name, None, seen)
    dense, saturated, classes = _dense(trace), _saturated(trace), config(trace, "classes")
    alike = dense and saturated and classes == CLASSES
    other = "other or unknown"
    seen = (
        f"{'dense' if dense else other} layers, {'saturating' if saturated else other} units, "
        f"{classes or 'unknown'} classes; calibrated on dense layers, tanh, {CLASSES}"
    )
    # its interval is that of runs like those of the calibration
    return forecast if alike else None, forecast.time, Premise(name, True if alike else None, seen)


def _dense(trace: Trace) -> bool:
    """Return whether the weights are matrices of which each reads what the one before writes."""
    shapes = list((config(trace, "layers") or {}).values())
    return (
        all(len(shape) == 2 for shape in shapes)
        and len(shapes) > 1
        and all(one[0] == other[1] for one, other in pairwise(shapes))
    )


def _saturated(trace: Trace) -> bool:
    """Return whether outputs grow by a lower power of the weights than there are layers.

    As with tanh, and not with ReLU.
    """
    layers = len(config(trace, "layers") or ())
    return config(trace, "degree") is not None and degree(trace) < layers - DEGREE


def _fitted_at(trace: Trace) -> float:
    """Return the step of the fit, from the second look on; the last where the fit is still to come.

    Then it is a lower bound.
    """
    seen = float(first_reached(*curve(trace, "train_accuracy"), FIT))
    return min(max(seen, float(trace.clock[:2][-1])), float(trace.clock[-1]))


def _evidence(trace: Trace) -> dict[str, float]:
    found = {
        "train_accuracy": last(trace, "train_accuracy"),
        "test_accuracy": last(trace, "test_accuracy"),
        "fitted_at": _fitted_at(trace),
        "weight_decay": last(trace, "weight_decay"),
    }
    if known(trace, "weight_to_target"):
        found["weight_to_target"] = first(trace, "weight_to_target")
    return found


def _premises(trace: Trace) -> tuple[Premise, ...]:
    name, ratio = "the delay comes from a lazy start", first(trace, "weight_to_target")
    if math.isnan(ratio):
        return (Premise(name, None, "weight-to-target ratio not measured"),)
    between = RICH <= ratio <= LAZY
    holds = None if between else ratio > LAZY
    return (Premise(name, holds, f"weight-to-target ratio {ratio:.3g}"),)


def _remedies(trace: Trace) -> tuple[Remedy, ...]:
    decay = last(trace, "weight_decay")
    sooner = (decayed(decay, FASTER),) if decay > 0 else ()
    return sooner + downscaling(trace, first(trace, "weight_to_target") / STRENGTH)
