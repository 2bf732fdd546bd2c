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

`Path.closed` says which. Starts far above the target soon keep to a curve that is elementary, see
`_from_afar`. Aligned (V = 0) and opposed (U = 0) starts are elementary.

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
FAR = 1e4  # C over the target above which Theta keeps to its slow curve, to 1e-12
RELAXED = 60.0  # relaxation times until then
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

    Raises
    ------
    ArithmeticError
        If a rate of the problem leaves the range of float64, or a solver gives up.

    Examples
    --------
    >>> path = weights(np.array([4.0]), np.array([0.0]), 1.0, 1.0, 1.0, 0.1, np.array([0.0, 50.0]))
    >>> (path.a * path.b)[:, 0].round(4), path.closed  # the end state S - lam Z/s
    (array([0. , 0.9]), True)
    """
    sign = -1.0 if target < 0 else 1.0
    S, b = abs(target), sign * b
    u, v = a + b, a - b
    p, q = _length(u, scale), _length(v, scale)
    k = rate / scale
    closed, theta = True, t[:0]
    if p == 0 or q == 0:
        grow = np.exp(_log_logistic(k * S - decay, k, p, t) / 2) if p else np.zeros_like(t)
        fall = np.exp(_log_logistic(-k * S - decay, k, q, t) / 2) if q else np.zeros_like(t)
    else:
        if 2 * p * q > FAR * _goal(S, k, decay):
            m, theta, closed = _from_afar(p, q, float(a @ b) / scale, S, k, decay, t)
        else:
            m, closed = _log_growth(p, q, S, k, decay, t)
        grow, fall = np.exp(m / 2), np.exp(-m / 2 - 2 * decay * t)
    up, down = np.multiply.outer(grow, u), np.multiply.outer(fall, v)
    first, second = (up + down) / 2, (up - down) / 2
    # far above the target the product has lost its digits to the squares: a Newton step
    x, y = first[: len(theta)], second[: len(theta)]
    missed = theta - np.sum(x * y, axis=1) / scale
    turn = (missed / np.sum(x * x + y * y, axis=1) * scale)[:, None]
    first[: len(theta)], second[: len(theta)] = x + turn * y, y + turn * x
    return Path(first, sign * second, closed)


def fit_time(
    ratio: npt.ArrayLike,
    rate: npt.ArrayLike,
    scale: npt.ArrayLike,
    target: npt.ArrayLike,
    eps: npt.ArrayLike,
) -> Array:
    """Return the lazy time to fit the data within eps, ``Z ln(1/eps)/(2 s Sigma_0)``.

    `ratio` is the weight-to-target ratio ``Sigma_0/|S|``, large in the lazy regime.

    Examples
    --------
    >>> float(fit_time(10.0, rate=1.0, scale=1.0, target=1.0, eps=0.01).round(4))
    0.2303
    """
    size = np.asarray(ratio, dtype=float) * np.abs(target)
    return np.asarray(-np.asarray(scale) * np.log(eps) / (2 * np.asarray(rate) * size))


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


def _length(vector: Array, scale: float) -> float:
    """Return ``sqrt(sum w_i^2/(4 Z))``, of numbers too whose squares leave the range of float64."""
    largest = float(np.max(np.abs(vector)))
    if largest == 0:
        return 0.0
    return largest * math.sqrt(float(np.sum((vector / largest) ** 2)) / (4 * scale))


def _log_logistic(growth: float, k: float, root: float, t: Array) -> Array:
    """Return ln(x(t)/x(0)) for ``x' = 2 growth x - 2 k x^2``, ``x(0) = root^2``."""
    size = abs(growth)
    bounded = -np.expm1(-2 * size * t) / size if size else 2 * t
    with np.errstate(divide="ignore"):  # the start, and no input
        pull = np.log(k * bounded) + 2 * math.log(root)
    return -np.logaddexp(min(-2 * growth, 0.0) * t, pull) + min(2 * growth, 0.0) * t


def _log_growth(
    p: float, q: float, S: float, k: float, decay: float, t: Array
) -> tuple[Array, bool]:
    """Return ``m = ln(y tau)`` of ``p = sqrt U``, ``q = sqrt V``, and if in closed form."""
    m = _bessel(p, q, S, k, decay, t)
    return (_integrated(p, q, S, k, decay, t), False) if m is None else (m, True)


