"""Claim and Verdict: a statement about networks, what was measured, and what follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, stdtrit

if TYPE_CHECKING:
    from layerwise.phenomena.base import Results

__all__ = [
    "Claim",
    "Verdict",
    "decide",
    "interval",
    "judge",
    "seen",
    "share",
    "slope",
    "weigh",
    "whole",
]

MIN_SEEDS = 3
CONFIDENCE = 0.95


class Verdict(StrEnum):
    """What a measurement says of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"

    @staticmethod
    def worst(*verdicts: Verdict) -> Verdict:
        """Return the verdict on a claim of several parts: refuted before undecided."""
        ranking = (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.SUPPORTED)
        return min(verdicts, key=ranking.index)


@dataclass(frozen=True)
class Claim:
    """A statement about networks, its prediction, its measurement and the verdict.

    Attributes
    ----------
    id, phenomenon
        Stable names, e.g. ``"grokking.delay"`` and ``"grokking"``.
    statement
        One sentence, with the rule by which the verdict is reached.
    source
        Where the prediction comes from.
    predicted, measured
        The number that theory gives, and the mean over seeds of the number that was measured;
        None where there is none.
    interval
        Ends of the 95 % interval of `measured` over seeds; None ends where it is not known.
    seeds
        How many seeds were run (0, 1, ...).
    data, size
        The data set really used, and the size of the experiment.
    verdict
        See `judge`.
    """

    id: str
    phenomenon: str
    statement: str
    source: str
    predicted: float | None
    measured: float | None
    interval: tuple[float | None, float | None]
    seeds: int
    data: str
    size: str
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return the claim as plain JSON values; infinities become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def interval(values: Sequence[float], *, log: bool = False) -> tuple[float, float, float]:
    """Return mean and ends of the Student-t 95 % interval over seeds.

    With `log` the mean is geometric and the interval that of the logarithm. Fewer than two values
    have no interval: its ends are infinite.

    Examples
    --------
    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    x = np.asarray(values, dtype=float)
    if not np.all(np.isfinite(x)) or (log and np.any(x <= 0)):
        return math.nan, -math.inf, math.inf
    if log:
        mean, low, high = interval(np.log(x).tolist())
        return math.exp(mean), math.exp(low), math.exp(high)
    mean = float(x.mean())
    if len(x) < 2:
        return mean, -math.inf, math.inf
    half = stdtrit(len(x) - 1, 0.5 + CONFIDENCE / 2) * x.std(ddof=1) / math.sqrt(len(x))
    return mean, mean - float(half), mean + float(half)


def share(hits: int, runs: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a share, by Clopper and Pearson.

    Examples
    --------
    >>> [round(x, 3) for x in share(9, 10)], share(0, 1)[0], share(1, 1)[1]
    ([0.555, 0.997], 0.0, 1.0)
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(hits, runs - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, runs - hits, 1 - tail)) if hits < runs else 1.0
    return low, high


def judge(low: float, high: float, accept: tuple[float, float], seeds: int) -> Verdict:
    """Return supported if the interval lies in `accept`, refuted if wholly outside, else undecided.

    Fewer than three seeds are always undecided.

    Examples
    --------
    >>> str(judge(9.0, 12.0, (8.0, float("inf")), seeds=3))
    'supported'
    """
    if seeds < MIN_SEEDS or math.isnan(low) or math.isnan(high):
        return Verdict.UNDECIDED
    if accept[0] <= low and high <= accept[1]:
        return Verdict.SUPPORTED
    if high < accept[0] or low > accept[1]:
        return Verdict.REFUTED
    return Verdict.UNDECIDED


def decide(results: Results, values: np.ndarray, accept: tuple[float, float]) -> Verdict:
    """Return the verdict on a part of a claim: that the `values`, one per seed, lie in `accept`."""
    _, low, high = interval(values.tolist())
    return judge(low, high, accept, results.seeds)


def weigh(
    results: Results,
    name: str,
    statement: str,
    source: str,
    predicted: float | None,
    values: np.ndarray,
    *,
    accept: tuple[float, float],
    log: bool = False,
) -> Claim:
    """Return the claim that the measured `values`, one per seed, lie in `accept`.

    `log` is that of `interval`.
    """
    mean, low, high = interval(values.tolist(), log=log)
    return Claim(
        id=name,
        phenomenon=results.phenomenon,
        statement=statement,
        source=source,
        predicted=predicted,
        measured=mean,
        interval=(low, high),
        seeds=results.seeds,
        data=results.data,
        size=results.size,
        verdict=judge(low, high, accept, results.seeds),
    )


def seen(values: np.ndarray) -> str:
    """Write values of several seeds as ``mean [interval]``, that of one seed alone.

    Examples
    --------
    >>> seen(np.array([1.0, 2.0, 3.0])), seen(np.array([1.0]))
    ('2 [-0.484, 4.48]', '1')
    """
    mean, low, high = interval(values.tolist())
    if not math.isfinite(mean):
        return "not reached"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]" if len(values) > 1 else f"{mean:.3g}"


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the least-squares slope of y over x; NaN if a y is not finite, so never reached.

    Examples
    --------
    >>> round(slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])), 12)
    2.0
    """
    return float(np.polyfit(x, y, 1)[0]) if np.all(np.isfinite(y)) else math.nan


def whole(step: float) -> str:
    """Write a step, or that it was not reached.

    Examples
    --------
    >>> whole(12.4), whole(math.inf)
    ('12', '(not reached)')
    """
    return f"{step:.0f}" if math.isfinite(step) else "(not reached)"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Verdict) else value
