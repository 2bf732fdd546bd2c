r"""The depth law: L equal layers on one input, any real L >= 1, and L = infinity.

For ``f = x prod_l w_l`` with all ``w_l = w``, target S x and input variance `rate`,

    w' = rate w^{L-1} (S - w^L),      u = w^L,      u' = L rate u^{2-2/L} (S - u).

With ``m = 1 - 2/L`` every case is the clock of one variable x in (0, 1), see `incomplete_beta`,
``dy/dT = x^{-p} (1-x)^{-r}``, ``y = ln(x/(1-x))``, ``T = L rate |S|^{1+m} t``:

    below     0 < u < S    x = u/S              p = -m       r = 0      a plateau, then a sigmoid
    above     u > S > 0    x = S/u              p = 1 + m    r = 0
    opposed   u > 0 > S    x = |S|/(|S| + u)    p = 1 + m    r = -m     down to the saddle u = 0
    fading    u > 0 = S    x -> 0               p = 1 + m               a power of time

u and S - u are both read from y, so neither cancels. L = 1 is the shallow model (which crosses 0);
L = 2 has elementary inverses. A negative product is the mirror image of a positive one with the
target's sign flipped: for a negative common weight the parity of L says whether the product is.

At u = 0 the flow stands still for L > 1. For 1 < L < 2 that is a choice: there the equation has
other solutions too, which leave 0 after any delay. The one taken stays, also after it has come
down to 0 from u > 0 > S, which for 1 < L < 2 takes a finite time.

Accuracy: that of the times. A start u_0 far below S escapes at ``T = (S/u_0)^m/m``, and relative
rounding of that number is what moves the result.

Source: derived for this package (special L: arXiv 1312.6120, 1909.12051); checked against
50-digit arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import shallow
from layerwise.theory.laws.incomplete_beta import Course, Fade, beta
from layerwise.theory.laws.rise import Columns, rise, rises

__all__ = ["product", "remainder", "strength", "time_to", "weights"]

Array = npt.NDArray[np.float64]
Kind = Literal["below", "above", "opposed", "fading"]

FORGOTTEN = 1e130  # a larger start has come below it after any time that is not 0
SMALLEST = 1e-290  # smaller numbers lose digits
NO_TARGET = 1e-160  # a smaller target is nothing to any start that moves before t = 1e100


def weights(weight: Array, target: Array, depth: float, rate: Array, t: Array) -> Array:
    """Return the common weight w(t) of every layer, shape (T, ...), at times t (T,).

    `weight`, `target` and `rate` broadcast. The weight is right also where its power leaves the
    range of float64.

    Domain: finite numbers, depth >= 1 finite, rate >= 0, t >= 0; weight >= 0 unless depth is an
    integer; |target| <= 1e130.

    Examples
    --------
    >>> weights(np.array(0.5), np.array(1.0), 3, np.array(1.0), np.array([0.0, 2.0, 9.0])).round(4)
    array([0.5   , 0.9781, 1.    ])
    """
    if depth == 1:
        return product(weight, target, depth, rate, t)[0]
    (w, S, rate), shape = _flat(weight, target, rate)
    sign, size = np.where(w < 0, -1.0, 1.0), np.abs(w)
    out = np.empty((len(t), len(w)))
    with np.errstate(all="ignore"):  # powers may leave the range of float64, both ways
        S = sign * S if depth % 2 == 1 else S
        u, ln_u = size**depth, depth * np.log(size)
        moving = (size > 0) & (u != S) & (rate > 0)
        out[:, ~moving] = size[~moving]
        for case in _cases(moving, u, ln_u, S, rate, depth):
            root = case.unit ** (1 / depth)
            for times, part, y in case.course.blocks(t):
                out[times, case.columns(part)] = root[part] * np.exp(case.ln_share(y) * (1 / depth))
    out *= sign
    out[t == 0] = w
    return out.reshape(len(t), *shape)


def product(
    start: Array, target: Array, depth: float, rate: Array, t: Array
) -> tuple[Array, Array]:
    """Return u(t) and ``S - u(t)``, both (T, ...), from ``u(0) = start``, at times t (T,).

    `start`, `target` and `rate` broadcast. ``depth = math.inf`` is the limit of many layers on the
    clock ``T = L t``: ``u' = rate u^2 (S - u)``.

    Domain: finite numbers up to 1e130 in size, depth >= 1, rate >= 0, t >= 0, any signs.

    Examples
    --------
    >>> u, error = product(np.array(0.1), np.array(1.0), 3, np.array(1.0), np.array([0.0, 3.0]))
    >>> u.round(4), error.round(4)
    (array([0.1   , 0.9941]), array([0.9   , 0.0059]))
    """
    return strength(start, target, depth, rate, t), remainder(start, target, depth, rate, t)


def strength(start: Array, target: Array, depth: float, rate: Array, t: Array) -> Array:
    """Return u(t) alone, see `product`; at many increasing times several times faster.

    Examples
    --------
    >>> strength(np.array(0.1), np.array(1.0), 3, np.array(1.0), np.array([0.0, 3.0])).round(4)
    array([0.1   , 0.9941])
    """
    if depth == 1:
        return shallow.weights(start, target, rate, _column(t, start, target, rate))
    return _along(start, target, depth, rate, t, error=False)


def remainder(start: Array, target: Array, depth: float, rate: Array, t: Array) -> Array:
    """Return ``S - u(t)`` alone, see `product`: it keeps its digits however small it is.

    Examples
    --------
    >>> remainder(np.array(0.1), np.array(1.0), 3, np.array(1.0), np.array([0.0, 30.0]))
    array([9.00000000e-01, 3.91804514e-38])
    """
    if depth == 1:
        return (target - start) * np.exp(-rate * _column(t, start, target, rate))
    return _along(start, target, depth, rate, t, error=True)


def time_to(start: Array, target: Array, depth: float, rate: Array, error: Array) -> Array:
    """Return the time at which ``S - u`` equals `error`; infinity if it never does.

    Taking the remaining error as the argument keeps every digit of "within eps of the target". All
    arguments but `depth` (finite or infinite, as in `product`) broadcast. A level that is only
    approached (the target, or 0 for L >= 2) is never reached. The time between two levels is that
    from the first as `start`: never a difference of two long times.

    Examples
    --------
    >>> one = np.ones(())
    >>> time_to(0.001 * one, one, 3, one, np.array([0.5, 0.1])).round(4)
    array([9.1447, 9.9623])
    """
    (u0, S, rate, left), shape = _flat(start, target, rate, error)
    if depth == 1:
        return shallow.time_to(u0, S, rate, left).reshape(shape)
    first, sign, size = S - u0, np.where(u0 < 0, -1.0, 1.0), np.abs(u0)
    ahead = (left * first > 0) & (np.abs(left) <= np.abs(first)) & (sign * (S - left) >= 0)
    moving = ahead & (u0 != 0) & (rate > 0)
    times = np.full(len(u0), np.inf)
    with np.errstate(all="ignore"):
        for case in _cases(moving, size, np.log(size), sign * S, rate, depth):
            end = (sign * left)[case.modes]
            y = _place(case.kind, np.log(case.target - end), end, case.target)
            times[case.modes] = np.maximum(case.course.time_to(y), 0.0)
    return np.where(left == first, 0.0, times).reshape(shape)


@dataclass(frozen=True, eq=False)
class _Case:
    """Moving modes of one kind: their columns, targets and course."""

    kind: Kind
    modes: npt.NDArray[np.intp]
    whole: bool
    target: Array
    course: Course | Fade

    @property
    def unit(self) -> Array:
        return np.where(self.target == 0, 1.0, np.abs(self.target))

    def columns(self, part: Columns) -> Columns:
        return part if self.whole else self.modes[part]

    def strengths(self, t: Array) -> Iterator[tuple[slice, Columns, Array]]:
        """Yield slices of times, columns and u there."""
        course = self.course
        if isinstance(course, Course) and self.kind == "below" and rises(course, t):
            for times, modes, u in rise(course, self.target, t):
                yield times, self.columns(modes), u
            return
        for times, part, y in course.blocks(t):
            S, fade = self.target[part], np.exp(-y)
            match self.kind:
                case "below":
                    u = S / (1 + fade)
                case "above":
                    u = S + S * fade
                case "opposed" | "fading":
                    u = self.unit[part] * fade
                case _:
                    assert_never(self.kind)
            yield times, self.columns(part), u

    def remainders(self, t: Array) -> Iterator[tuple[slice, Columns, Array]]:
        """Yield slices of times, columns and ``S - u`` there."""
        for times, part, y in self.course.blocks(t):
            S = self.target[part]
            match self.kind:
                case "below":
                    error = S / (1 + np.exp(y))
                case "above":
                    error = -S * np.exp(-y)
                case "opposed" | "fading":
                    error = S - self.unit[part] * np.exp(-y)
                case _:
                    assert_never(self.kind)
            yield times, self.columns(part), error

    def ln_share(self, y: Array) -> Array:
        """Return ``ln(u/|S|)``, whatever the size of y; ln u where S = 0."""
        match self.kind:
            case "below":
                return np.minimum(y, 0.0) - np.log1p(np.exp(-np.abs(y)))
            case "above":
                return np.log1p(np.exp(-np.abs(y))) - np.minimum(y, 0.0)
            case "opposed" | "fading":
                return -y
            case _:
                assert_never(self.kind)


def _along(
    start: Array, target: Array, depth: float, rate: Array, t: Array, *, error: bool
) -> Array:
    """Return u or ``S - u`` for depth > 1."""
    (u0, S, rate), shape = _flat(start, target, rate)
    first = S - u0 if error else u0
    sign, size = np.where(u0 < 0, -1.0, 1.0), np.abs(u0)
    moving = (u0 != 0) & (u0 != S) & (rate > 0)
    found = np.empty((len(t), len(u0)))
    found[:, ~moving] = (sign * first)[~moving]
    with np.errstate(all="ignore"):
        for case in _cases(moving, size, np.log(size), sign * S, rate, depth):
            for times, columns, values in case.remainders(t) if error else case.strengths(t):
                found[times, columns] = values
    if np.any(u0 < 0):
        found *= sign
    found[t == 0] = first
    return found.reshape(len(t), *shape)


def _cases(
    moving: npt.NDArray[np.bool_], u: Array, ln_u: Array, S: Array, rate: Array, depth: float
) -> Iterator[_Case]:
    """Yield the kinds of the moving modes; u > 0 may have left float64 where ln_u has not."""
    m = 1 - 2 / depth
    S = np.where(np.abs(S) < NO_TARGET, 0.0, S)
    layers = depth if math.isfinite(depth) else 1.0
    kinds: dict[Kind, npt.NDArray[np.bool_]] = {
        "below": (S > 0) & (u < S),
        "above": (S > 0) & (u > S),
        "opposed": S < 0,
        "fading": S == 0,
    }
    for kind, mask in kinds.items():
        modes = np.flatnonzero(mask & moving)
        if not len(modes):
            continue
        target, unit = S[modes], np.abs(S[modes])
        ln_v = np.minimum(ln_u[modes], math.log(FORGOTTEN))
        v = np.minimum(u[modes], FORGOTTEN)
        y = _place(kind, ln_v, target - v, target)
        k = layers * rate[modes]
        clock = k * unit ** (1 + m)
        course: Course | Fade
        match kind:
            case "below":
                slow = np.where(v > SMALLEST, v**m, np.exp(m * ln_v))
                speed = np.where(y < 0, k * target * slow, clock)
                course = beta(-m, 0.0).course(y, clock, speed)
            case "above":
                speed = np.where(y < 0, k * v ** (1 + m), clock)
                course = beta(1 + m, 0.0).course(y, clock, speed)
            case "opposed":
                total = unit + v
                speed = np.where(y < 0, k * total ** (1 + m), clock * (v / total) ** m)
                course = beta(1 + m, -m).course(y, clock, speed)
            case "fading":
                course = Fade(1 + m, y, k * v ** (1 + m))
            case _:
                assert_never(kind)
        yield _Case(kind, modes, len(modes) == len(S), target, course)


def _place(kind: Kind, ln_u: Array, error: Array, S: Array) -> Array:
    """Return y of a product u > 0 and ``error = S - u``."""
    match kind:
        case "below":
            return ln_u - np.log(error)
        case "above":
            return np.log(S) - np.log(-error)
        case "opposed":
            return np.log(-S) - ln_u
        case "fading":
            return -ln_u
        case _:
            assert_never(kind)


def _column(t: Array, *arrays: Array) -> Array:
    """Return t (T, 1, ...), to broadcast with the arrays."""
    return t.reshape(-1, *(1 for _ in np.broadcast_shapes(*(x.shape for x in arrays))))


def _flat(*arrays: Array) -> tuple[list[Array], tuple[int, ...]]:
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return [np.broadcast_to(x, shape).ravel() for x in arrays], shape
