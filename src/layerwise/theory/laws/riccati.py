r"""The balanced two-layer network: whitened inputs, ``W2^T W2 - W1 W1^T = lam I``.

The stacked weights ``Q = [W1^T; W2]`` obey ``Q' = F Q - Q Q^T Q / 2`` with
``F = [[-lam/2, S^T], [S, lam/2]]``, and ``R = Q Q^T``, which holds the map and both Gram matrices,
the Riccati equation ``R' = F R + R F - R^2``. Its solution is

    R(t) = e^{Ft} Q_0 M^{-1} Q_0^T e^{Ft},   M = I + Q_0^T (int_0^t e^{2Fs} ds) Q_0.

With L2 decay on both layers (lam = 0 only) ``F - decay I`` takes the place of F.

Evaluated as printed this loses every weak mode as soon as ``e^{2 (f_1 - f_2) t}`` passes 1e16.
Here nothing grows, and any t is reached in one step:

* Let ``l = -lam >= 0`` (a network with lam > 0 is mirrored: transposing exchanges its layers).
  Every singular mode ``(s, u, v)`` of S has two rows in hidden space, ``C+ = va a + vb b`` and
  ``C- = vb a - va b`` with ``a = W1 v``, ``b = W2^T u``, ``(va, vb) ~ (w + l/2, s)``,
  ``w = hypot(s, l/2)``. Relative to ``e^{l t/2}`` they grow at ``f+ = s^2/(w + l/2)`` and
  ``f- = -(w + l/2)``; an output direction that S does not reach is a single row, with ``f = -l``.
* Balance makes the Gram matrix of the inputs that S does not see a sum of those rows and of
  ``l I``. So the input width, and with it most of the cost, drops out:
  ``M = e^{lt} (I + C^T Phi C)``, Phi being 2 x 2 per mode.
* The rows are orthogonalised in the order of descending f, ``C = E Lp B`` with pivot rows
  ``Lp B``. Once a pivot has outgrown its start, all rows are written in terms of it and its growth
  is divided out, so that no number grows and none is lost.

Domain: any sizes, any rank of S and of the start, any lam, t >= 0. A mode with s > 0 that the
start does not excite stays at zero for ever, as in the true flow: `Balanced.unexcited` counts them.

Sources: Fukumizu 1998; Braun et al. 2022; Domine et al. 2025 (arXiv 2409.14623) for full-rank
cases. The form without inverses, the elimination of the unseen inputs and the evaluation are
derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws.echelon import NOISE, echelon
from layerwise.theory.laws.halves import Halves, joined

__all__ = ["Balanced", "prepare"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

ANY_TIME = 30.0  # condition of the pivot rows up to which all may be divided out from the start
LEEWAY = 5.0  # of the logarithm of a pivot's growth, within which it may be divided out or not
SURROGATES = 4
TINY = 1e-150
BATCHED = 32  # from this size on the inverse of a triangle is cheaper than solving with it
BLOCK = 400_000  # numbers of one temporary


@dataclass(frozen=True, eq=False)
class Balanced:
    """A balanced network in mode coordinates, with lam <= 0; made by `prepare`.

    Attributes
    ----------
    s, u, v
        Singular values of S, shape (k,), k = min(i, o), and vectors as columns; u holds further
        columns for the outputs that only W2 reaches.
    lost, decay
        ``l = -lam >= 0`` and the L2 decay, one of which is 0.
    f
        Growth rates of the m rows: k of C+, k of C-, the rest of outputs that S does not reach.
    rows
        These rows in coordinates of the pivots' span, ``C B^T``, shape (m, rho).
    pivots, lower
        Which rows are pivots, shape (rho,), in the order of descending f, and these rows, Lp,
        lower triangular.
    above
        Whether a row comes before a pivot, shape (m, rho): it then has no part of it.
    basis
        B, orthonormal hidden directions, shape (rho, h).
    unseen, seen
        N, the part of W1 that S does not see, shape (h, i), and B N, shape (rho, i); None where
        S sees all inputs.
    gap
        ``|W1|^2 - |W2|^2``, which is conserved.
    unexcited, beyond
        Numbers of modes with s > decay that are never learned: because nothing excites them, and
        because the stacked weights have no rank left for them.
    """

    s: Array
    u: Array
    v: Array
    lost: float
    decay: float
    f: Array
    rows: Array
    pivots: Index
    lower: Array
    above: npt.NDArray[np.bool_]
    basis: Array
    unseen: Array | None
    seen: Array | None
    gap: float
    unexcited: int
    beyond: int

    def blocks(self, t: Array) -> Iterator[slice]:
        """Yield slices of the times t whose temporaries stay small."""
        step = max(1, BLOCK // max(self.rows.size + self.lower.size + len(self.u.T) ** 2, 1))
        for first in range(0, len(t), step):
            yield slice(first, min(first + step, len(t)))

    def at(self, t: Array) -> Halves:
        """Return the network at all (increasing) times t at once; see `blocks`."""
        return joined([self._halves(t[run], count) for run, count in self._runs(t)])

    @cached_property
    def _mix(self) -> tuple[Array, Array, Array]:
        return _mixing(self.s, self.lost)

    @cached_property
    def _inverse(self) -> Array:
        """Return ``Lp^{-1}``."""
        from scipy.linalg import solve_triangular

        identity = np.eye(len(self.lower))
        return np.asarray(solve_triangular(self.lower, identity, lower=True))

    @cached_property
    def _patient(self) -> bool:
        """Whether pivots must have grown before they are divided out."""
        rows = self.lower / np.linalg.norm(self.lower, axis=1, keepdims=True)
        return bool(rows.size) and bool(np.linalg.cond(rows) > ANY_TIME)

    def _runs(self, t: Array) -> Iterator[tuple[slice, int]]:
        """Yield runs of times and how many pivots have outgrown their start in all of them.

        A pivot may be counted from a while before that until a while after.
        """
        size = len(self.lower)
        if not self._patient:
            yield slice(0, len(t)), size
            return
        plus, minus, _, rest = self._phi(t)
        free = np.repeat(rest, len(self.f) - 2 * len(self.s), axis=1)
        spread = np.concatenate([plus, minus, free], axis=1)[:, self.pivots]
        with np.errstate(divide="ignore"):
            logs = np.log(spread) + 2 * np.log(np.abs(np.diagonal(self.lower)))
        logs += 2 * np.maximum(self.f[self.pivots], 0) * t[:, None]
        index = np.arange(1, size + 1)
        least = np.max(np.where(logs > LEEWAY, index, 0), axis=1)
        most = np.max(np.where(logs > -LEEWAY, index, 0), axis=1)
        first = 0
        while first < len(t):
            low, high, last = least[first], most[first], first + 1
            while last < len(t) and max(low, least[last]) <= min(high, most[last]):
                low, high, last = max(low, least[last]), min(high, most[last]), last + 1
            yield slice(first, last), int(low)
            first = last

    @cached_property
    def _whole(self) -> tuple[Array, Array]:
        return self._divided(len(self.lower))

    def _divided(self, count: int) -> tuple[Array, Array]:
        """Return ``C_B T^{-1}`` and ``T^{-1}``, T being Lp in its first `count` rows, I below."""
        size = len(self.lower)
        undo, rows = np.eye(size), np.zeros_like(self.rows)
        undo[:count, :count] = self._inverse[:count, :count]
        done = self.pivots[:count]
        rows[done, np.arange(count)] = 1.0
        others = np.ones(len(rows), dtype=bool)
        others[done] = False
        left = self.rows[others]
        left[:, :count] = left[:, :count] @ undo[:count, :count]
        rows[others] = np.where(self.above[others], 0.0, left)
        return rows, undo

    def surrogate(self, t: Array) -> Array:
        """Return some single modes (T, columns) that move as fast as anything in the network.

        For a cheap choice of the times at which the network itself is worth evaluating.
        """
        f, seed, over = self._seeds
        column = t[:, None]
        spread = _spread(2 * np.abs(f), 2 * over, column)
        fall = np.exp(-2 * np.abs(f) * column)
        moves = np.where(f > 0, 1.0, fall) / (np.where(f > 0, fall, 1.0) / seed**2 + spread)
        return np.asarray(moves / max(2 * float(np.max(over)), TINY))

    @cached_property
    def _seeds(self) -> tuple[Array, Array, Array]:
        """Return f, start and w of the rows that stand for all: strong, weak, early and late."""
        k, new = len(self.s), np.abs(np.diagonal(self.lower))
        rising = self.f[self.pivots] > 0
        late = np.where(rising, -np.log(new) / np.where(rising, self.f[self.pivots], 1.0), -np.inf)
        picked = np.linspace(0, len(new) - 1, min(len(new), SURROGATES)).astype(int)
        picked = np.unique(np.concatenate([picked, np.argsort(-late)[:SURROGATES]]))
        spread = np.unique(np.linspace(0, k - 1, min(k, SURROGATES)).astype(int))
        rows = np.concatenate([spread, spread + k])
        size = np.linalg.norm(self.rows[rows], axis=1)
        w = np.hypot(self.s, self.lost / 2)
        over = np.concatenate([w, w, np.full(len(self.f) - 2 * k, self.lost)])
        # modes that share hidden directions start together up to twice as large as each alone
        seed = np.concatenate([new[picked], *(share * size for share in (2.0, 1.0, 0.3))])
        stand = np.concatenate([self.pivots[picked], rows, rows, rows])
        return self.f[stand], np.maximum(seed, TINY), over[stand]

    def _phi(self, t: Array) -> tuple[Array, Array, Array, Array]:
        """Return Phi: ++, --, +- (T, k) and that of unreached outputs (T, 1).

        The growth ``e^{f t}`` of the C+ rows with f > 0 is divided out, once for each of them.
        """
        k, column = len(self.s), t[:, None]
        plus, minus = self.f[:k], self.f[k : 2 * k]
        w = np.hypot(self.s, self.lost / 2)
        fade = self.lost + 2 * self.decay
        both = -self._mix[2] * np.exp(-np.maximum(plus, 0) * column)
        return (
            _spread(2 * np.abs(plus), 2 * (w if self.lost else np.abs(plus)), column),
            _spread(2 * np.abs(minus), 2 * (w if self.lost else np.abs(minus)), column),
            both * _spread(np.array([fade]), np.array([fade]), column),
            2 * _spread(np.array([fade + self.lost]), np.array([fade + self.lost]), column),
        )

    def _scaled(self, t: Array, count: int) -> tuple[Array, Array, Array, Array]:
        """Return X, the rows Lt without any fall, D and ``T^{-1}``.

        D takes the growth of the first `count` pivots out. ``Y = Lt^T Phi Lt + D T^{-T} T^{-1} D``,
        and ``X Y^{-1} X^T`` holds the map and both Gram matrices.
        """
        whole = count == len(self.lower)
        rows, undo = self._whole if whole else self._divided(count)
        column, rise = t[:, None], np.maximum(self.f, 0)
        top = rise[self.pivots]
        top[count:] = 0.0
        exponent = rise[:, None] - top
        # above a pivot the entries are 0, whatever the exponent there
        exponent = np.where(self.above, 0.0, np.minimum(exponent, 0) if whole else exponent)
        Lt = exponent * column[..., None]
        np.exp(Lt, out=Lt)
        Lt *= rows
        X = np.exp(np.minimum(self.f, 0) * column)[..., None] * Lt
        return X, Lt, np.exp(-top * column), undo

    def _halves(self, t: Array, count: int) -> Halves:
        """Return the network by its normal equations, the first `count` pivots divided out."""
        X, Lt, fall, undo = self._scaled(t, count)
        Y = np.swapaxes(Lt, 1, 2) @ self._weighted(self._phi(t), Lt)
        Y += fall[:, :, None] * (undo.T @ undo) * fall[:, None, :]
        sides = self._sides(X)
        o = sides[0].shape[1]
        solve = _lower_solver(np.asarray(np.linalg.cholesky(Y)))
        solved = solve(np.swapaxes(np.concatenate(sides, axis=1), 1, 2))
        rest = None
        if self.seen is not None:
            fade = np.exp(-self.decay * t)[:, None] * fall
            rest = solve(fade[..., None] * undo.T)
        return Halves(solved[..., :o], solved[..., o:], rest)

    def _weighted(self, phi: tuple[Array, Array, Array, Array], rows: Array) -> Array:
        """Return ``Phi`` applied to rows of shape (T, m, rho)."""
        k = len(self.s)
        plus, minus, both, rest = (part[..., None] for part in phi)
        up, down, free = rows[:, :k], rows[:, k : 2 * k], rows[:, 2 * k :]
        parts = [plus * up + both * down, both * up + minus * down, rest * free]
        return np.concatenate(parts, axis=1)

    def span(self, t: float) -> tuple[Array, Array]:
        """Return inputs (i, n) and outputs (o, n) whose columns span the stacked weights at time t.

        Weak modes are there with all their digits, which the Gram matrices would drown.
        """
        time = np.array([t])
        ((_, count),) = self._runs(time)
        X, _, fall, undo = self._scaled(time, count)
        left, right = self._sides(X)
        inputs, outputs = self.v @ right[0], self.u @ left[0]
        if self.seen is None or self.unseen is None:
            return inputs, outputs
        still = self.unseen.T - self.seen.T @ self.basis
        inputs = np.concatenate(
            [inputs + math.exp(-self.decay * t) * self.seen.T @ (undo * fall), still], 1
        )
        return inputs, np.concatenate([outputs, np.zeros((len(outputs), still.shape[1]))], 1)

    def _sides(self, X: Array) -> tuple[Array, Array]:
        """Return the rows of outputs and of inputs from those of C+, C- and unreached outputs."""
        k = len(self.s)
        va, vb, _ = (weight[:, None] for weight in self._mix)
        up, down, free = X[:, :k], X[:, k : 2 * k], X[:, 2 * k :]
        return np.concatenate([vb * up - va * down, free], axis=1), va * up + vb * down


def prepare(
    w1: Array,
    w2: Array,
    modes: tuple[Array, Array, Array],
    lam: float,
    decay: float = 0.0,
) -> Balanced:
    """Bring a balanced network with lam <= 0 into mode coordinates.

    Parameters
    ----------
    w1, w2
        Shapes (h, i) and (o, h); ``W2^T W2 - W1 W1^T = lam I`` on the hidden directions that the
        weights use.
    modes
        Thin singular value decomposition of S: u (o, k), s (k,) descending, v (i, k).
    lam
        Imbalance, not positive.
    decay
        L2 decay of both layers; only with lam = 0.

    Examples
    --------
    >>> W = 0.1 * np.eye(2)
    >>> network = prepare(W, W, (np.eye(2), np.array([2.0, 1.0]), np.eye(2)), 0.0)
    >>> network.at(np.array([1.0, 9.0])).alpha.round(4)[:, [0, 1], [0, 1]]
    array([[0.4306, 0.0695],
           [2.    , 1.    ]])
    """
    (u, s, v), lost = modes, -lam
    i, k = len(v), len(s)
    reached = u.T @ w2
    if len(u) > k:
        beside, size, _ = np.linalg.svd(w2 - u @ reached, full_matrices=False)
        used = size > NOISE * float(np.linalg.norm(w2))
        u = np.concatenate([u, beside[:, used]], axis=1)
    a, b = (w1 @ v).T, u.T @ w2
    w = np.hypot(s, lost / 2)
    plus = s * np.where(w > 0, s / np.where(w > 0, w + lost / 2, 1.0), 0.0) - decay
    f = np.concatenate([plus, -(w + lost / 2) - decay, np.full(u.shape[1] - k, -lost - decay)])
    va, vb, _ = (weight[:, None] for weight in _mixing(s, lost))
    rows = np.concatenate([va * a + vb * b[:k], vb * a - va * b[:k], b[k:]])
    order = np.argsort(-f, kind="stable")
    form = echelon(rows[order])
    place = np.empty(len(f), dtype=np.intp)
    place[order] = np.arange(len(f))
    growing = f[order] > 0
    missed = growing & ~np.isin(np.arange(len(f)), form.pivots)
    beyond = missed & form.full
    unseen = None if k == i else w1 - a.T @ v.T
    return Balanced(
        s,
        u,
        v,
        lost,
        decay,
        f,
        rows=rows @ form.basis.T,
        pivots=order[form.pivots],
        lower=form.lower,
        above=place[:, None] < form.pivots,
        basis=form.basis,
        unseen=unseen,
        seen=None if unseen is None else form.basis @ unseen,
        gap=float(np.sum(w1**2) - np.sum(w2**2)),
        unexcited=int(np.sum(missed & ~beyond)),
        beyond=int(np.sum(beyond)),
    )


def _mixing(s: Array, lost: float) -> tuple[Array, Array, Array]:
    """Return va, vb and s/w of every mode."""
    w = np.hypot(s, lost / 2)
    va, still = w + lost / 2, w == 0
    norm, w = np.where(still, 1.0, np.hypot(va, s)), np.where(still, 1.0, w)
    half = math.sqrt(0.5)  # the limit of small s
    return (
        np.where(still, half, va / norm),
        np.where(still, half, s / norm),
        np.where(still, 1.0, s / w),
    )


def _spread(rate: Array, over: Array, t: Array) -> Array:
    """Return ``(1 - e^{-rate t})/over``, t where `over` is 0."""
    still = over == 0
    return np.where(still, t, -np.expm1(-rate * t) / np.where(still, 1.0, over))


def _lower_solver(factors: Array) -> Callable[[Array], Array]:
    """Return the function that solves with lower triangular matrices (T, rho, rho)."""
    if factors.shape[-1] < BATCHED:
        return lambda right: np.asarray(np.linalg.solve(factors, right))
    from scipy.linalg.lapack import dtrtri

    inverse = np.stack([dtrtri(factor.T)[0].T for factor in factors])
    return lambda right: inverse @ right
