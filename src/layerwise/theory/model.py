"""What every layerwise linear model is to the solvers: an array of weights with a velocity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest

__all__ = ["Model", "fill", "matrix", "require", "sum_modes"]

Array = npt.NDArray[np.float64]

LARGEST = 1e150  # squares of larger numbers leave the range of float64


class Model(ABC):
    """A layerwise linear model, seen by the solvers as an array of weights.

    The weights are kept as one array of shape (..., *blocks, d): `blocks` are independent parts
    that never meet in the equations of motion, d the number of weights in one of them.
    """

    #: Names that `Solution[...]` understands for this model.
    quantities: ClassVar[tuple[str, ...]]

    #: Names of what the start alone decides, which `Solution[...]` understands too.
    numbers: ClassVar[tuple[str, ...]] = ()

    def number(self, name: str) -> Array:
        """Return one of `numbers`, shape of the modes or of the batch."""
        raise self.unknown(name)

    @property
    def traced(self) -> tuple[str, ...]:
        """Names of the quantities that a `Trace` holds unless others are asked for."""
        return self.quantities

    def size_of(self, name: str) -> int:
        """Return how many numbers the largest quantities, or `name`, take at one time."""
        return self.start.size

    @property
    @abstractmethod
    def start(self) -> Array:
        """Initial weights, shape (*blocks, d)."""

    @abstractmethod
    def split(self, state: Array) -> tuple[Array, ...]:
        """Return the weights of a state array, one array per layer."""

    @abstractmethod
    def velocity(self, state: Array) -> Array:
        """Return ``-dLoss/dw`` (with decay), same shape as `state` (..., *blocks, d)."""

    @abstractmethod
    def jacobian(self, state: Array) -> Array:
        """Return d velocity / d state of an undivided part, shape (d, d)."""

    @abstractmethod
    def fastest(self) -> float:
        """Return a bound on the largest relaxation rate met along the flow."""

    @abstractmethod
    def parts(self) -> Iterator[Model]:
        """Yield the independent parts, in the order of ``np.ndindex`` over the blocks."""

    @property
    def fade(self) -> Array:
        """Rate at which what is called ``conserved`` falls under weight decay; NaN for no law."""
        return np.zeros(())

    def penalty(self, state: Array) -> Array:
        """Return what weight decay adds to the loss, for states of shape (T, *blocks, d)."""
        return np.zeros(())

    @abstractmethod
    def quantity(self, name: str, state: Array) -> Array:
        """Return a quantity by name from states of shape (T, *blocks, d)."""

    def config(self) -> dict[str, Any]:
        """Return the parameters as JSON values, with the model's name."""
        values = {f.name: getattr(self, f.name).tolist() for f in fields(self)}  # type: ignore[arg-type]
        return {"model": type(self).__name__, **values}

    def unknown(self, name: str) -> KeyError:
        """Return the error for a quantity that the model does not have."""
        kind = f"quantity of {type(self).__name__}"
        return KeyError(nearest(name, (*self.quantities, *self.numbers), kind=kind))


def sum_modes(values: Array) -> Array:
    """Sum (T, ..., modes) over the modes; a model without a mode axis is its own single mode."""
    return values.sum(axis=-1) if values.ndim > 1 else values


def fill(
    model: Model,
    numbers: Mapping[str, npt.ArrayLike],
    vectors: Mapping[str, npt.ArrayLike] | None = None,
) -> None:
    """Set the fields of `model`: numbers of the batch shape, vectors with one axis more."""
    vectors = vectors or {}
    kind = type(model).__name__
    arrays = {name: _real(kind, name, given) for name, given in {**numbers, **vectors}.items()}
    for name in vectors:
        arrays[name] = np.atleast_1d(arrays[name])
    shapes = {name: array.shape for name, array in arrays.items()}
    said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    try:
        units = np.broadcast_shapes(*(shapes[name][-1:] for name in vectors))
        leading = [shapes[n][:-1] if n in vectors else shapes[n] for n in arrays]
        batch = np.broadcast_shapes(*leading)
    except ValueError:
        raise ValueError(f"{kind}: shapes do not fit: {said}") from None
    if 0 in (*batch, *units):
        raise ValueError(f"{kind}: there is nothing to solve, shapes are {said}")
    for name, array in arrays.items():
        value = np.array(np.broadcast_to(array, batch + units if name in vectors else batch))
        value.flags.writeable = False
        object.__setattr__(model, name, value)


def matrix(kind: str, name: str, values: npt.ArrayLike) -> Array:
    """Return `values` as a finite, read-only matrix of float64."""
    array = np.array(_real(kind, name, values))
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{kind}: {name} must be a matrix, got shape {array.shape}")
    array.flags.writeable = False
    return array


def _real(kind: str, name: str, values: npt.ArrayLike) -> Array:
    given = np.asarray(values)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{kind}: {name} must be real numbers, got {given.dtype}")
    array = given.astype(np.float64)
    if not np.all(np.isfinite(array)):
        bad = array[~np.isfinite(array)][0]
        raise ValueError(f"{kind}: {name} must be finite, got {bad}")
    if np.any(np.abs(array) > LARGEST):
        raise ValueError(f"{kind}: {name} is larger than {LARGEST:g} in size")
    return array


def require(model: Model, name: str, holds: npt.NDArray[np.bool_], rule: str) -> None:
    """Raise a ValueError that names the field, the rule and the first value that breaks it."""
    if not np.all(holds):
        bad = getattr(model, name)[~holds].flat[0]
        raise ValueError(f"{type(model).__name__}: {name} {rule}, got {bad}")
