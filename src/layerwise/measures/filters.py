"""What the first filters of a network look like: tuned to the data, rough, or many alike.

Each takes all filters of a layer as one array and returns one number, blind to their scale; NaN
where all filters are zero.
"""

from __future__ import annotations

import math

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["filter_energy", "filter_participation", "filter_roughness"]


def filter_energy(filters: Array, patches: Array, top: float = 0.25) -> Array:
    """Return the share of the filters' energy in the top principal components of data patches.

    ``|W V|_F^2 / |W|_F^2`` with the leading eigenvectors V of the patches' covariance. Random
    filters have the share of directions that is counted as top; filters tuned to the data more.

    Parameters
    ----------
    filters
        Shape (c, ...), the trailing axes hold one filter: (c, channels, k, k).
    patches
        Patches of the data, shape (n, ...) with the same trailing axes, at least two.
    top
        Share of the principal components that counts as top, in (0, 1]; of d of them, the
        ``ceil(top d)`` first.

    Raises
    ------
    ValueError
        If patches and filters differ in their trailing axes (both shapes are named), or `top` is
        no share.

    Examples
    --------
    >>> patches = [[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> round(float(filter_energy([[3.0, 0.0], [0.0, 1.0]], patches, top=0.5)), 12)
    0.9
    """
    xp, filters, patches = as_arrays(filters, patches)
    need(
        filters.ndim >= 2
        and filters.shape[1:] == patches.shape[1:]
        and 0 not in filters.shape
        and patches.shape[0] >= 2,
        f"filters (c, ...) and two or more patches (n, ...) must have equal trailing axes, got "
        f"{tuple(filters.shape)} and {tuple(patches.shape)}",
    )
    need(0 < top <= 1, f"top must lie in (0, 1], got {top}")
    X = xp.reshape(patches, (patches.shape[0], -1))
    X = X - xp.mean(X, axis=0)
    _, vectors = xp.linalg.eigh(xp.matmul(xp.matrix_transpose(X), X))
    count = vectors.shape[1]
    kept = vectors[:, count - math.ceil(round(top * count, 9)) :]  # 7/25 of 25 are 7
    W = _unit(xp, filters)
    inside = xp.matmul(xp.reshape(W, (W.shape[0], -1)), kept)
    return xp.sum(inside * inside)


def filter_roughness(filters: Array) -> Array:
    """Return ``sum (neighbour differences)^2 / sum w^2`` over the last two axes of filters.

    White noise of size k x k has ``4 (k - 1)/k`` on average, smooth filters less, a constant 0, a
    chessboard ``8 (k - 1)/k``.

    Parameters
    ----------
    filters
        Shape (..., k, k').

    Examples
    --------
    >>> float(filter_roughness([[1.0, 1.0], [1.0, 1.0]]))
    0.0
    >>> round(float(filter_roughness([[1.0, -1.0], [-1.0, 1.0]])), 12)
    4.0
    """
    xp, filters = as_arrays(filters)
    need(
        filters.ndim >= 2 and 0 not in filters.shape,
        f"filters (..., k, k') must be images and must not be empty, got {tuple(filters.shape)}",
    )
    W = _unit(xp, filters)
    down, right = W[..., 1:, :] - W[..., :-1, :], W[..., :, 1:] - W[..., :, :-1]
    return xp.sum(down * down) + xp.sum(right * right)


def filter_participation(filters: Array) -> Array:
    """Return ``1 / sum_i p_i^2``, ``p_i = sigma_i^2 / sum sigma^2``: how many directions are used.

    The singular values are those of the matrix that holds one filter in each row. It counts 1 for
    filters all alike, and k for k that are orthogonal and of one size.

    Parameters
    ----------
    filters
        Shape (c, ...), the trailing axes hold one filter.

    Examples
    --------
    >>> import numpy as np
    >>> [round(float(filter_participation(w)), 12) for w in (np.eye(3), np.ones((3, 2, 2)))]
    [3.0, 1.0]
    """
    xp, filters = as_arrays(filters)
    need(
        filters.ndim >= 2 and 0 not in filters.shape,
        f"filters (c, ...) must not be empty, got {tuple(filters.shape)}",
    )
    W = _unit(xp, filters)
    W = xp.reshape(W, (W.shape[0], -1))
    gram = xp.matmul(W, xp.matrix_transpose(W))
    return 1 / xp.sum(gram * gram)


def _unit(xp: Array, filters: Array) -> Array:
    """Return ``W/|W|_F``, without underflow; NaN where it has no direction."""
    largest = xp.max(xp.abs(filters))
    known = (largest > 0) & (largest < float("inf"))  # False for NaN
    one = xp.ones_like(filters)
    W = xp.where(known, filters, one) / xp.where(known, largest, xp.ones_like(largest))
    return xp.where(known, W / xp.sqrt(xp.sum(W * W)), float("nan") * one)
