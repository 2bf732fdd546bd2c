"""The free numbers of a model as one vector, in coordinates that suit them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.theory.model import Model

__all__ = ["Space", "names"]

Array = npt.NDArray[np.float64]

# What keeps its sign and may be any power of ten is fitted by its logarithm first: from far away
# powers are the shorter way. Then all are fitted as they are: close by the law is straighter there.
LOGARITHMIC = ("a", "b", "decay", "depth", "layers", "rate", "rates", "scale", "weight")
FLOOR = 1e-4  # of the guess's size: a number that goes through 0 is not measured by its own


@dataclass(frozen=True, eq=False)
class Space:
    """The free numbers of a model as one vector."""

    model: Model
    free: tuple[str, ...]

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The free fields of the guess."""
        return {name: np.asarray(getattr(self.model, name), dtype=float) for name in self.free}

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """The other parameters."""
        return {n: getattr(self.model, n) for n in parameters(self.model) if n not in self.free}

    @cached_property
    def guess(self) -> Array:
        """The free numbers of the guess."""
        return np.concatenate([array.ravel() for array in self.arrays.values()])

    @cached_property
    def sizes(self) -> Array:
        """The sizes of the guess, 1 where it is 0."""
        return np.where(self.guess == 0, 1.0, np.abs(self.guess))

    @cached_property
    def owners(self) -> npt.NDArray[np.str_]:
        """The field of every number."""
        return np.repeat(self.free, [array.size for array in self.arrays.values()])

    @cached_property
    def labels(self) -> list[str]:
        """What every number is called."""
        return [
            name + (f"[{', '.join(map(str, k))}]" if k else "")
            for name, array in self.arrays.items()
            for k in np.ndindex(array.shape)
        ]

    def fields(self, numbers: Array) -> dict[str, Array]:
        """Return one number for each free one as arrays by field."""
        return {
            name: numbers[self.owners == name].reshape(array.shape)
            for name, array in self.arrays.items()
        }

    def model_of(self, values: Array) -> Model:
        """Return the model with these values; a ValueError where there is none."""
        return type(self.model)(**self.fixed, **self.fields(values))

    def logs(self, values: Array) -> npt.NDArray[np.bool_]:
        """Return which numbers are fitted by their logarithm."""
        return np.asarray(np.isin(self.owners, LOGARITHMIC) & (values != 0))

    def slopes(self, values: Array) -> Array:
        """Return the change of every number along its coordinate, in which its own size is 1."""
        own = np.maximum(np.abs(values), FLOOR * self.sizes)
        linear = np.where(values == 0, self.sizes, own)
        return np.where(self.logs(values), values, linear)

    def moved(self, values: Array, x: Array, powers: bool) -> Array:
        """Return ``values exp(x)`` of logarithms if `powers`, ``values + slopes x`` of others."""
        logs = self.logs(values) & powers
        with np.errstate(over="ignore"):  # the model refuses what is not finite
            grown = values * np.exp(np.where(logs, x, 0.0))
        return np.where(logs, grown, values + self.slopes(values) * x)


def parameters(model: Model) -> list[str]:
    """Return the names that the model is built from."""
    return [name for name in model.config() if name != "model"]


def names(model: Model, free: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of the free fields, each once and holding numbers."""
    names = tuple(dict.fromkeys([free] if isinstance(free, str) else free))
    kind = type(model).__name__
    if not names:
        raise ValueError("fit needs the name of at least one free field")
    for name in names:
        if name not in parameters(model):
            raise ValueError(nearest(str(name), parameters(model), kind=f"field of {kind}"))
        given = getattr(model, name)
        try:
            usable = bool(np.all(np.isfinite(np.asarray(given, dtype=float))))
        except (TypeError, ValueError):
            usable = False
        if not usable:
            raise ValueError(f"{kind}: {name} must hold numbers to start from, got {given!r}")
    return names
