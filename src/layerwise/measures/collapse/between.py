"""Where the class means lie: their centre, their distances and the axes of ``Sigma_B``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
]


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
    centre, offsets, gram
        ``mu_G`` (d,), ``A`` (C, d) and ``A A^T`` (C, C).
    most
        The largest rank of A: a centre that is the mean of the means takes one direction.
    """

    xp: Any
    centre: Array
    offsets: Array
    gram: Array
    most: int
    size: Size

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
    C, d = means.shape
    share = counts / xp.sum(counts) if weighted else xp.full_like(counts, 1 / C)
    mean_square = float(xp.sum(xp.vecdot(means, means))) / C
    centre = xp.matmul(share, means)
    means -= centre
    gram = xp.matmul(means, xp.matrix_transpose(means))
    trace = float(xp.mean(xp.linalg.diagonal(gram)))
    most = min(C if weighted else C - 1, d)
    return Between(xp, centre, means, gram, most, Size(trace, mean_square))


def axes_of(shape: Between, eps: float, work: Any) -> Axes:
    """Return the axes of ``Sigma_B`` in the dtype `work`.

    Directions that rounding explains, of the means or of features with precision `eps`, are
    dropped: ``s_k <= max(C eps_64 s_1, (eps |mu_c|)^2)``.
    """
    xp, offsets = shape.xp, shape.offsets
    C, d = offsets.shape
    few = d < C
    inner = xp.matmul(xp.matrix_transpose(offsets), offsets) if few else shape.gram
    values, vectors = xp.linalg.eigh(inner)
    rounding = C * float(xp.finfo(xp.float64).eps) * float(values[-1])
    least = max(rounding, C * eps**2 * shape.size.mean_square)
    rank = min(int(xp.count_nonzero(values > least)), shape.most)
    vectors = vectors[:, vectors.shape[1] - rank :]
    kinds = {"dtype": work, "device": offsets.device}
    rows, coordinates = xp.empty((rank, d), **kinds), xp.empty((C, rank), **kinds)
    values = xp.empty(rank, dtype=xp.float64, device=offsets.device)
    for part in row_blocks((rank, d)):
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
    for rows in row_blocks(a.shape):
        left = in_dtype(xp, a[rows, :], xp.float64)
        for columns in row_blocks(b.shape):
            right = in_dtype(xp, b[columns, :], xp.float64)
            found[rows, columns] = xp.matmul(left, xp.matrix_transpose(right))
    return found
