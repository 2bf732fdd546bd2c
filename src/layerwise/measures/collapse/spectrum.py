"""Rank measures of centred features that need no labels, and D_LR."""

from __future__ import annotations

import math
from typing import Any

from layerwise.measures.arrays import Array, as_arrays, need
from layerwise.measures.collapse.classes import detached, need_finite, need_samples, row_blocks
from layerwise.measures.collapse.estimate import Estimate

__all__ = ["centred_spectrum", "d_lr", "top_energy"]

ROUNDING = 1e-14  # of the largest eigenvalue of a Gram matrix: no direction lies below


def centred_spectrum(features: Array) -> Array:
    """Return the singular values of features (N, d) about their mean, largest first.

    Shape (min(N, d),), float64. Values below about 1e-8 of the largest are rounding: they are
    square roots of eigenvalues. At collapse C-1 of them are left; `rank_of_spectrum` of them is
    the effective rank, and ``s[C-1]/s[C-2]`` the gap behind the simplex.

    Examples
    --------
    >>> centred_spectrum([[3.0, 5.0], [-3.0, 5.0]]).round(6)
    array([4.242641, 0.      ])
    """
    xp, features = _samples(features)
    values = xp.flip(xp.linalg.eigvalsh(_products(xp, features, features)))
    return xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))


def top_energy(features: Array, k: int) -> float:
    """Return the share of the energy of centred features (N, d) in their top `k` directions.

    With k = C-1 it is 1 at collapse. NaN where the features do not vary.

    Examples
    --------
    >>> round(top_energy([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], 1), 12)
    0.8
    """
    need(k >= 1, f"top_energy needs k >= 1 directions, got {k}")
    squares = centred_spectrum(features) ** 2
    xp, squares = as_arrays(squares)
    total = float(xp.sum(squares))
    return float(xp.sum(squares[: min(k, squares.shape[0])])) / total if total > 0 else math.nan


def d_lr(features: Array, logits: Array, cut: float = 0.05) -> Estimate:
    """Return D_LR, one minus the alignment of the feature kernel with that of the logits' span.

    ``1 - |Q^T H|_F^2 / (|H^T H|_F sqrt(r))`` with centred features H (N, d) and an orthonormal
    basis Q (N, r) of the centred logits. It needs no labels and lies between 0, features that fill
    just the directions of the logits, all equally, and 1.

    Parameters
    ----------
    features, logits
        Shapes (N, d) and (N, C).
    cut
        Directions of the logits below this share of the largest singular value are dropped. At
        collapse one direction is null: kept, it would lift D_LR to ``1 - sqrt((C-1)/C)``.

    Returns
    -------
    Estimate
        `rank` is r, the number of directions kept. NaN where features or logits do not vary.

    References
    ----------
    Definition after Nam et al. 2026, in the form derived here for finite samples.

    Examples
    --------
    >>> import numpy as np
    >>> found = d_lr(np.eye(4), np.eye(4))
    >>> found.rank, abs(found) < 1e-12
    (3, True)
    """
    need(0 <= cut < 1, f"cut must lie in [0, 1), got {cut}")
    _, features, logits = as_arrays(detached(features), detached(logits))
    xp, outputs = _samples(logits, "logits")
    _, features = _samples(features)
    need(
        features.shape[0] == outputs.shape[0],
        f"features (N, d) and logits (N, C) do not fit: {tuple(features.shape)} and "
        f"{tuple(outputs.shape)}",
    )
    inner = _products(xp, outputs, outputs)
    values, vectors = xp.linalg.eigh(inner)
    largest = float(values[-1])
    size = float(xp.linalg.matrix_norm(_products(xp, features, features)))
    if not (largest > 0 and size > 0):
        return Estimate(math.nan)
    kept = int(xp.count_nonzero(values > max(cut**2, ROUNDING) * largest))
    values, vectors = values[values.shape[0] - kept :], vectors[:, vectors.shape[1] - kept :]
    across = xp.matmul(xp.matrix_transpose(vectors), _products(xp, outputs, features))
    inside = float(xp.sum(xp.sum(across * across, axis=1) / values))
    return Estimate(1 - inside / (size * math.sqrt(kept)), rank=kept)


def _samples(values: Array, name: str = "features") -> tuple[Any, Array]:
    """Return samples (N, k) that were checked; wide ones as (N, N) with the same kernel."""
    xp, values = as_arrays(detached(values))
    need_samples(values, f"{name} (N, k)")
    need_finite(values, name)
    N, width = values.shape
    if width > N:
        values = xp.astype(values, xp.float64)
        centred = values - xp.mean(values, axis=0)
        values = xp.matrix_transpose(xp.linalg.qr(xp.matrix_transpose(centred)).R)
    return xp, values


def _products(xp: Any, left: Array, right: Array) -> Array:
    """Return ``L^T R`` of centred samples (N, l) and (N, r), in float64."""
    total = xp.zeros((left.shape[1], right.shape[1]), dtype=xp.float64, device=left.device)
    means = _mean(xp, left), _mean(xp, right)
    for rows in row_blocks(left.shape, columns=right.shape[1]):
        blocks = [
            xp.astype(values[rows, :], xp.float64) - mean
            for values, mean in zip((left, right), means, strict=True)
        ]
        total += xp.matmul(xp.matrix_transpose(blocks[0]), blocks[1])
    return total


def _mean(xp: Any, values: Array) -> Array:
    total = xp.zeros(values.shape[1], dtype=xp.float64, device=values.device)
    for rows in row_blocks(values.shape):
        total += xp.sum(xp.astype(values[rows, :], xp.float64), axis=0)
    return total / values.shape[0]
