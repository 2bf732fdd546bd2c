"""How strongly a map holds each mode of its target, and how aligned two layers are."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need
from layerwise.measures.scale import magnitude, product

__all__ = ["alignment", "mode_strengths"]


def mode_strengths(w: Array, u: Array, v: Array) -> Array:
    """Return ``u_k^T W v_k`` for every mode k: what the map `w` holds of each target mode.

    Parameters
    ----------
    w
        Map, shape (..., o, i); leading axes may be times.
    u, v
        Left and right singular vectors of the target as columns, shapes (o, k) and (i, k).

    Returns
    -------
    Array
        Shape (..., k). A learned mode equals its singular value.

    Examples
    --------
    >>> import numpy as np
    >>> mode_strengths(np.diag([3.0, 1.0]), np.eye(2), np.eye(2))
    array([3., 1.])
    """
    xp, w, u, v = as_arrays(w, u, v)
    need(
        w.ndim >= 2
        and u.ndim == v.ndim == 2
        and (w.shape[-2], w.shape[-1], u.shape[1]) == (u.shape[0], v.shape[0], v.shape[1]),
        f"w (..., o, i), u (o, k), v (i, k) do not fit: {tuple(w.shape)}, {tuple(u.shape)}, "
        f"{tuple(v.shape)}",
    )
    return xp.sum(xp.matmul(w, v) * u, axis=-2)


def alignment(a: Array, b: Array) -> Array:
    """Return ``2 a.b / (|a|^2 + |b|^2)`` over the last axis: 1 aligned and balanced, -1 opposed.

    In the 1-h-1 network this is ``Theta/Sigma``, what the network has learned relative to its
    size: near 0 lazy, near 1 rich. It is 0 for zero weights.

    Examples
    --------
    >>> float(alignment([1.0, 1.0], [1.0, 1.0])), float(alignment([1.0, 1.0], [1.0, -1.0]))
    (1.0, 0.0)
    """
    size = magnitude(a, b)
    xp, size, learned = as_arrays(size, product(a, b))
    return learned / xp.where(size > 0, size, xp.ones_like(size))
