r"""The pair law with L2 decay: the clock of grokking.

For ``f = (x/Z) sum_i a_i b_i``, loss plus ``(lam/2) sum (a_i^2 + b_i^2)``,

    a_i' = (s/Z)(S - Theta) b_i - lam a_i,    b_i' = (s/Z)(S - Theta) a_i - lam b_i.

Then ``C(t) = C_0 e^{-2 lam t}`` exactly (``C^2 = Sigma^2 - Theta^2``), and with
``tau = e^{-2 lam t}`` one function y moves every weight: ``a_i + b_i = sqrt(y tau) u_i``,
``a_i - b_i = sqrt(tau/y) v_i``, where ``y' = (2s/Z)(S y - tau U y^2 + tau V)``.

Closed form (S >= 0 after a sign flip), with ``nu = (s S/(Z lam) - 1)/2``,
``z = s sqrt(U V)/(Z lam)``, ``x = z tau``, ``q = sqrt(V/U)``:

    y = q (X1 + q X2)/(q X3 + X4),
    X1 = I_nu(z) K_{nu+1}(x) + K_nu(z) I_{nu+1}(x),
    X2 = I_{nu+1}(z) K_{nu+1}(x) - K_{nu+1}(z) I_{nu+1}(x),
    X3 = K_{nu+1}(z) I_nu(x) + I_{nu+1}(z) K_nu(x),
    X4 = I_nu(z) K_nu(x) - K_nu(z) I_nu(x).

The Bessel functions are evaluated exponentially scaled, and the flow, which is autonomous in
(U, V), is restarted before they leave the range of float64. Where nu is large, where they leave
that range all the same (long after V has decayed), or where X2 or X4 cancels (nearly aligned or
opposed starts that decay soon beats), the scalar equation of ``m = ln(y tau)`` is integrated
instead,

    m' = (2s/Z)(S - U e^m + V e^{-m - 4 lam t}) - 2 lam;

`Path.closed` says which. Aligned (V = 0) and opposed (U = 0) starts are elementary.

Source: derived for this package from the Riccati form of arXiv 2502.21009, theorem 3; checked
against 50-digit arithmetic.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ive, kve

__all__ = ["Path", "fit_time", "rich_time", "weights"]

Array = npt.NDArray[np.float64]

# One Bessel evaluation spans at most this much fitting and this much decay before a restart.
FIT_SPAN, DECAY_SPAN = 200.0, 5.0
LARGEST_ORDER = 80.0  # beyond it scipy's Bessel functions lose digits in proportion to the order
SMALLEST = 1e-280  # a Bessel factor below this has lost its digits to underflow
CANCELLED = 1e3  # the terms of X2 and X4 may be this much larger than the sums they enter
TOLERANCE = 3e-14  # about the least that the solvers take
STIFF = 1e3  # an explicit solver takes about one step per relaxation time: up to this many
LARGEST_LOG = 700.0
NEGLIGIBLE = 1e-18  # relative to the target


@dataclass(frozen=True)
class Path:
    """Weights over time, and whether the closed form alone gave them."""

    a: Array
    b: Array
    closed: bool


def weights(
    a: Array, b: Array, target: float, scale: float, rate: float, decay: float, t: Array
) -> Path:
    """Return a(t), b(t) of shape (T, h) for one network, a and b of shape (h,).

    Domain: Z > 0, s >= 0, lam > 0, t >= 0 in increasing order, any signs.

    Examples
    --------
    >>> path = weights(np.array([4.0]), np.array([0.0]), 1.0, 1.0, 1.0, 0.1, np.array([0.0, 50.0]))
    >>> (path.a * path.b)[:, 0].round(4), path.closed  # the end state S - lam Z/s
    (array([0. , 0.9]), True)
    """
    sign = -1.0 if target < 0 else 1.0
    S, b = abs(target), sign * b
    u, v = a + b, a - b
    U, V = float(u @ u) / (4 * scale), float(v @ v) / (4 * scale)
    k = rate / scale
    closed = True
    if U == 0 or V == 0:
        grow = np.exp(_log_logistic(k * S - decay, k * U, t) / 2) if U else np.zeros_like(t)
        fall = np.exp(_log_logistic(-k * S - decay, k * V, t) / 2) if V else np.zeros_like(t)
    else:
        m = _bessel(U, V, S, k, decay, t)
        if m is None:
            closed, m = False, _integrated(U, V, S, k, decay, t)
        grow, fall = np.exp(m / 2), np.exp(-m / 2 - 2 * decay * t)
    up, down = np.multiply.outer(grow, u), np.multiply.outer(fall, v)
    return Path((up + down) / 2, sign * (up - down) / 2, closed)


def fit_time(
    ratio: npt.ArrayLike,
    rate: npt.ArrayLike,
    scale: npt.ArrayLike,
    target: npt.ArrayLike,
    eps: float,
) -> Array:
    """Return the lazy time to fit the data within eps, ``Z ln(1/eps)/(2 s Sigma_0)``.

    `ratio` is the weight-to-target ratio ``Sigma_0/|S|``, large in the lazy regime.

    Examples
    --------
    >>> float(fit_time(10.0, rate=1.0, scale=1.0, target=1.0, eps=0.01).round(4))
    0.2303
    """
    size = np.asarray(ratio, dtype=float) * np.abs(target)
    return np.asarray(np.asarray(scale) * math.log(1 / eps) / (2 * np.asarray(rate) * size))


def rich_time(ratio: npt.ArrayLike, decay: npt.ArrayLike, depth: float = 2.0) -> Array:
    """Return when decay has brought large weights down to the target's size.

    ``t_rich = ln(ratio)/(depth decay)``, 0 where ratio <= 1: each of `depth` layers shrinks as
    e^{-decay t}, so their product, relative to the target, falls from `ratio` to 1.

    For ``depth = 2`` and ``ratio = C_0/(S - decay Z/s)`` this is the time at which the 1-h-1
    network becomes rich (``Theta/Sigma`` passes ``1/sqrt 2``), asymptotically exact for large
    ratios. Other depths extend it by counting layers, which is an estimate.

    Examples
    --------
    >>> float(rich_time(100 / 0.99, decay=0.01).round(1))
    230.8
    """
    logs = np.log(np.maximum(np.asarray(ratio, dtype=float), 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(logs > 0, logs / (depth * np.asarray(decay)), 0.0))


def _log_logistic(growth: float, pull: float, t: Array) -> Array:
    """Return ln(x(t)/x(0)) for ``x' = 2 growth x - 2 pull x^2 / x(0)``, without overflow."""
    size = abs(growth)
    bounded = -np.expm1(-2 * size * t) / (2 * size) if size else t
    if growth > 0:
        return np.asarray(-np.log(np.exp(-2 * size * t) + 2 * pull * bounded))
    return np.asarray(-2 * size * t - np.log1p(2 * pull * bounded))


