"""The finished runs of the plan, and what is read off them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.measures import crossing_time
from layerwise.phenomena import base
from layerwise.trace import Trace

if TYPE_CHECKING:
    from layerwise.phenomena.depth.plan import Plan

__all__ = ["Results"]


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have the seeds first."""

    phenomenon: ClassVar[str] = "depth"

    plan: Plan

    @property
    def data(self) -> str:
        return str(self.traces(self.plan.ticket)[0].provenance.data)

    def scales(self, layers: int) -> np.ndarray:
        """Return the initial scales at which networks of so many layers were trained."""
        return np.array([one.scale for one in self.plan.depths[layers]])

    def half_times(self, layers: int) -> np.ndarray:
        """Return the steps at which the strength crosses one half, shape (seeds, scales)."""
        return self._read(layers, lambda trace: _crossing(trace, 0.5))

    def widths(self, layers: int) -> np.ndarray:
        """Return the steps from a tenth to nine tenths, shape (seeds, scales)."""
        return self._read(layers, lambda trace: _crossing(trace, 0.9) - _crossing(trace, 0.1))

    def tickets(self) -> dict[str, np.ndarray]:
        """Return the half times of every training of the table, shape (seeds, skills)."""
        traces = self.traces(self.plan.ticket)
        return {
            name: np.array([crossing_time(trace.clock, trace[name], 0.5) for trace in traces])
            for name in self.plan.ticket.trainings
        }

    def _read(self, layers: int, read: Callable[[Trace], float]) -> np.ndarray:
        runs = self.plan.depths[layers]
        return np.array([[read(trace) for trace in self.traces(one)] for one in runs]).T


def _crossing(trace: Trace, level: float) -> float:
    return float(crossing_time(trace.clock, trace["strength"], level))
