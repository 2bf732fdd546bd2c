"""The search for the least squares: local descents, from the guess and from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from layerwise.theory.fitting.curve import Curve
from layerwise.theory.fitting.space import Space

__all__ = ["BLIND", "FINE", "descended", "jacobian_of", "searched"]

Array = npt.NDArray[np.float64]
Quotients = tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]

SWEEPS = 2
TOLERANCE = 1e-12
EVALUATIONS = 60  # in each of two descents
# Difference quotients, central or, where the model's domain ends, to one side: cheap ones to
# descend by, and fine ones, good to about 1e-12 of the curve, to judge the end by.
STEP = 1e-4
CHEAP = (((-1, 1), (-1 / 2, 1 / 2)), ((0, 1), (-1, 1)), ((0, -1), (1, -1)))
FINE = (
    ((-2, -1, 1, 2), (1 / 12, -2 / 3, 2 / 3, -1 / 12)),
    ((0, 1, 2, 3, 4), (-25 / 12, 4, -3, 4 / 3, -1 / 4)),
    ((0, -1, -2, -3, -4), (25 / 12, -4, 3, -4 / 3, 1 / 4)),
)
SCAN = tuple(sign * 10.0**power for power in range(-8, 9) for sign in (1, -1))
THROWS = (0.1, 0.3, 3.0, 10.0)
NEAR = 100.0  # times the least sum of squares: worth a descent of all numbers
BLIND = 1e-10  # a number that moves the curve by less of its size is lost in rounding


def descended(curve: Curve, space: Space, values: Array, only: slice = slice(None)) -> Array:
    """Return the local least-squares fit that begins at `values`, of all or `only` some of them."""
    from scipy.optimize import least_squares  # slow to import, needed by fits alone

    axes = np.eye(len(values))[only]

    def misfit(z: Array, values: Array) -> Array:
        return curve.misfit(space, space.moved(values, z @ axes, powers))

    def jacobian(z: Array, values: Array) -> Array:
        return jacobian_of(curve, space, values, CHEAP, axes, powers, z @ axes)

    for powers in (True, False):
        with np.errstate(divide="ignore", invalid="ignore"):  # scipy's, where nothing moves it
            found = least_squares(
                misfit,
                np.zeros(len(axes)),
                jac=jacobian,
                ftol=TOLERANCE,
                xtol=TOLERANCE,
                gtol=None,
                max_nfev=EVALUATIONS,
                args=(values,),
            )
        values = space.moved(values, found.x @ axes, powers)
        if powers:  # what shrinks without end is on its way across 0
            moving = np.linalg.norm(np.asarray(found.jac), axis=0)
            lost = (moving <= BLIND) @ axes > 0
            ended = np.where(lost & space.logs(values), 0.0, values)
            if curve.cost(space, ended) <= (1 + BLIND) * curve.cost(space, values):
                values = ended
    return values


def searched(curve: Curve, space: Space, values: Array) -> Array:
    """Return the best of a local fit and those that begin elsewhere."""
    best, least = values, curve.cost(space, values)
    for starts in (_scanned, _thrown, _exchanged):
        for start in starts(curve, space, best):
            other = descended(curve, space, start)
            if (cost := curve.cost(space, other)) < least:
                best, least = other, cost
                if curve.explained(space, best):
                    return best
    return best


def _scanned(curve: Curve, space: Space, values: Array) -> Iterator[Array]:
    """Yield the best found by scanning every number of the guess, one after the other."""
    best, least = space.guess, curve.cost(space, space.guess)
    for _ in range(SWEEPS):
        for k, size in enumerate(space.sizes):
            for factor in SCAN:
                tried = best.copy()
                tried[k] = factor * size
                if (cost := curve.cost(space, tried)) < least:
                    best, least = tried, cost
    yield best


def _thrown(curve: Curve, space: Space, values: Array) -> Iterator[Array]:
    """Yield where the fit may lie after every weight was thrown out of its place.

    A pair that starts on the wrong side of its saddle crosses it by either weight being the larger,
    with nearly the same curve.
    """
    near = NEAR * curve.cost(space, values)
    for k in np.flatnonzero(space.logs(values)):
        for factor in THROWS:
            thrown = values.copy()
            thrown[k] *= factor
            if curve.cost(space, thrown) < math.inf:
                thrown = descended(curve, space, thrown, only=slice(k, k + 1))
                if curve.cost(space, thrown) < near:
                    yield thrown


def _exchanged(curve: Curve, space: Space, values: Array) -> Iterator[Array]:
    """Yield the values with two entries of a field exchanged: those of modes in a sum."""
    same = space.owners[:, None] == space.owners
    for pair in np.argwhere(np.triu(same, k=1)):
        exchanged = values.copy()
        exchanged[pair] = values[pair[::-1]]
        if curve.cost(space, exchanged) < math.inf:
            yield exchanged


def jacobian_of(
    curve: Curve,
    space: Space,
    values: Array,
    quotients: Quotients,
    axes: Array,
    powers: bool = True,
    x: Array | float = 0.0,
) -> Array:
    """Return d misfit / d x along axes, shape (points, axes), by differences in the domain."""

    def misfit(x: Array) -> Array:
        return curve.misfit(space, space.moved(values, x, powers))

    columns = []
    for axis in axes:
        for offsets, weights in quotients:
            nodes = [misfit(x + STEP * offset * axis) for offset in offsets]
            if np.all(np.isfinite(nodes)):
                columns.append(np.array(weights) @ nodes / STEP)
                break
        else:
            label, kind = space.labels[int(np.argmax(axis))], type(space.model).__name__
            raise ValueError(f"{label} cannot be fitted: {kind} does not let it vary alone")
    return np.stack(columns, axis=1)
