"""The finished runs of a plan, and the times read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.phenomena import base
from layerwise.phenomena.grokking.experiment import FIT, Clock, Grokking

if TYPE_CHECKING:
    from layerwise.phenomena.grokking.plan import Plan

__all__ = ["Results"]


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and the times read off them."""

    phenomenon: ClassVar[str] = "grokking"

    plan: Plan

    @property
    def data(self) -> str:
        """The data set really used."""
        return str(self.traces(self.plan.default)[0].provenance.data)

    def fit_steps(self, experiment: Grokking) -> np.ndarray:
        """Return t_fit per seed: first logged step with train accuracy >= 0.99, or infinity."""
        return self.reached(experiment, "train_accuracy", FIT)

    def general_steps(self, experiment: Grokking) -> np.ndarray:
        """Return t85 per seed: first logged step of a general test accuracy, or infinity."""
        return self.reached(experiment, "test_accuracy", experiment.general)

    def at_fit(self, experiment: Grokking) -> np.ndarray:
        """Return the test accuracy at t_fit per seed, NaN where the data were never fitted."""
        found = []
        for trace, step in zip(self.traces(experiment), self.fit_steps(experiment), strict=True):
            reached = trace.clock == step
            found.append(trace["test_accuracy"][reached][0] if reached.any() else math.nan)
        return np.array(found)

    def delays(self, experiment: Grokking) -> np.ndarray:
        """Return the delay ratio t85/t_fit per seed."""
        return self.general_steps(experiment) / self.fit_steps(experiment)

    def decay_times(self, experiment: Grokking) -> np.ndarray:
        """Return t85 x learning rate x decay per seed."""
        rate = experiment.learning_rate * experiment.weight_decay
        return self.general_steps(experiment) * rate

    @cached_property
    def clocks(self) -> tuple[Clock, ...]:
        """The decay clock per seed, fitted on the runs that differ in their initial scale."""
        scales = [experiment.weight_scale for experiment in self.plan.scales]
        times = np.array([self.decay_times(experiment) for experiment in self.plan.scales])
        return tuple(Clock.fitted(scales, column.tolist()) for column in times.T)

    def predicted_decay_times(self, experiment: Grokking) -> np.ndarray:
        """Return the clock's ``t85 x lr x decay`` for `experiment` per seed; 0 is no delay."""
        calibrated = self.plan.scales[0]
        return np.array([clock.decay_time(experiment, calibrated) for clock in self.clocks])
