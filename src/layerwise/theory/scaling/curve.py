r"""One curve for all skills: what is left of each at time t is ``phi(c t k^-q)``.

Exponents p and q say how a skill's part of the loss and its pace fall with its rank k,

    L(t) = scale sum_k k^-p phi(c t k^-q)^2.

Power laws come from ``int_0^inf u^{s-1} phi(u)^2 du``, ``s = (p - 1)/q``. Integrated by parts, with
z = 1 - phi the share that is learned and y its logit,

    int_{u_1}^inf u^{s-1} phi^2 du = (2/s) int_{y_1}^inf u(y)^s z (1 - z)^2 dy - u_1^s phi(u_1)^2/s,

so that only the inverse law u(y) is needed, and the front is resolved however steep it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.theory.laws import shares
from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.sums import Sum, Terms, boundary, sum_ranks

__all__ = ["Curve", "PowerLaw", "curve"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)
ROUNDINGS = 16.0  # of a term, and of its clock
NEGLIGIBLE = 1e-17  # the second order of the clock in the tail of an infinite sum
EARLY = 1e-3  # of the time in which a start changes its pace
POINTS = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(POINTS)
SATURATED = 25.0  # a logit: phi^2 is e^-50 there


@dataclass(frozen=True)
class PowerLaw:
    """``prefactor * x^exponent``.

    Examples
    --------
    >>> PowerLaw(exponent=-0.5, prefactor=3.0)([1.0, 9.0])
    array([3., 1.])
    """

    exponent: float
    prefactor: float

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the law at x."""
        return np.asarray(self.prefactor * np.asarray(x, dtype=np.float64) ** self.exponent)


@dataclass(frozen=True)
class Curve:
    """The common curve of skills that start at one share of their targets.

    Attributes
    ----------
    start, depth
        The share at the start, and the number of layers.
    p, q
        How a skill's part of the loss and its pace fall with rank.
    pace, scale
        c, and the loss at the start of the first skill over ``(1 - start)^2``.
    """

    start: float
    depth: float
    p: float
    q: float
    pace: float
    scale: float

    @property
    def s(self) -> float:
        """The exponent of the loss over time, without its sign."""
        return (self.p - 1) / self.q

    def left(self, clock: Array) -> Array:
        """Return phi at readings of a skill's clock."""
        return shares.left(self.start, self.depth, clock)

    def sum(self, t: Array, last: Array) -> Sum:
        """Return ``scale sum_{k <= last} k^-p phi^2`` at times t (T,), last (T,) or infinite."""
        whole = bool(np.all(np.isinf(last)))
        x = self.pace * t
        end = boundary((x / self._linear) ** (1 / self.q)) if whole else last
        found = sum_ranks(self._terms(x), end)
        value, error, method = found.value, found.error, found.method
        if whole:
            p, q, (zeroth, first, second) = self.p, self.q, self._orders
            rest, slope, curve = (special.zeta(p + n * q, end + 1) for n in (0, 1, 2))
            value = value + zeroth * rest + first * x * slope
            error = error + second / 2 * x**2 * curve + ROUNDINGS * EPS * value
            method = "panels"
        return Sum(self.scale * value, self.scale * error, method)

    def moment(self, first: float | None = None) -> float:
        """Return ``int_{u_1}^inf u^{s-1} phi^2 du``, u_1 = 0 or that of the logit `first`."""
        s = self.s
        if self.depth == 1:
            u1 = 0.0 if first is None else float(self.clock(first))
            left = (1 - self.start) ** 2 / 2**s
            return float(left * special.gamma(s) * special.gammaincc(s, 2 * u1))
        total = self._by_parts(max(self._logit + 1, SATURATED))
        if first is None:
            return total
        u1, phi = float(self.clock(first)), float(special.expit(-first))
        return float(total - self._by_parts(first) - u1**s * phi**2 / s)

    def clock(self, logit: npt.ArrayLike) -> Array:
        """Return the reading u of the clock at a logit of the share."""
        return shares.time_between(np.asarray(self._logit), np.asarray(logit), self.depth)

    def _by_parts(self, end: float) -> float:
        """Return ``(2/s) int u^s z (1 - z)^2 dy`` from the start to `end`."""
        begin, s = self._logit, self.s
        middle = min(begin + 1, end)  # up to here u^s has a branch point
        x, w = special.roots_jacobi(POINTS, 0.0, s)
        half = (middle - begin) / 2
        y = begin + half * (1 + x)
        smooth = self._integrand(y) / (1 + x) ** s
        total = half * float(np.sum(w * smooth))
        pieces = math.ceil(end - middle)
        if pieces:
            half = (end - middle) / pieces / 2
            centres = middle + half * (2 * np.arange(pieces)[:, None] + 1)
            total += half * float(np.sum(WEIGHTS * self._integrand(centres + half * NODES)))
        return 2 / s * total

    def _integrand(self, y: Array) -> Array:
        return np.asarray(self.clock(y) ** self.s * special.expit(y) * special.expit(-y) ** 2)

    @cached_property
    def _logit(self) -> float:
        return float(special.logit(self.start))

    def _terms(self, x: Array) -> Terms:
        depth, p, q = self.depth, self.p, self.q

        def powers(k: Array) -> tuple[Array, ...]:
            return k**-p, k**-q

        def value(i: Index, powers: tuple[Array, ...]) -> tuple[Array, Array]:
            weight, pace = powers
            u = x[i] * pace
            left = self.left(u)
            term = weight * left**2
            # a bound on -d ln phi/d ln u, which multiplies the rounding of the clock
            moves = shares.layers(depth) * u * (1 - left if depth >= 2 else 1.0)
            return term, ROUNDINGS * EPS * term * (1 + moves)

        def shape(i: Index, k: Array) -> tuple[Array, Array]:
            u = x[i] * k**-q
            left = self.left(u)
            share = 1.0 if depth == 1 else np.maximum(1 - left, self.start)
            return left, q * u * shares.speed(share, depth)

        return Terms(powers, value, shape)

    @property
    def _orders(self) -> tuple[float, float, float]:
        """``phi^2`` and its first derivative at 0, and a bound on the second."""
        rest, moves, bends = 1 - self.start, self._moves, self._bends
        return rest**2, -2 * rest * moves, 2 * moves**2 + 2 * rest * moves * bends

    @property
    def _moves(self) -> float:
        """``dz/du`` at the start."""
        pace = shares.layers(self.depth) * self.start ** (2 - 2 / self.depth)
        return float(pace * (1 - self.start))

    @property
    def _bends(self) -> float:
        """A bound on ``z''/z'`` at the start."""
        if self.depth == 1:
            return 1.0
        pace = float(shares.speed(np.asarray(self.start), self.depth))
        m = 1 - 2 / self.depth
        return pace * ((1 + m) + (2 + m) * self.start)

    @property
    def _linear(self) -> float:
        """A reading of the clock up to which phi^2 is linear in it, to rounding."""
        return min(math.sqrt(NEGLIGIBLE / self._orders[2]), EARLY / self._bends)


def curve(skills: Skills) -> Curve:
    """Return the common curve of skills.

    Raises
    ------
    ValueError
        For skills whose starts were given one by one.
    """
    return Curve(
        skills.share,
        skills.depth,
        skills.loss_exponent,
        skills.clock_exponent,
        float(skills.paces(1)),
        skills.scale * skills.target**2 / 2,
    )
