"""Imbalance between neighbouring layers, which gradient flow conserves, and its drift.

One sign everywhere: positive says that the later layer is the larger one, so that the early layer
learns ("upstream").
"""

from __future__ import annotations

import math
from typing import NamedTuple

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = [
    "Balance",
    "balance_defect",
    "balance_level",
    "drift",
    "imbalance",
    "layer_imbalance",
    "log_norm_ratio",
    "neuron_imbalance",
    "pair_imbalance",
]

ROUNDING = 8.0  # the two halves of an imbalance of zero differ by this many units in the last place


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


def neuron_imbalance(w1: Array, w2: Array, b1: Array | None = None) -> Array:
    """Return per hidden neuron ``sum_o w2_oj^2 - sum_i w1_ji^2 - b1_j^2``.

    The diagonal of `imbalance`, which is all that gradient flow conserves of it where a positively
    homogeneous activation (ReLU, leaky ReLU) stands between the layers. For convolutions a neuron
    is a channel.

    Parameters
    ----------
    w1
        Weights into the neurons, shape (h, ...); the trailing axes are all that feeds one neuron:
        (h, i), or (h, i, k, k) of a convolution.
    w2
        Weights out of them, shape (o, h, ...): (o, h), or (o, h, k, k). A dense layer on flattened
        maps of p positions is to be given as (o, h, p).
    b1
        Biases of the neurons, shape (h,), if there are any: they count as weights into them.

    Returns
    -------
    Array
        Shape (h,), in the units of a squared weight.

    Raises
    ------
    ValueError
        If the numbers of neurons differ; all shapes are named.

    References
    ----------
    Du, Hu and Lee 2018 (arXiv 1806.00900).

    Examples
    --------
    >>> import numpy as np
    >>> neuron_imbalance(np.eye(2), 2 * np.eye(2), b1=[0.0, 1.0])
    array([3., 2.])
    """
    xp, w1, w2, bias = as_arrays(w1, w2, 0.0 if b1 is None else b1)
    shapes = f"{tuple(w1.shape)} and {tuple(w2.shape)}"
    need(
        w1.ndim >= 1 and w2.ndim >= 2 and w1.shape[0] == w2.shape[1],
        f"w1 (h, ...) and w2 (o, h, ...) must share h, got {shapes}",
    )
    need(
        b1 is None or tuple(bias.shape) == tuple(w1.shape[:1]),
        f"b1 must have shape {tuple(w1.shape[:1])} for w1 {tuple(w1.shape)}, "
        f"got {tuple(bias.shape)}",
    )
    into = xp.sum(xp.reshape(w1, (w1.shape[0], -1)) ** 2, axis=1)
    out = xp.sum(xp.reshape(w2, (*w2.shape[:2], -1)) ** 2, axis=(0, 2))
    return out - into - bias * bias


def layer_imbalance(w1: Array, w2: Array) -> Array:
    """Return ``|W2|_F^2 - |W1|_F^2``, the trace of the imbalance: one number for two layers.

    Gradient flow conserves it for dense layers and convolutions, of any shapes, without biases and
    with nothing but positively homogeneous activations between them; for layers further apart as
    well. A layer with biases is to be given with them.

    Examples
    --------
    >>> import numpy as np
    >>> float(layer_imbalance(np.eye(2), 2 * np.eye(2)))
    6.0
    """
    xp, w1, w2 = as_arrays(w1, w2)
    return xp.sum(w2 * w2) - xp.sum(w1 * w1)


def log_norm_ratio(w1: Array, w2: Array) -> Array:
    """Return ``ln(|W2|_F / |W1|_F)`` of two layers of any shapes: 0 where they are equally large.

    The sign is that of `layer_imbalance`; a common factor on both layers changes nothing. Infinite
    where one layer is zero, NaN where both are or a weight is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(log_norm_ratio(np.eye(2), 2 * np.eye(3))), 4)  # ln sqrt(12/2)
    0.8959
    """
    xp, w1, w2 = as_arrays(w1, w2)
    (size1, first), (size2, second) = _size_and_log_norm(xp, w1), _size_and_log_norm(xp, w2)
    infinity = xp.full_like(first, float("inf"))
    ratio = xp.where(size1 == 0, infinity, xp.where(size2 == 0, -infinity, second - first))
    known = (size1 < float("inf")) & (size2 < float("inf")) & ((size1 > 0) | (size2 > 0))
    return xp.where(known, ratio, xp.full_like(first, float("nan")))


