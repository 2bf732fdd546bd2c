"""The finished runs of the plan, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.measures import crossing_time
from layerwise.phenomena import base
from layerwise.phenomena.clock.experiment import FIT, GENERAL, LinearGrokking, ScalarClock
from layerwise.theory import Scalar
from layerwise.theory.clock import RICH

if TYPE_CHECKING:
    from layerwise.phenomena.clock.plan import Plan

__all__ = ["Results"]


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have the seeds first."""

    phenomenon: ClassVar[str] = "clock"

    plan: Plan

    @property
    def data(self) -> str:
        return str(self.traces(self.plan.scalar[0])[0].provenance.data)

    def scales(self, decay: float) -> np.ndarray:
        """Return the initial scales of the linear networks of that decay."""
        return np.array([one.scale for one in self.plan.linear[decay]])

    def fits(self, one: LinearGrokking) -> np.ndarray:
        """Return when the train error of a linear network falls to its level, shape (seeds,)."""
        return self._crossing(one, "train_error", FIT * float(one.teacher @ one.teacher))

    def generals(self, one: LinearGrokking) -> np.ndarray:
        """Return when the excess of the test error falls to its level, shape (seeds,)."""
        return self._crossing(one, "excess", GENERAL * float(one.teacher @ one.teacher))

    def delays(self, decay: float) -> np.ndarray:
        """Return how long linear networks are fitted before they generalise, (seeds, scales).

        NaN where they do not fit, or do not generalise.
        """
        runs = self.plan.linear[decay]
        with np.errstate(invalid="ignore"):
            found = np.stack([self.generals(one) - self.fits(one) for one in runs], axis=1)
        return np.where(np.isfinite(found), found, np.nan)

    def growths(self, decay: float) -> np.ndarray:
        """Return the growth of the delay from scale to scale over ``ln(ratio)/decay``.

        Shape (seeds, scales - 1).
        """
        folds = np.diff(np.log(self.scales(decay)))
        return np.diff(self.delays(decay), axis=1) * decay / folds

    def off_law(self) -> float:
        """Return how far the unseen part of A is from its law, relative, in all runs at most."""
        traces = (t for runs in self.plan.linear.values() for one in runs for t in self.traces(one))
        return max(float(np.max(np.abs(t["unseen"] / t["unseen_descent"] - 1))) for t in traces)

    def networks(self, one: ScalarClock) -> tuple[Scalar, ...]:
        """Return the exact model of every seed's 1-h-1 network."""
        return tuple(replace(one, seed=seed).network for seed in range(self.seeds))

    def scalar_fits(self, one: ScalarClock) -> np.ndarray:
        """Return when a 1-h-1 network is fitted, shape (seeds,)."""
        return self._crossing(one, "error", one.level)

    def scalar_rich(self, one: ScalarClock) -> np.ndarray:
        """Return when a 1-h-1 network becomes rich, shape (seeds,)."""
        return self._crossing(one, "alignment", RICH)

    def off_clock(self) -> np.ndarray:
        """Return the largest ``|C e^{2 decay t}/C_0 - 1|`` of the 1-h-1 networks, (seeds,)."""
        found = []
        for one in self.plan.scalar:
            traces = self.traces(one)
            kept = [t["imbalance"] * np.exp(2 * one.decay * t.clock) for t in traces]
            found.append([float(np.max(np.abs(C / C[0] - 1))) for C in kept])
        return np.max(found, axis=0)

    def _crossing(self, one: base.Experiment, name: str, level: float) -> np.ndarray:
        traces = self.traces(one)
        return np.array([float(crossing_time(t.clock, t[name], level)) for t in traces])
