r"""The one-neuron law: one hidden unit, any number of inputs and outputs, whitened inputs.

With a single hidden unit the stacked weights are one vector ``q = [w1; w2]``, any start is
balanced with ``lam = |w2|^2 - |w1|^2``, and the weights themselves have a closed form:

    q' = F q - |q|^2 q / 2,    F = [[-lam/2, S^T], [S, lam/2]],
    q(t) = e^{Ft} q_0 / sqrt(1 + q_0^T (int_0^t e^{2 F s} ds) q_0).

Evaluation, for every lam, start and t:

* a thin SVD of S gives the eigenvectors of F. What w1 and w2 have outside of its singular vectors
  is one more direction each, of rates -lam/2 and lam/2, however many inputs there are;
* the fastest growth that the start excites is divided out, so no exponent is positive;
* every rate is +-(|lam|/2 + x) with ``x = s^2/(w + |lam|/2)``, ``w = hypot(s, lam/2)``, and growth
  rates are compared by x: a difference of the rates would lose it for a large imbalance. Singular
  values that only rounding has parted are joined, or they would compete in the end;
* growing modes that the start excites by no more than rounding count as not excited: it stays on
  its saddle.

Source: Kunin et al. 2024 (case by case in lam); the single form and its evaluation derived here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["weights"]

Array = npt.NDArray[np.float64]

NOISE = 4e-15  # relative to the start: a projection leaves this much by rounding


def weights(w1: Array, w2: Array, cross: Array, t: Array) -> tuple[Array, Array]:
    """Return W1(t), W2(t) of shapes (T, 1, i) and (T, o, 1).

    Parameters
    ----------
    w1, w2, cross
        The start, shapes (1, i) and (o, 1), and ``S = E[y x^T]``, shape (o, i); ``E[x x^T] = I``.
    t
        Times, shape (T,), not negative.

    Examples
    --------
    >>> w1, w2 = np.array([[0.1, 0.2]]), np.array([[0.1], [-0.1]])
    >>> first, second = weights(w1, w2, np.diag([2.0, 1.0]), np.array([0.0, 30.0]))
    >>> (second @ first)[:, 0].round(4)  # it has room for one mode, and takes the stronger
    array([[0.01, 0.02],
           [2.  , 0.  ]])
    """
    a, b, column = w1[0], w2[:, 0], t[:, None]
    before, after = float(a @ a), float(b @ b)
    half = abs(after - before) / 2
    u, s, vt = np.linalg.svd(cross, full_matrices=False)
    s = _joined(s, max(cross.shape) * float(np.finfo(float).eps) * float(s[0]))
    major, minor, excess = _mix(s, half)
    va, vb = (minor, major) if after >= before else (major, minor)
    along_a, along_b = vt @ a, b @ u
    rest_a, rest_b = a - along_a @ vt, b - u @ along_b
    up, down = va * along_a + vb * along_b, vb * along_a - va * along_b
    top = np.max(excess, where=np.abs(up) > NOISE * np.sqrt(before + after), initial=0.0)
    up = np.where(excess > top, 0.0, up)
    # the rests go with s = 0: that of the heavier layer grows, the other one falls
    excess = np.append(excess, 0.0)
    rests = float(rest_a @ rest_a), float(rest_b @ rest_b)
    falling, growing = rests if after >= before else rests[::-1]
    rise = np.exp(np.minimum(excess - top, 0.0) * column)
    fall = np.exp(-(2 * half + excess + top) * column)
    lost = np.exp(-2 * (half + top) * column)
    time = _time(half + excess, column)
    squares = time * (np.append(up**2, growing) * rise**2 + np.append(down**2, falling) * lost)
    shrink = 1 / np.sqrt(lost + np.sum(squares, axis=1, keepdims=True))
    ups, downs = up * rise[:, :-1], down * fall[:, :-1]
    slow, fast = rise[:, -1:], fall[:, -1:]
    last_a, last_b = (fast, slow) if after >= before else (slow, fast)
    first = shrink * ((va * ups + vb * downs) @ vt + last_a * rest_a)
    second = shrink * ((vb * ups - va * downs) @ u.T + last_b * rest_b)
    return first[:, None, :], second[:, :, None]


def _joined(s: Array, close: float) -> Array:
    """Return descending singular values with all that differ by no more than `close` made equal."""
    group = np.cumsum(np.append(0, s[:-1] - s[1:] > close))
    return np.where(s <= close, 0.0, s[np.searchsorted(group, group)])


def _mix(s: Array, half: float) -> tuple[Array, Array, Array]:
    """Return the larger and the smaller part of every unit eigenvector, and its excess rate x."""
    w = np.hypot(s, half)
    still = w == 0
    norm = np.where(still, 1.0, np.hypot(w + half, s))
    major, minor = np.where(still, 1.0, (w + half) / norm), s / norm
    return major, minor, s * (minor / major)


def _time(rate: Array, t: Array) -> Array:
    """Return ``int_0^t e^{-2 rate s} ds``."""
    still = rate == 0
    return np.where(still, t, -np.expm1(-2 * rate * t) / np.where(still, 1.0, 2 * rate))
