"""Piecewise Chebyshev interpolation in time, for trajectories that are dear to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["DEGREE", "Piece", "edges", "lobatto", "pieces", "weights"]

Array = npt.NDArray[np.float64]
Panel = tuple[float, float]

DEGREE = 32
# Lengths tried for a panel: shares of the last one, and of what is left where none of them fits.
NEXT = 2.0 ** np.array([3, 2, 1.5, 1, 0.5, 0, -0.5, -1])
REST = 0.5 ** np.arange(48)
SHORTEST = 1e-6  # panels shorter than this share of the time are not halved further


@dataclass(frozen=True, eq=False)
class Piece:
    """Exact values (points, columns) on the Lobatto points of one panel, and their tail."""

    panel: Panel
    values: Array
    tail: float

    def times(self, t: Array) -> slice:
        """Return which of the increasing times t fall into the panel."""
        first, last = self.panel
        return slice(int(np.searchsorted(t, first)), int(np.searchsorted(t, last)))


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
    (33, 0.0, 2.0)
    """
    first, last = panel
    points = first + (last - first) * (1 + _rule()[0]) / 2
    points[0], points[-1] = first, last
    return points


def pieces(
    exact: Callable[[Array], Array], ends: Array, accepted: float, together: int
) -> Iterator[Piece]:
    """Yield pieces of ``exact`` (times -> (T, columns)) in the order of time.

    Panels between the `ends`, `together` of them evaluated at once, are halved where the last two
    Chebyshev coefficients, which bound the error wherever the coefficients have begun to fall,
    exceed what is accepted.
    """
    waiting = [*pairwise(ends.tolist())][::-1]
    while waiting:
        some = [waiting.pop() for _ in range(min(together, len(waiting)))]
        values = exact(np.concatenate([lobatto(panel) for panel in some]))
        blocks = values.reshape(len(some), DEGREE + 1, -1)
        for k, tail in enumerate(_tail(blocks).tolist()):
            first, last = some[k]
            if tail > accepted and last - first > SHORTEST * last:
                middle = (first + last) / 2
                waiting += [*some[:k:-1], (middle, last), (first, middle)]
                break
            yield Piece(some[k], blocks[k], tail)
        del values, blocks  # the next ones take as much memory


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


def edges(
    model: Callable[[Array], Array], first: float, last: float, tolerance: float, length: float
) -> Array:
    """Return panel ends on which `model` (times -> (T, columns)) is resolved to `tolerance`.

    Every panel is about the longest one whose last two Chebyshev coefficients are below it;
    `length` is a guess for the first.
    """
    found = [first]
    while found[-1] < last:
        here, left = found[-1], last - found[-1]
        lengths = np.minimum(length * NEXT, left)
        fits = _resolved(model, here, lengths, tolerance)
        if not fits[-1]:
            lengths = np.asarray(left * REST)
            fits = _resolved(model, here, lengths, tolerance)
        # a longer panel may alias to a small tail: it counts only if all shorter ones fit too
        bad = np.flatnonzero(~fits)
        length = float(lengths[min(bad[-1] + 1, len(lengths) - 1) if len(bad) else 0])
        found.append(last if length >= left else here + length)
    return np.array(found)


def _resolved(
    model: Callable[[Array], Array], first: float, lengths: Array, tolerance: float
) -> npt.NDArray[np.bool_]:
    share = (1 + _rule()[0]) / 2
    values = model((first + lengths[:, None] * share).ravel())
    return np.asarray(_tail(values.reshape(len(lengths), len(share), -1)) <= tolerance)


def _tail(values: Array) -> Array:
    """Return the largest of the last two Chebyshev coefficients of (..., points, columns)."""
    return np.asarray(np.max(np.abs(_rule()[1][-2:] @ values), axis=(-2, -1)))
