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
  ``Lp B``. Dividing every pivot's growth out leaves exponents that are never positive.

Domain: any sizes, any rank of S and of the start, any lam, t >= 0. A mode with s > 0 that the
start does not excite stays at zero for ever, as in the true flow: `Balanced.unexcited` counts them.

Sources: Fukumizu 1998; Braun et al. 2022; Domine et al. 2025 (arXiv 2409.14623) for full-rank
cases. The form without inverses, the elimination of the unseen inputs and the evaluation are
derived here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Balanced", "Core", "prepare"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Solver = Callable[[Array], npt.NDArray[np.floating]]

UNEXCITED = 1e-13  # a row is a pivot if more than this share of it is new ...
NOISE = 4e-15  # ... and more than what rounding leaves of all rows
EARLY = 1e3  # |C|^2 Phi up to which the plain form is as accurate, whatever the pivots
# of the pivot rows; the normal equations lose up to its square in digits, most of it early
ANY_TIME, CONDITION = 30.0, 1e3
LARGEST_LOG = 600.0
SURROGATES = 12
TINY = 1e-150
BLOCK = 400_000  # numbers of one temporary


@dataclass(frozen=True, eq=False)
class Core:
    """A balanced network at T times, in the coordinates of the target's modes.

    ``W = U [alpha, c] [V^T; B N]`` and ``W2 W2^T = U gram U^T``, of shapes (T, o, k), (T, o, rho)
    and (T, o, o); c is None where S sees all inputs. If asked for, `inputs` holds (A, x, y) of
    ``W1^T W1 = [V, (B N)^T] [[A, x], [x^T, y]] [V^T; B N] + e^{-2 decay t} N^T (I - B^T B) N``.
    """

    alpha: Array
    c: Array | None
    gram: Array
    inputs: tuple[Array, Array, Array] | None


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
        These rows in coordinates of the pivots' span, shape (m, rho).
    pivots
        Which rows are pivots, shape (rho,), in the order of descending f.
    share, lower
        E, shape (m, rho), and Lp, shape (rho, rho), lower triangular: ``rows = E Lp``.
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
    share: Array
    lower: Array
    unseen: Array | None
    seen: Array | None
    gap: float
    unexcited: int
    beyond: int

    def blocks(self, t: Array) -> Iterator[slice]:
        """Yield slices of the times t whose temporaries stay small."""
        size = self.share.size + self.lower.size + len(self.u) ** 2
        step = max(1, BLOCK // max(size, 1))
        for first in range(0, len(t), step):
            yield slice(first, min(first + step, len(t)))

    def at(self, t: Array, *, inputs: bool = False) -> Core:
        """Return the network at all times t at once; see `blocks`."""
        early = self._last_early(t)
        cores = [self._core(t[:early], self._plain(t[:early]), inputs)] if early else []
        late = t[early:]
        if self._condition < CONDITION and len(late):
            cores.append(self._core(late, self._normal(late), inputs))
        elif len(late):
            times = late[:, None]
            cores += [self._core(one, self._row_wise(one), inputs) for one in times]
        return cores[0] if len(cores) == 1 else _joined(cores)

    @cached_property
    def _mix(self) -> tuple[Array, Array, Array]:
        """Return va, vb and s/w of every mode."""
        w = np.hypot(self.s, self.lost / 2)
        va, vb = w + self.lost / 2, self.s
        still = w == 0
        norm, w = np.where(still, 1.0, np.hypot(va, vb)), np.where(still, 1.0, w)
        half = math.sqrt(0.5)  # the limit of small s
        turn = np.where(still, 1.0, self.s / w)
        return np.where(still, half, va / norm), np.where(still, half, vb / norm), turn

    @cached_property
    def _inverse(self) -> Array:
        """Return ``Lp^{-1}``."""
        from scipy.linalg import solve_triangular

        identity = np.eye(len(self.lower))
        return np.asarray(solve_triangular(self.lower, identity, lower=True))

    @cached_property
    def _condition(self) -> float:
        rows = self.lower / np.linalg.norm(self.lower, axis=1, keepdims=True)
        return float(np.linalg.cond(rows)) if rows.size else 1.0

    def surrogate(self, t: Array) -> Array:
        """Return some single modes (T, columns) that move as fast as anything in the network.

        For a cheap choice of the times at which the network itself is worth evaluating.
        """
        k = len(self.s)
        picked = np.unique(np.linspace(0, k - 1, min(k, SURROGATES)).astype(int))
        rows = np.concatenate([picked, picked + k])
        f, column = self.f[rows], t[:, None]
        size = np.maximum(np.linalg.norm(self.rows[rows], axis=1), TINY)
        over = np.concatenate([np.hypot(self.s, self.lost / 2)[picked]] * 2)
        spread = _spread(2 * np.abs(f), 2 * over, column)
        fall = np.exp(-2 * np.abs(f) * column)
        grown = np.where(f > 0, 1.0, fall)
        seed = np.where(f > 0, fall, 1.0)
        moves = [grown / (seed / (share * size) ** 2 + spread) for share in (1.0, 0.3)]
        return np.concatenate(moves, axis=1) / max(2 * float(np.max(over)), TINY)

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

    def _scaled(self, t: Array) -> tuple[Array, Array, Array, Array]:
        """Return ``e^{-f t}`` of the growing pivots, X and K, and the rows Lt without any fall.

        ``W2 W2^T``, ``W`` and ``W1^T W1`` are blocks of ``X Y^{-1} X^T``, where ``Y = Lt^T Phi Lt +
        K^T K`` but for the decay in K.
        """
        column = t[:, None]
        rise = np.maximum(self.f, 0)
        top = rise[self.pivots]
        # shares above a pivot are 0, whatever the exponent there
        Lt = self.share * np.exp(np.minimum(rise[:, None] - top, 0) * column[..., None])
        X = np.exp(np.minimum(self.f, 0) * column)[..., None] * Lt
        fall = np.exp(-top * column)
        K = fall[..., None] * (np.exp(-self.decay * column)[..., None] * self._inverse.T)
        return fall, X, K, Lt

    def _normal(self, t: Array) -> tuple[Solver, Array, Array]:
        """Return the solver with Y, X and K, by the normal equations."""
        fall, X, K, Lt = self._scaled(t)
        weighted = self._weighted(self._phi(t), Lt)
        Y = np.swapaxes(Lt, 1, 2) @ weighted
        Y += fall[:, :, None] * (self._inverse.T @ self._inverse) * fall[:, None, :]
        return lambda right: np.linalg.solve(Y, right), X, K

    def _plain(self, t: Array) -> tuple[Solver, Array, Array]:
        """Return the same from ``I + C^T Phi C``, where nothing has grown much yet."""
        k, size = len(self.s), len(self.lower)
        grow = np.exp(np.maximum(self.f, 0) * t[:, None])[..., None]
        rows = np.where((np.arange(len(self.f)) < k)[:, None], grow, 1.0) * self.rows
        M = np.eye(size) + np.swapaxes(rows, 1, 2) @ self._weighted(self._phi(t), rows)
        X = np.exp(self.f * t[:, None])[..., None] * self.rows
        K = np.exp(-self.decay * t)[:, None, None] * np.eye(size)
        return lambda right: np.linalg.solve(M, right), X, K

    def _row_wise(self, t: Array) -> tuple[Solver, Array, Array]:
        """Return the same for one time by QR, row by row as accurate as the rows themselves."""
        from scipy.linalg import solve_triangular

        fall, X, K, Lt = self._scaled(t)
        k = len(self.s)
        plus, minus, both, rest = (part[0, :, None] for part in self._phi(t))
        up, down, free = Lt[0, :k], Lt[0, k : 2 * k], Lt[0, 2 * k :]
        root = np.sqrt(plus)
        turn = np.where(root > 0, both / np.where(root > 0, root, 1.0), 0.0)
        left = np.sqrt(np.maximum(minus - turn**2, 0.0))
        parts = [root * up + turn * down, left * down, np.sqrt(rest) * free, self._inverse * fall]
        stack = np.concatenate(parts)
        order = np.argsort(-np.max(np.abs(stack), axis=1))
        factor = np.linalg.qr(stack[order], mode="r")

        def solve(right: Array) -> Array:
            half = solve_triangular(factor, right[0], trans="T")
            return np.asarray(solve_triangular(factor, half))[None]

        return solve, X, K

    def _weighted(self, phi: tuple[Array, Array, Array, Array], rows: Array) -> Array:
        """Return ``Phi`` applied to rows of shape (T, m, rho)."""
        k = len(self.s)
        plus, minus, both, rest = (part[..., None] for part in phi)
        up, down, free = rows[:, :k], rows[:, k : 2 * k], rows[:, 2 * k :]
        parts = [plus * up + both * down, both * up + minus * down, rest * free]
        return np.concatenate(parts, axis=1)

    def _last_early(self, t: Array) -> int:
        """Return how many of the increasing times are early enough for the plain form."""
        if self._condition < ANY_TIME:
            return 0
        exponent = 2 * max(float(np.max(self.f)), 0.0) * t
        plus, minus, _, rest = self._phi(t)
        largest = np.max(np.concatenate([plus, minus, rest], axis=1), axis=1)
        size = float(np.linalg.norm(self.rows, 2)) ** 2
        grown = size * largest * np.exp(np.minimum(exponent, LARGEST_LOG))
        return int(np.sum((exponent < LARGEST_LOG) & (grown < EARLY)))

    def _core(self, t: Array, system: tuple[Solver, Array, Array], inputs: bool) -> Core:
        solve, X, K = system
        k = len(self.s)
        va, vb, _ = (weight[:, None] for weight in self._mix)
        up, down, free = X[:, :k], X[:, k : 2 * k], X[:, 2 * k :]
        left = np.concatenate([vb * up - va * down, free], axis=1)
        right = np.swapaxes(va * up + vb * down, 1, 2)
        solved = np.swapaxes(solve(np.swapaxes(left, 1, 2)), 1, 2)
        c = None if self.seen is None else solved @ K
        found = None
        if inputs:
            A = np.swapaxes(right, 1, 2) @ solve(right)
            pulled = solve(K)
            found = (A, np.swapaxes(right, 1, 2) @ pulled, np.swapaxes(K, 1, 2) @ pulled)
        return Core(solved @ right, c, solved @ np.swapaxes(left, 1, 2), found)


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
    array([[0.4307, 0.0695],
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
    bare = Balanced(
        s,
        u,
        v,
        lost,
        decay,
        f,
        *_no_rows(len(f)),
        unseen=None,
        seen=None,
        gap=0.0,
        unexcited=0,
        beyond=0,
    )
    va, vb, _ = (weight[:, None] for weight in bare._mix)
    rows = np.concatenate([va * a + vb * b[:k], vb * a - va * b[:k], b[k:]])
    order = np.argsort(-f, kind="stable")
    pivots, basis, lower, full = _echelon(rows[order])
    inside = rows @ basis.T
    share = np.zeros_like(inside)
    if len(pivots):
        from scipy.linalg import solve_triangular

        share = solve_triangular(lower, inside.T, lower=True, trans="T").T
    place = np.empty(len(f), dtype=np.intp)
    place[order] = np.arange(len(f))
    share[place[:, None] < pivots] = 0.0
    share[order[pivots]] = np.eye(len(pivots))
    growing = f[order] > 0
    missed = growing & ~np.isin(np.arange(len(f)), pivots)
    beyond = missed & full
    unseen = None if k == i else w1 - a.T @ v.T
    return replace(
        bare,
        rows=inside,
        pivots=order[pivots],
        share=share,
        lower=lower,
        unseen=unseen,
        seen=None if unseen is None else basis @ unseen,
        gap=float(np.sum(w1**2) - np.sum(w2**2)),
        unexcited=int(np.sum(missed & ~beyond)),
        beyond=int(np.sum(beyond)),
    )


def _echelon(rows: Array) -> tuple[Index, Array, Array, npt.NDArray[np.bool_]]:
    """Return pivots, basis B, Lp, and after which rows no rank was left, of ordered rows."""
    m, h = rows.shape
    first = min(m, h)
    q, r = np.linalg.qr(rows[:first].T)
    size = np.linalg.norm(rows[:first], axis=1)
    new = np.abs(np.diagonal(r))
    if np.all(new > np.maximum(1e-6 * size, 1e-9 * float(np.linalg.norm(rows)))):
        return np.arange(first), q.T, r.T, np.arange(m) >= first
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
        if length > max(UNEXCITED * float(np.linalg.norm(row)), noise):
            basis[found], lower[found, :found], lower[found, found] = rest / length, inside, length
            pivots.append(j)
    found = len(pivots)
    last = pivots[-1] if found == rank and found else m
    full = np.arange(m) > last
    return np.array(pivots, int), basis[:found] @ directions[:rank], lower[:found, :found], full


def _no_rows(m: int) -> tuple[Array, Index, Array, Array]:
    return np.zeros((m, 0)), np.zeros(0, dtype=np.intp), np.zeros((m, 0)), np.zeros((0, 0))


def _spread(rate: Array, over: Array, t: Array) -> Array:
    """Return ``(1 - e^{-rate t})/over``, t where `over` is 0."""
    still = over == 0
    return np.where(still, t, -np.expm1(-rate * t) / np.where(still, 1.0, over))


def _joined(cores: list[Core]) -> Core:
    alpha = np.concatenate([core.alpha for core in cores])
    gram = np.concatenate([core.gram for core in cores])
    left = [core.c for core in cores if core.c is not None]
    inputs = [core.inputs for core in cores if core.inputs is not None]
    c = np.concatenate(left) if left else None
    if not inputs:
        return Core(alpha, c, gram, None)
    A, x, y = (np.concatenate(parts) for parts in zip(*inputs, strict=True))
    return Core(alpha, c, gram, (A, x, y))
