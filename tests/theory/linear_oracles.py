"""Reference answers for linear networks, written from the theory and not from the package.

`grams` evaluates the matrix Riccati solutions in as many digits as it takes, `limit` says where
they end, `modes` splits an aligned network into 1-h-1 networks, and `integrate` follows the
weights of any network by an order-8 solver.

All take ``W1 (h, i)``, ``W2 (o, h)``, ``S = E[y x^T]`` (o, i) and ``Sxx`` (i, i) or None; answers
are the map (T, o, i), ``W1^T W1`` (T, i, i) and ``W2 W2^T`` (T, o, o), or the weights.
"""

from dataclasses import dataclass

import numpy as np
from mpmath import cosh, exp, expm1, log10, mp, mpf, sinh, sqrt
from scipy.integrate import solve_ivp

from . import oracles

FIRST_DIGITS, SPARE_DIGITS = 60, 30
EQUAL = 1e-9  # relative: closer values of Lambda or of Sxx differ by rounding
NO_RANK = 4e-15  # relative: smaller singular values of a start are rounding
NOT_EXCITED = 1e-13  # relative: so is what a row adds to the rows before it, if smaller
SAME_GROWTH = 1e-12  # relative: closer growth rates are one
RTOL = 3e-14  # about the least that scipy's solvers take


def grams(w1, w2, cross, t, *, input_cov=None, rates=(1, 1), decay=0):
    """Return map and Grams of a lambda-balanced or two-valued network.

    Balanced: the textbook formula ``e^{Ft} Q [I + Q^T P Q]^{-1} Q^T e^{Ft}``, ``P = int e^{2Fs}``.
    Two-valued: ``X Y^{-1}`` of the linear system ``X' = F X + beta Y``, ``Y' = X - F Y``. Inputs
    must be white up to a factor, or vary equally in a subspace outside which W1 is 0; decay needs
    lambda = 0 and equal rates. Digits are added until enough are left at the end.
    """
    digits = FIRST_DIGITS
    while True:
        with mp.workdps(digits):
            problem = _riccati(w1, w2, cross, input_cov, rates, decay)
            lost = _expected_loss(problem, t[-1])
            if digits - lost > SPARE_DIGITS:
                states, lost = _states(problem, t)
                if digits - lost > SPARE_DIGITS:
                    return tuple(np.array(part) for part in zip(*states, strict=True))
        digits = FIRST_DIGITS + max(digits, int(lost) if lost < mp.inf else 0)


def limit(w1, w2, cross, *, input_cov=None, rates=(1, 1), decay=0):
    """Return map and Grams for t -> infinity of what `grams` solves; None if rounding decides.

    In the order of falling f, every eigenspace of F with f > 0 takes up those of its directions
    that are excited apart from the spaces before: ``R = sum 2 f P``. Where that is a part of
    several equal singular values of S, their rounding decides which part.
    """
    with mp.workdps(FIRST_DIGITS):
        problem = _riccati(w1, w2, cross, input_cov, rates, decay)
        f, V = mp.eigsy(problem.F)
        rows, vectors = _floats(V.T * problem.Q), _floats(V)
        if problem.beta:
            ends = np.array([float(x + sqrt(x * x + problem.beta)) for x in f])
            return problem.blocks(vectors * ends @ vectors.T)
        f = _floats(f).ravel()
        R, known = np.zeros_like(vectors), np.zeros((0, rows.shape[1]))
        near = SAME_GROWTH * np.max(np.abs(f))
        left = np.flatnonzero(f > near)[::-1]
        while len(left):
            same, left = left[f[left] > f[left[0]] - near], left[f[left] <= f[left[0]] - near]
            rest = rows[same] - rows[same] @ known.T @ known
            u, s, vt = np.linalg.svd(rest - rest @ known.T @ known, full_matrices=False)
            excited = s > NOT_EXCITED * np.max(np.abs(rows))
            touched = f[same[0]] > abs(float(problem.lam)) / 2 + near  # by S
            if touched and 0 < np.sum(excited) < len(same):
                return None
            taken = vectors[:, same] @ u[:, excited]
            R += 2 * f[same[0]] * taken @ taken.T
            known = np.vstack([known, vt[excited]])
        return problem.blocks(R)


