"""How far the tangent kernel has turned from where it began: zero is lazy."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["kernel_distance"]

ROUNDING = 8.0  # centring leaves of a constant kernel this many units in the last place, or less


def kernel_distance(k0: Array, kt: Array, centred: bool = True) -> Array:
    """Return ``1 - <K0, Kt> / (|K0| |Kt|)``, with the Frobenius inner product.

    It is blind to the scale of the kernels: 0 where they are proportional (lazy training), at most
    1 between kernels, which have no negative eigenvalues. It is taken as
    ``| K0/|K0| - Kt/|Kt| |^2 / 2``, which keeps the digits of distances far below 1e-16.

    Parameters
    ----------
    k0, kt
        Kernels on the same N inputs, shapes (..., N, N); the leading axes broadcast and may be
        times.
    centred
        Whether to compare ``H K H`` with ``H = I - 1 1^T/N``, so that the mean over the inputs,
        nearly all of an untrained network's kernel, hides nothing: one minus the centred kernel
        alignment. False gives the distance as published by Fort et al.

    Returns
    -------
    Array
        The leading shape. NaN where the distance has no meaning: a (centred) kernel is zero to
        rounding, or a number is not finite.

    Raises
    ------
    ValueError
        If a kernel is not square or the two differ in size; both shapes are named.

    References
    ----------
    Fort et al. 2020 (arXiv 2010.15110); centred alignment as in Kornblith et al. 2019
    (arXiv 1905.00414).

    Examples
    --------
    >>> import numpy as np
    >>> kernel = np.diag([1.0, 2.0, 3.0])
    >>> float(kernel_distance(kernel, 5 * kernel))
    0.0
    >>> float(kernel_distance(kernel, np.ones((3, 3)), centred=False).round(4))
    0.4655
    """
    xp, k0, kt = as_arrays(k0, kt)
    need(
        k0.ndim >= 2
        and kt.ndim >= 2
        and k0.shape[-1] > 0
        and len({*k0.shape[-2:], *kt.shape[-2:]}) == 1,
        f"kernels (..., N, N) must be square and of one size, got {tuple(k0.shape)} and "
        f"{tuple(kt.shape)}",
    )
    change = _direction(xp, kt, centred) - _direction(xp, k0, centred)
    return xp.sum(change * change, axis=(-2, -1)) / 2


def _direction(xp: Array, kernel: Array, centred: bool) -> Array:
    """Return ``K/|K|``, of the centred kernel if asked; NaN where it has no direction."""
    largest = xp.max(xp.abs(kernel), axis=(-2, -1), keepdims=True)
    known = (largest > 0) & (largest < float("inf"))  # False for NaN
    # squares of a small float32 kernel would underflow
    kernel = xp.where(known, kernel, xp.zeros_like(kernel))
    kernel = kernel / xp.where(known, largest, xp.ones_like(largest))
    whole = _norm(xp, kernel)
    if centred:
        kernel = kernel - xp.mean(kernel, axis=-1, keepdims=True)
        kernel = kernel - xp.mean(kernel, axis=-2, keepdims=True)
    size = _norm(xp, kernel)
    known = size > ROUNDING * float(xp.finfo(size.dtype).eps) * whole
    direction = kernel / xp.where(known, size, xp.ones_like(size))
    return xp.where(known, direction, xp.full_like(direction, float("nan")))


def _norm(xp: Array, kernel: Array) -> Array:
    return xp.sqrt(xp.sum(kernel * kernel, axis=(-2, -1), keepdims=True))
