r"""The compute-optimal front: how to share out ``C = N T`` between parameters and training time.

N units learn the N most frequent of infinitely many skills for a time T. With
``N = n C^{1/(q+1)}`` and ``T = C^{q/(q+1)}/n`` the loss is ``F(n) C^{-(p-1)/(q+1)}``,

    F(n) = (S^2/2) A n^{1-p} (1/(p - 1) + int_0^1 y^{-p} phi(c n^{-(q+1)} y^{-q})^2 dy),

so F is minimised once. The integral is ``J = u_1^{-s}/q int_{u_1}^inf u^{s-1} phi^2 du`` with
``u_1 = c n^{-(q+1)}``, the clock of the last skill at the end, and F' = 0 reads

    q (1 - s J) = (q + 1) phi(u_1)^2.

For equal targets the exponents are ``-alpha/(alpha+2)`` and ``N ~ C^{1/(alpha+2)}``. Training stops
before the last skill has emerged. The published constants are not those of this front (E17).

Source: exponents arXiv 2404.17563; the front derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.curve import SATURATED, Curve, PowerLaw, curve
from layerwise.theory.scaling.parameters import clean, must_fall, unseen_after
from layerwise.theory.scaling.sums import Sum

__all__ = ["ComputeFront", "compute_front", "compute_loss", "front_constant"]

Array = npt.NDArray[np.float64]

LOWEST = -40.0  # a logit: no last skill stops before it


@dataclass(frozen=True, eq=False)
class ComputeFront:
    """The best that a given compute can do.

    Attributes
    ----------
    compute
        C = N T, any shape.
    loss, parameters, time
        The loss, N and T at the optimum, of the shape of `compute`.
    law
        The loss over compute; its prefactor is the minimum of F.
    n
        Where that is: ``N = n C^{1/(q+1)}``.
    last_share
        R/S of the last of the N skills when training stops.
    """

    compute: Array
    loss: Array
    parameters: Array
    time: Array
    law: PowerLaw
    n: float
    last_share: float


def compute_front(skills: Skills, compute: npt.ArrayLike) -> ComputeFront:
    """Return the front of infinitely many skills, for large C.

    For finitely many skills it is that of their continuation, with their A.

    Examples
    --------
    >>> front = compute_front(Skills(alpha=0.6), [1e6, 1e9])
    >>> round(front.n, 3), round(front.last_share, 2), front.parameters.round()
    (0.593, 0.23, array([ 121., 1717.]))
    """
    must_fall(skills)
    C, one = clean(compute, "compute"), curve(skills)
    q = one.q
    last = _optimum(one)
    n = float((one.pace / one.clock(last)) ** (1 / (q + 1)))
    law = PowerLaw(-(one.p - 1) / (q + 1), _constant(one, n, last))
    parameters = n * C ** (1 / (q + 1))
    with np.errstate(divide="ignore"):
        loss = law(C)
    share = float(special.expit(last))
    return ComputeFront(C, loss, parameters, C ** (q / (q + 1)) / n, law, n, share)


def front_constant(skills: Skills, n: npt.ArrayLike) -> Array:
    """Return F(n): the loss times ``C^{(p-1)/(q+1)}`` where ``N = n C^{1/(q+1)}``.

    Examples
    --------
    >>> front_constant(Skills(alpha=0.6), [0.4, 0.593, 0.9]).round(4)
    array([0.6318, 0.532 , 0.5879])
    """
    must_fall(skills)
    one, given = curve(skills), np.asarray(n, dtype=np.float64)
    if not np.all((given > 0) & np.isfinite(given)):
        raise ValueError("n must be positive and finite")
    left = one.left(one.pace * given ** -(one.q + 1))
    with np.errstate(divide="ignore"):
        logits = np.minimum(np.log1p(-left) - np.log(left), SATURATED)
    found = [_constant(one, *pair) for pair in zip(given.flat, logits.flat, strict=True)]
    return np.reshape(found, given.shape)


def compute_loss(skills: Skills, parameters: npt.ArrayLike, t: npt.ArrayLike) -> Sum:
    """Return L(N, T): the N most frequent skills after a time t, the others not learned at all.

    `parameters` (whole numbers, or infinity) and t broadcast.

    Examples
    --------
    >>> compute_loss(Skills(alpha=0.6), [100, 10_000], 1e4).value.round(4)
    array([0.023, 0.019])
    """
    N, times = np.broadcast_arrays(np.asarray(parameters, np.float64), clean(t, "t"))
    if not np.all((N >= 1) & (np.floor(N) == N)):
        raise ValueError("parameters must be whole numbers >= 1")
    last, shape = np.minimum(N, skills.n_skills).ravel(), N.shape
    value, error = np.empty(last.shape), np.empty(last.shape)
    one, method = curve(skills), "panels"
    for some in (np.isinf(last), np.isfinite(last)):
        if np.any(some):
            found = one.sum(times.ravel()[some], last[some])
            value[some], error[some], method = found.value, found.error, found.method
    finite = np.isfinite(last)
    after, rounding = unseen_after(skills, last[finite])
    value[finite] += after
    error[finite] += rounding
    return Sum(value.reshape(shape), error.reshape(shape), method)


def _optimum(one: Curve) -> float:
    """Return the logit of the last skill's share at the optimum."""
    from scipy.optimize import brentq  # slow to import

    q, s = one.q, one.s

    def slope(logit: float) -> float:
        integral = _integral(one, logit)
        return q * (1 - s * integral) - (q + 1) * float(special.expit(-logit)) ** 2

    start = special.logit(one.start)
    low = max(float(start) + 1e-9, LOWEST)
    high = max(low, 0.0) + SATURATED / 2
    return float(brentq(slope, low, high, xtol=1e-12))


def _constant(one: Curve, n: float, logit: float) -> float:
    return float(one.scale * n ** (1 - one.p) * (1 / (one.p - 1) + _integral(one, logit)))


def _integral(one: Curve, logit: float) -> float:
    """Return J."""
    return float(one.clock(logit) ** -one.s / one.q * one.moment(logit))
