"""Forecast: when a run will generalise, said before training or from its first steps.

A run with large weights that fits its data generalises when decay has shrunk what its initial
function leaves off the data (`layerwise.diagnosis.lazy`); theory computes the shrink ``tau`` that
this takes, and ``tau = learning rate x decay x steps`` is the clock. Calibration adds what theory
does not know: how far networks are from it, and how long they need to learn without any delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from layerwise.diagnosis.lazy import Start
from layerwise.diagnosis.rule import Line, Look, Reading, Rule
from layerwise.measures import first_reached
from layerwise.names import nearest
from layerwise.trace import Trace

__all__ = [
    "CALIBRATED",
    "Forecast",
    "NotPredicted",
    "forecast",
    "forecast_trace",
    "read",
    "remedies",
    "remedy",
]

FIT: Final = 0.99  # train accuracy that counts as fitted
REMEDIES: Final = ("weight", "target", "input", "output", "decay")

# Fitted by `Rule.calibrated` on 38 runs: MNIST, 1000 images, width 200, depth 4, AdamW at learning
# rate 1e-3, batches of 128 (records/forecast/calibration.csv; a test fits them anew).
CALIBRATED: Final = Rule(
    before=Line(-0.12913, 1.1041, 0.084677, 26, 0.83923, 3.0062),
    early=Line(0.049402, 1.1255, 0.053858, 23, 0.44156, 1.0327),
    trace=Line(0.097384, 1.233, 0.078555, 23, 0.36415, 0.8153),
    learning=Line(-0.82272, 1.1371, 0.42716, 12, -1.7264, 4.6755),
)
CALIBRATED_ON: Final = {"width": 200, "depth": 4, "images": 1000, "learning rate": 1e-3}


class NotPredicted(ValueError):
    """Nothing can be forecast of this run; the message says why."""


@dataclass(frozen=True)
class Forecast:
    """When a run will reach a test accuracy.

    Attributes
    ----------
    level
        The test accuracy.
    time, low, high
        The optimiser step at which it is first reached, and the ends of the 90 % interval.
    delayed
        Whether decay has to end a delay first; else the run generalises as fast as it learns.
    notes
        What the forecast rests on, and what of the run lies outside of the calibrated settings.
    """

    level: float
    time: float
    low: float
    high: float
    delayed: bool
    notes: tuple[str, ...] = ()


def forecast(start: Start, level: float = 0.85, trace: Trace | None = None) -> Forecast:
    """Forecast when the run that begins at `start` reaches the test accuracy `level`.

    Parameters
    ----------
    start
        The network before training, its data and its decay.
    level
        Test accuracy between that of chance and 1.
    trace
        The first steps of the run, on the clock of optimiser steps, with the series
        ``train_accuracy`` and ``test_accuracy``, at least until it has fitted (train accuracy
        0.99); its last look sharpens the forecast. None forecasts before training.

    Raises
    ------
    NotPredicted
        If the level is above what theory has left-out data reach at any shrink, if there is a delay
        but no decay to end it, if the optimizer is not AdamW, or if the trace has not fitted yet.
    ValueError
        If the level is not between 0 and 1.
    KeyError
        If the trace lacks a series.

    Notes
    -----
    Calibrated for AdamW, whose decay is decoupled, on deep tanh networks. Settings away from the
    calibrated ones (width 200, depth 4, 1000 inputs, learning rate 1e-3) widen the interval: the
    variance of a new run is multiplied by 1 plus the sum of their squared log ratios.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 2, 200)
    >>> x = (rng.standard_normal((200, 10)) + 2 * labels[:, None]) / 4
    >>> start = Start.drawn((10, 100, 100, 2), 6.0, x, labels, weight_decay=0.1)
    >>> before = forecast(start, level=0.9)
    >>> before.delayed, before.low < before.time < before.high
    (True, True)
    """
    _need(level, start.optimizer)
    if trace is not None and (told := _told(trace, level)):
        return told
    reading, look = read(start, level, trace)
    ends = CALIBRATED.steps(reading, look)
    return Forecast(level, *ends, delayed=reading.slow, notes=_notes(start, reading))


def read(start: Start, level: float, trace: Trace | None = None) -> tuple[Reading, Look | None]:
    """Return what theory reads off `start` and the last look of `trace`; errors as `forecast`."""
    shrinks, accuracies = start.curve(level)
    if accuracies[-1] < level:
        best = int(np.argmax(accuracies))
        raise NotPredicted(
            f"no end of the delay is predicted: theory has left-out data reach accuracy "
            f"{accuracies[best]:.3f} at best (weights shrunk by {math.exp(-shrinks[best]):.2g}), "
            f"below the level {level:g}; ask for a lower level, or take more data"
        )
    rising = np.maximum.accumulate(accuracies)
    shrink = float(np.interp(level, rising, shrinks)) if accuracies[0] < level else 0.0
    if shrink and not start.weight_decay:
        raise NotPredicted(
            f"no end of the delay is predicted: at accuracy {accuracies[0]:.2f} theory has the "
            f"weights shrink by a factor {math.exp(-shrink):.2g} before {level:g} is reached, and "
            "weight_decay is 0; set a decay, or a smaller initial scale (see `remedies`)"
        )
    fans = np.array([weight.shape[1] for weight in start.weights])
    weight = float(np.max(start.scales / np.sqrt(fans)))
    reading = Reading(shrink, weight, start.learning_rate, start.weight_decay, _distance(start))
    if trace is None:
        return reading, None
    step, accuracy = _last_look(trace)
    seen = float(np.interp(accuracy, rising, shrinks))
    return reading, Look(step, level - accuracy, max(shrink - seen, 0.0))


def forecast_trace(
    trace: Trace,
    learning_rate: float,
    weight_decay: float,
    level: float = 0.85,
    optimizer: str = "adamw",
) -> Forecast:
    """Forecast when a run of which only the first steps are known reaches `level`.

    As `forecast` with a trace, without the start: what is left of the clock is read off what the
    test accuracy still lacks, as it was in the calibration runs (ten classes of MNIST, level 0.85).

    Raises
    ------
    NotPredicted
        If there is no decay, the optimizer is not AdamW, or the trace has not fitted yet.
    ValueError
        If the level is not between 0 and 1, or a setting is not a finite number of the right sign.
    KeyError
        If the trace lacks a series.

    Examples
    --------
    >>> from layerwise.trace import Provenance
    >>> series = {"train_accuracy": [0.1, 0.8, 1.0], "test_accuracy": [0.1, 0.3, 0.32]}
    >>> trace = Trace([0, 100, 240], series, Provenance("probe", "optimiser steps"))
    >>> forecast_trace(trace, 1e-3, 0.3).time > 1000
    True
    """
    _need(level, optimizer)
    if not (0 < learning_rate < math.inf and 0 <= weight_decay < math.inf):
        raise ValueError(
            f"learning_rate must be positive and weight_decay not negative, both finite, got "
            f"{learning_rate} and {weight_decay}"
        )
    if told := _told(trace, level):
        return told
    step, accuracy = _last_look(trace)
    if not weight_decay:
        raise NotPredicted(
            f"no end of the delay is predicted: the test accuracy is {accuracy:.3f} at step "
            f"{step:g}, below the level {level:g}, and weight_decay is 0; set a decay"
        )
    look = Look(step, level - accuracy, left=math.nan)
    ends = CALIBRATED.steps_after(look, learning_rate * weight_decay)
    notes = (f"from the test accuracy {accuracy:.3f} at step {step:g} alone",)
    return Forecast(level, *ends, delayed=True, notes=notes)


def remedy(start: Start, name: str, factor: float) -> Start:
    """Return the run with one thing multiplied by `factor`.

    `name` is ``"weight"`` (every layer's weights), ``"target"``, ``"input"``, ``"output"`` or
    ``"decay"``. In the layerwise model the first multiplies the weight-to-target ratio by
    ``factor^depth``, the next by ``1/factor``, input and output by `factor`; decay leaves it and
    sets the clock.

    Examples
    --------
    >>> start = Start.drawn((2, 3, 2), 5.0, np.eye(2), [0, 1], weight_decay=0.3)
    >>> remedy(start, "decay", 2.0).weight_decay
    0.6
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor must be positive and finite, got {factor}")
    match name:
        case "weight":
            return replace(start, weights=tuple(factor * weight for weight in start.weights))
        case "input":
            return replace(start, inputs=factor * start.inputs)
        case "target":
            return replace(start, target_scale=factor * start.target_scale)
        case "output":
            return replace(start, output_scale=factor * start.output_scale)
        case "decay":
            return replace(start, weight_decay=factor * start.weight_decay)
    raise ValueError(nearest(name, REMEDIES, kind="remedy"))


def remedies(start: Start, factor: float, level: float = 0.85) -> dict[str, Forecast]:
    """Forecast the run under each remedy, by name: what ``factor`` > 1 of it would change.

    Weights, inputs and outputs are divided by `factor`, targets and decay are multiplied.

    A run of which nothing can be forecast has the time infinity, and the reason in its notes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 2, 200)
    >>> x = (rng.standard_normal((200, 10)) + 2 * labels[:, None]) / 4
    >>> start = Start.drawn((10, 100, 100, 2), 6.0, x, labels, weight_decay=0.0)
    >>> [name for name, after in remedies(start, 5.0, level=0.9).items() if after.time < math.inf]
    ['weight']
    """
    return {
        name: _or_never(
            remedy(start, name, factor if name in ("target", "decay") else 1 / factor), level
        )
        for name in REMEDIES
    }


def _need(level: float, optimizer: str) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be a test accuracy between 0 and 1, got {level}")
    if optimizer != "adamw":
        raise NotPredicted(
            f"no forecast under optimizer {optimizer!r}: the clock, learning rate x decay x steps, "
            "is that of decoupled decay, and was calibrated under 'adamw' alone"
        )


def _told(trace: Trace, level: float) -> Forecast | None:
    """Return what the trace has already reached."""
    reached = float(first_reached(trace.clock, trace["test_accuracy"], level))
    if not math.isfinite(reached):
        return None
    notes = (f"the trace has reached {level:g} at step {reached:g}",)
    return Forecast(level, reached, reached, reached, delayed=False, notes=notes)


def _last_look(trace: Trace) -> tuple[float, float]:
    """Return the last step with a test accuracy of a trace that has fitted, and that accuracy."""
    fitted = float(np.nanmax(trace["train_accuracy"], initial=0.0))
    if fitted < FIT:
        raise NotPredicted(
            f"the trace must reach the fit, train accuracy {FIT}, but ends at step "
            f"{trace.clock[-1]:g} with {fitted:.3f} at best; train on, or forecast from the start"
        )
    known = np.isfinite(trace["test_accuracy"])
    if not np.any(known):
        raise NotPredicted("the trace holds no test accuracy, NaN at every step; measure it")
    return float(trace.clock[known][-1]), float(trace["test_accuracy"][known][-1])


def _or_never(start: Start, level: float) -> Forecast:
    try:
        return forecast(start, level)
    except NotPredicted as reason:
        return Forecast(level, math.inf, math.inf, math.inf, True, (str(reason),))


def _settings(start: Start) -> dict[str, float]:
    return {
        "width": max(weight.shape[0] for weight in start.weights[:-1]),
        "depth": start.depth,
        "images": len(start.inputs),
        "learning rate": start.learning_rate,
    }


def _distance(start: Start) -> float:
    settings = _settings(start)
    return sum(math.log(settings[name] / value) ** 2 for name, value in CALIBRATED_ON.items())


def _notes(start: Start, reading: Reading) -> tuple[str, ...]:
    rests = (
        f"theory has left-out data reach the level where decay has shrunk the weights to "
        f"{math.exp(-reading.shrink):.2g} of their size"
        if reading.slow
        else "no delay: the level is reached as fast as AdamW learns"
    )
    away = [
        f"{name} {value:g} (calibrated at {CALIBRATED_ON[name]:g})"
        for name, value in _settings(start).items()
        if value != CALIBRATED_ON[name]
    ]
    return (rests, *(f"interval widened for {one}" for one in away))
