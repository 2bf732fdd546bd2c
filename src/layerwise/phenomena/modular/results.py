"""The finished runs of a plan, and the times and accuracies read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.phenomena import base
from layerwise.phenomena.modular.experiment import FIT, GENERAL, EitherModular

if TYPE_CHECKING:
    from layerwise.phenomena.modular.plan import Plan

__all__ = ["ON_PLATEAU", "PLATEAU", "Results"]

# where the transformer comes to a plateau, and the step at which it has long been there
ON_PLATEAU, PLATEAU = "squared error, output x0.1", 600


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have one entry per seed."""

    phenomenon: ClassVar[str] = "modular"

    plan: Plan

    @property
    def data(self) -> str:
        used = (str(self.traces(one)[0].provenance.data) for one in self.plan.roles())
        return ", ".join(dict.fromkeys(used))

    def fit_steps(self, one: EitherModular) -> np.ndarray:
        """Return t_fit: first logged step with train accuracy >= 0.99, or infinity."""
        return self.reached(one, "train_accuracy", FIT)

    def general_steps(self, one: EitherModular) -> np.ndarray:
        """Return t95: first logged step with test accuracy >= 0.95, or infinity."""
        return self.reached(one, "test_accuracy", GENERAL)

    def delays(self, one: EitherModular) -> np.ndarray:
        """Return t95/t_fit: infinite where it never generalised, NaN where it never fitted."""
        fit = self.fit_steps(one)
        return self.general_steps(one) / np.where(np.isfinite(fit), fit, math.nan)

    def delays_at_least(self, one: EitherModular, edge: float) -> np.ndarray:
        """Return the delays, or the last step over t_fit of a run that never generalised.

        That is a lower bound, which says on which side of `edge` the delay lies if it is itself
        above; below, it says nothing and is NaN.
        """
        delays = self.delays(one)
        bounds = np.array([trace.clock[-1] for trace in self.traces(one)]) / self.fit_steps(one)
        return np.where(np.isinf(delays), np.where(bounds > edge, bounds, math.nan), delays)

    def at_fit(self, one: EitherModular, name: str = "test_accuracy") -> np.ndarray:
        """Return a series at t_fit; NaN where it never fitted."""
        return self.at(one, name, self.fit_steps(one))

    def half_steps(self, one: EitherModular, name: str) -> np.ndarray:
        """Return the first logged step with accuracy ``"mirror"`` or ``"other"`` >= 1/2.

        Infinite where it was not reached, NaN where there are no such pairs.
        """
        name = f"{name}_accuracy"
        none = np.array([np.isnan(trace[name]).all() for trace in self.traces(one)])
        return np.where(none, math.nan, self.reached(one, name, 0.5))

    def mirror_first(self, one: EitherModular) -> np.ndarray:
        """Return the step of mirror accuracy 1/2 over that of the other test pairs."""
        mirror, other = (self.half_steps(one, name) for name in ("mirror", "other"))
        return mirror / np.where(np.isfinite(other), other, math.nan)

    def on_plateau(self, one: EitherModular, name: str) -> np.ndarray:
        """Return the accuracy ``"mirror"``, ``"other"`` or ``"test"`` on the plateau.

        NaN where the training pairs were not fitted, so that it is none.
        """
        fitted = self.fit_steps(one) <= PLATEAU
        steps = np.where(fitted, float(PLATEAU), math.inf)
        return self.at(one, f"{name}_accuracy", steps)

    def at(self, one: EitherModular, name: str, steps: np.ndarray) -> np.ndarray:
        """Return a series at the last logged step up to `steps`, one per seed; NaN at infinity."""
        found = []
        for trace, step in zip(self.traces(one), steps, strict=True):
            logged = int(np.searchsorted(trace.clock, step, side="right")) - 1
            found.append(float(trace[name][logged]) if math.isfinite(step) else math.nan)
        return np.array(found)
