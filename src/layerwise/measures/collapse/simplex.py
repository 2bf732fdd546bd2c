"""NC2: how close class means and classifier rows are to an equiangular simplex."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from layerwise.measures.arrays import Array, as_arrays, need
from layerwise.measures.collapse.between import between, double_products
from layerwise.measures.collapse.classes import detached, head_of, need_finite

__all__ = ["NC2", "Simplex", "etf_error", "nc2", "nc2_of", "simplex"]


@dataclass(frozen=True)
class Simplex:
    """Distances of C vectors from a simplex equiangular tight frame; all 0 in one.

    Attributes
    ----------
    equinorm
        ``std |v_c| / mean |v_c|``, with the population standard deviation.
    equiangular
        Standard deviation of the cosines over pairs.
    angle
        Mean over pairs of ``|cos(c, c') + 1/(C-1)|``.
    etf
        ``| V V^T/|V V^T|_F - (I - 1 1^T/C)/sqrt(C-1) |_F``, the matrix form of Zhu et al.
    """

    equinorm: float
    equiangular: float
    angle: float
    etf: float


@dataclass(frozen=True)
class NC2(Simplex):
    """NC2 of the class means; `classifier` holds the same of the classifier rows."""

    classifier: Simplex


def nc2(
    features: Array,
    labels: Array,
    weight: Array,
    *,
    weighted: bool = False,
    centre_weight: bool = False,
) -> NC2:
    """Return how far class means ``mu_c - mu_G`` and classifier rows are from a simplex.

    Parameters
    ----------
    features, labels
        Shapes (N, d) and (N,); labels in 0 ... C-1, each with a sample.
    weight
        Classifier, shape (C, d).
    weighted
        Whether ``mu_G`` is the mean of the samples and not that of the class means.
    centre_weight
        Whether the mean row is taken from the classifier first.

    Returns
    -------
    NC2
        `equinorm`, `equiangular`, `angle` and `etf` of the means, and `classifier`, which has the
        same names. NaN where a vector vanishes and has no direction.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, a class has no sample, or a number is not finite.

    References
    ----------
    Papyan, Han and Donoho 2020 (arXiv 2008.08186); `etf`: Zhu et al. 2021 (arXiv 2105.02375).

    Examples
    --------
    >>> import numpy as np
    >>> found = nc2(np.eye(3), [0, 1, 2], np.eye(3))
    >>> round(found.angle, 12), found.classifier.angle  # a frame is no simplex until centred
    (0.0, 0.5)
    """
    classes, weight, _ = head_of(features, labels, weight)
    xp = classes.xp
    rows = double_products(xp, weight, weight)
    return nc2_of(xp, between(classes, weighted).gram, rows, centre_weight)


def simplex(vectors: Array) -> Simplex:
    """Return how far the rows of `vectors` (C, d), as they are, are from a simplex.

    Examples
    --------
    >>> simplex([[1.0], [-1.0]])
    Simplex(equinorm=0.0, equiangular=0.0, angle=0.0, etf=0.0)
    """
    xp, vectors = as_arrays(detached(vectors))
    need(
        vectors.ndim == 2 and vectors.shape[0] >= 2,
        f"a simplex has rows (C, d) with C >= 2, got {tuple(vectors.shape)}",
    )
    need_finite(vectors, "vectors")
    return _simplex_of(xp, double_products(xp, vectors, vectors))


def nc2_of(xp: Any, gram: Array, rows: Array, centre_weight: bool) -> NC2:
    """Return NC2 from the Gram matrices of centred means and of classifier rows."""
    if centre_weight:
        rows = rows - xp.mean(rows, axis=0, keepdims=True)
        rows -= xp.mean(rows, axis=1, keepdims=True)
    return NC2(**asdict(_simplex_of(xp, gram)), classifier=_simplex_of(xp, rows))


def _simplex_of(xp: Any, gram: Array) -> Simplex:
    C = gram.shape[0]
    squares = xp.linalg.diagonal(gram)
    norms = xp.sqrt(squares)
    size = float(xp.mean(norms))
    if size == 0:
        return Simplex(math.nan, math.nan, math.nan, math.nan)
    equinorm = float(xp.std(norms)) / size
    if not bool(xp.all(norms > 0)):
        return Simplex(equinorm, math.nan, math.nan, etf_error(xp, gram))
    diagonal = xp.eye(C, dtype=xp.bool, device=gram.device)
    excess = gram / norms[:, None]
    excess /= norms[None, :]
    excess += 1 / (C - 1)
    excess = xp.where(diagonal, xp.zeros_like(gram), excess)
    pairs = C * (C - 1)
    angle = float(xp.sum(xp.abs(excess))) / pairs
    excess -= float(xp.sum(excess)) / pairs
    excess = xp.where(diagonal, xp.zeros_like(gram), excess)
    equiangular = float(xp.linalg.matrix_norm(excess)) / math.sqrt(pairs)
    return Simplex(equinorm, equiangular, angle, etf_error(xp, gram))


def etf_error(xp: Any, product: Array) -> float:
    """Return the Frobenius distance of a unit (C, C) matrix from the unit Gram of a simplex."""
    C = product.shape[0]
    size = float(xp.linalg.matrix_norm(product))
    if size == 0:
        return math.nan
    excess = product / size
    excess -= xp.eye(C, dtype=xp.float64, device=product.device) / math.sqrt(C - 1)
    excess += 1 / (C * math.sqrt(C - 1))
    return float(xp.linalg.matrix_norm(excess))
