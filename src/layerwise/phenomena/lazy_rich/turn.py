r"""How the tangent kernel of a lazy linear network begins to turn.

In the lazy limit a network ``f(x) = W2 W1 x`` that starts at the zero map learns by its kernel at
the start, ``K_0 = B (x) X^T X + I (x) X^T A X``, ``A = W1^T W1``, ``B = W2 W2^T``: its residual is
``E(t) = e^{-K_0 t} Y``. With ``Z(t) = int_0^t E ds`` its layers then move, to second order in Y, by

    dW1 = W2^T Z X^T + W1 X P X^T,          P = int Z^T Z' ds,
    dW2 = Z X^T W1^T + Q W2,                Q = int Z' X^T X Z^T ds,

and its Gram matrices, of which the first-order terms vanish as ``W2 W1 = 0``, by

    dA = X Z^T B Z X^T + A X P X^T + (A X P X^T)^T,
    dB = Z X^T A X Z^T + Q B + (Q B)^T.

So the kernel turns by an angle of the order of the square of the target, and the kernel distance
is of the order of its fourth power; corrections are smaller by another square. P and Q have closed
forms in the eigenbasis of K_0. Derived here.
"""

from __future__ import annotations

import numpy as np

__all__ = ["turned"]

ROUNDING = 1e-12  # kernel eigenvalues of a smaller share, and maps of a smaller share, are zero


def turned(
    w1: np.ndarray, w2: np.ndarray, cross: np.ndarray, inputs: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``W1^T W1`` (..., i, i) and ``W2 W2^T`` (..., o, o) at time t, to second order.

    Parameters
    ----------
    w1, w2
        Layers at the start, (..., h, i) and (..., o, h), with ``W2 W1 = 0``.
    cross
        ``E[y x^T]``, shape (..., o, i).
    inputs
        The n inputs over sqrt(n), shape (i, n).
    t
        Time of gradient flow.

    Raises
    ------
    ValueError
        If the network does not start at the zero map; its largest entry is named.

    Examples
    --------
    >>> w1, w2 = np.array([[1.0], [0.0]]), np.array([[0.0, 1.0]])
    >>> A, B = turned(w1, w2, np.array([[0.02]]), np.eye(1), 50.0)
    >>> float(A[0, 0].round(7)), round((1 + 0.02**2) ** 0.5, 7)  # the second is exact
    (1.0002, 1.0002)
    """
    start = np.max(np.abs(w2 @ w1))
    if start > ROUNDING * np.max(np.abs(w1)) * np.max(np.abs(w2)) * len(inputs):
        raise ValueError(f"turned: needs W2 W1 = 0 at the start, its largest entry is {start:.3g}")
    n, o = inputs.shape[1], w2.shape[-2]
    A, B, gram = w1.mT @ w1, w2 @ w2.mT, inputs.T @ inputs
    seen = A @ inputs
    kernel = np.einsum("...ab,ij->...aibj", B, gram)
    kernel = kernel + np.einsum("ab,...ij->...aibj", np.eye(o), inputs.T @ seen)
    lead = kernel.shape[:-4]
    values, vectors = np.linalg.eigh(kernel.reshape(*lead, o * n, o * n))
    moving = values > ROUNDING * values[..., -1:]
    values = np.where(moving, values, 1.0)
    Y = cross @ np.linalg.pinv(inputs).T
    strength = np.einsum("...k,...km->...m", Y.reshape(*Y.shape[:-2], o * n), vectors)
    # rows of M: the modes of Y, (o, n) each
    M = (vectors * np.where(moving, strength, 0.0)[..., None, :]).mT.reshape(*lead, -1, o, n)

    def learned(rate: np.ndarray) -> np.ndarray:
        return -np.expm1(-rate * t) / rate

    once = learned(values)
    both = once[..., None, :] - learned(values[..., :, None] + values[..., None, :])
    both = both / values[..., :, None]
    Z = np.einsum("...m,...mai->...ai", once, M)
    P = np.einsum("...ml,...mai,...laj->...ij", both, M, M, optimize=True)
    Q = np.einsum("...ml,...lai,ij,...mbj->...ab", both, M, gram, M, optimize=True)
    half_in, half_out = seen @ P @ inputs.T, Q @ B
    heavy = w2.mT @ Z @ inputs.T
    light = Z @ inputs.T @ w1.mT
    return (
        A + heavy.mT @ heavy + half_in + half_in.mT,
        B + light @ light.mT + half_out + half_out.mT,
    )
