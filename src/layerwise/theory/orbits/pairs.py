"""Diagonal networks over time: what follows from the map alone is had without the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import pair
from layerwise.theory.model import sum_modes
from layerwise.theory.models.diagonal import Diagonal
from layerwise.theory.orbits.orbit import Orbit, defect

__all__ = ["Pairs"]

Array = npt.NDArray[np.float64]

# The fast form of the map wants weights that can be squared twice; others go by the weights.
SMALLEST = 1e-60


@final
@dataclass(frozen=True, eq=False)
class Pairs(Orbit):
    """The trajectory of a `Diagonal` by the pair law."""

    model: Diagonal

    def states(self, t: Array) -> Array:
        model, one = self.model, np.ones(())
        a, b = model.a[..., None], model.b[..., None]
        return np.concatenate(pair.weights(a, b, model.target, one, model.rate, t), axis=-1)

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        model = self.model
        a, b, S, rate = model.a, model.b, model.target, model.rate
        sizes = np.abs(np.stack([a, b]))
        if name not in ("map", "error", "loss") or np.any((sizes > 0) & (sizes < SMALLEST)):
            return model.quantity(name, self.states(t))
        if name == "map":
            return pair.product(a, b, S, rate, t)
        error = pair.error(a, b, S, rate, t)
        return error if name == "error" else sum_modes(rate * error**2 / 2)

    def residual(self, t: Array) -> float:
        return defect(self.states, self.model.velocity, t, self.model.fastest())
