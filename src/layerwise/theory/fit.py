"""`fit`: the start, target or rate of a model from a measured curve, through the exact law."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from layerwise.theory.fitting.curve import Curve, measured
from layerwise.theory.fitting.search import BLIND, FINE, descended, jacobian_of, searched
from layerwise.theory.fitting.space import Space, names
from layerwise.theory.model import Model
from layerwise.theory.solve import solve
from layerwise.trace import Trace

__all__ = ["Fit", "fit"]

Array = npt.NDArray[np.float64]

DEPENDENT = 1e-7  # smaller singular values of the scaled Jacobian are 0 to the errors of a flow
INVOLVED = 0.1  # of the largest share in an undetermined direction


@dataclass(frozen=True, eq=False)
class Fit:
    """What `fit` found.

    Attributes
    ----------
    model
        The fitted model, of the class of the first guess.
    quantity
        The quantity whose curve was fitted.
    values, errors
        The free fields by name, and the standard error of every entry, in the same shapes. The
        errors are NaN where there are no more points than free numbers.
    covariance
        Of all free numbers in the order of `values`, each field flattened, shape (p, p).
    residual
        Root mean square of measured minus fitted, in the units of the curve.
    points
        How many measured numbers were used.
    """

    model: Model
    quantity: str
    values: Mapping[str, Array]
    errors: Mapping[str, Array]
    covariance: Array
    residual: float
    points: int

    def predict(self, t: npt.ArrayLike) -> Array:
        """Return the fitted curve at any times, also beyond those that were measured."""
        return solve(self.model, t)[self.quantity]


def fit(
    trace: Trace,
    model: Model,
    free: str | Iterable[str] = ("target",),
    *,
    quantity: str = "map",
    series: str | None = None,
) -> Fit:
    """Fit fields of a model to a measured curve, by least squares through ``solve(model, t)``.

    The standard errors are those of ``s^2 (J^T J)^{-1}``, s^2 the residual sum of squares by the
    number of points less free numbers: right for independent noise of one size, and so small that
    the law is straight across it.

    Parameters
    ----------
    trace
        The measurement. Its clock is taken as the time of the gradient flow; a free ``rate``
        takes up an unknown unit. NaN entries are left out.
    model
        First guess of the free fields, and the values of all others.
    free
        Names of the fields to fit, such as ``("target", "rate")``; every entry of each is free.
        Weights of diagonal and scalar networks, rates, scales, decay and depth that are not 0 in
        the guess are fitted by their logarithm, and may be wrong by powers of ten.
    quantity
        Which quantity of the model was measured.
    series
        Name of the curve in the trace, where it is not `quantity`; shape as the model has it.

    Returns
    -------
    Fit
        The fitted model, values, standard errors, covariance, residual and ``predict(t)``.

    Raises
    ------
    KeyError
        If the trace lacks the series or the model the quantity.
    ValueError
        If a name in `free` is unknown, the shapes of curve and prediction differ (both are named),
        the curve holds less points than there are free numbers, or it does not determine them
        (the message says which).

    Notes
    -----
    Where a local fit leaves a curve and not noise (a wrong start keeps it on a plateau, or on the
    wrong side of a saddle), others are tried: free numbers scanned one by one over powers of ten
    and both signs, thrown out of their places, and exchanged within their field. That takes some
    hundred solutions for each free number, which tells where there is only a flow.

    Several models may have the same curve: modes change places in a summed loss, the two weights
    of a pair in its map. The answer then is one of them. A loss summed over modes also has local
    minima from which no search may escape; look at the residual.

    Examples
    --------
    >>> import layerwise as lw
    >>> curve = lw.solve(lw.Scalar(target=2.0, a=0.1, b=0.1), range(9)).trace()
    >>> found = fit(curve, lw.Scalar(target=1.0, a=0.1, b=0.1), free="target")
    >>> float(found.values["target"].round(10)), bool(found.errors["target"] < 1e-10)
    (2.0, True)
    """
    curve = measured(trace, model, quantity, series or quantity)
    space = Space(model, names(model, free))
    points, count = int(np.sum(curve.known)), len(space.guess)
    if points < count:
        raise ValueError(
            f"{points} measured points do not determine {count} free numbers "
            f"({', '.join(space.labels)})"
        )
    values = descended(curve, space, space.guess)
    if not curve.explained(space, values):
        values = searched(curve, space, values)
    jacobian = jacobian_of(curve, space, values, FINE, np.eye(count))
    _need_determined(curve, space, values, jacobian)
    square = curve.cost(space, values) * curve.unit**2
    variance = square / (points - count) if points > count else math.nan
    covariance = variance * _inverse_square(jacobian * curve.unit / space.slopes(values))
    return Fit(
        space.model_of(values),
        quantity,
        MappingProxyType(space.fields(values)),
        MappingProxyType(space.fields(np.sqrt(np.diag(covariance)))),
        covariance,
        math.sqrt(square / points),
        points,
    )


def _inverse_square(jacobian: Array) -> Array:
    """Return ``(J^T J)^{-1}``, whatever the units of the columns."""
    sizes = np.linalg.norm(jacobian, axis=0)
    _, values, turn = np.linalg.svd(jacobian / sizes, full_matrices=False)
    root = turn.T / values / sizes[:, None]
    return np.asarray(root @ root.T)


def _need_determined(curve: Curve, space: Space, values: Array, jacobian: Array) -> None:
    """Raise a ValueError that says which numbers the curve does not determine."""
    labels = np.array(space.labels)
    moved = np.linalg.norm(jacobian, axis=0)
    blind = moved <= BLIND * np.linalg.norm(curve.misfit(space, values) + curve.values[curve.known])
    kind = f"the {curve.quantity} of this {type(space.model).__name__}"
    if np.any(blind):
        raise ValueError(
            f"{kind} does not depend on {', '.join(labels[blind])} at the best fit; fix it"
        )
    _, sizes, turn = np.linalg.svd(jacobian / moved, full_matrices=False)
    directions = np.abs(turn[sizes <= DEPENDENT * sizes[0]] / moved)
    if len(directions):
        share = np.max(directions / np.max(directions, axis=1, keepdims=True), axis=0)
        joint = labels[share >= INVOLVED]
        raise ValueError(
            f"{kind} does not determine {', '.join(joint)} apart: they can change together and "
            "leave it as it is; fix one of them"
        )
