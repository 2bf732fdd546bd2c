"""Learning in stages: which skill is next, and when."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from layerwise.diagnosis.evidence import DEGREE, Array, all_of, config, curve, degree
from layerwise.diagnosis.finding import Finding, NotJudged, Premise
from layerwise.diagnosis.forecast import Forecast
from layerwise.diagnosis.rule import Line
from layerwise.measures import crossing_time
from layerwise.trace import Trace

__all__ = ["learning_in_stages"]

# Sampling noise of a strength measured on 500 to 2000 inputs is 1/sqrt(inputs): seen from here on.
NOISE: Final = 0.05
EMERGED: Final = 0.5  # a skill has emerged at half its strength
DONE: Final = 0.9  # and is learned here
LOOKS: Final = 3  # that a line with an interval needs


def learning_in_stages(trace: Trace) -> Finding | None:
    """Find skills that are learned one after the other, and forecast the next.

    In a product of two balanced layers the strength of a skill obeys ``logit(R/S)' = const``: it
    grows long before the loss shows it, and the line of its logit says when it will be half. Where
    the next one is still below the noise, the times of those before it are continued as a power of
    their number, which skills of power-law frequencies follow.

    Series: ``skill/NAME`` of the user's own, the strength ``R/S`` of each (0 at the start, 1 where
    it is learned), or ``strength`` (T, K) of the experiments.
    """
    skills = _skills(trace)
    if len(skills) < 2:
        raise NotJudged("needs the series skill/NAME, strengths of two skills or more")
    ends = {name: float(values[-1]) for name, (_, values) in skills.items()}
    done = [name for name in skills if ends[name] >= DONE]
    waiting = [name for name in skills if ends[name] < EMERGED]
    if not done or not waiting:
        return None
    times = sorted(float(crossing_time(*skills[name], EMERGED)) for name in done)
    told, next_one, source = _next(skills, waiting, times)
    when = f", {next_one} is next at step {told.time:.3g}" if told else ""
    return Finding(
        "learning in stages",
        "note",
        f"{len(done)} of {len(skills)} skills are learned{when}. A flat loss is no end of "
        "learning here.",
        {"learned": float(len(done)), "waiting": float(len(waiting)), "last_stage": times[-1]},
        (_two_layers(trace), source),
        (),
        told,
    )


def _two_layers(trace: Trace) -> Premise:
    name, layers = "two layers, whose skills grow exponentially", config(trace, "layers")
    if config(trace, "degree") is None and not layers:
        return Premise(name, None, "layers not known")
    L = float(len(layers)) if config(trace, "degree") is None else degree(trace)
    return Premise(name, abs(L - 2) <= DEGREE, f"degree {L:.2f}")


def _skills(trace: Trace) -> dict[str, tuple[Array, Array]]:
    if "strength" in trace and trace["strength"].ndim == 2:
        clock = trace.clock.astype(float)
        return {f"skill {k + 1}": (clock, v) for k, v in enumerate(trace["strength"].T)}
    found = {name: curve(trace, series) for name, series in all_of(trace, "skill").items()}
    return {name: curves for name, curves in found.items() if len(curves[0]) > 1}


def _next(
    skills: dict[str, tuple[Array, Array]], waiting: list[str], times: list[float]
) -> tuple[Forecast | None, str, Premise]:
    """Return the forecast of the next skill, its name, and what it rests on.

    `times` are those at which the learned ones emerged, in order.
    """
    name = max(waiting, key=lambda one: skills[one][1][-1])
    steps, values = skills[name]
    told = _rising(steps, values, times[-1])
    seen = f"{name} is at {values[-1]:.2g}, of which {NOISE:g} is noise"
    premise = Premise("the next stage can be seen coming", told is not None, seen)
    return told or _continued(times, float(steps[-1])), name, premise


def _rising(steps: Array, values: Array, since: float) -> Forecast | None:
    """Return when the line of the logit since the last stage is half; None if none is seen."""
    rising = (values > NOISE) & (values < DONE) & (steps > since)
    if np.sum(rising) < LOOKS:
        return None
    line = Line.fitted(steps[rising], np.log(values[rising] / (1 - values[rising])))
    if line.slope <= 0:
        return None
    half = -line.intercept / line.slope
    _, low, high = line.at(half)
    around, now = (high - low) / 2 / line.slope, float(steps[-1])
    time, low, high = (max(one, now) for one in (half, half - around, half + around))
    notes = (f"line of logit(R/S) over the last {line.runs} looks",)
    return Forecast(EMERGED, time, low, high, delayed=False, notes=notes)


def _continued(times: list[float], now: float) -> Forecast | None:
    """Return the next of some times as a power of their number; None if they are too few."""
    if len(times) < LOOKS or times[0] <= 0:
        return None
    line = Line.fitted(np.log(np.arange(1, len(times) + 1)), np.log(times))
    time, low, high = (max(math.exp(y), now) for y in line.at(math.log(len(times) + 1)))
    notes = (f"power law of the {len(times)} stages so far, exponent {line.slope:.2f}",)
    return Forecast(EMERGED, time, low, high, delayed=False, notes=notes)
