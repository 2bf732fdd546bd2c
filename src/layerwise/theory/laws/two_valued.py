r"""Two-valued imbalance: a constant-term Riccati equation.

If ``Q = [W1^T; W2]`` has full row rank n = i + o and ``Lambda = W2^T W2 - W1 W1^T`` has the
eigenvalues ``upper`` (o times) and ``-lower`` (i times) on the directions that Q uses, then with
``alpha = upper - lower``, ``beta = upper lower`` and F that of the balanced law at imbalance alpha

    R' = F R + R F - R^2 + beta I,      R = Q Q^T.

In F's eigenbasis (eigenvalues f, descending), ``K = hypot(f, sqrt beta)``, ``rp = K + f``,
``rm = K - f`` (``rp rm = beta``), ``e = e^{-2 K t}`` and ``V^T R_0 V = C C^T`` with C lower
triangular,

    pp = (1 - e)/(rm + rp e),   g = 2 K e^{-K t}/(rm + rp e),
    M = I + C^T pp C = L L^T,   X = g C L^{-T},   R(t) = V (beta pp + X X^T) V^T.

All terms are positive and bounded at every t. Instances: every 1-h-1 network; the infinitely wide
network with independent weights of variances ``lower/h`` (first layer) and ``upper/h``.

Domain: upper > 0, lower > 0, whitened inputs, no decay. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

__all__ = ["TwoValued", "prepare"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TwoValued:
    """A network of two-valued imbalance in the eigenbasis of F; made by `prepare`.

    Attributes
    ----------
    vectors, f
        Eigenvectors of F as columns, shape (n, n), and its eigenvalues, descending.
    beta
        ``upper * lower``.
    factor
        C, lower triangular, shape (n, n).
    """

    vectors: Array
    f: Array
    beta: float
    factor: Array

    def at(self, t: float) -> Array:
        """Return ``R(t) = [[W1^T W1, W^T], [W, W2 W2^T]]``, shape (n, n)."""
        K = np.hypot(self.f, np.sqrt(self.beta))
        rising = self.f >= 0
        large = K + np.abs(self.f)
        small = self.beta / large
        rp, rm = np.where(rising, large, small), np.where(rising, small, large)
        e = np.exp(-2 * K * t)
        under = rm + rp * e
        pp = -np.expm1(-2 * K * t) / under
        g = 2 * K * np.exp(-K * t) / under
        M = np.eye(len(K)) + self.factor.T @ (pp[:, None] * self.factor)
        X = solve_triangular(np.linalg.cholesky(M), (g[:, None] * self.factor).T, lower=True)
        moved = self.vectors @ X.T
        still = (self.vectors * (self.beta * pp)) @ self.vectors.T
        return np.asarray(still + moved @ moved.T)


def prepare(w1: Array, w2: Array, cross: Array, upper: float, lower: float) -> TwoValued:
    """Bring a network of two-valued imbalance into the eigenbasis of F.

    Parameters
    ----------
    w1, w2, cross
        Shapes (h, i), (o, h), (o, i), h >= i + o.
    upper, lower
        The imbalance is `upper` on o hidden directions and ``-lower`` on i others.

    Examples
    --------
    >>> W1, W2 = np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])
    >>> prepare(W1, W2, np.array([[2.0]]), 1.0, 1.0).at(9.0).round(3)[1, 0]  # the map
    np.float64(2.0)
    """
    i, o = w1.shape[1], w2.shape[0]
    half = (upper - lower) / 2
    F = np.block([[-half * np.eye(i), cross.T], [cross, half * np.eye(o)]])
    f, vectors = np.linalg.eigh(F)
    f, vectors = f[::-1], vectors[:, ::-1]
    stacked = np.concatenate([w1.T, w2])
    factor = np.asarray(np.linalg.qr((vectors.T @ stacked).T, mode="r")).T
    return TwoValued(vectors, f, upper * lower, factor)
