"""The finished runs of the plan, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from layerwise.phenomena import base
from layerwise.phenomena.lazy_rich.dial import Transfer, transfer
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.twin import exact_map

if TYPE_CHECKING:
    from layerwise.phenomena.lazy_rich.plan import Plan

__all__ = ["FLOOR", "Results"]

Phases = TypeVar("Phases", BalancedMap, UnbalancedMap)

FLOOR = 1e-6  # added to a distance before its logarithm is taken, as in the published maps


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have the seeds first."""

    phenomenon: ClassVar[str] = "lazy-rich"

    plan: Plan

    @property
    def data(self) -> str:
        return str(self.traces(self.plan.even)[0].provenance.data)

    def map(self, experiment: BalancedMap | UnbalancedMap) -> np.ndarray:
        """Return log10 of the kernel distances, shape (seeds, scales, imbalances)."""
        found = np.stack([trace["distance"] for trace in self.traces(experiment)])
        return np.log10(found + FLOOR)

    def seeded(self, experiment: Phases) -> tuple[Phases, ...]:
        """Return the experiment of every seed."""
        return tuple(replace(experiment, seed=seed) for seed in range(self.seeds))

    @property
    def map_errors(self) -> np.ndarray:
        """Root-mean-square error of the two-number theory, shape (seeds, widths)."""
        return np.array([
            np.sqrt(np.mean(trace["map_error"] ** 2, axis=(0, 2, 3)))
            for trace in self.traces(self.plan.two_number)
        ])  # fmt: skip

    def gaps(self, name: str) -> np.ndarray:
        """Return the largest gap of the first mode to a limit, shape (seeds, imbalances)."""
        return np.array([
            trace[name][:, :, 0].max(axis=0) for trace in self.traces(self.plan.limits)
        ])  # fmt: skip

    @cached_property
    def exact(self) -> np.ndarray:
        """The distances of the balanced map, exactly, shape (seeds, scales, imbalances)."""
        return np.stack([exact_map(one)["distance"] for one in self.seeded(self.plan.balanced)])

    @cached_property
    def transfers(self) -> dict[float, tuple[Transfer, ...]]:
        """How far linear predictions are from a network, by the dial, for every seed."""
        return {
            dial.k: tuple(
                transfer(replace(dial, seed=seed), trace)
                for seed, trace in enumerate(self.traces(dial))
            )
            for dial in self.plan.dials
        }
