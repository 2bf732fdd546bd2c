"""The finished runs of the plan, and what is read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.measures import crossing_time
from layerwise.phenomena import base
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.collapse.experiment import LinearFeatures

if TYPE_CHECKING:
    from layerwise.phenomena.collapse.plan import Plan

__all__ = ["Results"]


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have the seeds first."""

    phenomenon: ClassVar[str] = "collapse"

    plan: Plan

    @property
    def data(self) -> str:
        return str(self.traces(self.plan.decayed)[0].provenance.data)

    def when_fitted(self, experiment: Experiment, name: str) -> np.ndarray:
        """Return a series at the first look without a training error; NaN if there is none."""
        found = []
        for trace in self.traces(experiment):
            fitted = np.flatnonzero(trace["train_accuracy"] == 1.0)
            found.append(trace[name][fitted[0]] if len(fitted) else math.nan)
        return np.array(found)

    def half_times(self, experiment: LinearFeatures) -> np.ndarray:
        """Return when the mode of each class is half learned, shape (seeds, classes)."""
        return np.array([
            crossing_time(trace.clock, trace["strength"], 0.5) for trace in self.traces(experiment)
        ])  # fmt: skip
