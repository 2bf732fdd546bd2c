"""Where the class means lie: their centre, their distances and the axes of ``Sigma_B``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from layerwise.measures.arrays import Array
from layerwise.measures.collapse.classes import Classes, in_dtype, row_blocks

__all__ = [
    "Axes",
    "Between",
    "Size",
    "axes_of",
    "between",
    "between_means",
    "double_products",
    "squared_distances",
    "whitened_draws",
]

STRIP = 128  # rows of a product in float64: at full speed, and small beside the means


@dataclass(frozen=True)
class Size:
    """``tr Sigma_B`` and the mean of ``|mu_c|^2`` over classes."""

    trace: float
    mean_square: float


@dataclass(frozen=True, eq=False)
class Between:
    """Class means about their centre, all in float64.

    Attributes
    ----------
    centre, offsets
        ``mu_G`` (d,) and ``A`` (C, d).
    size
        What remains of them in two numbers.
    """

    xp: Any
    centre: Array
    offsets: Array
    size: Size

    @cached_property
    def gram(self) -> Array:
        """Return ``A A^T`` (C, C)."""
        return self.xp.matmul(self.offsets, self.xp.matrix_transpose(self.offsets))

    def means(self, dtype: Any) -> Array:
        """Return the class means (C, d)."""
        found = self.xp.empty_like(self.offsets, dtype=dtype)
        for part in row_blocks(self.offsets.shape):
            found[part, :] = self.xp.astype(self.offsets[part, :] + self.centre, dtype)
        return found


@dataclass(frozen=True, eq=False)
class Axes:
    """Eigenvectors of ``Sigma_B`` above rounding: with them its pseudo-inverse is never formed.

    Attributes
    ----------
    rows
        The eigenvectors u_k, shape (r, d), in the dtype of the products with the features.
    values
        Their eigenvalues s_k, shape (r,), float64: ``Sigma_B^+ = sum_k u_k u_k^T / s_k``.
    coordinates
        ``A_c . u_k``, shape (C, r), in the dtype of `rows`.
    """

    rows: Array
    values: Array
    coordinates: Array


def between(classes: Classes, weighted: bool) -> Between:
    """Return the geometry of the class means.

    The centre is the mean of all samples if `weighted`, and else that of the class means.
    """
    return between_means(classes.xp, classes.means(classes.work), classes.counts, weighted)


def between_means(xp: Any, means: Array, counts: Array, weighted: bool) -> Between:
    """Return the geometry of class means (C, d) in float64, which it overwrites."""
    C = means.shape[0]
    share = counts / xp.sum(counts) if weighted else xp.full_like(counts, 1 / C)
    mean_square = float(xp.sum(xp.vecdot(means, means))) / C
    centre = xp.matmul(share, means)
    means -= centre
    trace = float(xp.sum(xp.vecdot(means, means))) / C
    return Between(xp, centre, means, Size(trace, mean_square))


def axes_of(shape: Between, eps: float, work: Any) -> Axes:
    """Return the axes of ``Sigma_B`` in the dtype `work`.

    Directions that rounding explains, of the means or of features with precision `eps`, are
    dropped: ``s_k <= max(C eps_64 s_1, (eps |mu_c|)^2)``.
    """
    xp, offsets = shape.xp, shape.offsets
    C, d = offsets.shape
    values, vectors = _eigenvectors(shape, eps)
    rank, few = values.shape[0], d < C
    kinds = {"dtype": work, "device": offsets.device}
    rows, coordinates = xp.empty((rank, d), **kinds), xp.empty((C, rank), **kinds)
    for part in row_blocks((rank, d), STRIP):
        chosen = vectors[:, part]
        if few:
            unit, along = xp.matrix_transpose(chosen), xp.matmul(offsets, chosen)
            squares = xp.sum(along * along, axis=0)
        else:
            unit = xp.matmul(xp.matrix_transpose(chosen), offsets)
            # small ones have more digits so than as eigenvalues
            squares = xp.vecdot(unit, unit)
            unit, along = unit / xp.sqrt(squares)[:, None], chosen * xp.sqrt(squares)
        rows[part, :] = xp.astype(unit, work)
        coordinates[:, part] = xp.astype(along, work)
        values[part] = squares / C
    return Axes(rows, values, coordinates)


def whitened_draws(
    shape: Between, eps: float, work: Any, probes: int, seed: int
) -> tuple[Array, int]:
    """Return ``z^T B`` (probes, d) of random signs z, with ``B^T B = Sigma_B^+``, and its rank."""
    xp = shape.xp
    C, d = shape.offsets.shape
    values, vectors = _eigenvectors(shape, eps)
    rank = values.shape[0]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (probes, rank)).tolist()
    signs = xp.asarray(signs, dtype=xp.float64, device=values.device)
    rows = xp.reshape(signs, (probes, rank)) / xp.sqrt(values)
    if d < C:
        rows = xp.matmul(rows, xp.matrix_transpose(vectors))
    else:
        rows = xp.matmul(rows / xp.sqrt(C * values), xp.matrix_transpose(vectors))
        rows = xp.matmul(rows, shape.offsets)
    return xp.astype(rows, work), rank


def _eigenvectors(shape: Between, eps: float) -> tuple[Array, Array]:
    """Return the eigenvalues of ``Sigma_B`` above rounding, and the eigenvectors they come with.

    Those of the smaller of ``A A^T`` and ``A^T A``, as columns.
    """
    xp, offsets = shape.xp, shape.offsets
    C, d = offsets.shape
    inner = xp.matmul(xp.matrix_transpose(offsets), offsets) if d < C else shape.gram
    values, vectors = xp.linalg.eigh(inner)
    rounding = C * float(xp.finfo(xp.float64).eps) * float(values[-1])
    least = max(rounding, C * eps**2 * shape.size.mean_square)
    # the offsets, weighted or not, sum to zero
    rank = min(int(xp.count_nonzero(values > least)), C - 1)
    dropped = values.shape[0] - rank
    return values[dropped:] / C, vectors[:, dropped:]


def squared_distances(xp: Any, gram: Array) -> Array:
    """Return ``|a_c - a_c'|^2`` (C, C) from the Gram matrix of the a_c, not below 0."""
    squares = xp.linalg.diagonal(gram)
    apart = gram * -2
    apart += squares[:, None]
    apart += squares[None, :]
    return xp.clip(apart, min=0)


def double_products(xp: Any, a: Array, b: Array) -> Array:
    """Return ``a b^T`` in float64 of rows (n, d) and (m, d) in any precision.

    Block by block, without float64 copies of the whole.
    """
    found = xp.empty((a.shape[0], b.shape[0]), dtype=xp.float64, device=a.device)
    for rows in row_blocks(a.shape, STRIP):
        left = in_dtype(xp, a[rows, :], xp.float64)
        for columns in row_blocks(b.shape, STRIP):
            right = in_dtype(xp, b[columns, :], xp.float64)
            found[rows, columns] = xp.matmul(left, xp.matrix_transpose(right))
    return found
