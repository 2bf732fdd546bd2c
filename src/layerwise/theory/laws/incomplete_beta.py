r"""The incomplete beta integral as a clock, its inverse, and a table of that inverse.

A variable x in (0, 1), written ``x = 1/(1 + e^{-y})``, that moves by

    dy/dT = x^{-p} (1 - x)^{-r},      -1 <= p <= 2,  -1 <= r <= 1,  not both negative,

has an incomplete beta integral as its clock T, continued to p, r <= 0. Count T from x = 1/2. Each
half is then one power series, in x for y < 0, and with p, r exchanged in 1 - x for y > 0:

    p T + const = x^p (1 + p sum_{n>=1} c_n x^n/(n + p)),      c_n = prod_{j<=n} (j - r)/j,

of at most 63 terms, as x <= 1/2. The logarithm ``v = ln x + ln(1 + p sum)/p`` of the right side
tends to y far out, neither overflows nor loses digits there, and is regular at p = 0. (Towards
p = -1 the first term takes the constant that keeps it finite, ``c_1 x (1 - x^{-p-1})/(p + 1)``.)
In terms of the *position* ``w = v - v(y = 0)``, mirrored for y > 0, the motion is elementary,

    w = w_0 + ln(1 + p speed t)/p        before the middle,
    w = -ln(1 - r T/kappa)/r             past it, kappa = e^{r v(0)},

and y is read from w: by Newton for a few points, from a table of ``y - w`` for many (quintic
Hermite pieces of width 1/64 with exact derivatives; one Newton step on top where p > 0). Both are
exact to a few 1e-15. Where p < 0 and r = 0 the table takes T itself from -64 on: points that are
all past that need no logarithm.

Source: derived for this package; checked against 50-digit arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Beta", "Course", "Fade", "beta", "log_over", "phi"]

Array = npt.NDArray[np.float64]

TERMS = 63  # 2^-64 is below rounding
NEGLIGIBLE = 40.0  # and so is e^-40
CELLS = 64  # table cells per unit of w
BLOCK = 16384  # points at once: what is in work stays in the cache
PLATEAU = 64.0  # the table takes T itself from this long before the middle
NO_EDGE = (0.0, 0.0)
MANY = 4096  # from here on a table pays, the second time at the latest
LARGEST = 1e290  # a clock as fast as this has run out at once


@dataclass(frozen=True, eq=False)
class Half:
    """The half y <= 0 of the integral."""

    p: float
    r: float

    def position(self, y: Array) -> tuple[Array, Array]:
        """Return w and ``v - ln x``."""
        ln_x = y - np.log1p(np.exp(y))
        beyond = self._beyond(ln_x)
        return ln_x + beyond - self._middle, beyond

    def slope(self, y: Array, beyond: Array) -> Array:
        """Return dw/dy, where beyond is ``v - ln x``."""
        return np.asarray(np.exp(-self.r * np.log1p(np.exp(y)) - self.p * beyond))

    def inverse(self, w: Array, guess: Array) -> Array:
        """Return y from w by Newton."""
        w, y = np.maximum(w, -1e5), np.maximum(guess, -1e5)  # x is long 0 there
        for _ in range(20):
            at, beyond = self.position(y)
            step = (at - w) / self.slope(y, beyond)
            y = np.minimum(y - step, 0.0)
            if np.max(np.abs(step), initial=0.0) < 1e-9:  # steps square: the next is rounding
                break
        return y

    @property
    def kappa(self) -> float:
        return math.exp(self.p * self._middle)

    def nodes(self, w: Array) -> tuple[Array, Array, Array]:
        """Return y, dy/dw and d^2y/dw^2."""
        y = self.inverse(w, w)
        x, beyond = 1 / (1 + np.exp(-y)), self.position(y)[1]
        slope = self.slope(y, beyond)
        curve = self.p * (1 - x - slope) - self.r * x  # the derivative of ln slope
        return y, 1 / slope, -curve / slope**2

    @property
    def reach(self) -> float:
        """Where ``y - w`` has become constant: beyond ``w = -reach``."""
        return NEGLIGIBLE / -self.p if self._singular else NEGLIGIBLE

    @property
    def _singular(self) -> bool:
        return self.p < -0.5

    @cached_property
    def _series(self) -> tuple[float, Array]:
        """``c_1`` and all ``c_n/(n + p)``."""
        n = np.arange(1, TERMS + 1)
        series = np.cumprod((n - self.r) / n)
        first = float(series[0])
        if self._singular:
            series[0] = 0.0
            n[0] = 2
        return first, series / (n + self.p)

    @cached_property
    def _middle(self) -> float:
        """The value of v at x = 1/2."""
        ln_x = np.array([-math.log(2)])
        return float((ln_x + self._beyond(ln_x))[0])

    def _beyond(self, ln_x: Array) -> Array:
        x, total = np.exp(ln_x), np.zeros_like(ln_x)
        first, series = self._series
        needed = 2 + int(-NEGLIGIBLE / np.max(ln_x, initial=-NEGLIGIBLE))
        for term in series[: min(needed, TERMS)][::-1]:
            total += term
            total *= x
        if self._singular:  # x is 0 long before its power overflows
            total += first * x * phi(-self.p - 1, np.maximum(ln_x, -700.0))
        return log_over(self.p, total)


@dataclass(frozen=True, eq=False)
class Beta:
    """The clock of ``dy/dT = x^{-p} (1 - x)^{-r}``, ``x = 1/(1 + e^{-y})``.

    `left` is its half y < 0, `right` the mirror image of the half y > 0.

    Examples
    --------
    >>> clock = beta(-0.5, 0.0)
    >>> w, _ = clock.position(np.array([-3.0, 1.0]))
    >>> clock.inverse(w, w).round(12)
    array([-3.,  1.])
    """

    left: Half
    right: Half

    def position(self, y: Array) -> tuple[Array, Array]:
        """Return w and, of the half in which y lies, ``v - ln x``."""
        w, beyond, late = np.empty_like(y), np.empty_like(y), y >= 0
        w[~late], beyond[~late] = self.left.position(y[~late])
        w[late], beyond[late] = self.right.position(-y[late])
        w[late] *= -1
        return w, beyond

    def inverse(self, w: Array, guess: Array) -> Array:
        """Return y from w by Newton."""
        y, late = np.empty_like(w), w >= 0
        y[~late] = self.left.inverse(w[~late], guess[~late])
        y[late] = -self.right.inverse(-w[late], -guess[late])
        return y

    def look_up(self, w: Array) -> Array:
        """Return y from w by the table.

        Past the edge w is here the clock T itself, and before it the position plus a constant.
        For p > 0 the curve is sharper in the middle and the error up to 4e-10.
        """
        first, table = self._table
        cell = w - first
        cell *= CELLS
        np.clip(cell, 0.0, table.shape[1] - 1e-9, out=cell)
        whole = np.trunc(cell)
        cell -= whole
        index = whole.astype(np.intp)
        y, term = np.take(table[-1], index, mode="clip"), whole
        for row in table[-2::-1]:
            y *= cell
            y += np.take(row, index, out=term, mode="clip")
        y += w
        return y

    def reader(self, points: int) -> tuple[Callable[[Array], Array], tuple[float, float]]:
        """Return the best way to read y from w at so many points, and its edge."""
        p, r = self.left.p, self.left.r
        if p == r == 0:
            return np.asarray, NO_EDGE
        if (p, r) == (1, 0):
            return _logistic, NO_EDGE
        if points < MANY:
            return (lambda w: self.inverse(w, w)), NO_EDGE
        if p > 0:
            return (lambda w: self.inverse(w, self.look_up(w))), NO_EDGE
        return self.look_up, self._edge

    def course(self, y: Array, clock: Array, speed: Array) -> Course:
        """Return the course of modes that start at y; arrays of shape (n,).

        `clock` is dT/dt. `speed` is ``clock x^{-p}`` where y < 0, ``clock (1 - x)^{-r}`` where
        y >= 0: asked for apart since it may be in range where its factors are not.
        """
        p, r = self.left.p, self.left.r
        w, beyond = self.position(y)
        late, early = y >= 0, np.minimum(w, 0.0)
        speed = np.minimum(speed * np.exp(-np.where(late, r, p) * beyond), LARGEST)
        clock = np.minimum(clock, LARGEST)
        if p > 0:
            middle = -self.left.kappa * phi(p, early)
        else:  # the same, but its large factor is a power and not an exponential of a logarithm
            factor = np.divide(clock, speed, out=np.full_like(clock, np.inf), where=speed > 0)
            middle = factor * phi(p, -early)
        return Course(
            self,
            w,
            speed=np.where(late, 0.0, speed),
            clock=np.where(late, speed, clock / self.right.kappa),
            middle=np.where(late, 0.0, middle / self.right.kappa),
        )

    @property
    def _edge(self) -> tuple[float, float]:
        """T and w from which on the table takes the clock itself."""
        p = self.left.p
        if p >= 0 or self.left.r:
            return NO_EDGE
        return -PLATEAU, float(log_over(p, np.array(-PLATEAU / self.left.kappa)))

    @cached_property
    def _table(self) -> tuple[float, Array]:
        """The first w, and the coefficients (6, cells) of ``y - w``, lowest power first."""
        p, kappa = self.left.p, self.left.kappa
        edge, position = self._edge
        w = np.arange(-math.ceil(self.left.reach * CELLS), 1) / CELLS
        pieces = [(w + edge, *self.left.nodes(w + position))]  # the curvature jumps between them
        if edge:
            T = np.arange(edge * CELLS, 1) / CELLS
            y = self.left.inverse(log_over(p, T / kappa), T)
            slope = (1 + np.exp(-y)) ** p
            pieces.append((T, y, slope, -p / (1 + np.exp(y)) * slope**2))
        w = np.arange(-math.ceil(self.right.reach * CELLS), 1) / CELLS
        y, slope, curve = (values[::-1] for values in self.right.nodes(w))
        pieces.append((-w[::-1], -y, slope, -curve))
        first = float(pieces[0][0][0])
        return first, np.concatenate([_hermite(*piece) for piece in pieces], axis=1)


@dataclass(frozen=True, eq=False)
class Course:
    """Modes on their way along one clock; arrays of shape (n,).

    Attributes
    ----------
    beta
        The clock.
    start
        Positions w at t = 0; those >= 0 are past the middle already.
    speed
        dw/dt at the start, where that lies before the middle; else 0.
    clock, middle
        ``T/kappa = clock t - middle``, counted from the middle, or from a start past it.
    """

    beta: Beta
    start: Array
    speed: Array
    clock: Array
    middle: Array

    def part(self, modes: slice | npt.NDArray[np.intp]) -> Course:
        """Return the course of some modes."""
        arrays = self.start, self.speed, self.clock, self.middle
        return Course(self.beta, *(array[modes] for array in arrays))

    def blocks(self, t: Array) -> Iterator[tuple[slice, slice, Array]]:
        """Yield slices of times and modes with y there, at times t of shape (T,)."""
        read, edge = self.beta.reader(len(t) * len(self.start))
        for modes in _slices(len(self.start), BLOCK):
            part = self.part(modes)
            for times in _slices(len(t), max(1, BLOCK // len(part.start))):
                yield times, modes, read(part.positions(t[times], edge))

    def positions(self, t: Array, edge: tuple[float, float]) -> Array:
        """Return w (T, n) for a reader with this edge."""
        p, r = self.beta.left.p, self.beta.left.r
        first, position = edge
        column = t[:, None]
        after = column * self.clock
        after -= self.middle
        if np.min(after) >= first:
            w = log_over(-r, after)
        else:
            w = column * (p * self.speed if p else self.speed)
            if p:
                np.log1p(np.maximum(w, self._passed, out=w), out=w)
                w *= 1 / p
            w += self._early - position
            np.minimum(w, 0.0, out=w)
            w += log_over(-r, np.maximum(after, first, out=after))
        if np.any(self._late):
            w += self._late
        return w

    def time_to(self, y: Array) -> Array:
        """Return the time from the start to y, which lies ahead."""
        p, r = self.beta.left.p, self.beta.left.r
        w, _ = self.beta.position(y)
        ahead = np.maximum(w, 0.0) - np.maximum(self.start, 0.0)
        before = phi(p, np.minimum(w, 0.0) - self.start) / self.speed
        if p > 0:
            before = np.where(w < 0, before, self.middle / self.clock)
        past = phi(-r, ahead) / self.clock
        return np.where(self.start < 0, before, 0.0) + np.where(ahead > 0, past, 0.0)

    @cached_property
    def _early(self) -> Array:
        return np.minimum(self.start, 0.0)

    @cached_property
    def _late(self) -> Array:
        return np.maximum(self.start, 0.0)

    @cached_property
    def _passed(self) -> Array:
        """The smallest ``p speed t`` that w needs: that at the middle, where p < 0."""
        return np.minimum(np.expm1(-self.beta.left.p * self._early), 0.0)


@dataclass(frozen=True, eq=False)
class Fade:
    """Modes far on one side, ``dy/dt = speed e^{-p (y - start)}``; arrays of shape (n,)."""

    p: float
    start: Array
    speed: Array

    def blocks(self, t: Array) -> Iterator[tuple[slice, slice, Array]]:
        """Yield slices of times and modes with y there, at times t of shape (T,)."""
        for modes in _slices(len(self.start), BLOCK):
            start, speed = self.start[modes], self.speed[modes]
            for times in _slices(len(t), max(1, BLOCK // len(start))):
                yield times, modes, start + log_over(self.p, t[times, None] * speed)

    def time_to(self, y: Array) -> Array:
        """Return the time from the start to y, which lies ahead."""
        return phi(self.p, y - self.start) / self.speed


@lru_cache(maxsize=32)
def beta(p: float, r: float) -> Beta:
    """Return the clock with exponents p and r; the last ones asked for are kept, with tables."""
    return Beta(Half(p, r), Half(r, p))


def phi(c: float, x: Array) -> Array:
    """Return ``(e^{c x} - 1)/c``, x at c = 0.

    Examples
    --------
    >>> phi(-1.0, np.array([0.0, 1.0, 50.0])).round(4)
    array([0.    , 0.6321, 1.    ])
    """
    return np.expm1(c * x) / c if c else x


def log_over(c: float, x: Array) -> Array:
    """Return ``ln(1 + c x)/c``, x at c = 0: the inverse of `phi`, infinite beyond its range.

    Examples
    --------
    >>> log_over(-1.0, phi(-1.0, np.array([0.0, 1.0, 2.0]))).round(12)
    array([0., 1., 2.])
    """
    return np.log1p(np.maximum(c * x, -1.0)) / c if c else x


def _logistic(w: Array) -> Array:
    """Return y from w where p = 1, r = 0: there the clock reads ``ln(1 + e^y) - ln 2``."""
    w = np.maximum(w, -700.0)
    log = np.where(w < 0, math.log(2) * np.exp(np.minimum(w, 0.0)), w + math.log(2))
    return np.asarray(log + np.log(-np.expm1(-log)))


def _hermite(w: Array, y: Array, slope: Array, curve: Array) -> Array:
    """Return the coefficients (6, cells) of ``y - w`` over cells of width 1/CELLS."""
    values = np.array([y - w, (slope - 1) / CELLS, curve / CELLS**2])
    (f, df, ddf), (g, dg, ddg) = values[:, :-1], values[:, 1:]
    rise = g - f
    cubic = 10 * rise - 6 * df - 4 * dg - (3 * ddf - ddg) / 2
    quartic = -15 * rise + 8 * df + 7 * dg + (3 * ddf - 2 * ddg) / 2
    quintic = 6 * rise - 3 * (df + dg) - (ddf - ddg) / 2
    return np.stack([f, df, ddf / 2, cubic, quartic, quintic])


def _slices(n: int, length: int) -> Iterator[slice]:
    for first in range(0, n, length):
        yield slice(first, min(first + length, n))
