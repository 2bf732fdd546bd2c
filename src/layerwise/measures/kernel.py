"""How a kernel moves: turned from where it began (zero is lazy), towards the targets, and grown.

Kernels are arrays (..., N, N) of any kind: tangent kernels, or those of features, ``H H^T``. All
distances and alignments are blind to the scale of the kernels; `kernel_growth` is that scale. They
compare directions on the N inputs given and see nothing of other inputs.
"""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["kernel_alignment", "kernel_distance", "kernel_growth", "kernel_velocity"]

ROUNDING = 8.0  # centring leaves of a constant kernel this many units in the last place, or less


def kernel_distance(k0: Array, kt: Array, centred: bool = True) -> Array:
    """Return ``1 - <K0, Kt> / (|K0| |Kt|)``, with the Frobenius inner product.

    It is blind to the scale of the kernels (see `kernel_growth`): 0 where they are proportional
    (lazy training), at most 1 between kernels, which have no negative eigenvalues. It is taken as
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
    xp, k0, kt = _pair(k0, kt)
    change = _direction(xp, kt, centred) - _direction(xp, k0, centred)
    return xp.sum(change * change, axis=(-2, -1)) / 2


def kernel_velocity(kernels: Array, times: Array, centred: bool = True) -> Array:
    """Return ``S(t, t + dt)/dt``: how fast the kernel turns between neighbouring times.

    S is the `kernel_distance`. It is quadratic in small turns, so that values are comparable on an
    even grid only: halving dt halves the velocity of a kernel that turns steadily.

    Parameters
    ----------
    kernels
        Shape (T, ..., N, N), T at least 2.
    times
        Shape (T,), increasing.
    centred
        As in `kernel_distance`.

    Returns
    -------
    Array
        Shape (T - 1, ...), one value for each interval, in units of one over time.

    Raises
    ------
    ValueError
        If there are fewer than two times, as many kernels as times are not given, or the times do
        not increase.

    References
    ----------
    Fort et al. 2020 (arXiv 2010.15110).

    Examples
    --------
    >>> import numpy as np
    >>> turns = [np.diag([1.0, 0.0]), np.diag([1.0, 1.0]), np.diag([3.0, 3.0])]
    >>> kernel_velocity(np.stack(turns), [0.0, 2.0, 3.0], centred=False).round(4)
    array([0.1464, 0.    ])
    """
    xp, kernels, times = as_arrays(kernels, times)
    need(
        times.ndim == 1 and kernels.ndim >= 3 and kernels.shape[0] == times.shape[0] >= 2,
        f"kernels (T, ..., N, N) and times (T,) need two or more times, got "
        f"{tuple(kernels.shape)} and {tuple(times.shape)}",
    )
    waits = times[1:] - times[:-1]
    need(bool(xp.all(waits > 0)), "the times of the kernels must increase strictly")
    moved = kernel_distance(kernels[:-1, ...], kernels[1:, ...], centred)
    return moved / xp.reshape(waits, (-1,) + (1,) * (moved.ndim - 1))


def kernel_growth(k0: Array, kt: Array) -> Array:
    """Return ``|Kt|_F / |K0|_F``, the scale that `kernel_distance` does not see.

    Shapes as for `kernel_distance`. NaN where a kernel of the start is zero or a number is not
    finite.

    Examples
    --------
    >>> import numpy as np
    >>> float(kernel_growth(np.eye(3), 4 * np.eye(3)))
    4.0
    """
    xp, k0, kt = _pair(k0, kt)
    (unit0, size0), (unitt, sizet) = _unit(xp, k0), _unit(xp, kt)
    known = (size0 > 0) & (size0 < float("inf")) & (sizet < float("inf"))
    one = xp.ones_like(sizet * size0)
    largest = xp.where(known, sizet, 0 * one) / xp.where(known, size0, one)
    growth = largest * _norm(xp, unitt) / xp.where(known, _norm(xp, unit0), one)
    return xp.where(known, growth, xp.full_like(one, float("nan")))[..., 0, 0]


def kernel_alignment(kernel: Array, targets: Array) -> Array:
    """Return ``<HKH, HYY^TH> / (|HKH| |HYY^TH|)``: how far the kernel is that of the targets.

    H centres. It is 1 where the centred kernel is proportional to ``HYY^TH`` and 0 where it knows
    nothing of the targets; one minus it is the `kernel_distance` from ``Y Y^T``.

    Parameters
    ----------
    kernel
        Shape (..., N, N).
    targets
        Targets Y of the same N inputs, shape (N, C); one-hot labels for classes, +-1 as (N, 1).

    Returns
    -------
    Array
        The leading shape. NaN where the kernel or the targets do not vary over the inputs.

    Raises
    ------
    ValueError
        If the shapes do not fit; both are named.

    References
    ----------
    Cortes, Mohri and Rostamizadeh 2012 (arXiv 1203.0550).

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    >>> float(kernel_alignment(1 + y @ y.T, y)), float(kernel_alignment(np.eye(4), y).round(4))
    (1.0, 0.5774)
    """
    xp, kernel, targets = as_arrays(kernel, targets)
    need(
        kernel.ndim >= 2 and targets.ndim == 2 and kernel.shape[-1] == targets.shape[0],
        f"kernel (..., N, N) and targets (N, C) do not fit: {tuple(kernel.shape)} and "
        f"{tuple(targets.shape)}",
    )
    return 1 - kernel_distance(kernel, xp.matmul(targets, xp.matrix_transpose(targets)))


def _pair(k0: Array, kt: Array) -> tuple[Array, Array, Array]:
    """Return ``(xp, k0, kt)``, two kernels of one size."""
    xp, k0, kt = as_arrays(k0, kt)
    need(
        k0.ndim >= 2
        and kt.ndim >= 2
        and k0.shape[-1] > 0
        and len({*k0.shape[-2:], *kt.shape[-2:]}) == 1,
        f"kernels (..., N, N) must be square and of one size, got {tuple(k0.shape)} and "
        f"{tuple(kt.shape)}",
    )
    return xp, k0, kt


def _direction(xp: Array, kernel: Array, centred: bool) -> Array:
    """Return ``K/|K|``, of the centred kernel if asked; NaN where it has no direction."""
    kernel, _ = _unit(xp, kernel)
    whole = _norm(xp, kernel)
    if centred:
        kernel = kernel - xp.mean(kernel, axis=-1, keepdims=True)
        kernel = kernel - xp.mean(kernel, axis=-2, keepdims=True)
    size = _norm(xp, kernel)
    known = size > ROUNDING * float(xp.finfo(size.dtype).eps) * whole
    direction = kernel / xp.where(known, size, xp.ones_like(size))
    return xp.where(known, direction, xp.full_like(direction, float("nan")))


def _unit(xp: Array, kernel: Array) -> tuple[Array, Array]:
    """Return ``K/max|K|`` and ``max|K|``; zeros for the first where it is zero or not finite."""
    largest = xp.max(xp.abs(kernel), axis=(-2, -1), keepdims=True)
    known = (largest > 0) & (largest < float("inf"))  # False for NaN
    # squares of a small float32 kernel would underflow
    kernel = xp.where(known, kernel, xp.zeros_like(kernel))
    return kernel / xp.where(known, largest, xp.ones_like(largest)), largest


def _norm(xp: Array, kernel: Array) -> Array:
    return xp.sqrt(xp.sum(kernel * kernel, axis=(-2, -1), keepdims=True))
