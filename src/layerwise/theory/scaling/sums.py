r"""Sums over ranks, however many, from few terms: Gauss quadrature for sums.

A sum over n whole numbers in a row is an integral for the measure with a mass of 1 on each. Its
orthogonal polynomials are those of Gram, in ``z = (k - middle)/n``

    z p_j = p_{j+1} + b_j p_{j-1},      b_j = j^2 (1 - j^2/n^2)/(4 (4 j^2 - 1)),

and their m-point Gauss rule sums every polynomial of degree below 2m without error. For n = m it is
the sum itself, for large n the Gauss-Legendre rule. No derivatives at the ends are needed, and a
front sharper than a whole number is no special case: panels halve until the terms are smooth on
them, at the latest when they hold no more than m terms.

Panels start from [1, 16] and lengths of 16, 32, 64, ...: each as long as all before it.

Source: derived for this package; b_j are those of the discrete Chebyshev polynomials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["Sum", "Terms", "boundary", "sum_ranks"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)
SUMMED = 1000  # so few terms are added one by one
POINTS, CHECK = 16, 12  # of the rule, and of the one that checks it
SMOOTH = 3.0  # of a panel's logarithmic length times the fastest slope on it
GONE = 1e-10  # what is left of a skill, against the last one, when it is left out
LEVELS = 400  # panels of up to 16 * 2^400 terms
CHUNK = 256  # sums at a time
BLOCK = 1024  # panels at a time: their points stay in the cache


@dataclass(frozen=True, eq=False)
class Sum:
    """A sum over skills.

    Attributes
    ----------
    value
        The sums, of the shape of the times (or of whatever else was asked at).
    error
        Estimates of their absolute errors, meant to bound the true ones: the difference from a
        coarser rule, and rounding.
    method
        ``"exact sum"`` where every term was added, ``"panels"``, or ``"closed form"``.
    """

    value: Array
    error: Array
    method: str


@dataclass(frozen=True, eq=False)
class Terms:
    """What is summed over ranks k, in sum number i; i and k broadcast.

    Attributes
    ----------
    powers
        k to what the terms need of it, arrays of its shape.
    value
        ``(i, powers)`` to the term and a bound on its rounding.
    shape
        ``(i, k)`` to what is left of a skill, increasing with k, and to a bound on how fast the
        shape of the term changes with ln k from k on.
    """

    powers: Callable[[Array], tuple[Array, ...]]
    value: Callable[[Index, tuple[Array, ...]], tuple[Array, Array]]
    shape: Callable[[Index, Array], tuple[Array, Array]]


def sum_ranks(terms: Terms, last: Array) -> Sum:
    """Return the sums over ranks 1 ... last[i], i = 0 ... len(last) - 1."""
    value, error = np.empty(len(last)), np.empty(len(last))
    few = bool(np.max(last, initial=0) <= SUMMED)
    for begin in range(0, len(last), CHUNK):
        some = np.arange(begin, min(begin + CHUNK, len(last)))
        add = _add if few else _add_panels
        value[some], error[some] = add(terms, some, last[some])
    return Sum(value, error, "exact sum" if few else "panels")


def boundary(rank: Array) -> Array:
    """Return the first last rank of a panel, ``16 * 2^j``, that is not before `rank`.

    Examples
    --------
    >>> boundary(np.array([1.0, 16.0, 100.0]))
    array([ 16.,  16., 128.])
    """
    level = np.ceil(np.log2(np.maximum(rank / POINTS, 1.0)))
    return np.asarray(POINTS * 2.0 ** np.minimum(level, LEVELS - 1))


def _add(terms: Terms, sums: Index, last: Array) -> tuple[Array, Array]:
    k = np.arange(1.0, np.max(last) + 1)
    inside = k <= last[:, None]
    value, rounding = terms.value(sums[:, None], terms.powers(k))
    return np.sum(value * inside, axis=1), np.sum(rounding * inside, axis=1)


def _add_panels(terms: Terms, sums: Index, last: Array) -> tuple[Array, Array]:
    tree = zip(*_panels(terms, sums, last), strict=True)
    which, panel, first, level = (np.concatenate(x) for x in tree)
    found = _apply(terms, sums[which], panel, first, level, last[which], POINTS)
    check = found.copy()
    long = np.flatnonzero(level[panel] > 0)  # on the shortest panels the rule is the sum
    some = which[long]
    check[:, long] = _apply(terms, sums[some], panel[long], first, level, last[some], CHECK)
    error = found[1] + np.abs(found[0] - check[0])
    total, doubt = (np.bincount(which, x, len(sums)) for x in (found[0], error))
    return total.astype(np.float64), doubt.astype(np.float64)


def _apply(
    terms: Terms, sums: Index, panel: Index, first: Array, level: Index, last: Array, points: int
) -> Array:
    """Return sums over panels, each of the sum beside it, and their rounding: (2, len(panel))."""
    offsets, weights = _rules(points)
    k, mass = first[:, None] + offsets[level], weights[level]
    powers, final = terms.powers(k), first + POINTS * 2.0**level - 1
    found = np.empty((2, len(panel)))
    for begin in range(0, len(panel), BLOCK):
        some = slice(begin, begin + BLOCK)
        place, end = panel[some], last[some]
        own = mass[place]
        cut = np.flatnonzero(final[place] > end)
        own[cut] *= k[place[cut]] < end[cut, None] + 0.5
        both = terms.value(sums[some, None], tuple(power[place] for power in powers))
        found[:, some] = [np.einsum("ij,ij->i", own, x) for x in both]
    return found


def _panels(terms: Terms, sums: Index, last: Array) -> Iterator[tuple[Index, Index, Array, Index]]:
    """Yield panels on which all is smooth.

    As places of sums and of their panels, and the first ranks and levels of these: many sums share
    a panel. Places go on from one to the next.
    """
    begin, size = _roots(float(np.max(last)))
    which, root = np.nonzero(begin <= last[:, None])
    first, level = begin[root], size[root]
    end, count = GONE * terms.shape(sums, last)[0], 0
    while len(which):
        length = POINTS * 2.0**level
        final = first + length - 1
        inside = np.minimum(final, last[which])
        left, slope = terms.shape(sums[np.tile(which, 2)], np.concatenate([first, inside]))
        there = (left[len(which) :] > end[which]) & (first <= inside)
        fast = slope[: len(which)] * np.log1p(length / first) > SMOOTH
        split = there & (fast | (final > inside)) & (level > 0)
        done = there & ~split
        begins, one, place = np.unique(first[done], return_index=True, return_inverse=True)
        yield which[done], place + count, begins, level[done][one]
        count += len(begins)
        which, first, level = which[split], first[split], level[split] - 1
        half = first + POINTS * 2.0**level
        which, level = np.tile(which, 2), np.tile(level, 2)
        first = np.concatenate([first, half])


def _roots(last: float) -> tuple[Array, Index]:
    """Return first ranks and levels of panels from 1 to last; the final one may go beyond."""
    first, levels, done = [], [], 0.0
    while last - done > EPS * last:  # whole numbers beyond 2^53 are rounded
        level = int(np.log2(max(min(done, last - done) / POINTS, 1.0)))
        first.append(done + 1)
        levels.append(level)
        done += POINTS * 2.0**level
    return np.array(first), np.array(levels, dtype=np.intp)


@cache
def _rules(points: int) -> tuple[Array, Array]:
    """Return offsets and weights (levels, points) for sums over ``16 * 2^level`` whole numbers."""
    n = POINTS * 2.0 ** np.arange(LEVELS)[:, None]
    j = np.arange(1.0, points)
    off = np.sqrt(j**2 * (1 - (j / n) ** 2) / (4 * (4 * j**2 - 1)))
    matrix = np.zeros((LEVELS, points, points))
    matrix[:, np.arange(1, points), np.arange(points - 1)] = off  # eigh reads the lower half
    nodes, vectors = np.linalg.eigh(matrix)
    offsets, weights = (n - 1) / 2 + n * nodes, n * vectors[:, 0, :] ** 2
    if points == POINTS:  # the shortest panels are summed term by term
        offsets[0], weights[0] = np.arange(POINTS), 1.0
    return offsets.astype(np.float64), weights.astype(np.float64)
