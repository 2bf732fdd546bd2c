"""Layerwise linear models: linear in the input, a product of layers in the parameters.

Every model is a frozen dataclass of float64 arrays. Leading axes are a batch of independent
models. The loss is ``1/2 E|y - f(x)|^2`` without its irreducible part, and time is that of the
gradient flow ``dw/dt = -dLoss/dw``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.model import Model, fill, require, sum_modes

__all__ = ["Diagonal", "Scalar", "Shallow"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, init=False)
class Shallow(Model):
    """Linear model without feedback, ``f(x) = sum_k theta_k x_k``: the control of every claim.

    ``theta' = rate (target - theta)``: it approaches its target exponentially from the first
    moment, with no plateau.

    Parameters
    ----------
    target
        Target coefficients S (y = S x), any shape.
    theta
        Initial weights, broadcast against `target`.
    rate
        Input variances ``E[x_k^2] >= 0``, broadcast likewise.

    Examples
    --------
    >>> import layerwise as lw
    >>> lw.solve(lw.Shallow(target=2.0), [0.0, 1.0])["map"].round(4)
    array([0.    , 1.2642])
    """

    target: Array
    theta: Array
    rate: Array

    quantities: ClassVar[tuple[str, ...]] = ("error", "loss", "map")

    def __init__(
        self, target: npt.ArrayLike, theta: npt.ArrayLike = 0.0, rate: npt.ArrayLike = 1.0
    ) -> None:
        fill(self, {"target": target, "theta": theta, "rate": rate})
        require(self, "rate", self.rate >= 0, "must not be negative")

    @property
    def start(self) -> Array:
        return self.theta[..., None]

    def split(self, state: Array) -> tuple[Array, ...]:
        return (state[..., 0],)

    def velocity(self, state: Array) -> Array:
        return (self.rate * (self.target - state[..., 0]))[..., None]

    def jacobian(self, state: Array) -> Array:
        return -self.rate.reshape(1, 1)

    def fastest(self) -> float:
        return float(np.max(self.rate, initial=0.0))

    def parts(self) -> Iterator[Shallow]:
        for k in np.ndindex(self.target.shape):
            yield Shallow(self.target[k], self.theta[k], self.rate[k])

    def quantity(self, name: str, state: Array) -> Array:
        (theta,) = self.split(state)
        match name:
            case "map":
                return theta
            case "error":
                return self.target - theta
            case "loss":
                return sum_modes(self.rate * (self.target - theta) ** 2 / 2)
        raise self.unknown(name)


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

    def __init__(
        self,
        target: npt.ArrayLike,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        rate: npt.ArrayLike = 1.0,
    ) -> None:
        fill(self, {"target": target, "a": a, "b": b, "rate": rate})
        require(self, "rate", self.rate >= 0, "must not be negative")

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
    Theta/Sigma.

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
