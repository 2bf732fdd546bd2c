r"""The balanced two-layer network whose target has few modes: r of them, in a wide network.

The law is that of `riccati`, ``M = e^{lt} (I + C^T Phi C)`` with two rows C+ and C- in hidden space
for every mode. Here the outputs that S does not reach are no rows, but stay apart:

    M = e^{lt} (D + C^T Phi C),   D = I + rho G,   rho = (1 - e^{-2lt})/l   (l = 0: 2t)

with G their Gram matrix in hidden space, diagonalised once. (With L2 decay, where l = 0, the decay
stands in rho for l.) So a time costs systems of 2r unknowns, and the map one product.

The rows P, C+ and ``b = W2^T u`` of all modes, span the same directions as C+ and C-, but do not
come close to each other where the start is small beside l: ``C- = (vb C+ - b)/va``. With f the
growth rates of C+, where positive, and 0 for b, all that is left of the hidden space is

    N = P D^{-1} P^T,   Y = q + e^{-ft} N^{-1} e^{-ft},   K = e^{-ft} Y^{-1} e^{-ft} N^{-1},
    P M^{-1} = e^{-lt} K P D^{-1},   M^{-1} = e^{-lt} (D^{-1} - D^{-1} P^T H P D^{-1}),

``H = N^{-1} (I - K)``. q is 2 x 2 for every mode and bounded, and no exponent is positive once the
growth of the modes, which multiplies P from the left, has met that in K.

Domain: lam <= 0 (a network with lam > 0 is mirrored), decay only with lam = 0, ``2r <= h`` and rows
P of a condition up to `CONDITION`. Where lam = 0, N may lose its condition at some late time, which
ends the domain. `prepare` and `LowRank.holds` tell; `riccati` has no such limits.

Sources: those of `riccati`; derived here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["LowRank", "Side", "State", "prepare", "suits"]

Array = npt.NDArray[np.float64]

RANK = 1e-12  # singular values of S below this share of the largest are rounding
FEW = 4  # 2r rows pay in at least so many times as many hidden directions
CONDITION = 30.0  # of the rows P, each of length 1
REACH = 1e4  # condition of N, of unit diagonal
DECADES = 16  # of rho, over which that is looked at
DISTINCT = 1e-6  # shorter rows, relative to the longest, may be what rounding has left of none
TINY = 1e-70  # shorter ones are not divided by
SURROGATES = 6
BLOCK = 600_000  # numbers of one temporary


@dataclass(frozen=True, eq=False)
class Side:
    """Outputs or inputs: those of the modes and what lies beside them.

    Attributes
    ----------
    vectors
        Singular vectors of S as columns, shape (n, r).
    beside
        The part of the layer (n, h) that S does not see.
    index
        0 for outputs, 1 for inputs.
    """

    vectors: Array
    beside: Array
    index: int

    @cached_property
    def both(self) -> Array:
        """Vectors and the part beside them, shape (n, r + h)."""
        return np.concatenate([self.vectors, self.beside], axis=1)

    @cached_property
    def across(self) -> Array:
        """The part beside them as rows, shape (h, n)."""
        return np.ascontiguousarray(self.beside.T)

    @cached_property
    def gram(self) -> Array:
        """Gram matrix of the part beside them in hidden space, shape (h, h)."""
        return self.beside.T @ self.beside


@dataclass(frozen=True, eq=False)
class State:
    """A network at T times, before anything of the size of its layers is formed.

    Attributes
    ----------
    d
        Diagonal of D, shape (T, h).
    halves
        ``L^{-1}`` times the modes' rows of outputs and of inputs, ``Y = L L^T``, each (T, 2r, r).
    seen
        ``L^{-1} e^{-ft} N^{-1}``, shape (T, 2r, 2r).
    less
        H, shape (T, 2r, 2r).
    fades
        Decay of outputs and of inputs beside the modes, each (T,).
    """

    d: Array
    halves: tuple[Array, Array]
    seen: Array
    less: Array
    fades: tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class LowRank:
    """A balanced network with a target of few modes, lam <= 0; made by `prepare`.

    Attributes
    ----------
    s
        Singular values of S, shape (r,).
    lost, decay
        ``l = -lam >= 0`` and the L2 decay, one of which is 0.
    rows, sizes
        P with rows of length 1, shape (2r, h), and the lengths they had, shape (2r,).
    g
        Eigenvalues of G, shape (h,).
    outputs, inputs
        The two sides. All that is hidden is in coordinates of the eigenvectors of G; directions
        that neither P nor the outputs reach are left out where they are many.
    still
        Gram matrix (i, i) of the inputs in directions left out, which is constant; None where
        there are none.
    gap
        ``|W1|^2 - |W2|^2``, which is conserved.
    """

    s: Array
    lost: float
    decay: float
    rows: Array
    sizes: Array
    g: Array
    outputs: Side
    inputs: Side
    still: Array | None
    gap: float

    def holds(self, t: float) -> bool:
        """Return whether the law keeps its digits until time t."""
        return bool(self._rho(np.array([t]))[0] <= self._reach)

    def blocks(self, t: Array) -> Iterator[slice]:
        """Yield slices of the times t whose temporaries stay small."""
        step = max(1, BLOCK // max(self.outputs.both.size, self.inputs.both.size))
        for first in range(0, len(t), step):
            yield slice(first, min(first + step, len(t)))

    def fades(self, t: Array) -> tuple[Array, Array]:
        """Return the decay of outputs and of inputs beside the modes at times t."""
        return np.exp(-(self.lost + self.decay) * t), np.exp(-self.decay * t)

    def at(self, t: Array) -> State:
        """Return the network at times t."""
        column, r = t[:, None], len(self.s)
        plus, other = np.arange(r), np.arange(r, 2 * r)
        d = 1 + self._rho(t)[:, None] * self.g
        N = (self.rows / d[:, None, :]) @ self.rows.T
        undo = np.linalg.inv(np.linalg.cholesky(N))
        root = np.ones((len(t), 2 * r))
        root[:, :r] = np.exp(-self._rise * column)
        turned = (root / self.sizes)[..., None] * np.swapaxes(undo, 1, 2)
        Y = turned @ np.swapaxes(turned, 1, 2)
        both, mixed, single = self._motion(column)
        Y[:, plus, plus] += both
        Y[:, plus, other] += mixed
        Y[:, other, plus] += mixed
        Y[:, other, other] += single
        right = np.zeros((len(t), 2 * r, 4 * r))
        for side, (grown, still) in enumerate(self._ends(column)):
            right[:, plus, plus + side * r] = grown
            right[:, other, plus + side * r] = still
        right[..., 2 * r :] = turned
        solved = np.linalg.solve(np.linalg.cholesky(Y), right)
        share = solved[..., 2 * r :]
        left = np.eye(2 * r) - np.swapaxes(share, 1, 2) @ share
        return State(
            d,
            (solved[..., :r], solved[..., r : 2 * r]),
            share @ undo,
            np.swapaxes(undo, 1, 2) @ left @ undo,
            self.fades(t),
        )

    def product(self, state: State, left: Side, right: Side, out: Array | None = None) -> Array:
        """Return the block (T, n, n') of ``[W2; W1^T] [W2; W1^T]^T`` between two sides."""
        r, T, rest = len(self.s), len(state.d), right.across
        first, second = np.swapaxes(state.halves[left.index], 1, 2), state.halves[right.index]
        fade = state.fades[right.index][:, None, None]
        modes, J = right.vectors.T, self.rows / state.d[:, None, :]
        beside = fade * (J.reshape(-1, len(rest)) @ rest).reshape(T, 2 * r, -1)
        factor = np.empty((T, r + len(rest), rest.shape[1]))
        factor[:, :r] = first @ second @ modes + first @ state.seen @ beside
        hidden = factor[:, r:]
        coupled = np.swapaxes(state.seen, 1, 2) @ second @ modes - state.less @ beside
        np.matmul(self.rows.T, coupled, out=hidden)
        hidden += fade * rest
        hidden *= (state.fades[left.index][:, None] / state.d)[..., None]
        return np.matmul(left.both, factor, out=out)

    def strengths(self, state: State, out: Array, into: Array) -> Array:
        """Return ``x^T W y`` (T, n) for pairs beside the modes, of which x^T W2, W1 y are given."""
        J = self.rows / state.d[:, None, :]
        taken = np.sum((J @ out.T) * (state.less @ (J @ into.T)), axis=1)
        fade = (state.fades[0] * state.fades[1])[:, None]
        return np.asarray(fade * ((1 / state.d) @ (out * into).T - taken))

    def span(self, t: float) -> tuple[Array, Array]:
        """Return inputs (i, n) and outputs (o, n) that span the stacked weights at time t."""
        time = np.array([[t]])
        q, triangle = np.linalg.qr(self.rows.T, mode="complete")
        r = len(self.s)
        root = np.concatenate([np.exp(-self._rise * t), np.ones(r)]) / self.sizes
        back = q[:, : 2 * r] @ np.linalg.inv(triangle[: 2 * r].T) * root
        apart = np.concatenate([self.outputs.beside, self.inputs.beside])
        _, size, own = np.linalg.svd(apart @ q[:, 2 * r :], full_matrices=False)
        left = q[:, 2 * r :] @ own[size > RANK * math.sqrt(self.start)].T
        found = []
        for side, fade, ends in zip(
            (self.outputs, self.inputs), self.fades(time[0]), self._ends(time), strict=True
        ):
            modes = side.vectors @ np.concatenate([np.diag(end[0]) for end in ends], axis=1)
            rest = fade * side.beside
            found.append(np.concatenate([modes + rest @ back, rest @ left], axis=1))
        return found[1], found[0]

    def surrogate(self, t: Array) -> Array:
        """Return some single modes (T, columns) that move as fast as anything in the network."""
        r, column = len(self.s), t[:, None]
        some = np.unique(np.linspace(0, r - 1, min(r, SURROGATES)).astype(int))
        w, plus = self._w[some], self._plus[some]
        size = np.maximum(self.sizes[some], self.sizes[some + r])
        seed = np.concatenate([share * size for share in (2.0, 1.0, 0.3)] * 2)
        f = np.concatenate([np.tile(plus, 3), np.tile(plus - 2 * w, 3)])
        fall = np.exp(-2 * np.abs(f) * column)
        spread = _spread(2 * np.abs(f), 2 * (np.tile(w, 6) if self.lost else np.abs(f)), column)
        moves = np.where(f > 0, 1.0, fall) / (np.where(f > 0, fall, 1.0) / seed**2 + spread)
        g = np.array([np.max(self.g), np.mean(self.g)])
        fades = g / (1 + self._rho(t)[:, None] * g)
        return np.concatenate([moves, fades], axis=1) / max(2 * float(np.max(w)), self.scale)

    @property
    def fastest(self) -> float:
        """Largest growth rate."""
        return float(np.max(self._plus))

    @cached_property
    def scale(self) -> float:
        """Size of the map, now and then: the larger of that of S and that of the start."""
        return max(float(self.s[0]), self.start)

    @cached_property
    def start(self) -> float:
        """Size of the Gram matrices at the start."""
        return max(
            float(np.max(self.g)),
            float(np.max(np.sum(self.inputs.beside**2, axis=0))),
            float(np.max(self.sizes)) ** 2,
        )

    @cached_property
    def _w(self) -> Array:
        return np.hypot(self.s, self.lost / 2)

    @cached_property
    def _plus(self) -> Array:
        """Return the growth rate of C+, relative to ``e^{lt/2}``."""
        return self.s * (self.s / (self._w + self.lost / 2)) - self.decay

    @cached_property
    def _rise(self) -> Array:
        return np.maximum(self._plus, 0.0)

    @cached_property
    def _reach(self) -> float:
        """Return the rho up to which N(t) is well conditioned."""
        largest = float(np.max(self.g))
        if largest < TINY**2:
            return np.inf
        rho = 10.0 ** np.arange(DECADES) / largest
        N = (self.rows / (1 + rho[:, None] * self.g)[:, None, :]) @ self.rows.T
        size = np.sqrt(np.diagonal(N, axis1=1, axis2=2))
        values = np.linalg.eigvalsh(N / (size[:, :, None] * size[:, None, :]))
        bad = np.flatnonzero(values[:, 0] * REACH < values[:, -1])
        if not len(bad):
            return np.inf
        return float(rho[bad[0] - 1]) if bad[0] else 0.0

    def _rho(self, t: Array) -> Array:
        fade = self.lost + self.decay
        return 2 * t if fade == 0 else -np.expm1(-2 * fade * t) / fade

    def _motion(self, t: Array) -> tuple[Array, Array, Array]:
        """Return q of all modes: C+ with itself, with b, b with itself, each (T, r)."""
        w, va, vb = self._w, *self._mix
        plus, minus = np.abs(self._plus), np.abs(self._plus - 2 * w)
        fade = self.lost + 2 * self.decay
        grown = np.exp(-self._rise * t)
        weight = self.s / w * grown
        pp = _spread(2 * plus, 2 * (w if self.lost else plus), t)
        mm = _spread(2 * minus, 2 * (w if self.lost else minus), t)
        pm = -weight * _spread(np.array([fade]), np.array([fade]), t)
        turn = vb / va * grown
        return pp + 2 * turn * pm + turn**2 * mm, -(pm + turn * mm) / va, mm / va**2

    def _ends(self, t: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return what outputs, and what inputs, hold of C+ and of b, each (T, r)."""
        va, vb = self._mix
        low = np.exp((self._plus - 2 * self._w) * t)
        kept = np.exp(np.minimum(self._plus, 0) * t)
        fall = np.exp(-2 * self._w * t)
        grown = -vb * np.expm1(-2 * self._w * t) * kept, (va + vb**2 / va * fall) * kept
        return (grown[0], low), (grown[1], -vb / va * low)

    @cached_property
    def _mix(self) -> tuple[Array, Array]:
        return _mixing(self.s, self.lost)


def suits(s: Array, w1: Array, w2: Array) -> bool:
    """Return whether a target of singular values s is of low rank for the layers' sizes.

    Examples
    --------
    >>> w1, w2, s = np.ones((16, 8)), np.ones((9, 16)), np.ones(8)
    >>> suits(s, w1, w2), suits(np.array([2.0, 1.0, *np.zeros(6)]), w1, w2)
    (False, True)
    """
    (h, i), o, r = w1.shape, len(w2), _rank(s)
    return bool(0 < r < min(i, o) / 2 and 2 * r * FEW <= min(h, i + o))


def prepare(
    w1: Array,
    w2: Array,
    modes: tuple[Array, Array, Array],
    lam: float,
    decay: float = 0.0,
) -> LowRank | None:
    """Bring a balanced network with lam <= 0 into the law's coordinates; None outside its domain.

    Parameters
    ----------
    w1, w2
        Shapes (h, i) and (o, h); ``W2^T W2 - W1 W1^T = lam I``.
    modes
        Thin singular value decomposition of S: u (o, k), s (k,) descending, v (i, k).
    lam
        Imbalance, not positive.
    decay
        L2 decay of both layers; only with lam = 0.

    Examples
    --------
    >>> W = 0.1 * np.eye(4)
    >>> S = np.zeros((4, 4)); S[0, 1] = 2.0
    >>> u, s, vt = np.linalg.svd(S)
    >>> law = prepare(W, W, (u, s, vt.T), 0.0)
    >>> law.product(law.at(np.array([0.5, 1.0, 9.0])), law.outputs, law.inputs)[:, 0, 1].round(4)
    array([0.0355, 0.2385, 2.    ])
    """
    r, h = _rank(modes[1]), len(w1)
    if r == 0 or 2 * r > h:
        return None
    u, s, v = modes[0][:, :r], modes[1][:r], modes[2][:, :r]
    lost = -lam
    va, vb = (weight[:, None] for weight in _mixing(s, lost))
    a, b = (w1 @ v).T, u.T @ w2
    rows = np.concatenate([va * a + vb * b, b])
    sizes = np.linalg.norm(rows, axis=1)
    parts = np.linalg.norm([va * a, vb * b], axis=2)
    faint = np.min(sizes[:r]) < DISTINCT * np.max(parts)
    if faint or np.min(sizes[r:]) < DISTINCT * np.max(sizes[r:]) or np.min(sizes) < TINY:
        return None
    rows = rows / sizes[:, None]
    if np.linalg.cond(rows) > CONDITION:
        return None
    first, second, still = (w1 - a.T @ v.T).T, w2 - u @ b, None
    if h > len(rows) + len(second):
        basis = np.linalg.qr(np.concatenate([rows, second]).T)[0]
        whole = first
        rows, first, second = rows @ basis, first @ basis, second @ basis
        still = whole @ whole.T - first @ first.T if lost else None
    g, hidden = np.linalg.eigh(second.T @ second)
    return LowRank(
        s,
        lost,
        decay,
        rows @ hidden,
        sizes,
        np.maximum(g, 0.0),
        Side(u, second @ hidden, 0),
        Side(v, first @ hidden, 1),
        still,
        float(np.sum(w1**2) - np.sum(w2**2)),
    )


def _rank(s: Array) -> int:
    return int(np.sum(s > RANK * s[0]))


def _mixing(s: Array, lost: float) -> tuple[Array, Array]:
    """Return va and vb of every mode."""
    va = np.hypot(s, lost / 2) + lost / 2
    norm = np.hypot(va, s)
    return va / norm, s / norm


def _spread(rate: Array, over: Array, t: Array) -> Array:
    """Return ``(1 - e^{-rate t})/over``, t where `over` is 0."""
    still = over == 0
    return np.where(still, t, -np.expm1(-rate * t) / np.where(still, 1.0, over))
