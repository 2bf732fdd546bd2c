r"""Optimum of unconstrained features with weight decay: modes, norms, angles, what is not learned.

    L = (1/N) sum_i loss(W h_i + b, y_i) + (l_w/2) |W|^2 + (l_h/2) |H|^2

For any product ``Z = W H`` the cheapest layers cost ``c |Z|_*`` (sum of singular values) with
``c = sqrt(l_w l_h)``: ``W = sqrt(r z) U``, ``H = sqrt(z/r) V^T`` with ``r = sqrt(l_h/l_w)``.
What is left is a problem of the modes z.

* Squared error (with 1/2), no bias: the modes are those of the labels, one a class,
  ``z_c = max(sqrt(n_c) - N c, 0)``.
* Squared error, free bias: it takes ``b_c = n_c/N``, and the modes are the C-1 of the centred
  labels, their singular values s_k in place of sqrt(n_c): all sqrt(n) where classes have one size.
* Cross-entropy, classes of n samples, N = n C, with or without bias (it ends at 0): C-1 modes
  ``z = sqrt(n) x`` on a simplex, of the margin ``x = ln((C-1)(1-q)/q)``, ``q = (C-1) sqrt(n) c``.

Nothing is learned unless ``C sqrt(n) c < 1``, in all three (equal classes).

Source: squared error by the soft threshold of the nuclear norm; explicit margin and unequal classes
with bias derived for this package; checked against direct minimisation. See also arXiv 2105.02375
(cross-entropy), 2202.08087 and 2203.01238 (squared error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise import measures

__all__ = ["Optimum", "collapsed", "label_modes", "optimal_margin"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Optimum:
    """The global optimum of unconstrained features; every class is one point.

    Attributes
    ----------
    modes
        Singular values of ``W H``: one a class, or C-1 of centred labels; 0 if not learned.
    weight_norms, feature_norms
        ``|w_c|`` and ``|h_i|`` of each class, shape (C,).
    margins
        Lead of the true logit over the next, of each class, shape (C,).
    cosines, centred_cosines
        Between raw class means, and between class means about their mean, shape (C, C); NaN where
        one vanishes.
    bias
        Shape (C,); 0 where there is none.
    nc3
        `layerwise.measures.nc3` of means and raw classifier: ``2 - 2 sqrt((C-1)/C)`` for squared
        error without bias and equal classes. NaN where nothing is learned.
    loss
        The minimum, with its decay terms.
    """

    modes: Array
    weight_norms: Array
    feature_norms: Array
    margins: Array
    cosines: Array
    centred_cosines: Array
    bias: Array
    nc3: float
    loss: float

    @property
    def rank(self) -> int:
        """Number of modes that are learned."""
        return int(np.count_nonzero(self.modes))


def label_modes(counts: npt.ArrayLike, centred: bool) -> tuple[Array, Array, Array]:
    """Return left vectors (C, k), singular values (k,) and right vectors (C, k) of the labels.

    Right vectors are in the basis of the C label vectors ``q_c`` of length 1. Raw labels have one
    mode a class, in the order of the classes; centred ones have C-1, largest first.

    Examples
    --------
    >>> label_modes([9, 4], centred=False)[1]
    array([3., 2.])
    >>> label_modes([4, 4, 4], centred=True)[1].round(12)
    array([2., 2.])
    """
    n = np.asarray(counts, dtype=float)
    if not centred:
        return np.eye(len(n)), np.sqrt(n), np.eye(len(n))
    mean = np.sqrt(n / np.sum(n))
    u, s, vt = np.linalg.svd(np.diag(np.sqrt(n)) - np.outer(np.sqrt(n) * mean, mean))
    return u[:, :-1], s[:-1], vt[:-1].T


def optimal_margin(
    n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike, decay: npt.ArrayLike
) -> Array:
    """Return the margin at the optimum of cross-entropy; `decay` is ``sqrt(l_w l_h)`` > 0.

    Examples
    --------
    >>> optimal_margin(10, 100, [1e-6, 1e-3, 0.02]).round(4)
    array([11.5128,  4.5109,  0.    ])
    """
    others = np.asarray(n_classes, dtype=float) - 1
    share = np.sqrt(n_per_class) * np.asarray(decay, dtype=float)  # of every wrong class
    learned = (others + 1) * share < 1
    share = np.where(learned, share, 1 / (others + 1))
    return np.asarray(np.where(learned, np.log((1 - others * share) / share), 0.0))


def collapsed(
    modes: Array,
    vectors: tuple[Array, Array],
    counts: Array,
    bias: Array,
    ratio: float,
    loss: float,
) -> Optimum:
    """Return the geometry of layers of given modes, `ratio` being r.

    Examples
    --------
    >>> u, s, v = label_modes([4, 4, 4], centred=True)
    >>> found = collapsed(s, (u, v), np.array([4, 4, 4]), np.zeros(3), 1.0, 0.0)
    >>> found.weight_norms.round(4), found.cosines[0].round(4)
    (array([1.1547, 1.1547, 1.1547]), array([ 1. , -0.5, -0.5]))
    """
    left, right = vectors
    weight = np.sqrt(ratio * modes) * left
    means = np.sqrt(modes / ratio) * right / np.sqrt(counts)[:, None]
    logits = means @ weight.T + bias
    others = np.where(np.eye(len(counts), dtype=bool), -np.inf, logits)
    labels = np.arange(len(counts))
    return Optimum(
        modes,
        np.linalg.norm(weight, axis=1),
        np.linalg.norm(means, axis=1),
        np.diag(logits) - np.max(others, axis=1),
        _cosines(means),
        _cosines(means - np.mean(means, axis=0)),
        bias,
        measures.nc3(means, labels, weight),
        loss,
    )


def _cosines(rows: Array) -> Array:
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.where(size > 0, rows / np.where(size > 0, size, 1.0), np.nan)
    return np.asarray(unit @ unit.T)