def modes(w1, w2, cross, t, *, input_cov=None, rates=(1.0, 1.0), decay=0.0):
    """Return W1 (T, h, i) and W2 (T, o, h) of an aligned network, mode by mode.

    Every singular mode (u, s, v) of S, all s being distinct, is a 1-h-1 network with the weights
    ``W1 v`` and ``W2^T u``; other directions stand still, or fade. Decay needs equal rates.
    """
    assert not decay or rates[0] == rates[1]
    change, t = (rates[1] / rates[0]) ** 0.25, np.sqrt(rates[0] * rates[1]) * np.asarray(t)
    w1, w2 = change * w1, w2 / change
    u, s, vt = np.linalg.svd(cross, full_matrices=False)
    xi = np.ones(len(s)) if input_cov is None else np.sum(vt @ input_cov * vt, axis=1)
    fade = np.exp(-decay * t)[:, None, None]
    first, second = fade * (w1 - w1 @ vt.T @ vt), fade * (w2 - u @ u.T @ w2)
    for k in range(len(s)):
        start = (w1 @ vt[k], w2.T @ u[:, k], s[k] / xi[k], 1.0, xi[k])
        a, b, _ = oracles.decayed(*start, decay, t) if decay else oracles.one_h_one(*start, t)
        first = first + a[:, :, None] * vt[k]
        second = second + u[:, k, None] * b[:, None, :]
    return first / change, second * change


def integrate(w1, w2, cross, t, input_cov=None, rates=(1.0, 1.0), decay=0.0):
    """Return W1 (T, h, i) and W2 (T, o, h) by `integrate_deep`."""
    first, second = integrate_deep([w1, w2], cross, t, input_cov, rates, decay)
    return first, second


def integrate_deep(weights, cross, t, input_cov=None, rates=None, decay=0.0):
    """Return the layers, each (T, ...), of a network of any depth, by DOP853.

    ``W_l' = r_l ((W_L ... W_{l+1})^T (S - W Sxx) (W_{l-1} ... W_1)^T - decay W_l)``. Absolute
    errors are held to a share of the layer's own start, so that plateaus are left in time.
    """
    shapes = [w.shape for w in weights]
    ends = np.cumsum([w.size for w in weights])
    rates = [1.0] * len(weights) if rates is None else rates
    pull = np.repeat(np.asarray(rates, dtype=float), [w.size for w in weights])
    cov = np.eye(cross.shape[1]) if input_cov is None else input_cov

    def split(state):
        parts = np.split(state, ends[:-1], axis=-1)
        return [p.reshape(*p.shape[:-1], *s) for p, s in zip(parts, shapes, strict=True)]

    def velocity(_, state):
        layers = split(state)
        below = [np.eye(cross.shape[1])]
        for layer in layers:
            below.append(layer @ below[-1])
        error = cross - below.pop() @ cov
        slopes = []
        for layer, before in zip(reversed(layers), reversed(below), strict=True):
            slopes.append((error @ before.T).ravel())
            error = layer.T @ error
        return pull * (np.concatenate(slopes[::-1]) - decay * state)

    start = np.concatenate([w.ravel() for w in weights])
    sizes = [np.max(np.abs(w)) for w in weights]
    sizes = [size or max(sizes) or 1.0 for size in sizes]
    atol = 1e-3 * RTOL * np.repeat(sizes, [w.size for w in weights])
    t = np.asarray(t, dtype=float)
    solution = solve_ivp(
        velocity, (0.0, t[-1]), start, method="DOP853", t_eval=t, rtol=RTOL, atol=atol
    )
    assert solution.success
    return split(solution.y.T)


@dataclass(frozen=True)
class _Riccati:
    """``R' = F R + R F - R^2 + beta I`` from ``R = Q Q^T``, where time runs as pace t."""

    Q: mp.matrix
    F: mp.matrix
    lam: mpf
    beta: mpf
    pace: mpf
    basis: np.ndarray  # of the inputs that vary, as columns
    change: float  # what the first layer was multiplied by, and the second divided

    def blocks(self, R):
        """Return map and Grams of a state R."""
        i = self.basis.shape[1]
        first = self.basis @ R[:i, :i] @ self.basis.T / self.change**2
        return R[i:, :i] @ self.basis.T, first, R[i:, i:] * self.change**2


def _riccati(w1, w2, cross, input_cov, rates, decay):
    change = sqrt(sqrt(mpf(rates[1]) / mpf(rates[0])))
    pace = sqrt(mpf(rates[0]) * mpf(rates[1]))
    basis, xi = _varying(w1, input_cov)
    first, second = change * _mp(w1) * basis, _mp(w2) / change
    i, o = first.cols, second.rows
    Q = mp.zeros(i + o, first.rows)
    Q[:i, :], Q[i:, :] = first.T, second
    Q = _in_use(Q)
    upper, lower = _imbalance(_floats(Q), i)
    assert not decay or (upper == lower == 0 and rates[0] == rates[1])
    lam = mpf(upper) - mpf(lower)
    target = _mp(cross) * basis / xi
    F = mp.zeros(i + o)
    F[i:, :i], F[:i, i:] = target, target.T
    for k in range(i + o):
        F[k, k] = (-lam if k < i else lam) / 2 - mpf(decay) / xi
    return _Riccati(Q, F, lam, mpf(upper) * mpf(lower), pace * xi, _floats(basis), float(change))


