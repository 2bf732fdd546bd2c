"""The rules that turn what theory reads off a start into a time with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

__all__ = ["Interval", "Line", "Look", "Reading", "Rule"]

Interval = tuple[float, float, float]  # the value, the low end and the high end

CONFIDENCE = 0.9


@dataclass(frozen=True)
class Line:
    """A least-squares line with what its prediction interval needs.

    Attributes
    ----------
    intercept, slope
        ``y = intercept + slope x``.
    error
        Standard deviation of the residuals, with ``runs - 2`` degrees of freedom.
    runs
        Number of points.
    centre, spread
        Mean of x and ``sum (x - centre)^2``.

    Examples
    --------
    >>> line = Line.fitted([0.0, 1.0, 2.0, 3.0], [0.1, 0.9, 2.1, 2.9])
    >>> [round(value, 2) for value in line.at(1.5)]
    [1.5, 1.09, 1.91]
    """

    intercept: float
    slope: float
    error: float
    runs: int
    centre: float
    spread: float

    @classmethod
    def fitted(cls, x: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Return the line through the points.

        Raises
        ------
        ValueError
            If there are fewer than three finite points, or they share one x.
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if x.shape != y.shape or x.ndim != 1 or len(x) < 3 or not np.all(np.isfinite(x + y)):
            raise ValueError(f"a line needs three or more finite points, got x {x} and y {y}")
        centre, spread = float(x.mean()), float(np.sum((x - x.mean()) ** 2))
        if spread == 0:
            raise ValueError(f"a line needs points of different x, got {x[0]} every time")
        slope = float(np.sum((x - centre) * y)) / spread
        intercept = float(y.mean()) - slope * centre
        squares = float(np.sum((y - intercept - slope * x) ** 2))
        return cls(intercept, slope, math.sqrt(squares / (len(x) - 2)), len(x), centre, spread)

    def at(self, x: float, distance: float = 0.0) -> Interval:
        """Return y at x and its 90 % prediction interval (Student t).

        `distance` is that of the run from the calibrated settings: the variance of a new run is
        taken to be ``1 + distance`` times that of the residuals.
        """
        y = self.intercept + self.slope * x
        unsure = 1 + distance + 1 / self.runs + (x - self.centre) ** 2 / self.spread
        half = float(stdtrit(self.runs - 2, 0.5 + CONFIDENCE / 2)) * self.error * math.sqrt(unsure)
        return y, y - half, y + half


@dataclass(frozen=True)
class Reading:
    """What theory reads off a start.

    Attributes
    ----------
    shrink
        tau at which the fit of decayed weights reaches the level (`Start.curve`); 0 if it does so
        from the start.
    weight
        Largest root-mean-square weight of a layer: Adam needs ``weight/learning_rate`` steps to
        rewrite it.
    learning_rate, weight_decay
        As in AdamW.
    distance
        From the calibrated settings, see `Line.at`.
    """

    shrink: float
    weight: float
    learning_rate: float
    weight_decay: float
    distance: float = 0.0

    @property
    def rate(self) -> float:
        """Learning rate x decay: how fast the clock runs."""
        return self.learning_rate * self.weight_decay

    @property
    def slow(self) -> bool:
        """Whether decay takes longer than learning, about half the time to rewrite the weights."""
        return self.shrink > self.weight_decay * self.weight / 2


@dataclass(frozen=True)
class Look:
    """The last look at the first steps of a run.

    Attributes
    ----------
    step
        When it was.
    gap
        What the test accuracy lacked to the level.
    left
        ``shrink`` less the shrink at which theory has that accuracy.
    """

    step: float
    gap: float
    left: float


@dataclass(frozen=True)
class Rule:
    """Four lines: the clock of decay before training and after the fit, and the learning time.

    Attributes
    ----------
    before
        ``tau = learning rate x decay x steps`` at which the level is reached, over ``shrink``.
    early
        What of it is left at the last look, over `Look.left`.
    trace
        What of it is left at the last look, over `Look.gap`, where nothing is known of the start.
    learning
        ``ln(learning rate x steps)`` over ``ln(weight)`` in runs without a delay: no run is faster.
    """

    before: Line
    early: Line
    trace: Line
    learning: Line

    @classmethod
    def calibrated(
        cls, readings: Sequence[Reading], looks: Sequence[Look | None], steps: Sequence[float]
    ) -> Self:
        """Return the rule of runs that reached the level at `steps`.

        Each look is that at the fit, None where the level was reached before. Runs in which decay
        takes longer than learning (`Reading.slow`) give the clock, the others the learning time.
        """
        runs = list(zip(readings, looks, steps, strict=True))
        slow = [(reading, step) for reading, _, step in runs if reading.slow]
        fast = [(reading, step) for reading, _, step in runs if not reading.slow]
        seen = [(look, r.rate * (step - look.step)) for r, look, step in runs if r.slow and look]
        return cls(
            before=Line.fitted([r.shrink for r, _ in slow], [r.rate * step for r, step in slow]),
            early=Line.fitted([look.left for look, _ in seen], [tau for _, tau in seen]),
            trace=Line.fitted([look.gap for look, _ in seen], [tau for _, tau in seen]),
            learning=Line.fitted(
                [math.log(r.weight) for r, _ in fast],
                [math.log(r.learning_rate * step) for r, step in fast],
            ),
        )

    def steps(self, reading: Reading, look: Look | None = None) -> Interval:
        """Return the step at which the level is reached and its 90 % interval.

        The later of learning and decay, at every end: ``max(learning, clock)``. Nothing is reached
        before the last look.
        """
        learned = self.learning.at(math.log(reading.weight), reading.distance)
        ends = [math.exp(value) / reading.learning_rate for value in learned]
        if reading.shrink and reading.rate:
            taus = (
                self.before.at(reading.shrink, reading.distance)
                if look is None
                else self.early.at(look.left, reading.distance)
            )
            clock = [(look.step if look else 0.0) + tau / reading.rate for tau in taus]
            ends = [max(pair) for pair in zip(ends, clock, strict=True)]
        return _from(look.step if look else 0.0, ends)

    def steps_after(self, look: Look, rate: float) -> Interval:
        """Return the step at which the gap seen is closed and its 90 % interval, from it alone.

        `rate` is learning rate x decay.
        """
        return _from(look.step, [look.step + tau / rate for tau in self.trace.at(look.gap)])


def _from(begun: float, ends: list[float]) -> Interval:
    value, low, high = (max(end, begun) for end in ends)
    return value, low, high
