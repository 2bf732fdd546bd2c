r"""Initial weights on which linear networks can be solved, at random.

All are arrays in the order of the layers, W1 (h, i) and W2 (o, h), for the map ``W2 W1 x``. Sizes
are given as ``(i, h, o)``. The same seed gives the same start; a generator given as `seed` is
drawn from, and so gives another start every time.

Source: exact parametrisations, derived here. They are richer than starts built on the target's
singular vectors (`aligned`): hidden, input and output directions have nothing to do with each
other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws.aligned import find
from layerwise.theory.model import matrix
from layerwise.theory.regression import Regression

__all__ = ["aligned", "balanced", "deep_aligned", "singular", "two_valued", "wide"]

Array = npt.NDArray[np.float64]
Seed = int | np.random.Generator

INVERTIBLE = 1e-12  # a smaller share of the largest singular value counts as 0


def balanced(
    shape: tuple[int, int, int],
    lam: float = 0.0,
    scale: float = 1.0,
    *,
    rank: int | None = None,
    seed: Seed = 0,
) -> tuple[Array, Array]:
    """Return a random start with ``W2^T W2 - W1 W1^T = lam P``, P the hidden directions in use.

    For lam >= 0 W1 is Gaussian, of standard deviation `scale` on the directions in use, and W2 is
    a root of ``lam P + W1 W1^T`` with a random orthonormal output side; for lam < 0 the layers
    change places.

    Parameters
    ----------
    shape
        Sizes ``(i, h, o)``.
    lam
        Imbalance; positive where the second layer is the larger one.
    scale
        Standard deviation of the smaller layer, >= 0; that of both layers where lam = 0.
    rank
        Number of hidden directions in use. Default: for lam != 0 all h, so that P is the identity;
        for lam = 0, where the imbalance is 0 whatever P, the most that fit.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        Outside the domain. ``W2^T W2 = lam P + W1 W1^T`` has at most o positive eigenvalues, so
        lam > 0 needs ``rank <= min(h, o)``; lam < 0 needs ``rank <= min(h, i)``; lam = 0 needs
        ``rank <= min(i, h, o)``. With less than h, other hidden directions are dead: both layers
        vanish there.

    Examples
    --------
    >>> w1, w2 = balanced((5, 2, 3), lam=0.5, seed=1)
    >>> (w2.T @ w2 - w1 @ w1.T).round(12) + 0.0
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    i, h, o = _sizes("balanced", shape)
    _need_number("balanced", "scale", scale)
    if not math.isfinite(lam):
        raise ValueError(f"balanced: lam must be finite, got {lam!r}")
    if lam > 0:
        sign, limits = "> 0", {"h": h, "o": o}
    elif lam < 0:
        sign, limits = "< 0", {"h": h, "i": i}
    else:
        sign, limits = "= 0", {"i": i, "h": h, "o": o}
    most = min(limits.values())
    used = (h if lam else most) if rank is None else rank
    if not 1 <= used <= most:
        sizes = ", ".join(f"{name} = {size}" for name, size in limits.items())
        raise ValueError(
            f"balanced: lam {sign} needs 1 <= rank <= min({', '.join(limits)}), got rank {used} "
            f"({'h by default' if rank is None else 'as asked'}) with {sizes}; pass "
            f"rank={most} to leave hidden directions dead, or change the sizes or the sign of lam"
        )
    rng = np.random.default_rng(seed)
    free, bound = (i, o) if lam >= 0 else (o, i)
    inside = _orthonormal(rng, h, used)
    smaller = scale * rng.standard_normal((used, free))
    turn, sizes_of, _ = np.linalg.svd(smaller)
    grown = np.hypot(math.sqrt(abs(lam)), np.pad(sizes_of, (0, used - len(sizes_of))))
    larger = _orthonormal(rng, bound, used) * grown @ turn.T
    first, second = inside @ smaller, larger @ inside.T
    return (first, second) if lam >= 0 else (second.T, first.T)


