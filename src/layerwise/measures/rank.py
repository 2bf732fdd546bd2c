"""How many directions a map uses: effective, stable and numerical rank."""

from __future__ import annotations

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = ["effective_rank", "numerical_rank", "rank_of_spectrum", "stable_rank"]


def effective_rank(w: Array) -> Array:
    """Return ``exp(-sum_i p_i ln p_i)``, ``p_i = sigma_i / sum sigma``: the rank as an entropy.

    It counts directions by their share of the singular values: k for k equal ones, and it moves
    smoothly while new ones grow.

    Parameters
    ----------
    w
        Map, shape (..., o, i); leading axes may be times.

    Returns
    -------
    Array
        Shape (...), between 1 and min(o, i); 0 for a zero matrix, NaN where a number of the
        matrix is not finite.

    References
    ----------
    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".

    Examples
    --------
    >>> import numpy as np
    >>> float(effective_rank(np.diag([2.0, 2.0, 0.0])).round(12))
    2.0
    """
    return rank_of_spectrum(_spectrum(w))


def rank_of_spectrum(singular_values: Array) -> Array:
    """Return the effective rank from singular values already known, shape (..., k).

    In any order; zeros do not count. The values are those of `effective_rank`, which see.

    Raises
    ------
    ValueError
        If there are none, or one is negative.

    Examples
    --------
    >>> float(rank_of_spectrum([3.0, 1.0]).round(4))  # exp(H(3/4, 1/4))
    1.7548
    """
    xp, sizes, known = _relative(singular_values)
    total = xp.sum(sizes, axis=-1, keepdims=True)
    share = sizes / xp.where(total > 0, total, xp.ones_like(total))
    entropy = -xp.sum(share * xp.log(xp.where(share > 0, share, xp.ones_like(share))), axis=-1)
    total = total[..., 0]
    rank = xp.where(total > 0, xp.exp(entropy), xp.zeros_like(total))
    return xp.where(known, rank, xp.full_like(rank, float("nan")))


def stable_rank(w: Array) -> Array:
    """Return ``sum_i sigma_i^2 / sigma_1^2 = |W|_F^2 / |W|_2^2``: the rank by energy.

    Small singular values hardly count, so that it is stable under small changes of the map. It
    never exceeds the effective rank.

    Parameters
    ----------
    w
        Map, shape (..., o, i).

    Returns
    -------
    Array
        Shape (...), between 1 and min(o, i); 0 for a zero matrix, NaN where a number of the
        matrix is not finite.

    References
    ----------
    Rudelson and Vershynin 2007, "Sampling from large matrices" (there: numerical rank).

    Examples
    --------
    >>> import numpy as np
    >>> float(stable_rank(np.diag([2.0, 1.0])))
    1.25
    """
    xp, sizes, known = _relative(_spectrum(w))
    rank = xp.sum(sizes * sizes, axis=-1)
    return xp.where(known, rank, xp.full_like(rank, float("nan")))


def numerical_rank(w: Array, rtol: float | None = None) -> Array:
    """Return the number of singular values above ``rtol sigma_1``.

    Parameters
    ----------
    w
        Map, shape (..., o, i).
    rtol
        Default: ``max(o, i)`` times the machine precision, what rounding alone can leave.

    Returns
    -------
    Array
        Shape (...): a whole number, held as a float so that NaN can stand where a number of the
        matrix is not finite; 0 for a zero matrix.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.diag([1.0, 1e-3, 1e-20])
    >>> float(numerical_rank(w)), float(numerical_rank(w, rtol=0.01))
    (2.0, 1.0)
    """
    _, w = as_arrays(w)
    xp, sizes, known = _relative(_spectrum(w))
    if rtol is None:
        rtol = max(w.shape[-2:]) * float(xp.finfo(sizes.dtype).eps)
    need(0 <= rtol < 1, f"rtol must lie in [0, 1), got {rtol}")
    rank = xp.sum(xp.astype(sizes > rtol, sizes.dtype), axis=-1)
    return xp.where(known, rank, xp.full_like(rank, float("nan")))


def _spectrum(w: Array) -> Array:
    """Return the singular values of the last two axes; NaN where the matrix is not finite."""
    xp, w = as_arrays(w)
    need(
        w.ndim >= 2 and 0 not in w.shape[-2:],
        f"a rank needs a matrix (..., o, i) that is not empty, got {tuple(w.shape)}",
    )
    known = xp.all(xp.isfinite(w), axis=(-2, -1), keepdims=True)
    values = xp.linalg.svdvals(xp.where(known, w, xp.zeros_like(w)))
    return xp.where(known[..., 0], values, xp.full_like(values, float("nan")))


def _relative(values: Array) -> tuple[Array, Array, Array]:
    """Return ``(xp, sigma_i/sigma_1, known)``; zeros where all vanish or are not known."""
    xp, values = as_arrays(values)
    need(
        values.ndim >= 1 and values.shape[-1] > 0,
        f"a rank needs singular values (..., k), got shape {tuple(values.shape)}",
    )
    need(not bool(xp.any(values < 0)), "singular values must not be negative")
    known = xp.all(xp.isfinite(values), axis=-1)
    values = xp.where(known[..., None], values, xp.zeros_like(values))
    largest = xp.max(values, axis=-1, keepdims=True)
    return xp, values / xp.where(largest > 0, largest, xp.ones_like(largest)), known
