r"""Modes that rise to their target, read from one table of the share x = u/S itself.

Along the clock of `incomplete_beta` with -1 <= p <= 0 and r = 0, ``dy/dT = x^{-p}``, all modes run
through one curve x(T): T grows in proportion to time and is 0 at x = 1/2. From T = -64 on it is
tabulated, cubics through the Chebyshev points of cells of width 1/512, and neither a logarithm nor
an exponential is left to do. Further out the curve is simple on one side, and T is a poor variable
on the other:

    T < -64             x = 1/(1 + e^{-y}), y from the position
    -64 <= T < 14       x from the table
    14 <= T < 38        x = 1 - q + (1 - p) q^2,  q = left e^{-T}
    38 <= T             x = 1 to rounding

x is right to a few 1e-15, and relative to itself where it is small (as far as T is: its rounding
is that of the time at which a mode leaves its plateau). ``1 - x`` has no more digits than that.

Modes are sorted by the time at which they have learned, so that at any time each rule holds for a
run of them. What bounds the speed are numpy's passes over the points: one read from the table
costs about as much as 16 multiplications, one late as much as 7.

Source: derived for this package; checked against 50-digit arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws.incomplete_beta import MANY, PLATEAU, Course, beta

__all__ = ["Columns", "rise", "rises"]

Array = npt.NDArray[np.float64]
Columns = slice | npt.NDArray[np.intp]

CELLS = 512  # table cells per unit of T
LATE = 14.0  # 5 q^3 is below rounding
LEARNED = 38.0
BLOCK = 12288  # points at once: what is in work stays in the cache


def rises(course: Course, t: Array) -> bool:
    """Return whether `rise` serves this course at these times: in order, and many points."""
    p, r = course.beta.left.p, course.beta.left.r
    many = len(t) * len(course.start) >= BLOCK
    return p <= 0 and r == 0 and many and bool(np.all(t[1:] >= t[:-1]))


def rise(course: Course, target: Array, t: Array) -> Iterator[tuple[slice, Columns, Array]]:
    """Yield slices of times, modes and ``target x`` there, at increasing times t of shape (T,).

    `course` is that of n modes along a clock with -1 <= p <= 0 and r = 0; `target` has shape (n,).

    Examples
    --------
    >>> course = beta(0.0, 0.0).course(np.array([-1.0]), np.ones(1), np.ones(1))
    >>> [u.round(4).tolist() for _, _, u in rise(course, np.ones(1), np.array([0.0, 1.0]))]
    [[[0.2689], [0.5]]]
    """
    for first in range(0, len(target), BLOCK):
        modes = slice(first, first + BLOCK)
        for times, columns, u in _rise(course.part(modes), target[modes], t):
            yield times, _moved(columns, first), u


def _rise(course: Course, target: Array, t: Array) -> Iterator[tuple[slice, Columns, Array]]:
    curve = _curve(course.beta.left.p)
    read, edge = course.beta.reader(MANY)
    clocks = np.stack([course.clock, np.maximum(course.start, 0.0) - course.middle])
    lines = np.stack([t, np.ones_like(t)], axis=1)  # T = lines @ clocks
    stages = (np.array([[LEARNED], [LATE], [-PLATEAU]]) - clocks[1]) / clocks[0]
    order = np.argsort(stages[0], kind="stable")
    stages = np.maximum.accumulate(stages[:, order], axis=1)
    reached = np.stack([stage.searchsorted(t, "right") for stage in stages], axis=1).tolist()
    in_order = bool(np.all(np.abs(np.diff(order)) == 1))
    n, row = len(order), 0

    def some(first: int, last: int) -> Columns:
        if last - first == n:
            return slice(0, n)
        if not in_order:
            return order[first:last]
        low, high = sorted((int(order[first]), int(order[last - 1])))
        return slice(low, high + 1)

    while row < len(t):
        learned, late, risen = reached[row]
        times = slice(row, row + max(1, BLOCK // max(1, n // 4, n - late)))
        row = times.stop
        if learned:
            modes = some(0, learned)
            yield times, modes, target[modes]
        if learned < late:
            modes = some(learned, late)
            fade = np.exp(lines[times] @ -clocks[:, modes])
            yield times, modes, curve.late(fade, target[modes])
        if late < risen:
            modes = some(late, risen)
            cell = lines[times] @ (CELLS * clocks[:, modes])
            yield times, modes, curve.middle(cell, target[modes])
        if risen < n:
            modes = some(risen, n)
            y = read(course.part(modes).positions(t[times], edge))
            yield times, modes, target[modes] / (1 + np.exp(-y))


@dataclass(frozen=True, eq=False)
class _Curve:
    """The curve x(T).

    Attributes
    ----------
    cubics
        Coefficients (cells, 4), lowest power first: of the cells with T >= 0 and then, as negative
        indices count from the end, of those with T < 0.
    left
        Coefficients of ``1 - x``, late, in powers of ``e^{-T}``: the first, and minus the second.
    """

    cubics: Array
    left: tuple[float, float]

    def middle(self, cell: Array, target: Array) -> Array:
        """Return ``target x``; `cell` is ``CELLS T``, and overwritten."""
        np.clip(cell, -CELLS * PLATEAU, CELLS * LEARNED, out=cell)
        whole = np.floor(cell)
        cell -= whole
        cubic = np.take(self.cubics, whole.astype(np.intp), axis=0, mode="wrap")
        u = np.multiply(cubic[..., 3], cell, out=whole)
        u += cubic[..., 2]
        u *= cell
        u += cubic[..., 1]
        u *= cell
        u += cubic[..., 0]
        u *= target
        return u

    def late(self, fade: Array, target: Array) -> Array:
        """Return ``target x``; `fade` is ``e^{-T}``."""
        first, second = self.left
        u = second * fade
        u -= first
        u *= fade
        u += 1
        u *= target
        return u


@lru_cache(maxsize=8)
def _curve(p: float) -> _Curve:
    read, _ = beta(p, 0.0).reader(MANY)
    cells = np.concatenate([np.arange(CELLS * LEARNED + 1), np.arange(-CELLS * PLATEAU, 0)])
    points = (1 + np.cos(np.pi * (np.arange(4) + 0.5) / 4)) / 2
    through = np.linalg.inv(np.vander(points, increasing=True)).T
    cubics = np.empty((len(cells), 4))
    for first in range(0, len(cells), BLOCK // 4):
        part = slice(first, first + BLOCK // 4)
        x = 1 / (1 + np.exp(-read((cells[part, None] + points) / CELLS)))
        cubics[part] = (x - x[:, :1]) @ through  # the small differences: less is rounded
        cubics[part, 0] += x[:, 0]
    left = math.exp(LEARNED - float(read(np.array([LEARNED]))[0]))
    return _Curve(cubics, (left, (1 - p) * left**2))


def _moved(modes: Columns, by: int) -> Columns:
    return slice(modes.start + by, modes.stop + by) if isinstance(modes, slice) else modes + by
