"""Power-law skills over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.models.skills import Skills
from layerwise.theory.orbits.depth import EqualLayers
from layerwise.theory.orbits.orbit import Orbit
from layerwise.theory.scaling.time import time_loss

__all__ = ["Learned"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Learned(Orbit):
    """The trajectory of `Skills`: strengths by the depth law, the loss as a scaling sum."""

    model: Skills

    def states(self, t: Array) -> Array:
        return EqualLayers(self.model.network).states(t)

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        match name:
            case "loss":
                return time_loss(self.model, t).value
            case "map":
                return self.model.strengths(self.model.ranks, t)
            case "error":
                return self.model.errors(self.model.ranks, t)
        return self.model.quantity(name, self.states(t))

    def residual(self, t: Array) -> float:
        return EqualLayers(self.model.network).residual(t)
