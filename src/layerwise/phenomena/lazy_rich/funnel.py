"""Funnels: linear networks of unequal sizes, where the sign of the imbalance decides.

The settings are those of figure 10 of arXiv 2502.21009, which prints the sign of lam the wrong way
round (E3): a funnel, of more inputs than outputs, is lazy where the later layer is the larger one,
``lam > 0``, and turns its kernel late where it is the smaller one; an anti-funnel the reverse. A
heavy later layer already reaches every output, so that moving the light early one is enough; a
heavy early layer uses few directions of the inputs and must be turned first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from layerwise.phenomena.base import Experiment
from layerwise.phenomena.lazy_rich.descent import descend
from layerwise.phenomena.lazy_rich.networks import (
    DATA,
    Networks,
    white_task,
)
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Funnel"]

BRIEF = 20  # steps that are timed


@dataclass(frozen=True)
class Funnel(Experiment):
    """Figure 10: lam-balanced networks of unequal sizes, over time and lam.

    White inputs; starts as in `BalancedMap`, all singular values of ``W2 W1`` being 1; one draw of
    inputs, targets, U, V and R for all lam. The clock of the trace is the time of gradient flow;
    its series (T, points) have lam as their second axis: see `Networks.look`.

    Attributes
    ----------
    inputs, hidden, outputs
        Sizes: more inputs than outputs make a funnel, fewer an anti-funnel; `hidden` is at
        most the smaller of both.
    points, lam
        lam takes so many values from -lam to lam.
    early, end
        Times at which to look, whatever else; `end` is the last.
    samples
        Inputs n.
    learning_rate
        Of gradient descent.
    looks
        About how many times are looked at, log-spaced.
    """

    inputs: int = 8
    hidden: int = 3
    outputs: int = 3
    points: int = 21
    lam: float = 20.0
    early: float = 2.0
    end: float = 4000.0
    samples: int = 30
    learning_rate: float = 0.02
    looks: int = 40

    def __post_init__(self) -> None:
        self.need_at_least(1, "hidden")
        self.need_at_least(2, "points")
        self.need_at_least(self.inputs + 1, "samples")
        self.need_at_least(1, "looks")
        self.need_positive("lam", "learning_rate", "early")
        if self.hidden > min(self.inputs, self.outputs):
            raise ValueError(
                f"lam of both signs needs hidden <= inputs and outputs, got hidden {self.hidden} "
                f"with {self.inputs} inputs and {self.outputs} outputs"
            )
        if not self.learning_rate <= self.early <= self.end < math.inf:
            raise ValueError(
                f"early must lie between a step of {self.learning_rate} and the end {self.end}, "
                f"got {self.early}"
            )

    @property
    def name(self) -> str:
        return f"funnel-{self.inputs}-{self.hidden}-{self.outputs}"

    @property
    def lams(self) -> np.ndarray:
        """The imbalances, shape (points,)."""
        return np.linspace(-self.lam, self.lam, self.points)

    @cached_property
    def networks(self) -> Networks:
        """The networks (points, ...) as they start."""
        rng = np.random.default_rng(self.seed)
        inputs, cross = white_task(rng, self.inputs, self.outputs, self.samples)
        U, V, R = (
            np.linalg.qr(rng.standard_normal((size, self.hidden)))[0]
            for size in (self.outputs, self.inputs, self.hidden)
        )
        root, lam = np.hypot(self.lams, 2.0), self.lams
        w1 = R * np.sqrt((root - lam) / 2)[:, None, None] @ V.T
        w2 = U * np.sqrt((root + lam) / 2)[:, None, None] @ R.T
        return Networks(w1, w2, cross, inputs)

    def work(self) -> int:
        return round(self.end / self.learning_rate)

    def brief(self) -> Funnel:
        time = BRIEF * self.learning_rate
        return replace(self, early=time, end=time, looks=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        from layerwise.train import log_grid

        start, steps = self.networks, self.work()
        due = {*log_grid(steps, self.looks), round(self.early / self.learning_rate)}
        stacked, rows = start.stacked.copy(), []
        updates = descend(stacked, start.cross, start.variances, self.learning_rate, steps)
        for step in updates:
            tick(step)
            if step in due:
                rows.append(start.look(stacked))
        series = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        origin = Provenance(
            "network", "gradient-flow time", self.config(), self.seed, DATA, versions()
        )
        return Trace(self.learning_rate * np.array(sorted(due)), series, origin)
