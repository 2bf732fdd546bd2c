"""How strongly a map holds a mode or a skill of its target, and how aligned two layers are."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need
from layerwise.measures.scale import magnitude, product

__all__ = ["alignment", "mode_strengths", "skill_strength"]


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


def skill_strength(output: Array, target: Array) -> Array:
    """Return R/S, how much of one skill a network has learned, from samples of that skill alone.

    ``mean[(f - mean f)(y - mean y) / std(y)] / S`` with ``S = std(y)``, the size of a target
    that is +S or -S. It is 0 for an output that knows nothing of the skill and 1 for a learned one,
    whatever constant is added; it is linear in the output, so it can exceed 1 and is no
    correlation coefficient.

    Parameters
    ----------
    output
        Outputs f of the network, shape (..., n); leading axes may be times or networks.
    target
        Targets y, shape (n,) or (..., n), at least two different values.

    Returns
    -------
    Array
        Shape (...).

    Raises
    ------
    ValueError
        If the shapes do not fit or a target does not vary: both parities are needed.

    References
    ----------
    The population form is ``E[f g] / (S E[g^2])``, arXiv 2404.17563.

    Examples
    --------
    >>> float(skill_strength([0.5, -0.5, 0.5, -0.5], [5.0, -5.0, 5.0, -5.0]))
    0.1
    """
    xp, f, y = as_arrays(output, target)
    need(
        f.ndim >= 1 and y.ndim >= 1 and f.shape[-1] == y.shape[-1] and f.shape[-1] > 0,
        f"output (..., n) and target (..., n) do not fit: {tuple(f.shape)}, {tuple(y.shape)}",
    )
    need(
        bool(xp.all(xp.max(y, axis=-1) > xp.min(y, axis=-1))),
        "a target that does not vary has no strength: samples of both parities are needed",
    )
    f = f - xp.mean(f, axis=-1, keepdims=True)
    y = y - xp.mean(y, axis=-1, keepdims=True)
    return xp.mean(f * y, axis=-1) / xp.mean(y * y, axis=-1)


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