class Balance(NamedTuple):
    """Mean and standard deviation of the eigenvalues of an imbalance matrix.

    Attributes
    ----------
    lam
        ``tr D/h``; positive where the later layer is the larger one.
    spread
        ``|D - lam I|_F/sqrt(h)``; 0 where the layers are lam-balanced.
    """

    lam: Array
    spread: Array


def balance_level(w1: Array, w2: Array) -> Balance:
    """Return mean and spread of the eigenvalues of ``D = W2^T W2 - W1 W1^T``.

    `w1` is (..., h, i) and `w2` (..., o, h), as for `imbalance`.

    Examples
    --------
    >>> import numpy as np
    >>> lam, spread = balance_level(np.eye(2), np.diag([2.0, 4.0]))
    >>> float(lam), float(spread)
    (9.0, 6.0)
    """
    xp, D = as_arrays(imbalance(w1, w2))
    h = D.shape[-1]
    lam = xp.sum(xp.linalg.diagonal(D), axis=-1) / h
    rest = D - lam[..., None, None] * xp.eye(h, dtype=D.dtype, device=D.device)
    return Balance(lam, xp.sqrt(xp.sum(rest * rest, axis=(-2, -1)) / h))


def balance_defect(w1: Array, w2: Array) -> Array:
    """Return ``|D - (tr D/h) I|_F / |D|_F``: 0 where the layers are lam-balanced, at most 1.

    D is the imbalance matrix, conserved in linear networks, and so is this. A D that is zero to
    rounding has the defect 0: its layers are balanced, with lam = 0. A D that is only small, as
    descent leaves it of zero, still has a defect, that of what is left: compare the spread of
    `balance_level` with the squared weights.

    Parameters
    ----------
    w1
        First layer, shape (..., h, i).
    w2
        Second layer, shape (..., o, h).

    Returns
    -------
    Array
        Shape (...); NaN where a weight is not finite.

    References
    ----------
    lam-balanced starts: Dominé et al. 2025 (arXiv 2409.14623).

    Examples
    --------
    >>> import numpy as np
    >>> float(balance_defect(np.eye(2), 3 * np.eye(2)))
    0.0
    >>> round(float(balance_defect(np.eye(2), np.diag([2.0, 4.0]))), 4)  # 6/sqrt(9^2 + 6^2)
    0.5547
    """
    lam, spread = balance_level(w1, w2)
    xp, w1, w2, lam, spread = as_arrays(w1, w2, lam, spread)
    h = w1.shape[-2]
    size = xp.sqrt(lam * lam + spread * spread)  # |D|_F/sqrt(h)
    squares = xp.sum(w1 * w1, axis=(-2, -1)) + xp.sum(w2 * w2, axis=(-2, -1))
    rounding = ROUNDING * float(xp.finfo(size.dtype).eps) * squares / math.sqrt(h)
    zero = size <= rounding
    return xp.where(zero, xp.zeros_like(size), spread / xp.where(zero, 1 + 0 * size, size))


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


def _size_and_log_norm(xp: Array, w: Array) -> tuple[Array, Array]:
    """Return ``max |w|`` and, where that has a logarithm, ``ln |w|_F`` without underflow."""
    size = xp.max(xp.abs(w))
    known = (size > 0) & (size < float("inf"))  # False for NaN
    unit = xp.where(known, w, xp.ones_like(w)) / xp.where(known, size, xp.ones_like(size))
    return size, xp.log(xp.where(known, size, xp.ones_like(size))) + xp.log(xp.sum(unit**2)) / 2
