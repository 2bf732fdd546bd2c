"""What every solved trajectory can be asked, whether its weights are known or only its Grams."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import Model

__all__ = ["Orbit", "States", "defect"]

Array = npt.NDArray[np.float64]

# The check of the equation of motion spans a tenth of the fastest relaxation time, by a
# Gauss-Legendre rule that is then exact to rounding.
SPAN = 0.1
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)


class Orbit(ABC):
    """A trajectory of a model, to be asked for quantities and weights at any times."""

    @abstractmethod
    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        """Return a quantity of the model at increasing times t, shape (T, ...)."""

    @abstractmethod
    def states(self, t: Array) -> Array:
        """Return the weights as one array (T, *blocks, d) at increasing times t, see `Model`."""

    @property
    def interpolation_error(self) -> float:
        """Estimated error of interpolation at the solution's times; 0 where none is done."""
        return 0.0

    @abstractmethod
    def residual(self, t: Array) -> float:
        """Return how far the trajectory violates its equation of motion near the times t."""


@final
@dataclass(frozen=True, eq=False)
class States(Orbit):
    """A trajectory whose weights are known.

    Attributes
    ----------
    model
        What was solved.
    at
        The weights (T, *blocks, d) at increasing times (T,).
    """

    model: Model
    at: Callable[[Array], Array]

    def states(self, t: Array) -> Array:
        return self.at(t)

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        return self.model.quantity(name, self.at(t))

    def residual(self, t: Array) -> float:
        return defect(self.at, self.model.velocity, t, self.model.fastest())


def defect(
    at: Callable[[Array], Array], velocity: Callable[[Array], Array], t: Array, fastest: float
) -> float:
    """Return the largest of ``|x(t+h) - x(t) - int_t^{t+h} velocity(x) dt|``.

    ``h`` is a tenth of the fastest relaxation time; relative to h times the fastest rate times the
    largest x.
    """
    if fastest == 0:
        return 0.0
    h = SPAN / fastest
    asked = t[:, None] + h * np.concatenate([[0.0], (NODES + 1) / 2, [1.0]])
    distinct, places = np.unique(asked, return_inverse=True)
    x = at(distinct)[places.reshape(asked.shape)]
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0:
        return 0.0
    moved = h / 2 * np.tensordot(velocity(x[:, 1:-1]), WEIGHTS, axes=(1, 0))
    return float(np.max(np.abs(x[:, -1] - x[:, 0] - moved)) / (h * fastest * largest))
