"""The one dial of lazy and rich learning: initial weights relative to the target.

All functions speak of the 1-h-1 network ``f(x) = (x/Z) sum_i a_i b_i`` with target ``S x``; the
hidden units are the last axis, leading axes are independent networks. A single pair is ``h = 1``.
"""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["gain", "gamma_plus", "magnitude", "product", "weight_to_target"]


def product(a: Array, b: Array, scale: Array = 1.0) -> Array:
    """Return ``Theta = sum_i a_i b_i / Z``, the slope of the network.

    `a` and `b` have shape (..., h), `scale` (Z) the leading shape.

    Examples
    --------
    >>> float(product([1.0, 2.0], [3.0, 1.0]))
    5.0
    """
    xp, a, b, scale = _units(a, b, scale)
    return xp.sum(a * b, axis=-1) / scale


def magnitude(a: Array, b: Array, scale: Array = 1.0) -> Array:
    """Return ``Sigma = sum_i (a_i^2 + b_i^2) / (2 Z)``; the tangent kernel is ``2 Sigma x x'/Z``.

    `a` and `b` have shape (..., h), `scale` (Z) the leading shape.

    Examples
    --------
    >>> float(magnitude([1.0, 2.0], [3.0, 1.0]))
    7.5
    """
    xp, a, b, scale = _units(a, b, scale)
    return (xp.sum(a * a, axis=-1) + xp.sum(b * b, axis=-1)) / (2 * scale)


def weight_to_target(a: Array, b: Array, target: Array, scale: Array = 1.0) -> Array:
    """Return the weight-to-target ratio ``Sigma0 / |S|``: large lazy, small rich.

    In units of ``Theta/S`` and ``2 s |S| t/Z`` the dynamics depend on the start through this
    ratio and ``Theta0/S`` alone. It is infinite for a zero target.

    Parameters
    ----------
    a, b
        Initial weights, shape (..., h).
    target
        Target coefficient S, the leading shape.
    scale
        Output scale Z > 0, the leading shape.

    References
    ----------
    arXiv 2502.21009, section on grokking; notation as in the module's head.

    Examples
    --------
    >>> float(weight_to_target([1.0, -1.0], [1.0, 1.0], target=0.5))
    4.0
    """
    xp, a, b, target, scale = _units(a, b, target, scale)
    size, absolute = magnitude(a, b, scale), xp.abs(target)
    safe = xp.where(absolute > 0, absolute, xp.ones_like(absolute))
    return xp.where(absolute > 0, size / safe, xp.full_like(size / safe, float("inf")))


def gamma_plus(a: Array, b: Array, target: Array, scale: Array = 1.0) -> Array:
    """Return the growth of every ``(a_i + b_i)^2`` over the whole of training, without decay.

    ``gamma_plus = (S + sqrt(Sigma0^2 - Theta0^2 + S^2)) / (Sigma0 + Theta0)``; every
    ``(a_i - b_i)^2`` shrinks by the same factor. It is a factor of *squares*: the amplitude grows
    by `gain`, its square root. Evaluated without cancellation for either sign of S.

    It is infinite where all ``a_i + b_i`` vanish and S > 0 (a start on the saddle's stable
    manifold has nothing to amplify), and 1 for zero weights.

    Parameters
    ----------
    a, b
        Initial weights, shape (..., h).
    target
        Target coefficient S, the leading shape.
    scale
        Output scale Z > 0, the leading shape.

    References
    ----------
    arXiv 2502.21009, theorem 3 (its limit; the exponent printed there is too large by a factor
    of two, which leaves gamma_plus unaffected).

    Examples
    --------
    >>> round(float(gamma_plus([1.0, -1.0], [1.0, 1.0], target=2.0)), 4)
    2.4142
    """
    xp, a, b, target, scale = _units(a, b, target, scale)
    grown = xp.sum((a + b) ** 2, axis=-1) / (4 * scale)
    shrunk = xp.sum((a - b) ** 2, axis=-1) / (4 * scale)
    root = xp.sqrt(target * target + 4 * grown * shrunk)
    up = root + xp.abs(target)
    rising = xp.where(target >= 0, up, 2 * shrunk)
    growing = xp.where(target >= 0, 2 * grown, up)
    one = xp.ones_like(rising)
    found = rising / xp.where(growing == 0, one, growing)
    found = xp.where(growing == 0, xp.full_like(one, float("inf")), found)
    return xp.where((grown == 0) & (shrunk == 0), one, found)


def gain(a: Array, b: Array, target: Array, scale: Array = 1.0) -> Array:
    """Return ``sqrt(gamma_plus)``, the growth of every ``a_i + b_i`` over training.

    For ``Theta0 = 0`` it is ``exp(asinh(|S|/Sigma0) / 2)``.

    Examples
    --------
    >>> round(float(gain([1.0, -1.0], [1.0, 1.0], target=2.0)), 4)
    1.5538
    """
    value = gamma_plus(a, b, target, scale)
    xp, value = as_arrays(value)
    return xp.sqrt(value)


def _units(a: Array, b: Array, *numbers: Array) -> tuple[Array, ...]:
    xp, a, b, *rest = as_arrays(a, b, *numbers)
    need(
        a.ndim >= 1 and b.ndim >= 1 and a.shape[-1] == b.shape[-1],
        f"a and b must share their last axis (hidden units), got {tuple(a.shape)} and "
        f"{tuple(b.shape)}",
    )
    need(bool(xp.all(rest[-1] > 0)), "the output scale Z must be positive")
    return (xp, a, b, *rest)