def _varying(w1, input_cov):
    """Return a basis of the inputs that vary, as columns, and their common variance."""
    if input_cov is None:
        return mp.eye(w1.shape[1]), mpf(1)
    values, vectors = mp.eigsy(_mp(input_cov))
    largest = max(values)
    seen = [k for k in range(len(values)) if values[k] > EQUAL * largest]
    xi = sum(values[k] for k in seen) / len(seen)
    assert all(abs(values[k] - xi) < EQUAL * xi for k in seen)
    basis = mp.matrix(vectors.rows, len(seen))
    for column, k in enumerate(seen):
        basis[:, column] = vectors[:, k]
    still = _mp(w1) - _mp(w1) * basis * basis.T
    assert mp.mnorm(still) < EQUAL * max(mp.mnorm(_mp(w1)), mpf(10) ** -300)
    return basis, xi


def _in_use(Q):
    """Return stacked weights on the hidden directions in use: ``Q Q^T`` stays the same."""
    _, s, vt = np.linalg.svd(_floats(Q), full_matrices=False)
    used = _mp(vt[s > NO_RANK * s[0]].T)
    return Q * mp.qr(used, mode="skinny")[0] if used.cols else Q


def _imbalance(Q, i):
    """Return (upper, lower), (lambda, 0) or (0, -lambda) of stacked weights."""
    values = np.linalg.eigvalsh(Q[i:].T @ Q[i:] - Q[:i].T @ Q[:i])
    size = np.linalg.norm(Q, 2) ** 2
    if np.ptp(values) <= EQUAL * size:
        lam = float(np.mean(values))
        lam = lam if abs(lam) > NO_RANK * size else 0.0
        return max(lam, 0.0), max(-lam, 0.0)
    low, high = values[:i], values[i:]
    assert len(values) == len(Q), "neither balanced nor two-valued"
    assert max(np.ptp(low), np.ptp(high)) <= EQUAL * size, "neither balanced nor two-valued"
    return float(np.mean(high)), float(-np.mean(low))


def _expected_loss(problem, t):
    """Return how many digits separate the modes that the weights have rank for at time t."""
    f = np.linalg.eigvalsh(_floats(problem.F))
    return 2 * (f[-1] - f[len(f) - max(problem.Q.cols, 1)]) * float(problem.pace) * t / np.log(10)


def _states(problem, t):
    """Return map and Grams at each time, and how many digits they cost."""
    f, V = mp.eigsy(problem.F)
    rows, vectors, lost = V.T * problem.Q, _floats(V), mpf(0)
    states = []
    for time in t:
        at = (_two_valued if problem.beta else _balanced)(problem, f, rows, problem.pace * time)
        states.append(problem.blocks(vectors @ _floats(at[0]) @ vectors.T))
        lost = max(lost, at[1])
    return states, lost


def _balanced(problem, f, C, t):
    """Return R in the eigenbasis of F, and how many digits it cost."""
    P = [expm1(2 * x * t) / (2 * x) if x else t for x in f]
    inverse, lost = _inverse(mp.eye(C.cols) + C.T * _times(P, C))
    grown = _times([exp(x * t) for x in f], C)
    return grown * inverse * grown.T, lost


def _two_valued(problem, f, C, t):
    """Return R in the eigenbasis of F, and how many digits it cost."""
    start = C * C.T
    K = [sqrt(x * x + problem.beta) for x in f]
    even, odd = [cosh(k * t) for k in K], [sinh(k * t) / k for k in K]
    X = _times([c + x * s for c, s, x in zip(even, odd, f, strict=True)], start)
    X += problem.beta * mp.diag(odd)
    Y = _times(odd, start)
    Y += mp.diag([c - x * s for c, s, x in zip(even, odd, f, strict=True)])
    inverse, lost = _inverse(Y)
    return X * inverse, lost


def _inverse(matrix):
    """Return the inverse, and how many digits were lost in it."""
    try:
        inverse = mp.inverse(matrix)
    except ZeroDivisionError:
        return matrix, mp.inf
    return inverse, log10(mp.mnorm(matrix) * mp.mnorm(inverse))


def _times(values, matrix):
    """Return ``diag(values) matrix``."""
    product = matrix.copy()
    for row, value in enumerate(values):
        product[row, :] = value * matrix[row, :]
    return product


def _mp(array):
    return mp.matrix(np.asarray(array, dtype=float).tolist())


def _floats(matrix):
    return np.array(matrix.tolist(), dtype=float)
