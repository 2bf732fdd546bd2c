r"""The pair law: two layers on one input, any width, any imbalance, any sign.

For ``f = (x/Z) sum_i a_i b_i`` with target S x and input variance s,

    a_i' = (s/Z)(S - Theta) b_i,    b_i' = (s/Z)(S - Theta) a_i,    Theta = sum a_i b_i / Z.

One function y(t) moves every weight: ``a_i + b_i`` grows by sqrt(y), ``a_i - b_i`` shrinks by it.
With ``U = sum (a_i + b_i)^2/(4Z)``, ``V = sum (a_i - b_i)^2/(4Z)`` at the start, ``C^2 = 4 U V``
and ``R = hypot(S, C)``, y solves the Riccati equation ``y' = (2s/Z)(V + S y - U y^2)``:

    y = N/D,   N = (R+S) + (R-S) e + 2 V (1-e),   D = (R-S) + (R+S) e + 2 U (1-e),
    e = exp(-2 s R t / Z).

The scalar pair of a diagonal network is the case h = 1, Z = 1.

Evaluation, safe for every start (checked against 50-digit arithmetic):

* signs are flipped so that S >= 0, and R - S is taken as ``C^2/(R + S)``; N and D are then sums of
  non-negative terms, and nothing is divided by an imbalance or by a determinant;
* no exponent is positive, so nothing overflows at any t;
* where y is near 1 (large weights that hardly move) the weights are the start plus an increment
  built from ``y - 1 = 2 (1-e) (S - Theta_0) / D``, so that no digits of the product are lost;
* where the product has fallen far below the weights' size, one Newton step along the orbit
  ``(a, b) -> (a + d b, b + d a)`` holds it to ``S - Theta = (S - Theta_0) 4 e R^2 / (N D)``.

Where only the product is wanted it is a weighted mean of where it starts and where it ends,

    u = (u_0 e + S G)/(e + G),   S - u = (S - u_0) e/(e + G),   G = (1-e) (p + q e),
    p = U (R+S+2V)^2 / (2 R^2 (R+S)),    q = V (R+S-2U)^2 / (2 R^2 (R+S)),

in which every weight is positive, and the constants belong to the mode alone.

Source: arXiv 2502.21009, theorem 3, with the exponent corrected (2, not 4); general start, signs
and evaluation derived here.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["error", "product", "time_to", "weights"]

Array = npt.NDArray[np.float64]

NEGLIGIBLE = 1e-18  # a target this small, times rate and time, is lost in rounding
BLOCK = 16384  # points at a time: seven such arrays stay in the second-level cache
CANCELLED = 8.0  # F - 1 may cost this many roundings; beyond, expm1 takes its place
SETTLED = 300.0  # e^300 stands for all that is larger
LINE = 8  # numbers in a cache line: arrays that begin on one are written twice as fast


def weights(
    a: Array, b: Array, target: Array, scale: Array, rate: Array, t: Array
) -> tuple[Array, Array]:
    """Return a(t), b(t) of shape (T, ..., h) from a, b (..., h), numbers (...) and times (T,).

    Domain: finite numbers, Z > 0, s >= 0, t >= 0.

    Examples
    --------
    >>> one = np.ones(())
    >>> a, b = weights(np.array([0.1]), np.array([0.1]), one, one, one, np.array([0.0, 2.0, 9.0]))
    >>> (a * b)[:, 0].round(4)  # the sigmoid u0 S/(u0 + (S - u0) e^{-2 S t})
    array([0.01  , 0.3555, 1.    ])
    """
    sign = np.where(target < 0, -1.0, 1.0)
    S, b = np.abs(target), sign[..., None] * b
    u, v = a + b, a - b
    U, V, C, R = _invariants(u, v, S, scale)
    tau = 2 * rate / scale * t.reshape(-1, *(1,) * S.ndim)
    x = R * tau
    e = np.exp(-x)
    P = tau * _phi(x)  # (1 - e)/R, also where R = 0
    above, below = R + S, _ratio(C, R + S) * C  # R + S and R - S
    N = 1 + e + (S + 2 * V) * P
    early = 1 + e + (2 * U - S) * P
    late = _ratio(below, R) + _ratio(above, R) * e + 2 * U * P
    D = np.where(x < 1, early, late)
    error = S - np.sum(a * b, axis=-1) / scale
    rise, fall = np.sqrt(N), np.sqrt(D)  # sqrt(y) = rise/fall; D = 0 only where all u vanish
    grow, shrink = _ratio(rise, fall)[..., None], (fall / rise)[..., None]
    change = 2 * P * error  # N - D, without their cancellation
    near = np.abs(change) < D / 2
    p = _ratio(np.where(near, change, 0.0), D)[..., None] / (grow + 1)  # sqrt(y) - 1
    near = near[..., None]
    moved = p / (1 + p)
    first = np.where(near, a + moved * (b + p * u / 2), (u * grow + v * shrink) / 2)
    second = np.where(near, b + moved * (a + p * u / 2), (u * grow - v * shrink) / 2)
    left = _ratio(4 * e, N * D)  # the share of the error that is left
    size = np.sum(first * first + second * second, axis=-1) / scale
    missed = S - left * error - np.sum(first * second, axis=-1) / scale
    turn = _ratio(np.where((left < 0.5) & (size > S), missed, 0.0), size)[..., None]
    return first + turn * second, sign[..., None] * (second + turn * first)


def product(a: Array, b: Array, target: Array, rate: Array, t: Array) -> Array:
    """Return ``u(t) = a b`` of independent pairs, shape (T, ...); arguments (...), times (T,).

    The fast way to many modes at many times. Relative to u itself the error is a few roundings
    and, while u grows or decays with it, the rounding of the exponent ``2 R s t``; where u changes
    its sign they are relative to the smaller of ``|u_0|`` and ``|S|``. Domain: as for `weights`,
    but weights below 1e-60 have to be 0.

    Examples
    --------
    >>> start, one = np.array([0.1, 0.2]), np.ones(2)
    >>> product(start, start, one, one, np.array([0.0, 2.0, 9.0])).round(4)
    array([[0.01  , 0.04  ],
           [0.3555, 0.6946],
           [1.    , 1.    ]])
    """
    return _mean(a, b, target, rate, t)


def error(a: Array, b: Array, target: Array, rate: Array, t: Array) -> Array:
    """Return what is left to learn, ``S - u(t)``, to all digits however small it is.

    Arguments as in `product`; the loss at late times is a sum of its squares. What has fallen by
    more than e^300 is given as that.

    Examples
    --------
    >>> start, one = np.array([0.1]), np.ones(1)
    >>> error(start, start, one, one, np.array([0.0, 40.0]))[:, 0]
    array([9.90000000e-01, 1.78680287e-33])
    """
    return _mean(a, b, target, rate, t, left=True)


def time_to(a: Array, b: Array, target: Array, scale: Array, rate: Array, error: Array) -> Array:
    """Return the time at which ``S - Theta`` equals `error`; infinity if it never does.

    Taking the remaining error as the argument keeps every digit of "within eps of the target".
    Shapes as in `weights`, `error` broadcasts against the leading shape. Needs R = hypot(S, C),
    ``h = Sigma + Theta`` at both ends and ``Rx = hypot(Theta, C)`` at the level (S > 0):

        t = Z/(2 s R) { ln(delta_0/delta) + ln(k_0/k) + ln((h + R - S)/(h_0 + R - S)) },
        k_0 = (R + S + h_0)/(R + Sigma_0),   k = (R + S + h)/(R + Rx).

    Examples
    --------
    >>> one = np.ones(())
    >>> float(time_to(np.array([0.1]), np.array([0.1]), one, one, one, np.array(0.5)).round(4))
    2.2976
    """
    theta = np.sum(a * b, axis=-1) / scale
    flip = np.where((target < 0) | ((target == 0) & (theta < 0)), -1.0, 1.0)
    S, theta, b = np.abs(target), flip * theta, flip[..., None] * b
    left, start = np.broadcast_arrays(flip * error, S - theta)
    U, V, C, R = _invariants(a + b, a - b, S, scale)
    level = S - left
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = scale / (2 * rate)
        size = np.hypot(level, C)  # Sigma at the level
        end = np.where(level >= 0, size + level, C * C / (size - level))  # Sigma + Theta there
        below = _ratio(C, R + S) * C
        before = (R + S + 2 * U) / (R + U + V)
        after = (R + S + end) / (R + size)
        logs = (
            np.log(start / left) + np.log(before / after) + np.log((end + below) / (2 * U + below))
        )
        general = unit / R * logs
        algebraic = unit * (1 / np.abs(level) - 1 / np.abs(theta))  # S = 0 on a balanced start
        saddle = unit / S * np.log(theta * (S - level) / (level * (S - theta)))  # all a = -b
    times = np.where(R == 0, algebraic, np.where((U == 0) & (S > 0), saddle, general))
    within = (left * start > 0) & (np.abs(left) <= np.abs(start)) & (rate > 0)
    reached = within & ~((U == 0) & (level >= 0) & (S > 0)) & ~((U == 0) & (V == 0))
    return np.where(left == start, 0.0, np.where(reached, np.maximum(times, 0.0), np.inf))


def _mean(a: Array, b: Array, target: Array, rate: Array, t: Array, *, left: bool = False) -> Array:
    """Return the map, or what is `left` to learn, in cache-sized blocks of modes and times."""
    given = np.stack(np.broadcast_arrays(a, b, target, rate))
    flat = given.reshape(4, -1)
    modes, last = flat.shape[1], float(np.max(t))
    out = np.empty((len(t), modes))
    width = max(1, min(modes, BLOCK))
    for first in range(0, modes, width):
        some = slice(first, first + width)
        _fill(out[:, some], _constants(flat[:, some], last, left), t)
    return out.reshape(len(t), *given.shape[1:])


def _constants(modes: Array, last: float, left: bool) -> Array:
    """Return ``2 R s, p, q`` of every mode and the two values of which it takes the mean."""
    a, b, target, rate = modes
    span = rate * last
    # so small a target does what S = 0 does, and nothing is divided by 0
    S = np.maximum(np.abs(target), NEGLIGIBLE / np.where(span > 0, span, 1.0))
    flipped = np.where(target < 0, -b, b)
    u, v = a + flipped, a - flipped
    U, V = u * u / 4, v * v / 4
    R = np.hypot(S, u * v / 2)
    p = U * ((R + S + 2 * V) / R) ** 2 / (2 * (R + S))
    q = V * ((R + S - 2 * U) / R) ** 2 / (2 * (R + S))
    # what starts on the saddle's stable manifold ends there, which makes the same mean of 0 and
    # the start, with 1 + q in place of p and 0 in place of q
    stable = p == 0
    p, q = np.where(stable, 1 + q, p), np.where(stable, 0.0, q)
    start, end = a * b, np.where(stable, 0.0, target)
    if left:
        start, end = target - start, target - end
    return np.stack([2 * R * rate, p, q, start, end])


def _fill(out: Array, constants: Array, t: Array) -> None:
    """Write ``(start F + end G)/(F + G)``, F = 1/e and G = (F-1) (p F + q), to `out` (T, m).

    In place, as a pass over memory costs as much as an exponential. The constants are repeated
    over the rows of a block, which beats broadcasting them, as BLAS beats an outer product.
    """
    height = min(len(t), BLOCK // out.shape[1])
    block = _aligned(7, height, out.shape[1])
    block[3:] = constants[1:, None]
    speed, p, q, start, end = constants
    settles = np.max(speed) * np.max(t) > SETTLED
    sharp = (np.abs((end - start) * (p + q)) > CANCELLED * np.abs(start)) & (speed > 0)
    late = np.max(np.log(2) / speed[sharp], initial=0.0)  # F > 2 from here on
    for first in range(0, len(t), height):
        times = t[first : first + height, None]
        work, F, G, p, q, start, end = block[:, : len(times)]
        np.dot(times, constants[:1], out=work)
        if settles:
            np.minimum(work, SETTLED, out=work)
        if times.min() < late:
            np.expm1(work, out=G)
            np.add(G, 1.0, out=F)
        else:
            np.exp(work, out=F)
            np.subtract(F, 1.0, out=G)
        np.multiply(p, F, out=work)
        work += q
        G *= work
        np.multiply(end, G, out=work)
        G += F
        F *= start
        work += F
        np.divide(work, G, out=out[first : first + height])


def _aligned(*shape: int) -> Array:
    """Return an uninitialised stack of arrays, each of which begins on a cache line."""
    count, size = shape[0], math.prod(shape[1:])
    padded = -(-size // LINE) * LINE
    memory = np.empty(count * padded + LINE)
    first = -memory.ctypes.data // memory.itemsize % LINE
    stack = memory[first : first + count * padded].reshape(count, padded)
    return stack[:, :size].reshape(shape)


def _invariants(u: Array, v: Array, S: Array, scale: Array) -> tuple[Array, Array, Array, Array]:
    U = np.sum(u * u, axis=-1) / (4 * scale)
    V = np.sum(v * v, axis=-1) / (4 * scale)
    C = 2 * np.sqrt(U) * np.sqrt(V)  # the product U V could underflow
    return U, V, C, np.hypot(S, C)


def _phi(x: Array) -> Array:
    """Return ``(1 - e^{-x})/x``, 1 at 0."""
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, -np.expm1(-safe) / safe)


def _ratio(over: Array, under: Array) -> Array:
    """Return over/under, and 0 where under is 0: there the factor beside it vanishes too."""
    zero = under == 0
    return np.where(zero, 0.0, over / np.where(zero, 1.0, under))
