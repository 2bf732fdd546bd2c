"""Imbalance between neighbouring layers, which gradient flow conserves, and its drift."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["drift", "imbalance", "pair_imbalance"]


def imbalance(w1: Array, w2: Array) -> Array:
    """Return the imbalance matrix ``Lambda = W2^T W2 - W1 W1^T`` of two layers.

    Gradient flow on ``f(x) = W2 W1 x`` conserves it. A positive eigenvalue says that the later
    layer is larger there, so that the early layer learns ("upstream").

    Parameters
    ----------
    w1
        First layer, shape (..., h, i).
    w2
        Second layer, shape (..., o, h).

    Returns
    -------
    Array
        Shape (..., h, h), symmetric, in the units of a squared weight.

    Raises
    ------
    ValueError
        If the hidden sizes differ; both shapes are named.

    References
    ----------
    Saxe, McClelland and Ganguli 2014 (arXiv 1312.6120); sign as in arXiv 2502.21009, appendix F.

    Examples
    --------
    >>> import numpy as np
    >>> imbalance(np.eye(2), 2 * np.eye(2))
    array([[3., 0.],
           [0., 3.]])
    """
    xp, w1, w2 = as_arrays(w1, w2)
    need(
        w1.ndim >= 2 and w2.ndim >= 2 and w1.shape[-2] == w2.shape[-1],
        f"w1 (..., h, i) and w2 (..., o, h) must share h, got {tuple(w1.shape)} and "
        f"{tuple(w2.shape)}",
    )
    return xp.matmul(xp.matrix_transpose(w2), w2) - xp.matmul(w1, xp.matrix_transpose(w1))


def pair_imbalance(a: Array, b: Array) -> Array:
    """Return ``lam = b^2 - a^2`` elementwise, in the product form ``(b - a)(b + a)``.

    `a` is the first and `b` the second weight of each pair, of shapes that broadcast. The product
    form keeps all digits where the two nearly agree.

    Examples
    --------
    >>> float(pair_imbalance(1.0, 3.0))
    8.0
    """
    _, a, b = as_arrays(a, b)
    return (b - a) * (b + a)


def drift(conserved: Array) -> Array:
    """Return the largest departure of a conserved quantity from its start, relative to its size.

    ``max |x_t - x_0| / max(1, max |x_0|)`` over times and entries; `conserved` has shape (T, ...).
    0 means exactly conserved.

    Examples
    --------
    >>> round(float(drift([[2.0, 4.0], [2.0, 4.4]])), 3)
    0.1
    """
    xp, conserved = as_arrays(conserved)
    need(conserved.ndim >= 1 and conserved.shape[0] >= 1, "drift needs at least one time")
    start = conserved[:1, ...]
    size = xp.max(xp.abs(start))
    return xp.max(xp.abs(conserved - start)) / xp.where(size > 1, size, xp.ones_like(size))
