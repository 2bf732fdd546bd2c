"""Experiment, Run, Claim, Verdict: what a phenomenon is made of, and how one run is carried out."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from layerwise.trace import Trace

__all__ = [
    "SIZES",
    "Claim",
    "Curve",
    "Experiment",
    "Panel",
    "Run",
    "Study",
    "Verdict",
    "interval",
    "judge",
    "run",
]

SIZES = ("smoke", "laptop", "paper")
MIN_SEEDS = 3
CONFIDENCE = 0.95


class Verdict(StrEnum):
    """What a measurement says of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


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


@dataclass(frozen=True)
class Experiment(ABC):
    """The settings of one run; its fields are the run's key and its table of settings."""

    seed: int = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for people, part of the run's folder."""

    @abstractmethod
    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        """Train the network and return its trace; resume from `checkpoint` if it exists."""

    @abstractmethod
    def work(self) -> int:
        """Return about how many steps `measure` will make, for the time it will take."""

    def config(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def key(self) -> str:
        """The run's folder name: `name`, the seed and a hash of every setting."""
        text = json.dumps(self.config(), sort_keys=True)
        return f"{self.name}-seed{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Run:
    """A finished experiment: its settings, its trace and the folder that holds them."""

    experiment: Experiment
    trace: Trace
    folder: Path


@dataclass(frozen=True)
class Curve:
    """A line of a panel: one quantity of one trace per seed (a band where there are several)."""

    label: str
    traces: tuple[Trace, ...]
    quantity: str
    theory: bool = False  # drawn dashed, beside the measured line of the same colour
    points: bool = False  # drawn as points: the clock is then a setting, not a time


@dataclass(frozen=True)
class Panel:
    """A small figure: curves on one pair of axes, and the sentence that says what to see."""

    title: str
    caption: str
    curves: tuple[Curve, ...]
    x: str
    y: str
    log_x: bool = True
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Study:
    """A phenomenon, carried out: what the report shows of it."""

    name: str
    title: str
    summary: str
    data: str
    size: str
    settings: Mapping[str, str]
    panels: tuple[Panel, ...]
    claims: tuple[Claim, ...]
    runs: tuple[Run, ...]


def run(
    experiment: Experiment,
    out: Path,
    *,
    device: str = "cpu",
    tick: Callable[[int], None] = lambda step: None,
) -> Run:
    """Carry out `experiment` in the folder `out`, or read it from there if it was finished.

    An interrupted run leaves its state beside the folder and goes on from it next time.
    """
    folder = out / experiment.key
    if folder.exists():
        return Run(experiment, Trace.load(folder), folder)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{experiment.key}.checkpoint"
    trace = experiment.measure(checkpoint, device, tick)
    trace.save(folder)
    checkpoint.unlink(missing_ok=True)
    return Run(experiment, trace, folder)


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


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Verdict) else value
