"""Piecewise Chebyshev interpolation in time, for trajectories that are dear to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Panel", "edges", "lobatto", "tail", "weights"]

Array = npt.NDArray[np.float64]
Panel = tuple[float, float]

DEGREE = 24
HALVINGS, REFINEMENTS = 48, 4


@lru_cache(maxsize=1)
def _rule() -> tuple[Array, Array]:
    """Return the Lobatto points on [-1, 1], ascending, and values -> Chebyshev coefficients."""
    angle = np.pi * np.arange(DEGREE, -1, -1) / DEGREE
    points = np.cos(angle)
    table = np.cos(np.outer(np.arange(DEGREE + 1), angle))
    weight = np.full(DEGREE + 1, 2.0 / DEGREE)
    table *= weight[:, None]
    table[[0, -1]] /= 2
    table[:, [0, -1]] /= 2
    return points, table


def lobatto(panel: Panel) -> Array:
    """Return the interpolation points of a panel, its ends included.

    Examples
    --------
    >>> points = lobatto((0.0, 2.0))
    >>> len(points), float(points[0]), float(points[-1])
    (25, 0.0, 2.0)
    """
    first, last = panel
    points = first + (last - first) * (1 + _rule()[0]) / 2
    points[0], points[-1] = first, last
    return points


def tail(values: Array) -> Array:
    """Return the size of the last two Chebyshev coefficients of values (..., points, columns).

    It is above the interpolation error wherever the coefficients have begun to fall.
    """
    return np.asarray(np.max(np.abs(_rule()[1][-2:] @ values), axis=(-2, -1)))


def weights(panel: Panel, t: Array) -> Array:
    """Return the barycentric matrix (T, points) that takes values at the points to times t.

    Examples
    --------
    >>> values = np.exp(-lobatto((0.0, 2.0)))
    >>> bool(abs(weights((0.0, 2.0), np.array([0.3])) @ values - np.exp(-0.3)) < 1e-14)
    True
    """
    gap = t[:, None] - lobatto(panel)
    sign = (-1.0) ** np.arange(DEGREE + 1)
    sign[[0, -1]] /= 2
    hit = gap == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        share = sign / gap
        share /= share.sum(axis=1, keepdims=True)
    rows = np.any(hit, axis=1)
    share[rows] = hit[rows]
    return np.asarray(share)


def edges(model: Callable[[Array], Array], first: float, last: float, tolerance: float) -> Array:
    """Return panel ends on which `model` (times -> (T, columns)) is resolved to `tolerance`.

    Every panel is about the longest one whose last two Chebyshev coefficients are below it.
    """
    found = [first]
    while found[-1] < last:
        here, rest = found[-1], last - found[-1]
        lengths = rest * 0.5 ** np.arange(HALVINGS)
        fits = _resolved(model, here, lengths, tolerance)
        # a longer panel may alias to a small tail: it counts only if all shorter ones fit too
        bad = np.flatnonzero(~fits)
        if not len(bad):
            found.append(last)
            break
        best = lengths[min(bad[-1] + 1, HALVINGS - 1)]
        for _ in range(REFINEMENTS):
            longer = np.asarray(best * (1 + 0.5 ** np.arange(1, 4)))
            good = _resolved(model, here, longer, tolerance)
            if not np.any(good):
                break
            best = longer[good][0]
        found.append(min(here + best, last))
    return np.array(found)


def _resolved(
    model: Callable[[Array], Array], first: float, lengths: Array, tolerance: float
) -> npt.NDArray[np.bool_]:
    share = (1 + _rule()[0]) / 2
    values = model((first + lengths[:, None] * share).ravel())
    return np.asarray(tail(values.reshape(len(lengths), len(share), -1)) <= tolerance)