def _bessel(U: float, V: float, S: float, k: float, decay: float, t: Array) -> Array | None:
    """Return ``m = ln(y tau)`` at the times t, or None where the Bessel functions cannot."""
    span = min(DECAY_SPAN / (2 * decay), FIT_SPAN / (k * S) if k * S else math.inf)
    m = np.empty_like(t)
    start, base, done = 0.0, 0.0, 0
    while done < len(t):
        inside = int(np.searchsorted(t, start + span, side="right"))
        # the last entry is the restart
        ends = np.append(t[done:inside], start + span) - start
        log_y = _bessel_step(U, V, S, k, decay, ends)
        if log_y is None:
            return None
        # m and not ln y is summed: it stays moderate where both ln y and decay t grow without end
        step = log_y - 2 * decay * ends
        m[done:inside] = base + step[:-1]
        U, V = U * math.exp(step[-1]), V * math.exp(-step[-1] - 4 * decay * span)
        start, base, done = start + span, base + float(step[-1]), inside
        if V <= NEGLIGIBLE * S:  # from here on aligned: elementary, and out of Bessel's reach
            m[done:] = base + _log_logistic(k * S - decay, k * U, t[done:] - start)
            break
    return m


def _bessel_step(U: float, V: float, S: float, k: float, decay: float, t: Array) -> Array | None:
    nu, z = (k * S / decay - 1) / 2, k * math.sqrt(U) * math.sqrt(V) / decay
    if nu > LARGEST_ORDER:
        return None
    q = math.sqrt(V / U)
    x = z * np.exp(-2 * decay * t)
    fade = np.exp(2 * z * np.expm1(-2 * decay * t))  # e^{-2(z - x)}
    i0z, i1z, k0z, k1z = ive(nu, z), ive(nu + 1, z), kve(nu, z), kve(nu + 1, z)
    i0x, i1x, k0x, k1x = ive(nu, x), ive(nu + 1, x), kve(nu, x), kve(nu + 1, x)
    factors = np.stack(np.broadcast_arrays(i0z, i1z, k0z, k1z, i0x, i1x, k0x, k1x))
    if not np.all(np.isfinite(factors)) or np.any(np.abs(factors) < SMALLEST):
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # found out and refused below
        X1 = i0z * k1x + k0z * i1x * fade
        X2 = i1z * k1x - k1z * i1x * fade
        X3 = k1z * i0x * fade + i1z * k0x
        X4 = i0z * k0x - k0z * i0x * fade
        over, under = X1 + q * X2, q * X3 + X4
        exact = (q * i1z * k1x < CANCELLED * over) & (i0z * k0x < CANCELLED * under)
    if not np.all(exact & np.isfinite(over) & np.isfinite(under)):
        return None
    return np.asarray(math.log(q) + np.log(over) - np.log(under))