def two_valued(
    shape: tuple[int, int, int],
    upper: float,
    lower: float,
    mixing: float = 1.0,
    *,
    seed: Seed = 0,
) -> tuple[Array, Array]:
    """Return a random start whose imbalance has two values: `upper` o times, -`lower` i times.

    Its other h - i - o eigenvalues are 0.
    ``[W1^T; W2] = T diag(sqrt(lower) I_i, sqrt(upper) I_o) O`` with O (i + o, h) of orthonormal
    rows and ``T = exp [[0, M^T], [M, 0]]``, M Gaussian. With ``mixing = 0`` the Grams are those of
    infinitely wide random layers, ``W1^T W1 = lower I``, ``W2 W2^T = upper I``, ``W2 W1 = 0``.

    Parameters
    ----------
    shape
        Sizes ``(i, h, o)`` with ``h >= i + o``.
    upper, lower
        Positive numbers.
    mixing
        Typical size of M, >= 0; the largest weight grows as its exponential.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        If ``h < i + o``, which leaves no room for all eigenvalues, or for numbers out of range.

    Examples
    --------
    >>> w1, w2 = two_valued((2, 4, 1), upper=2.0, lower=0.5, seed=1)
    >>> np.linalg.eigvalsh(w2.T @ w2 - w1 @ w1.T).round(12) + 0.0
    array([-0.5, -0.5,  0. ,  2. ])
    """
    i, h, o = _sizes("two_valued", shape)
    if h < i + o:
        raise ValueError(f"two_valued: needs h >= i + o, got i = {i}, h = {h}, o = {o}")
    _need_number("two_valued", "upper", upper, positive=True)
    _need_number("two_valued", "lower", lower, positive=True)
    _need_number("two_valued", "mixing", mixing)
    rng = np.random.default_rng(seed)
    u, s, vt = np.linalg.svd(mixing / math.sqrt(i + o) * rng.standard_normal((o, i)))
    k = len(s)
    rise, turn = 2 * np.sinh(s / 2) ** 2, np.sinh(s)
    u, v = u[:, :k], vt[:k].T
    top = np.hstack([np.eye(i) + v * rise @ v.T, v * turn @ u.T])
    bottom = np.hstack([u * turn @ v.T, np.eye(o) + u * rise @ u.T])
    roots = np.repeat([math.sqrt(lower), math.sqrt(upper)], [i, o])
    stacked = np.vstack([top, bottom]) * roots @ _orthonormal(rng, h, i + o).T
    return stacked[:i].T.copy(), stacked[i:].copy()


def aligned(
    cross: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    width: int | None = None,
    input_cov: npt.ArrayLike | None = None,
    *,
    seed: Seed = 0,
) -> tuple[Array, Array]:
    """Return ``W1 = R diag(a) V^T``, ``W2 = U diag(b) R^T`` on the target's own modes.

    ``cross = U diag(s) V^T`` with s descending, R (h, k) random orthonormal columns. Every mode is
    then a scalar pair.

    Parameters
    ----------
    cross
        ``S = E[y x^T]``, shape (o, i).
    a, b
        First and second weight of each mode, k = min(i, o) numbers of any sign, or one for all.
    width
        h >= k; k by default.
    input_cov
        ``Sxx = E[x x^T]`` (i, i). V is chosen to diagonalise it as well, which it needs to allow.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        If h < k, shapes do not fit, or no singular vectors of `cross` diagonalise `input_cov` (the
        largest off-diagonal share is named).

    Examples
    --------
    >>> w1, w2 = aligned(np.diag([1.0, 3.0]), a=[0.1, 0.2], b=[0.3, -0.4], width=4)
    >>> (w2 @ w1).round(12) + 0.0  # the mode s = 3 comes first
    array([[-0.08,  0.  ],
           [ 0.  ,  0.03]])
    """
    k = min(np.shape(cross), default=0)
    try:
        weights = np.array([np.broadcast_to(a, k), np.broadcast_to(b, k)], dtype=float)
    except ValueError:
        raise ValueError(
            f"aligned: a {np.shape(a)} and b {np.shape(b)} must be {k} numbers or one, for cross "
            f"{np.shape(cross)}"
        ) from None
    first, second = deep_aligned(
        cross, weights, None if width is None else [width], input_cov, seed=seed
    )
    return first, second


def deep_aligned(
    cross: npt.ArrayLike,
    weights: npt.ArrayLike,
    widths: Sequence[int] | None = None,
    input_cov: npt.ArrayLike | None = None,
    *,
    seed: Seed = 0,
) -> list[Array]:
    """Return layers ``W_l = R_l diag(w_l) R_{l-1}^T`` on the target's own modes, first to last.

    ``R_0 = V`` and ``R_L = U`` are the singular vectors of `cross`, all others random orthonormal
    columns. Every mode is then a product of L numbers.

    Parameters
    ----------
    cross
        ``S = E[y x^T]``, shape (o, i).
    weights
        Shape (L, k), k = min(i, o), any signs: row l has the weights of layer l.
    widths
        The L - 1 hidden sizes, each >= k; all are k by default.
    input_cov
        As in `aligned`.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        As in `aligned`.

    Examples
    --------
    >>> layers = deep_aligned(np.diag([3.0, 1.0]), 0.5 * np.ones((3, 2)), widths=[4, 5])
    >>> [layer.shape for layer in layers]
    [(4, 2), (5, 4), (2, 5)]
    >>> np.linalg.multi_dot(layers[::-1]).round(12) + 0.0
    array([[0.125, 0.   ],
           [0.   , 0.125]])
    """
    target, sizes = Regression("aligned", cross, input_cov), matrix("aligned", "weights", weights)
    o, i = target.cross.shape
    k, between = min(i, o), len(sizes) - 1
    if sizes.shape[1] != k:
        raise ValueError(
            f"aligned: weights must have shape (L, {k}) for cross {(o, i)}, got {sizes.shape}"
        )
    hidden = [k] * between if widths is None else widths
    if len(hidden) != between or any(width < k for width in hidden):
        raise ValueError(
            f"aligned: {len(sizes)} layers on {k} modes need {between} hidden sizes of at least "
            f"{k}, got {hidden!r}"
        )
    modes, off = find(np.zeros((1, i)), np.zeros((o, 1)), target.cross, target.input_cov)
    if modes is None:
        raise ValueError(
            "aligned: no singular vectors of cross diagonalise input_cov, the best leave an "
            f"off-diagonal share of {off:.2g}"
        )
    rng = np.random.default_rng(seed)
    sides = [modes.v[:, :k], *(_orthonormal(rng, width, k) for width in hidden), modes.u[:, :k]]
    return [
        after * row @ before.T
        for before, row, after in zip(sides[:-1], sizes, sides[1:], strict=True)
    ]