def _bessel(p: float, q: float, S: float, k: float, decay: float, t: Array) -> Array | None:
    """Return ``m = ln(y tau)`` at the times t, or None where the Bessel functions cannot."""
    span = min(DECAY_SPAN / (2 * decay), FIT_SPAN / (k * S) if k * S else math.inf)
    m = np.empty_like(t)
    start, base, done = 0.0, 0.0, 0
    while done < len(t):
        inside = int(np.searchsorted(t, start + span, side="right"))
        # the last entry is the restart
        ends = np.append(t[done:inside], start + span) - start
        log_y = _bessel_step(p, q, S, k, decay, ends)
        if log_y is None:
            return None
        # m and not ln y is summed: it stays moderate where both ln y and decay t grow without end
        step = log_y - 2 * decay * ends
        m[done:inside] = base + step[:-1]
        p, q = p * math.exp(step[-1] / 2), q * math.exp(-step[-1] / 2 - 2 * decay * span)
        start, base, done = start + span, base + float(step[-1]), inside
        if q * q <= NEGLIGIBLE * S:  # from here on aligned: elementary, and out of Bessel's reach
            m[done:] = base + _log_logistic(k * S - decay, k, p, t[done:] - start)
            break
    return m


def _bessel_step(p: float, q: float, S: float, k: float, decay: float, t: Array) -> Array | None:
    nu, z, ratio = (k * S / decay - 1) / 2, k * p * q / decay, q / p
    if nu > LARGEST_ORDER:
        return None
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
        over, under = X1 + ratio * X2, ratio * X3 + X4
        exact = (ratio * i1z * k1x < CANCELLED * over) & (i0z * k0x < CANCELLED * under)
    if not np.all(exact & np.isfinite(over) & np.isfinite(under)):
        return None
    return np.asarray(math.log(ratio) + np.log(over) - np.log(under))


def _goal(S: float, k: float, decay: float) -> float:
    """Return the size to which decay brings the weights, of map and of its rates alike."""
    return max(S, decay / k) if k else math.inf


def _from_afar(
    p: float, q: float, theta: float, S: float, k: float, decay: float, t: Array
) -> tuple[Array, Array, bool]:
    """Return ``m = ln(y tau)``, Theta, and if in closed form, where C starts far above the target.

    The angle ``phi = asinh(Theta/C)`` obeys ``phi' = 2 k (S - C sinh phi)``: it relaxes within
    `RELAXED` units of ``1/(2 k C_0)`` to ``Theta = S/(1 + e - e^2)``, ``e = lam/(k C)``, up to
    ``1/FAR^3``, and keeps to it until C is `FAR` times the target. There the flow begins anew:
    Theta is returned up to there only.
    """
    goal = _goal(S, k, decay)
    C_0 = 2 * p * q
    turn = math.log(C_0 / (FAR * goal)) / (2 * decay)
    late, moving = t > turn, t < RELAXED / (2 * k * C_0)
    C = C_0 * np.exp(-2 * decay * np.minimum(t, turn))
    share = decay / (k * C)
    sines = S / (C * (1 + share - share**2))
    phi, angle = np.arcsinh(sines), math.asinh(theta / C_0)
    if np.any(moving):
        from scipy.integrate import solve_ivp

        def slope(time: float, phi: Array) -> Array:
            fading = math.exp(-decay / (k * C_0) * time)
            return S / C_0 - fading * np.sinh(np.clip(phi, -LARGEST_LOG, LARGEST_LOG))

        times = 2 * k * C_0 * t[moving]
        least = max(TOLERANCE * goal / C_0, SMALLEST)
        accuracy: dict[str, Any] = {"rtol": TOLERANCE, "atol": least}
        found = solve_ivp(slope, (0, RELAXED), [angle], "DOP853", times, **accuracy)
        phi[moving] = found.y[0]
        sines[moving] = np.sinh(phi[moving])
    m = phi - angle - 2 * decay * np.minimum(t, turn)
    closed = not np.any(moving & (t > 0))
    if np.any(late):
        tilt = math.exp(float(phi[-1]) / 2)
        start = math.sqrt(FAR * goal / 2)
        rest, also = _log_growth(start * tilt, start / tilt, S, k, decay, t[late] - turn)
        m[late], closed = m[late] + rest, closed and also
    return m, (C * sines)[~late], closed


def _integrated(p: float, q: float, S: float, k: float, decay: float, t: Array) -> Array:
    """Return ``m = ln(y tau)`` from its scalar equation."""
    from scipy.integrate import solve_ivp

    up, down = 2 * math.log(p), 2 * math.log(q)

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
    fastest = 2 * k * (S + p * p + q * q)
    early = fastest * t <= STIFF
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
                raise ArithmeticError(
                    f"no law covers this problem: the scalar equation of the decayed network "
                    f"failed ({solution.message.strip()}); its fastest rate {fastest:.2g} is "
                    f"{fastest / decay:.1g} times the decay"
                )
            m[inside] = solution.y[0]
    return m
