"""Rows in echelon form: which of them are new, by numerical rank and in a given order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NOISE", "Echelon", "echelon"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

NEW = 1e-13  # a row is a pivot if more than this share of it is new ...
NOISE = 4e-15  # ... and more than what rounding leaves of all rows
CLEAR, DISTINCT = 1e-6, 1e-9  # shares from which on one factorisation of all rows is as good


@dataclass(frozen=True, eq=False)
class Echelon:
    """Ordered rows C (m, h) in echelon form, ``C[pivots] = lower @ basis``.

    Attributes
    ----------
    pivots
        The rows that are new beside all rows before them, shape (rho,), ascending.
    basis
        Orthonormal directions, shape (rho, h).
    lower
        The pivot rows in that basis, lower triangular, shape (rho, rho).
    full
        Which rows come when no rank is left for them, shape (m,).
    """

    pivots: Index
    basis: Array
    lower: Array
    full: npt.NDArray[np.bool_]


def echelon(rows: Array) -> Echelon:
    """Bring rows (m, h) to echelon form in the order given, by their numerical rank.

    Examples
    --------
    >>> found = echelon(np.array([[0.0, 2.0], [0.0, 3.0], [4.0, 1.0]]))
    >>> found.pivots, (found.lower @ found.basis).round(12)
    (array([0, 2]), array([[0., 2.],
           [4., 1.]]))
    """
    m, h = rows.shape
    first = min(m, h)
    q, r = np.linalg.qr(rows[:first].T)
    size = np.linalg.norm(rows[:first], axis=1)
    new = np.abs(np.diagonal(r))
    if np.all(new > np.maximum(CLEAR * size, DISTINCT * float(np.linalg.norm(rows)))):
        return Echelon(np.arange(first), q.T, r.T, np.arange(m) >= first)
    # Noise must not be taken for rank: keep the hidden directions that the rows really use.
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    rank = int(np.sum(sizes > NOISE * sizes[0]))
    rows = rows @ directions[:rank].T
    basis, lower = np.zeros((rank, rank)), np.zeros((rank, rank))
    noise = NOISE * float(np.linalg.norm(rows))
    pivots: list[int] = []
    for j, row in enumerate(rows):
        found = len(pivots)
        if found == rank:
            break
        known = basis[:found]
        inside = known @ row
        rest = row - inside @ known
        again = known @ rest
        inside, rest = inside + again, rest - again @ known
        length = float(np.linalg.norm(rest))
        if length > max(NEW * float(np.linalg.norm(row)), noise):
            basis[found], lower[found, :found], lower[found, found] = rest / length, inside, length
            pivots.append(j)
    found = len(pivots)
    last = pivots[-1] if found == rank and found else m
    full = np.arange(m) > last
    kept = basis[:found] @ directions[:rank]
    return Echelon(np.array(pivots, dtype=np.intp), kept, lower[:found, :found], full)
