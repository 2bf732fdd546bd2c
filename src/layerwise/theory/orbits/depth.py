"""Deep scalar networks of equal layers over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import depth
from layerwise.theory.model import sum_modes
from layerwise.theory.models.deep import Deep
from layerwise.theory.orbits.orbit import Orbit, defect

__all__ = ["EqualLayers"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class EqualLayers(Orbit):
    """The trajectory of a `Deep` whose layers are equal but for signs, by the depth law."""

    model: Deep

    def states(self, t: Array) -> Array:
        def weights(L: float, which: tuple[Array, ...]) -> Array:
            size, target, rate = which
            return depth.weights(size, target, L, rate, t)

        model = self.model
        w = self._by_depth(t, weights, model.equal_weight, model.orientation * model.target)
        return model.signs * w[..., None]

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        if name not in ("map", "error", "loss"):
            return self.model.quantity(name, self.states(t))

        def map_or_error(L: float, which: tuple[Array, ...]) -> Array:
            start, target, rate = which
            law = depth.strength if name == "map" else depth.remainder
            return law(start, target, L, rate, t)

        start = self.model.quantity("map", self.model.start[None])[0]
        found = self._by_depth(t, map_or_error, start, self.model.target)
        return found if name != "loss" else sum_modes(self.model.rate * found**2 / 2)

    def residual(self, t: Array) -> float:
        return defect(self.states, self.model.velocity, t, self.model.fastest())

    def _by_depth(
        self,
        t: Array,
        law: Callable[[float, tuple[Array, ...]], Array],
        first: Array,
        target: Array,
    ) -> Array:
        """Return the law (T, ...) of all modes, those of one depth at a time."""
        arrays = first, target, self.model.rate
        depths = np.unique(self.model.depth)
        if len(depths) == 1:
            return law(float(depths[0]), arrays)
        found = np.empty((len(t), *self.model.depth.shape))
        for L in depths:
            same = self.model.depth == L
            found[:, same] = law(float(L), tuple(array[same] for array in arrays))
        return found
