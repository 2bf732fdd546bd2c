"""A measured curve, and how well a model explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise.theory.fitting.space import Space
from layerwise.theory.model import Model
from layerwise.theory.solve import solve
from layerwise.trace import Trace

__all__ = ["Curve", "measured"]

Array = npt.NDArray[np.float64]

ROUNDING = 1e-10  # a residual of this norm, in units of the largest value measured, is as good as 0


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured, in units of its largest value; `known` marks what is not NaN."""

    quantity: str
    t: Array
    values: Array
    known: npt.NDArray[np.bool_]
    unit: float

    def misfit(self, space: Space, values: Array) -> Array:
        """Return predicted minus measured at the known points; infinite outside the domain."""
        try:
            predicted = solve(space.model_of(values), self.t)[self.quantity]
        except (ValueError, ArithmeticError):
            return np.full(int(np.sum(self.known)), np.inf)
        return np.asarray((predicted / self.unit - self.values)[self.known])

    def cost(self, space: Space, values: Array) -> float:
        """Return the sum of squares."""
        return float(np.sum(self.misfit(space, values) ** 2))

    def explained(self, space: Space, values: Array) -> bool:
        """Whether what is left of every curve scatters like noise, or is lost in rounding.

        A curve is left over where the residual changes by less than its size from one time to the
        next (Durbin and Watson's ratio, 2 for independent noise, is below 1).
        """
        left = np.zeros_like(self.values)
        left[self.known] = self.misfit(space, values)
        columns, known = (x.reshape(len(x), -1).T for x in (left, self.known))
        rows = [column[at] for column, at in zip(columns, known, strict=True)]
        squares = [(float(row @ row), float(np.sum(np.diff(row) ** 2))) for row in rows]
        return all(size <= ROUNDING**2 or jumps >= size for size, jumps in squares)


def measured(trace: Trace, model: Model, quantity: str, series: str) -> Curve:
    """Return the curve that is to be fitted, checked against a prediction of the guess."""
    if not isinstance(trace, Trace):
        raise TypeError(f"fit takes a Trace, got {type(trace).__name__}")
    if not isinstance(model, Model):
        raise TypeError(f"fit takes a layerwise model, got {type(model).__name__}")
    if quantity not in model.quantities:
        raise model.unknown(quantity)
    values = trace[series].astype(float)
    if np.any(np.isinf(values)):
        raise ValueError(f"series {series!r} holds infinite values; NaN marks what is not to count")
    known = ~np.isnan(values)
    if not np.any(known):
        raise ValueError(f"series {series!r} holds nothing but NaN")
    rows = np.any(known.reshape(len(known), -1), axis=1)
    t, values, known = trace.clock[rows].astype(float), values[rows], known[rows]
    expected = solve(model, t)[quantity].shape
    if expected != values.shape:
        raise ValueError(
            f"series {series!r} has shape {trace[series].shape}, {quantity!r} of the model has "
            f"shape {(len(trace), *expected[1:])}"
        )
    unit = float(np.max(np.abs(values[known]))) or 1.0
    return Curve(quantity, t, values / unit, known, unit)