def singular(
    cross: npt.ArrayLike, scale: float = 1.0, width: int | None = None, *, seed: Seed = 0
) -> tuple[Array, Array]:
    """Return a zero-balanced start from which the flow cannot learn all of `cross`.

    The sign of ``det(W2 W1)`` is conserved by a zero-balanced square network. Here it differs from
    that of ``det S``, so the flow ends on a saddle where the weakest mode is missing. Half of all
    zero-balanced random starts are like this; those of the other sign are reflected.

    Parameters
    ----------
    cross
        Square and invertible S, shape (n, n).
    scale
        Standard deviation of the weights, > 0.
    width
        h >= n; n by default.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        If `cross` is not square and invertible (nothing then has to be missed), or h < n (the
        product then has no sign).

    Examples
    --------
    >>> w1, w2 = singular(np.diag([2.0, 1.0]), scale=0.1)
    >>> bool(np.linalg.det(w2 @ w1) < 0), (w2.T @ w2 - w1 @ w1.T).round(12) + 0.0
    (True, array([[0., 0.],
           [0., 0.]]))
    """
    target = matrix("singular", "cross", cross)
    if target.shape[0] != target.shape[1]:
        raise ValueError(f"singular: cross must be square, got shape {target.shape}")
    s = np.linalg.svd(target, compute_uv=False)
    if s[-1] <= INVERTIBLE * s[0]:
        raise ValueError(f"singular: cross must be invertible, its singular values are {s}")
    n = len(s)
    h = n if width is None else width
    if h < n:
        raise ValueError(f"singular: needs h >= n, got h = {h} for cross {target.shape}")
    _need_number("singular", "scale", scale, positive=True)
    rng = np.random.default_rng(seed)
    w1, w2 = balanced((n, h, n), 0.0, scale, seed=rng)
    if np.linalg.slogdet(w2 @ w1).sign == np.linalg.slogdet(target).sign:
        mirror = _orthonormal(rng, n, 1)
        w2 = w2 - 2 * mirror @ (mirror.T @ w2)
    return w1, w2


def wide(
    shape: tuple[int, int, int], first: float = 1.0, second: float = 1.0, *, seed: Seed = 0
) -> tuple[Array, Array]:
    """Return iid Gaussian layers with entries of variance ``first^2/h`` and ``second^2/h``.

    As h grows ``W1^T W1 -> first^2 I``, ``W2 W2^T -> second^2 I`` and ``W2 W1 -> 0``, with
    deviations of order ``1/sqrt(h)``: the start of `two_valued` with upper = second^2,
    lower = first^2 and no mixing. At finite h no closed form covers it.

    Parameters
    ----------
    shape
        Sizes ``(i, h, o)``.
    first, second
        Scales of the two layers, >= 0.
    seed
        Integer or generator.

    Raises
    ------
    ValueError
        For sizes that are not positive and scales that are negative or not finite.

    Examples
    --------
    >>> w1, w2 = wide((2, 10_000, 3), first=1.0, second=2.0)
    >>> np.diag(w1.T @ w1).round(), np.diag(w2 @ w2.T).round()
    (array([1., 1.]), array([4., 4., 4.]))
    """
    i, h, o = _sizes("wide", shape)
    _need_number("wide", "first", first)
    _need_number("wide", "second", second)
    rng = np.random.default_rng(seed)
    w1 = first / math.sqrt(h) * rng.standard_normal((h, i))
    return w1, second / math.sqrt(h) * rng.standard_normal((o, h))


def _orthonormal(rng: np.random.Generator, n: int, k: int) -> Array:
    """Return a uniformly random (n, k) matrix with orthonormal columns, n >= k."""
    q, r = np.linalg.qr(rng.standard_normal((n, k)))
    return np.asarray(q * np.where(np.diagonal(r) < 0, -1.0, 1.0))


def _sizes(kind: str, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"{kind}: shape must be three positive sizes (i, h, o), got {shape!r}")
    return shape


def _need_number(kind: str, name: str, value: float, *, positive: bool = False) -> None:
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        rule = "positive" if positive else "not negative"
        raise ValueError(f"{kind}: {name} must be finite and {rule}, got {value!r}")
