"""The 1-h-1 network: one input, any width, one output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.model import Model, fill, require

__all__ = ["Scalar"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, init=False)
class Scalar(Model):
    """The 1-h-1 network ``f(x) = (x/Z) sum_i a_i b_i`` of any width: the model of grokking.

    ``a_i' = (s/Z)(S - Theta) b_i - decay a_i`` and the same with a, b exchanged, where
    ``Theta = sum a_i b_i / Z`` and s = `rate`. Its one dial is the weight-to-target ratio
    ``Sigma0/|S|``, ``Sigma = sum (a_i^2 + b_i^2)/(2 Z)``.

    Parameters
    ----------
    target
        Target coefficient S (y = S x); a number, or the batch shape.
    a, b
        Initial weights, shape (..., h); a number is a network with one hidden unit.
    scale
        Output scale Z > 0.
    rate
        Input variance ``s = E[x^2] >= 0``.
    decay
        Weight decay ``lam >= 0``: the loss gains ``(lam/2) sum (a_i^2 + b_i^2)``.

    Notes
    -----
    Quantities: ``map`` Theta, ``error`` S - Theta, ``loss`` s (S - Theta)^2/2 (without the decay
    term), ``conserved`` b_i^2 - a_i^2 (with decay it falls as exp(-2 decay t), exactly),
    ``kernel`` 2 Sigma/Z (tangent kernel at x = x' = 1), ``magnitude`` Sigma, ``alignment``
    Theta/Sigma. Numbers: ``gamma_plus``, growth of every (a_i + b_i)^2 over training without decay,
    ``gain``, its root, and ``weight_to_target``, Sigma0/|S|.

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Scalar(target=1.0, a=[3.0, 3.0], b=[3.0, -3.0], scale=2.0, decay=0.01)
    >>> sol = lw.solve(net, [0.0, 1.0, 300.0])
    >>> sol["map"].round(3), sol["alignment"].round(3)
    (array([0.   , 0.998, 0.98 ]), array([0.   , 0.112, 1.   ]))
    """

    target: Array
    a: Array
    b: Array
    scale: Array
    rate: Array
    decay: Array

    quantities: ClassVar[tuple[str, ...]] = (
        "alignment",
        "conserved",
        "error",
        "kernel",
        "loss",
        "magnitude",
        "map",
    )
    numbers: ClassVar[tuple[str, ...]] = ("gain", "gamma_plus", "weight_to_target")

    def __init__(
        self,
        target: npt.ArrayLike,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        scale: npt.ArrayLike = 1.0,
        rate: npt.ArrayLike = 1.0,
        decay: npt.ArrayLike = 0.0,
    ) -> None:
        numbers = {"target": target, "scale": scale, "rate": rate, "decay": decay}
        fill(self, numbers, vectors={"a": a, "b": b})
        require(self, "scale", self.scale > 0, "must be positive")
        require(self, "rate", self.rate >= 0, "must not be negative")
        require(self, "decay", self.decay >= 0, "must not be negative")

    def number(self, name: str) -> Array:
        of_start = self.a, self.b, self.target, self.scale
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
        return np.concatenate([self.a, self.b], axis=-1)

    def split(self, state: Array) -> tuple[Array, ...]:
        width = self.a.shape[-1]
        return state[..., :width], state[..., width:]

    def velocity(self, state: Array) -> Array:
        a, b = self.split(state)
        push = (self.rate / self.scale * (self.target - self._map(a, b)))[..., None]
        return np.concatenate([push * b, push * a], axis=-1) - self.decay[..., None] * state

    def jacobian(self, state: Array) -> Array:
        a, b = self.split(state)
        width = len(a)
        pull = self.rate / self.scale
        partner = np.concatenate([b, a])
        matrix = -pull / self.scale * np.outer(partner, partner) - self.decay * np.eye(2 * width)
        push = pull * (self.target - self._map(a, b)) * np.eye(width)
        matrix[:width, width:] += push
        matrix[width:, :width] += push
        return np.asarray(matrix)

    def fastest(self) -> float:
        size = measures.magnitude(self.a, self.b, self.scale) + np.abs(self.target)
        return float(np.max(2 * self.rate / self.scale * size + 2 * self.decay, initial=0.0))

    def parts(self) -> Iterator[Scalar]:
        for k in np.ndindex(self.target.shape):
            yield Scalar(*(getattr(self, f.name)[k] for f in fields(self)))

    @property
    def fade(self) -> Array:
        return 2 * self.decay[..., None]

    def penalty(self, state: Array) -> Array:
        return np.asarray(self.decay / 2 * np.sum(state**2, axis=-1))

    def quantity(self, name: str, state: Array) -> Array:
        a, b = self.split(state)
        match name:
            case "map":
                return self._map(a, b)
            case "error":
                return self.target - self._map(a, b)
            case "loss":
                return self.rate * (self.target - self._map(a, b)) ** 2 / 2
            case "conserved":
                return np.asarray(measures.pair_imbalance(a, b))
            case "kernel":
                return np.asarray(2 * measures.magnitude(a, b, self.scale) / self.scale)
            case "magnitude":
                return np.asarray(measures.magnitude(a, b, self.scale))
            case "alignment":
                return np.asarray(measures.alignment(a, b))
        raise self.unknown(name)

    def _map(self, a: Array, b: Array) -> Array:
        return np.asarray(measures.product(a, b, self.scale))
