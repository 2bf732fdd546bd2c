"""The shallow linear model: no feedback, the control of every claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import Model, fill, require, sum_modes

__all__ = ["Shallow"]

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
