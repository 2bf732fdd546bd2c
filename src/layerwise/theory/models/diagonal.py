"""The diagonal linear network: independent pairs of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.model import Model, fill, require, sum_modes

__all__ = ["Diagonal"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, init=False)
class Diagonal(Model):
    """Diagonal linear network, ``f(x) = sum_k x_k a_k b_k``: independent pairs of weights.

    ``a' = rate b (target - a b)``, ``b' = rate a (target - a b)``; the imbalance
    ``lam = b^2 - a^2`` of every pair is conserved.

    Parameters
    ----------
    target
        Target coefficients S (y = S x), shape (..., modes) or a number.
    a, b
        Initial first and second weights, broadcast against `target`.
    rate
        Input variances ``E[x_k^2] >= 0``, broadcast likewise.

    Notes
    -----
    Quantities: ``map`` u = a b, ``error`` S - u, ``loss`` (summed over modes), ``conserved``
    b^2 - a^2, ``kernel`` a^2 + b^2 (tangent kernel per mode), ``alignment`` 2 a b/(a^2 + b^2).
    Numbers: ``gamma_plus``, growth of (a + b)^2 over training, ``gain``, its root, and
    ``weight_to_target``, (a^2 + b^2)/(2 |S|) at the start.

    Examples
    --------
    >>> import layerwise as lw
    >>> sol = lw.solve(lw.Diagonal(target=[3.0, 1.0], a=0.01, b=0.01), [0.0, 2.0, 6.0])
    >>> sol["map"].round(3)
    array([[0.   , 0.   ],
           [2.533, 0.005],
           [3.   , 0.942]])
    """

    target: Array
    a: Array
    b: Array
    rate: Array

    quantities: ClassVar[tuple[str, ...]] = (
        "alignment",
        "conserved",
        "error",
        "kernel",
        "loss",
        "map",
    )
    numbers: ClassVar[tuple[str, ...]] = ("gain", "gamma_plus", "weight_to_target")

    def __init__(
        self,
        target: npt.ArrayLike,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        rate: npt.ArrayLike = 1.0,
    ) -> None:
        fill(self, {"target": target, "a": a, "b": b, "rate": rate})
        require(self, "rate", self.rate >= 0, "must not be negative")

    def number(self, name: str) -> Array:
        of_start = self.a[..., None], self.b[..., None], self.target
        match name:
            case "gain":
                return np.asarray(measures.gain(*of_start))
            case "gamma_plus":
                return np.asarray(measures.gamma_plus(*of_start))
            case "weight_to_target":
                return np.asarray(measures.weight_to_target(*of_start))
        raise self.unknown(name)

    @property
    def start(self) -> Array:
        return np.stack([self.a, self.b], axis=-1)

    def split(self, state: Array) -> tuple[Array, ...]:
        return state[..., 0], state[..., 1]

    def velocity(self, state: Array) -> Array:
        a, b = self.split(state)
        push = self.rate * (self.target - a * b)
        return np.stack([push * b, push * a], axis=-1)

    def jacobian(self, state: Array) -> Array:
        a, b = state
        cross = self.target - 2 * a * b
        return np.asarray(self.rate * np.array([[-b * b, cross], [cross, -a * a]]))

    def fastest(self) -> float:
        size = self.a**2 + self.b**2 + 2 * np.abs(self.target)
        return float(np.max(self.rate * size, initial=0.0))

    def parts(self) -> Iterator[Diagonal]:
        for k in np.ndindex(self.target.shape):
            yield Diagonal(self.target[k], self.a[k], self.b[k], self.rate[k])

    def quantity(self, name: str, state: Array) -> Array:
        a, b = self.split(state)
        match name:
            case "map":
                return a * b
            case "error":
                return self.target - a * b
            case "loss":
                return sum_modes(self.rate * (self.target - a * b) ** 2 / 2)
            case "conserved":
                return np.asarray(measures.pair_imbalance(a, b))
            case "kernel":
                return a * a + b * b
            case "alignment":
                return np.asarray(measures.alignment(a[..., None], b[..., None]))
        raise self.unknown(name)
