"""NC3: the classifier against the class means, and what the bias does with their centre."""

from __future__ import annotations

import math
from typing import Any

from layerwise.measures.arrays import Array
from layerwise.measures.collapse.between import between, double_products
from layerwise.measures.collapse.classes import head_of, in_dtype, row_blocks
from layerwise.measures.collapse.simplex import etf_error

__all__ = ["bias_collapse", "bias_of", "nc3", "nc3_of", "nc3_zhu"]


def nc3(
    features: Array,
    labels: Array,
    weight: Array,
    *,
    weighted: bool = False,
    centre_weight: bool = False,
) -> float:
    """Return ``| W/|W|_F - A/|A|_F |_F^2``, between 0 (self-dual) and 4 (opposed).

    The rows of A are ``mu_c - mu_G``. A classifier without bias under squared loss ends with
    orthogonal rows: there NC3 stays at ``2 - 2 sqrt((C-1)/C)`` unless its rows are centred.

    Parameters
    ----------
    features, labels
        Shapes (N, d) and (N,); labels in 0 ... C-1, each with a sample.
    weight
        Classifier W, shape (C, d).
    weighted
        Whether ``mu_G`` is the mean of the samples and not that of the class means.
    centre_weight
        Whether the mean row is taken from W first, as in Zhou et al.

    Returns
    -------
    float
        NaN where W or A vanishes.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, a class has no sample, or a number is not finite.

    References
    ----------
    Papyan, Han and Donoho 2020 (arXiv 2008.08186); centred: Zhou et al. 2022 (arXiv 2203.01238).

    Examples
    --------
    >>> import numpy as np
    >>> round(nc3(np.eye(5), range(5), np.eye(5)), 3)  # 2 - 2 sqrt(4/5)
    0.211
    >>> round(nc3(np.eye(5), range(5), np.eye(5), centre_weight=True), 12)
    0.0
    """
    classes, weight, _ = head_of(features, labels, weight)
    shape = between(classes, weighted)
    return nc3_of(classes.xp, shape.offsets, weight, centre_weight)


def nc3_of(xp: Any, offsets: Array, weight: Array, centre_weight: bool) -> float:
    """Return NC3 of centred means (C, d) and a checked classifier."""
    double = xp.float64
    middle = xp.zeros(weight.shape[1], dtype=double, device=weight.device)
    if centre_weight:
        middle = xp.sum(weight, axis=0, dtype=double) / weight.shape[0]
    parts = list(row_blocks(weight.shape))

    def rows(part: slice) -> Array:
        return in_dtype(xp, weight[part, :], double) - middle

    size = math.hypot(*(float(xp.linalg.matrix_norm(rows(part))) for part in parts))
    other = float(xp.linalg.matrix_norm(offsets))
    if size == 0 or other == 0:
        return math.nan
    gaps = (xp.linalg.matrix_norm(rows(p) / size - offsets[p, :] / other) for p in parts)
    return sum(float(gap) ** 2 for gap in gaps)


def nc3_zhu(features: Array, labels: Array, weight: Array, *, weighted: bool = False) -> float:
    """Return ``| W A^T/|W A^T|_F - (I - 1 1^T/C)/sqrt(C-1) |_F``, NC3 as Zhu et al. measure it.

    Parameters and errors as in `nc3`. It is 0 for any W with ``W A^T`` that of a simplex, also
    with parts of W outside the span of the means.

    References
    ----------
    Zhu et al. 2021 (arXiv 2105.02375).

    Examples
    --------
    >>> import numpy as np
    >>> round(nc3_zhu(np.eye(5), range(5), np.eye(5)), 12)
    0.0
    """
    classes, weight, _ = head_of(features, labels, weight)
    shape = between(classes, weighted)
    xp = classes.xp
    return etf_error(xp, double_products(xp, weight, shape.offsets))


def bias_collapse(
    features: Array, labels: Array, weight: Array, bias: Array, *, weighted: bool = False
) -> float:
    """Return ``|b + W mu_G|``: 0 where the bias only undoes the offset of the features.

    One repository reports it as "NC4". Parameters and errors as in `nc3`; `bias` is (C,).

    Examples
    --------
    >>> bias_collapse([[2.0], [4.0]], [0, 1], [[1.0], [-1.0]], [-3.0, 3.0])
    0.0
    """
    classes, weight, bias = head_of(features, labels, weight, bias)
    shape = between(classes, weighted)
    return bias_of(classes.xp, shape.centre, weight, bias)


def bias_of(xp: Any, centre: Array, weight: Array, bias: Array) -> float:
    """Return ``|b + W mu_G|`` of a checked classifier."""
    moved = double_products(xp, weight, centre[None, :])[:, 0]
    return float(xp.linalg.vector_norm(bias + moved))