def _integrated(U: float, V: float, S: float, k: float, decay: float, t: Array) -> Array:
    """Return ``m = ln(y tau)`` from its scalar equation."""
    from scipy.integrate import solve_ivp

    up, down = math.log(U), math.log(V)

    def squares(time: float, m: Array) -> tuple[Array, Array]:
        # a trial step of the solver may leave the range that the solution keeps to
        grown = np.exp(np.minimum(m + up, LARGEST_LOG))
        return grown, np.exp(np.minimum(down - 4 * decay * time - m, LARGEST_LOG))

    def slope(time: float, m: Array) -> Array:
        grown, shrunk = squares(time, m)
        return 2 * k * (S - grown + shrunk) - 2 * decay

    def stiffness(time: float, m: Array) -> Array:
        grown, shrunk = squares(time, m)
        return (-2 * k * (grown + shrunk)).reshape(1, 1)

    # the transients are the explicit solver's, the more exact one; beyond them it would crawl
    early = 2 * k * (S + U + V) * t <= STIFF
    accuracy: dict[str, Any] = {"rtol": TOLERANCE, "atol": TOLERANCE}
    explicit = accuracy | {"method": "DOP853"}
    implicit = accuracy | {"method": "LSODA", "jac": stiffness}
    m = np.zeros_like(t)
    for inside, solver in ((early & (t > 0), explicit), (~early, implicit)):
        if np.any(inside):
            at = t[inside]
            with warnings.catch_warnings():  # LSODA also warns of what is raised below
                warnings.simplefilter("ignore", UserWarning)
                solution = solve_ivp(slope, (0.0, at[-1]), [0.0], t_eval=at, **solver)
            if not solution.success:
                fastest = 2 * k * (S + U + V)
                raise ArithmeticError(
                    f"no law covers this problem: the scalar equation of the decayed network "
                    f"failed ({solution.message.strip()}); its fastest rate {fastest:.2g} is "
                    f"{fastest / decay:.1g} times the decay"
                )
            m[inside] = solution.y[0]
    return m
