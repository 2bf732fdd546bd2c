"""Experiment, Plan, Run, Results, Study: what a phenomenon is made of, and how a run is made."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from layerwise.measures import first_reached
from layerwise.phenomena.claim import Claim
from layerwise.phenomena.panel import Shown, Table
from layerwise.trace import Trace

__all__ = [
    "SIZES",
    "Experiment",
    "Plan",
    "Results",
    "Run",
    "Study",
    "run",
]

SIZES = ("smoke", "laptop", "paper")


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

    @abstractmethod
    def brief(self) -> Self:
        """Return the same training cut to a few steps, to be timed."""

    def need_at_least(self, least: int, *fields: str) -> None:
        """Raise a ValueError for a field that is less."""
        for field in fields:
            if getattr(self, field) < least:
                raise ValueError(f"{field} must be at least {least}, got {getattr(self, field)}")

    def need_positive(self, *fields: str) -> None:
        """Raise a ValueError for a field that is not positive, or not finite."""
        for field in fields:
            value = getattr(self, field)
            if not 0 < value < math.inf:
                raise ValueError(f"{field} must be positive and finite, got {value}")

    def config(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    def settings(self, *omit: str) -> dict[str, str]:
        """Return the fields as a reader sees them, but for the seed and those to `omit`."""
        return {
            name.replace("_", " "): f"{value}"
            for name, value in self.config().items()
            if name not in ("seed", *omit)
        }

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


class Plan(ABC):
    """The experiments of one phenomenon at one size, by their role."""

    @property
    @abstractmethod
    def data(self) -> str:
        """The data set asked for."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what is trained on what."""

    @abstractmethod
    def roles(self) -> tuple[Experiment, ...]:
        """Return the experiments that every seed runs."""

    @abstractmethod
    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        """Judge the claims on the finished runs, and return what the report shows."""

    def experiments(self, seeds: int) -> tuple[Experiment, ...]:
        """Return every run, each once, seed by seed."""
        once = tuple(dict.fromkeys(self.roles()))
        return tuple(replace(one, seed=seed) for seed in range(seeds) for one in once)


@dataclass(frozen=True)
class Results(ABC):
    """The finished runs of a plan, by the key of their experiment; seeds 0, 1, ..., seeds - 1."""

    phenomenon: ClassVar[str]

    plan: Plan
    size: str
    seeds: int
    runs: Mapping[str, Run]

    @classmethod
    def of(cls, plan: Plan, size: str, seeds: int, runs: Iterable[Run]) -> Self:
        """Return the results of `runs`."""
        return cls(plan, size, seeds, {run.experiment.key: run for run in runs})

    @property
    @abstractmethod
    def data(self) -> str:
        """The data set really used."""

    def final(self, experiment: Experiment, name: str) -> np.ndarray:
        """Return the last value of a series, shape (seeds, ...)."""
        return np.array([trace[name][-1] for trace in self.traces(experiment)])

    def reached(self, experiment: Experiment, name: str, level: float) -> np.ndarray:
        """Return the first logged clock per seed with a series of `level` or more, or infinity."""
        return np.array([
            float(first_reached(trace.clock, trace[name], level))
            for trace in self.traces(experiment)
        ])  # fmt: skip

    def traces(self, experiment: Experiment) -> tuple[Trace, ...]:
        """Return the traces of `experiment`, one per seed."""
        seeds = (replace(experiment, seed=seed) for seed in range(self.seeds))
        return tuple(self.runs[one.key].trace for one in seeds)


@dataclass(frozen=True)
class Study:
    """A phenomenon, carried out: what the report shows of it."""

    name: str
    title: str
    summary: str
    data: str
    size: str
    settings: Mapping[str, str]
    panels: tuple[Shown, ...]
    claims: tuple[Claim, ...]
    runs: tuple[Run, ...]
    tables: tuple[Table, ...] = ()
    stand_in: bool = False  # whether a smaller data set took the place of the one that was meant


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
