"""The deep scalar network: a product of any number of layers, equal or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import LARGEST, Model, fill, require, sum_modes

__all__ = ["EQUAL", "Deep"]

Array = npt.NDArray[np.float64]

# Sizes apart by more than rounding separate on the way: where the target is opposed, equal layers
# end on the saddle at 0 and unequal ones cross it.
EQUAL = 4 * np.finfo(np.float64).eps


@final
@dataclass(frozen=True, eq=False, init=False)
class Deep(Model):
    """Deep scalar network ``f(x) = x prod_l w_l``: the effect of depth alone.

    ``w_l' = rate prod_{j != l} w_j (target - prod_j w_j)``; every ``w_l^2 - w_k^2`` is conserved,
    so layers that start equal stay equal, ``w' = rate w^{L-1} (target - w^L)``.

    Parameters
    ----------
    target
        Target coefficients S (y = S x), shape (..., modes) or a number.
    weight, depth
        Equal layers: the weight that all share and their number L, a real number >= 1; both
        broadcast against `target`. A negative weight needs an integer depth.
    rate
        Input variances ``E[x^2] >= 0``, broadcast likewise.
    layers
        Layers of any size, instead of weight and depth: shape (..., L).

    Raises
    ------
    TypeError
        Unless either weight and depth or layers are given.
    ValueError
        For what is outside its domain. An infinite depth has no weights: its product, on the clock
        depth x t, is ``layerwise.theory.laws.depth.product``.

    Notes
    -----
    The state is (..., 1), the common weight, for weight and depth, and (..., L) for layers.

    Quantities: ``map`` u = prod_l w_l, ``error`` S - u, ``loss`` rate (S - u)^2/2 (summed over
    modes), ``conserved`` w_l^2 - w_1^2, one number for each weight of the state (the first is 0),
    ``kernel`` sum_l (prod_{j != l} w_j)^2 (tangent kernel per mode).

    For 1 < depth < 2 and an opposed target the weight reaches 0 in finite time and stays there.

    Examples
    --------
    >>> import layerwise as lw
    >>> model = lw.Deep(target=[3.0, 1.0], weight=0.5, depth=3)
    >>> model.quantity("map", model.start[None])
    array([[0.125, 0.125]])
    >>> unequal = lw.Deep(target=1.0, layers=[0.5, -1.0, 2.0])
    >>> unequal.velocity(unequal.start)
    array([-4.,  2., -1.])
    """

    target: Array
    weight: Array
    depth: Array
    rate: Array
    layers: Array
    shared: bool

    quantities: ClassVar[tuple[str, ...]] = ("conserved", "error", "kernel", "loss", "map")

    def __init__(
        self,
        target: npt.ArrayLike,
        weight: npt.ArrayLike | None = None,
        depth: npt.ArrayLike | None = None,
        rate: npt.ArrayLike = 1.0,
        *,
        layers: npt.ArrayLike | None = None,
    ) -> None:
        if layers is None and weight is not None and depth is not None:
            _refuse_infinite(depth)
            fill(self, {"target": target, "weight": weight, "depth": depth, "rate": rate})
            require(self, "depth", self.depth >= 1, "must be at least 1")
            whole = self.depth % 1 == 0
            rule = "must not be negative where depth is not an integer"
            require(self, "weight", (self.weight >= 0) | whole, rule)
            shared, held = True, self.weight[..., None]
        elif layers is not None and weight is None and depth is None:
            fill(self, {"target": target, "rate": rate}, vectors={"layers": layers})
            shared, held = False, self.layers
            object.__setattr__(self, "weight", held[..., 0])
            depths = np.broadcast_to(float(held.shape[-1]), self.target.shape)
            object.__setattr__(self, "depth", depths)
        else:
            given = {"weight": weight, "depth": depth, "layers": layers}
            said = ", ".join(name for name, value in given.items() if value is not None)
            raise TypeError(
                "Deep takes either weight and depth (equal layers) or layers (one weight for each),"
                f" got {said or 'none of them'}"
            )
        object.__setattr__(self, "layers", held)
        object.__setattr__(self, "shared", shared)
        require(self, "rate", self.rate >= 0, "must not be negative")
        sizes = np.sum(np.log(np.maximum(np.abs(held), 1.0)), axis=-1)
        if np.any(sizes * (self.depth if shared else 1) > math.log(LARGEST)):
            raise ValueError(f"Deep: the product of the layers is larger than {LARGEST:g} in size")

    @property
    def start(self) -> Array:
        return self.layers

    @property
    def spread(self) -> Array:
        """How much the sizes of the layers differ, relative to the largest; shape (...)."""
        sizes = np.abs(self.layers)
        largest = np.max(sizes, axis=-1)
        return np.asarray((largest - np.min(sizes, axis=-1)) / np.where(largest == 0, 1.0, largest))

    @property
    def equal_layers(self) -> npt.NDArray[np.bool_]:
        """Whether the layers are equal up to signs; shape (...).

        The depth law then holds, with the target's sign turned where that of the product is
        negative: ``w_l(t) = signs_l w(t)``, w from `equal_weight` to ``orientation * target``.
        """
        return np.asarray(self.spread <= EQUAL)

    @property
    def equal_weight(self) -> Array:
        """The size of the first layer, which is that of all where `equal_layers` holds."""
        return np.asarray(np.abs(self.weight))

    @property
    def signs(self) -> Array:
        """Signs of the weights of the state, 1 for a weight of 0."""
        return np.where(self.layers < 0, -1.0, 1.0)

    @property
    def orientation(self) -> Array:
        """Sign of the product; shape (...)."""
        return self._product(self.signs)

    def split(self, state: Array) -> tuple[Array, ...]:
        return tuple(np.moveaxis(state, -1, 0))

    def velocity(self, state: Array) -> Array:
        push = self.rate * (self.target - self._product(state))
        return push[..., None] * self._others(state)

    def jacobian(self, state: Array) -> Array:
        error = self.target - self._product(state)
        others = self._others(state)
        if self.shared:
            w = self._base(state)
            # at 0 and 1 < L < 2 the slope of w^{L-1} is infinite, but the flow stands still there
            slope = (self.depth - 1) * np.where(w == 0, 1.0, w) ** (self.depth - 2)
            turn = np.where(w == 0, self.depth == 2, slope)
            return np.diag(self.rate * (turn * error - self.depth * others**2))
        without = _leave_one_out(state)
        pairs = _others(without) * (1 - np.eye(len(state)))
        return np.asarray(self.rate * (error * pairs - np.outer(others, others)))

    def fastest(self) -> float:
        start = self._product(self.layers)
        gap = np.abs(self.target - start)
        if self.shared:
            rates = self._fastest_shared(np.abs(start), gap)
        else:
            # w_l^2 - w_k^2 is conserved and |u| bounded, so the smallest layer is, so all are
            size = np.maximum(np.abs(start), np.abs(self.target)) ** (1 / self.depth)
            squares = self.layers**2
            bounds = np.sqrt(
                squares - np.min(squares, axis=-1, keepdims=True) + size[..., None] ** 2
            )
            pairs = np.sum(_others(_leave_one_out(bounds)), axis=-1) - _others(bounds)
            rates = np.sum(_others(bounds) ** 2, axis=-1) + gap * np.max(pairs, axis=-1)
        return float(np.max(self.rate * rates, initial=0.0))

    def _fastest_shared(self, start: Array, gap: Array) -> Array:
        """Return the relaxation rate at the largest weight on the way, over `rate`.

        It is the fastest, but for 1 < L < 2 and an opposed target: there it has no bound.
        """
        L, opposed = self.depth, self.orientation * self.target < 0
        w = np.abs(self.weight)
        w = np.where(opposed, w, np.maximum(w, np.abs(self.target) ** (1 / L)))
        back = np.where(opposed | (start > np.abs(self.target)), gap, 0.0)  # past the target by
        turn = np.where(w == 0, 0.0, (L - 1) * np.where(w == 0, 1.0, w) ** (L - 2))
        return np.asarray(L * w ** (2 * L - 2) + turn * back)

    def parts(self) -> Iterator[Deep]:
        for k in np.ndindex(self.target.shape):
            if self.shared:
                yield Deep(self.target[k], self.weight[k], self.depth[k], self.rate[k])
            else:
                yield Deep(self.target[k], rate=self.rate[k], layers=self.layers[k])

    def quantity(self, name: str, state: Array) -> Array:
        match name:
            case "map":
                return self._product(state)
            case "error":
                return self.target - self._product(state)
            case "loss":
                return sum_modes(self.rate * (self.target - self._product(state)) ** 2 / 2)
            case "conserved":
                first = state[..., :1]
                return (state - first) * (state + first)
            case "kernel":
                layers = self.depth if self.shared else 1.0
                return np.asarray(layers * np.sum(self._others(state) ** 2, axis=-1))
        raise self.unknown(name)

    def config(self) -> dict[str, Any]:
        names = ("weight", "depth") if self.shared else ("layers",)
        values = {name: getattr(self, name).tolist() for name in ("target", *names, "rate")}
        return {"model": "Deep", **values}

    def _product(self, state: Array) -> Array:
        """Return u (...) of a state (..., k)."""
        if self.shared:
            return np.asarray(self._base(state)[..., 0] ** self.depth)
        return np.asarray(np.prod(state, axis=-1))

    def _others(self, state: Array) -> Array:
        """Return the product of the other layers, for each weight of the state."""
        if self.shared:
            return np.asarray(self._base(state) ** (self.depth[..., None] - 1))
        return _others(state)

    def _base(self, state: Array) -> Array:
        # a solver may try a step past 0, where a broken power has no value
        whole = self.depth[..., None] % 1 == 0
        return np.where(whole, state, np.maximum(state, 0.0))


def _leave_one_out(factors: Array) -> Array:
    """Return (..., k, k): row l are the factors with the l-th replaced by 1."""
    return np.where(np.eye(factors.shape[-1], dtype=bool), 1.0, factors[..., None, :])


def _others(factors: Array) -> Array:
    """Return the product of all the other factors, along the last axis and without quotients."""
    before, after = np.ones_like(factors), np.ones_like(factors)
    np.cumprod(factors[..., :-1], axis=-1, out=before[..., 1:])
    np.cumprod(factors[..., :0:-1], axis=-1, out=after[..., -2::-1])
    return before * after


def _refuse_infinite(depth: npt.ArrayLike) -> None:
    given = np.asarray(depth)
    if given.dtype.kind == "f" and np.any(np.isposinf(given)):
        raise ValueError(
            "Deep: depth must be finite, got inf; an infinitely deep product, on the clock "
            "depth x t, is layerwise.theory.laws.depth.product"
        )
