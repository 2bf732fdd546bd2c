r"""Aligned modes: a two-layer network that falls apart into 1-h-1 networks.

If right vectors v_k diagonalise Sxx and ``W1^T W1``, left vectors u_k diagonalise ``W2 W2^T``, and
both together S and ``W2 W1``, then every mode k with hidden vectors ``a_k = W1 v_k`` and
``b_k = W2^T u_k`` is a 1-h-1 network of its own, with target ``s_k/xi_k`` and input variance xi_k:

    W1 = sum_k a_k(t) v_k^T,   W2 = sum_k u_k b_k(t)^T.

Domain: any input spectrum, any signs, any imbalance of each mode; equal L2 decay on both layers.
Directions without a partner stand still (with decay they fade). Source: Saxe et al. 2014 (arXiv
1312.6120) for whitened inputs and parallel vectors; the extension is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Modes", "find"]

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-10  # relative to the largest entry of each matrix
NOISE = 1e-14  # a map below this share of the layers' sizes is rounding
SAME = 1e-8  # singular values that agree to this share are one block


@dataclass(frozen=True, eq=False)
class Modes:
    """Joint modes of a network and its target.

    Attributes
    ----------
    u, v
        Complete orthonormal bases of outputs and inputs as columns, shapes (o, o) and (i, i).
    s, xi
        ``u_k^T S v_k`` and the input variance of the first min(i, o) modes.
    """

    u: Array
    v: Array
    s: Array
    xi: Array


def find(w1: Array, w2: Array, cross: Array, cov: Array | None) -> tuple[Modes | None, float]:
    """Return the joint modes, or None, and the largest off-diagonal share of the four matrices.

    `find` looks for bases in which Sxx, ``W1^T W1``, ``W2 W2^T``, ``W2 W1`` and S are diagonal to
    1e-10 of their largest entries.

    Examples
    --------
    >>> modes, off = find(np.eye(2), np.eye(2), np.diag([1.0, 3.0]), np.diag([2.0, 5.0]))
    >>> modes.s, modes.xi
    (array([3., 1.]), array([5., 2.]))
    """
    off = _first_look(w1, w2, cross, cov)
    if off > TOLERANCE:
        return None, off
    start = w2 @ w1
    if float(np.max(np.abs(start))) <= NOISE * float(np.linalg.norm(w1) * np.linalg.norm(w2)):
        start = np.zeros_like(start)
    on_inputs = [_unit(m) for m in (w1.T @ w1, start.T @ start, cov) if m is not None]
    on_outputs = [_unit(w2 @ w2.T), _unit(start @ start.T)]
    u, s, vt = np.linalg.svd(cross)
    v, k = vt.T.copy(), len(s)
    seen = int(np.sum(s > SAME * s[0]))
    first = 0
    while first < seen:
        last = first + 1
        while last < seen and s[first] - s[last] <= SAME * s[0]:
            last += 1
        p, q = u[:, first:last], v[:, first:last]
        shared = [q.T @ m @ q for m in on_inputs] + [p.T @ m @ p for m in on_outputs]
        shared.append(p.T @ _unit(start) @ q)
        turn = _turn([(m + m.T) / 2 for m in shared])
        u[:, first:last], v[:, first:last] = p @ turn, q @ turn
        first = last
    q = v[:, seen:] @ _turn([v[:, seen:].T @ m @ v[:, seen:] for m in on_inputs])
    u[:, seen:], v[:, seen:] = _unseen(u[:, seen:], q, start, w2)
    off = max(
        *(_off_diagonal(v.T @ m @ v) for m in on_inputs),
        *(_off_diagonal(u.T @ m @ u) for m in on_outputs),
        _off_diagonal(u.T @ start @ v),
        _off_diagonal(u.T @ cross @ v),
    )
    if off > TOLERANCE:
        return None, off
    xi = np.ones(k) if cov is None else np.einsum("ik,ij,jk->k", v[:, :k], cov, v[:, :k])
    return Modes(u, v, np.einsum("ok,oi,ik->k", u[:, :k], cross, v[:, :k]), xi), off


def _first_look(w1: Array, w2: Array, cross: Array, cov: Array | None) -> float:
    """Return how far the matrices are from commuting, seen from one vector: cheap, necessary."""
    x, y = _vector(cross.shape[1]), _vector(cross.shape[0])
    off = _gap(cross.T @ (w2 @ (w1 @ x)), w1.T @ (w2.T @ (cross @ x)))
    once, again = cross.T @ (cross @ x), cross @ (cross.T @ y)
    off = max(off, _gap(cross.T @ (cross @ (w1.T @ (w1 @ x))), w1.T @ (w1 @ once)))
    off = max(off, _gap(cross @ (cross.T @ (w2 @ (w2.T @ y))), w2 @ (w2.T @ again)))
    return off if cov is None else max(off, _gap(cross.T @ (cross @ (cov @ x)), cov @ once))


def _vector(n: int) -> Array:
    return np.asarray(np.cos(1.0 + np.arange(n) ** 2))  # nothing special to any basis


def _gap(one: Array, other: Array) -> float:
    size = float(np.linalg.norm(one) + np.linalg.norm(other))
    return float(np.linalg.norm(one - other)) / size if size else 0.0


def _unit(m: Array) -> Array:
    size = float(np.max(np.abs(m)))
    return m / size if size else m


def _turn(matrices: list[Array]) -> Array:
    """Return the rotation that diagonalises all of these, if one does: that of a mixture."""
    weights = np.sqrt(2.0 + np.arange(len(matrices)))
    mixed = np.tensordot(weights, np.array(matrices), axes=1)
    _, vectors = np.linalg.eigh(mixed)
    return np.asarray(vectors[:, ::-1])


def _unseen(p: Array, q: Array, start: Array, w2: Array) -> tuple[Array, Array]:
    """Pair directions that S does not see: what `start` maps comes first, beside its image."""
    image = start @ q
    size = np.linalg.norm(image, axis=0)
    order = np.argsort(-size)
    seen = size > TOLERANCE * float(np.max(np.abs(start), initial=0.0))
    hit = min(int(np.sum(seen)), p.shape[1])
    q = q[:, order]
    paired = image[:, order[:hit]] / size[order[:hit]]
    _, _, inside = np.linalg.svd(paired.T @ p)
    rest = p @ inside[hit:].T
    turned = rest @ _turn([rest.T @ w2 @ w2.T @ rest])
    return np.concatenate([paired, turned], axis=1), q


def _off_diagonal(m: Array) -> float:
    size = float(np.max(np.abs(m), initial=0.0))
    if size == 0:
        return 0.0
    rest = m.copy()
    np.fill_diagonal(rest, 0.0)
    return float(np.max(np.abs(rest))) / size
