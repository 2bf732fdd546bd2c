r"""Many two-layer linear networks at once: their gradient descent and their tangent kernels.

A network ``f(x) = W2 W1 x`` is held as its stacked weights ``Q = [W1^T; W2]``, shape (i + o, h).
Descent on ``1/2 E|y - f(x)|^2`` is, with ``E = E[y x^T] - W2 W1 E[x x^T]``,

    Q <- Q + rate [[0, E^T], [E, 0]] Q,

which acts on the left, so that rotations of hidden space are left alone: ``Q O`` descends as Q
does. A lower triangular factor of ``Q Q^T`` (`triangular`) therefore stands for a network of any
width h at the cost of one with h = i + o.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["descend", "folded", "triangular"]


def triangular(w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """Return the stacked weights (..., i + o, m), m = min(h, i + o), up to a hidden rotation.

    Parameters
    ----------
    w1, w2
        Layers (..., h, i) and (..., o, h).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w1, w2 = rng.standard_normal((500, 2)), rng.standard_normal((1, 500))
    >>> Q = triangular(w1, w2)
    >>> Q.shape, bool(np.allclose(Q[2:] @ Q[:2].T, w2 @ w1))
    ((3, 3), True)
    """
    return np.linalg.qr(np.concatenate([w1, w2.mT], axis=-1), mode="r").mT


def descend(
    stacked: np.ndarray,
    cross: np.ndarray,
    variances: np.ndarray,
    rate: np.ndarray | float,
    steps: int,
) -> Iterator[int]:
    """Yield k = 0, ..., steps, `stacked` standing after k updates, made in place, each time.

    Parameters
    ----------
    stacked
        Networks ``[W1^T; W2]``, shape (..., i + o, h).
    cross
        ``E[y x^T]``, shape (..., o, i).
    variances
        ``E[x_j^2]`` of uncorrelated inputs, shape (i,).
    rate
        Learning rate, a number or an array (..., 1, 1).
    steps
        Number of updates.

    Raises
    ------
    FloatingPointError
        At the end, if a network diverged; says how many.

    Examples
    --------
    >>> Q = np.full((2, 1), 0.1)  # one weight each
    >>> [float(Q[1, 0].round(3)) for k in descend(Q, np.array([[1.0]]), np.ones(1), 0.5, 4)]
    [0.1, 0.15, 0.223, 0.328, 0.475]
    """
    i = cross.shape[-1]
    first, second = stacked[..., :i, :], stacked[..., i:, :]
    for k in range(steps):
        yield k
        with np.errstate(over="ignore", invalid="ignore"):  # judged at the end
            push = rate * (cross - (second @ first.mT) * variances)
            moved = push.mT @ second
            second += push @ first
            first += moved
    lost = ~np.isfinite(stacked).all(axis=(-2, -1))
    if lost.any():
        raise FloatingPointError(
            f"{lost.sum()} of {lost.size} networks diverged at the learning rate "
            f"{np.max(rate):g}; lower it"
        )
    yield steps


def folded(gram_in: np.ndarray, gram_out: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    r"""Return a small matrix that stands for the tangent kernel in every inner product.

    The kernel on n inputs X and all outputs is ``K = I (x) X^T A X + B (x) X^T X`` with
    ``A = W1^T W1`` and ``B = W2 W2^T``. With the traceless ``B_0 = B - (tr B/o) I`` its parts
    ``I (x) T/o``, where ``T = o X^T A X + tr(B) X^T X`` is its trace over the outputs, and
    ``B_0 (x) X^T X`` are orthogonal, so that

        <K, K'> = <T, T'>/o + |X^T X|^2 <B_0, B_0'>,

    the inner product of the block-diagonal matrices of ``T/sqrt(o)`` and ``|X^T X| B_0``. They can
    be compared by `layerwise.measures.kernel_distance` (not centred: centre X), which keeps the
    digits of small distances; the (n o, n o) kernel is never formed.

    Parameters
    ----------
    gram_in, gram_out
        A, shape (..., i, i), and B, shape (..., o, o).
    inputs
        X, shape (i, n), one column an input; the identity for white inputs.

    Returns
    -------
    ndarray
        Shape (..., n + o, n + o).

    Examples
    --------
    >>> A, B, X = np.diag([2.0, 1.0]), np.array([[1.0, 0.5], [0.5, 3.0]]), np.ones((2, 3))
    >>> K = np.kron(np.eye(2), X.T @ A @ X) + np.kron(B, X.T @ X)
    >>> float(np.linalg.norm(K).round(9)), float(np.linalg.norm(folded(A, B, X)).round(9))
    (31.176914536, 31.176914536)
    """
    n, o = inputs.shape[1], gram_out.shape[-1]
    gram = inputs.T @ inputs
    trace = np.trace(gram_out, axis1=-2, axis2=-1)[..., None, None]
    both = np.zeros((*np.broadcast_shapes(gram_in.shape[:-2], gram_out.shape[:-2]), n + o, n + o))
    both[..., :n, :n] = (o * inputs.T @ gram_in @ inputs + trace * gram) / np.sqrt(o)
    both[..., n:, n:] = np.linalg.norm(gram) * (gram_out - trace / o * np.eye(o))
    return both
