r"""Class modes of unconstrained features under squared error, and what a random start has of them.

Aligned with its label vector ``q_c`` and of equal layers, the strength of a class's mode obeys

    z' = (2/N) z (s - z),    s = sqrt(n_c) - N l,

N samples, n_c of them in the class, equal weight decay l of both layers (see `features`). Large
classes come first, at times ``N/(2 sqrt n_c)`` times a logarithm of the start; for ``s <= 0`` the
mode fades.

Evaluation: with ``g = 2 s t/N`` and ``rel(g) = (e^g - 1)/g``, which is smooth at 0,

    z = z_0 / (e^{-g} + z_0 (2t/N) rel(-g))     for s >= 0,
    z = z_0 e^g / (1 + z_0 (2t/N) rel(g))       for s < 0.

Every term is positive: nothing cancels, at any sign and size of s.

Source: derived for this package; checked against 50-digit arithmetic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import exprel

__all__ = ["mode_starts", "strength", "time_to"]

Array = npt.NDArray[np.float64]


def strength(
    start: npt.ArrayLike, goal: npt.ArrayLike, n_samples: npt.ArrayLike, t: npt.ArrayLike
) -> Array:
    """Return z(t) of a mode; all arguments broadcast.

    Domain: a start z_0 >= 0, a goal s of any sign, N >= 1, t >= 0.

    Examples
    --------
    >>> strength(0.1, [2.0, 0.0, -1.0], n_samples=5, t=[[0.0], [5.0], [50.0]]).round(4)
    array([[0.1   , 0.1   , 0.1   ],
           [1.4837, 0.0833, 0.0125],
           [2.    , 0.0333, 0.    ]])
    """
    first, s, t = (np.asarray(given, dtype=float) for given in (start, goal, t))
    clock = 2 * t / np.asarray(n_samples, dtype=float)
    fall = -np.abs(s * clock)
    with np.errstate(under="ignore"):
        lost = np.exp(fall)
        grown = first * clock * exprel(fall)
        return np.where(
            s >= 0, first / np.where(s >= 0, lost + grown, 1.0), lost * first / (1 + grown)
        )


def time_to(
    start: npt.ArrayLike, goal: npt.ArrayLike, n_samples: npt.ArrayLike, level: npt.ArrayLike
) -> Array:
    """Return when a mode has risen to `level`: 0 if it starts there, infinity if it never does.

    Examples
    --------
    >>> time_to(0.1, 2.0, n_samples=5, level=[0.05, 1.0, 1.9, 2.0]).round(3)
    array([0.   , 3.681, 7.361,   inf])
    """
    first, s, z = np.broadcast_arrays(
        *(np.asarray(given, dtype=float) for given in (start, goal, level))
    )
    rises = (first > 0) & (first < z) & (z < s)
    with np.errstate(divide="ignore", invalid="ignore"):  # of modes that do not rise
        way = np.log(z / first) + np.log((s - first) / (s - z))
        times = np.asarray(n_samples, dtype=float) / (2 * s) * way
    return np.where(first >= z, 0.0, np.where(rises, times, np.inf))


def mode_starts(w: npt.ArrayLike, h: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Return the strengths at which class modes start, ``|w_c + H q_c|^2/4``, shape (C,).

    ``q_c`` is the label vector of the class, of length 1. Of a small start the flow keeps the part
    ``(w_c + H q_c)/2``, which grows by equal layers, and loses the other. Random parts are not
    orthogonal, so that it is an approximation: of learning times, within 1 % for classes of one
    size and some per cent for classes of few samples beside classes of many.

    Parameters
    ----------
    w, h
        Classifier (C, d) and features (d, N), one column a sample.
    labels
        Whole numbers 0 ... C-1, shape (N,), each with a sample.

    Raises
    ------
    ValueError
        If shapes or labels do not fit.

    Examples
    --------
    >>> mode_starts(0.1 * np.eye(2), 0.1 * np.eye(2)[:, [0, 0, 1]], [0, 0, 1]).round(6)
    array([0.014571, 0.01    ])
    """
    rows, columns, classes = np.asarray(w, float), np.asarray(h, float), np.asarray(labels)
    if rows.ndim != 2 or columns.shape != (rows.shape[-1], *classes.shape) or classes.ndim != 1:
        raise ValueError(
            "mode_starts: w (C, d), h (d, N) and labels (N,) do not fit: "
            f"{rows.shape}, {columns.shape} and {classes.shape}"
        )
    if classes.dtype.kind not in "iu" or set(classes.tolist()) != set(range(len(rows))):
        raise ValueError(
            f"mode_starts: labels must be whole numbers, all of 0 ... {len(rows) - 1} occur"
        )
    sums = np.zeros((len(rows), rows.shape[1]))
    np.add.at(sums, classes, columns.T)
    grown = (rows + sums / np.sqrt(np.bincount(classes))[:, None]) / 2
    return np.asarray(np.sum(grown**2, axis=1))
