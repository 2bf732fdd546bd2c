r"""The lazy approximation: the network linearised at its start, whitened inputs.

Freeze the Gram matrices, ``A = W2 W2^T`` and ``B = W1^T W1``. Then ``W' = A (S - W) + (S - W) B``,

    S - W(t) = e^{-A t} (S - W_0) e^{-B t}.

**A model, not the flow.** It is the limit of large weights: at fixed W_0 and imbalance lam the
map's error is about 1/lam^2 (5e-2, 5e-4, 5e-6 for lam = 10, 100, 1000 at |S| of about 1). With
imbalances l+ and -l- the network is lazy if, and only if, ``c = (l+ + l-)/2`` is much larger than
the target. Nothing dispatches to it.

Source: textbook (linearisation, neural tangent kernel); evaluation derived here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["linearised"]

Array = npt.NDArray[np.float64]


def linearised(w1: Array, w2: Array, cross: Array, t: Array) -> Array:
    """Return the linearised network's map, shape (T, o, i): an approximation of the flow's.

    Parameters
    ----------
    w1, w2, cross
        The start, shapes (h, i) and (o, h), and ``S = E[y x^T]``, shape (o, i); ``E[x x^T] = I``.
    t
        Times, shape (T,), not negative.

    Examples
    --------
    >>> w1, w2 = np.array([[0.1, 0.0]]), np.array([[3.0]])
    >>> linearised(w1, w2, np.array([[2.0, 1.0]]), np.array([0.0, 0.1, 9.0])).round(3)
    array([[[0.3  , 0.   ]],
    <BLANKLINE>
           [[1.31 , 0.593]],
    <BLANKLINE>
           [[2.   , 1.   ]]])
    """
    u, a, _ = np.linalg.svd(w2, full_matrices=False)
    _, b, vt = np.linalg.svd(w1, full_matrices=False)
    a, b, column = a**2, b**2, t[:, None]
    start = w2 @ w1
    error = cross - start
    # by whom the error is seen: by both layers, by the later one only, by the earlier one only
    both = u.T @ error @ vt.T
    later, earlier = u.T @ error - both @ vt, error @ vt.T - u @ both
    learned = -np.expm1(-np.add.outer(a, b) * t[:, None, None]) * both
    rows = learned @ vt - np.expm1(-a * column)[:, :, None] * later
    return np.asarray(start + u @ rows - (np.expm1(-b * column)[:, None, :] * earlier) @ vt)
