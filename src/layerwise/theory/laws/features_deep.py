r"""Unconstrained features behind more linear layers: the optimum, which is reached by a jump.

L factors, the last of them the features H, of equal weight decay l (of unequal decay: their
geometric mean), squared error ``(1/2N) |W_L ... W_2 H - Y|^2``, no bias, C classes of n samples,
``N = n C``. Each class is a mode of strength z, and equal factors are the cheapest:

    minimise  f(z) = (z - s)^2/(2N) + (L/2) l z^{2/L},    s = sqrt(n).

For L = 2 the minimum leaves 0 continuously, ``z = s - N l``. For L > 2 it jumps, between 0 and
``s (L-2)/(L-1)``, at the critical decay

    l_c = (1/N) (s/(L-1)) (s (L-2)/(L-1))^{1-2/L}.

The collapsed branch lives on above it as a local minimum, up to ``z = s (L-2)/(2L-2)``, and so does
the minimum at 0 below: near l_c an optimiser may end with some modes at 0, a rank below C.

Evaluation: a collapsed ``u = z/s`` solves ``(1-u) u^p = l N s^{-1-p}``, ``p = 1 - 2/L``; there the
left side is concave and falls, so Newton's method from u = 1 is monotone.

Source: derived for this package; checked against 50-digit arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["branch", "critical_decay", "jump", "largest_decay", "mode_loss", "optimum"]

Array = npt.NDArray[np.float64]

STEPS = 60  # halvings of the error where the branch ends, at a double root


def mode_loss(
    z: npt.ArrayLike,
    depth: npt.ArrayLike,
    decay: npt.ArrayLike,
    n_classes: npt.ArrayLike,
    n_per_class: npt.ArrayLike,
) -> Array:
    """Return f(z), one mode's part of the loss; all C of them are the loss with its decay terms.

    Examples
    --------
    >>> float(mode_loss(0.0, 3, 0.01, n_classes=4, n_per_class=9))
    0.125
    """
    L = _deep(depth)
    n, z = np.asarray(n_per_class, dtype=float), np.asarray(z, dtype=float)
    fit = (z - np.sqrt(n)) ** 2 / (2 * n * np.asarray(n_classes))
    return np.asarray(fit + L / 2 * np.asarray(decay) * z ** (2 / L))


def jump(depth: npt.ArrayLike) -> Array:
    """Return ``z/sqrt(n)`` of the collapsed minimum at the critical decay: 0 for two layers.

    Examples
    --------
    >>> jump([2, 3, 4]).round(4)
    array([0.    , 0.5   , 0.6667])
    """
    L = _deep(depth)
    return np.asarray((L - 2) / (L - 1))


def critical_decay(
    depth: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike
) -> Array:
    """Return the decay l_c above which nothing is learned.

    Examples
    --------
    >>> critical_decay([2, 3, 4], n_classes=4, n_per_class=10).round(4)
    array([0.0791, 0.0461, 0.0383])
    """
    return _decay_at(jump(depth), depth, n_classes, n_per_class)


def largest_decay(
    depth: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike
) -> Array:
    """Return the decay up to which collapse is a local minimum; `critical_decay` for two layers.

    Examples
    --------
    >>> largest_decay([2, 3, 4], n_classes=4, n_per_class=10).round(4)
    array([0.0791, 0.0548, 0.0541])
    """
    return _decay_at(jump(depth) / 2, depth, n_classes, n_per_class)


def branch(
    depth: npt.ArrayLike,
    decay: npt.ArrayLike,
    n_classes: npt.ArrayLike,
    n_per_class: npt.ArrayLike,
) -> Array:
    """Return z of the collapsed local minimum, NaN where there is none.

    Towards `largest_decay`, where it merges with a saddle, half of the digits are lost.

    Examples
    --------
    >>> branch(3, [0.0, 0.04, 0.05, 0.06], n_classes=4, n_per_class=10).round(3)
    array([3.162, 1.862, 1.355,   nan])
    """
    L, n, given = _deep(depth), np.asarray(n_per_class, float), np.asarray(decay, float)
    if not np.all((given >= 0) & np.isfinite(given)):
        raise ValueError("decay must be finite and not negative")
    p, N = 1 - 2 / L, n * np.asarray(n_classes)
    lives = given <= largest_decay(L, n_classes, n)
    share = np.where(lives, given * N * np.sqrt(n) ** (-1 - p), 0.0)
    end = jump(L) / 2
    u = np.ones(np.broadcast_shapes(share.shape, p.shape))
    for _ in range(STEPS):
        slope = p * u ** (p - 1) - (1 + p) * u**p
        step = ((1 - u) * u**p - share) / np.where(slope == 0, 1.0, slope)
        before, u = u, np.maximum(u - step, np.maximum(end, np.finfo(float).tiny))
        if np.all(before == u):
            break
    return np.asarray(
        np.where(lives, np.where(p == 0, np.maximum(1 - share, 0.0), u) * np.sqrt(n), np.nan)
    )


def optimum(
    depth: npt.ArrayLike,
    decay: npt.ArrayLike,
    n_classes: npt.ArrayLike,
    n_per_class: npt.ArrayLike,
) -> Array:
    """Return z of the global minimum, which all classes share; 0 above the critical decay.

    Examples
    --------
    >>> optimum([2, 3, 4], 0.04, n_classes=4, n_per_class=10).round(3)
    array([1.562, 1.862, 0.   ])
    """
    found = branch(depth, decay, n_classes, n_per_class)
    learned = np.asarray(decay) < critical_decay(depth, n_classes, n_per_class)
    return np.asarray(np.where(learned, found, 0.0))


def _decay_at(
    share: Array, depth: npt.ArrayLike, n_classes: npt.ArrayLike, n_per_class: npt.ArrayLike
) -> Array:
    """Return the decay that makes ``z = share sqrt(n)`` stationary."""
    L, s = _deep(depth), np.sqrt(np.asarray(n_per_class, dtype=float))
    return np.asarray((1 - share) * s * (share * s) ** (1 - 2 / L) / (s**2 * np.asarray(n_classes)))


def _deep(depth: npt.ArrayLike) -> Array:
    L = np.asarray(depth, dtype=float)
    if not np.all((L >= 2) & np.isfinite(L)):
        raise ValueError(f"depth must be at least 2, classifier and features, got {depth!r}")
    return L
