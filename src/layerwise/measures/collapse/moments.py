"""Class moments of a stream of features: one pass, exact, merged in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerwise.measures.arrays import Array, need
from layerwise.measures.collapse.between import (
    Between,
    axes_of,
    between_means,
    squared_distances,
)
from layerwise.measures.collapse.classes import classes_of
from layerwise.measures.collapse.estimate import Estimate
from layerwise.measures.collapse.variability import Within, cdnv, projected, quotient

__all__ = ["ClassMoments", "Moments"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Counts (C,), means (C, d) and within-class covariance (d, d) of the classes seen.

    Attributes
    ----------
    classes
        The labels that occurred, in their order: what the rows of `means` belong to.
    counts, means, covariance, variances
        Of each class its size, mean and ``v_c = mean |h - mu_c|^2``; the covariance is ``Sigma_W``.
    eps
        Machine precision of the features, for the floor of NC1.
    """

    xp: Any
    classes: tuple[int, ...]
    counts: Array
    means: Array
    covariance: Array
    variances: Array
    eps: float
    weighted: bool

    @property
    def nc1(self) -> Estimate:
        """Return ``(1/C) tr(Sigma_W Sigma_B^+)``, as `layerwise.measures.nc1`."""
        xp, shape = self.xp, self._between()
        axes = axes_of(shape, self.eps, xp.float64)
        energy = xp.sum(xp.matmul(axes.rows, self.covariance) * axes.rows, axis=1)
        return projected(self._within(), energy / axes.values, shape.size)

    @property
    def quotient(self) -> Estimate:
        """Return ``tr Sigma_W / tr Sigma_B``."""
        shape = self._between()
        return quotient(self._within(), shape.size, self._rank(shape))

    @property
    def cdnv(self) -> Estimate:
        """Return the class-distance normalised variance."""
        shape = self._between()
        apart = squared_distances(self.xp, shape.gram)
        return cdnv(self._within(), apart, shape.size, self._rank(shape))

    def _between(self) -> Between:
        means = self.xp.asarray(self.means, copy=True)
        return between_means(self.xp, means, self.counts, self.weighted)

    def _rank(self, shape: Between) -> int:
        return int(axes_of(shape, self.eps, self.xp.float64).values.shape[0])

    def _within(self) -> Within:
        return Within(self.xp, self.variances, self.counts, self.eps)


class ClassMoments:
    """Accumulator of class moments, for features that are not kept.

    The state is, in float64, the size, mean and scatter of each class and one pooled d x d
    scatter. Chunks are joined by ``S = S_a + S_b + delta delta^T n_a n_b/n`` with
    ``delta = mean_b - mean_a``, never by ``E[h h^T] - mu mu^T``, which cancels. The result does not
    depend on how the stream is cut, and classes may be absent from any chunk.

    Parameters
    ----------
    n_classes
        Labels must lie in 0 ... n_classes-1. Without it the classes are the labels that occur.
    weighted
        Whether ``mu_G`` is the mean of the samples and not that of the class means.

    References
    ----------
    Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".

    Examples
    --------
    >>> moments = ClassMoments()
    >>> moments.update([[1.0, 0.1], [1.0, -0.1]], [0, 0])
    >>> moments.update([[-1.0, 0.2], [-1.0, -0.2]], [1, 1])
    >>> found = moments.compute()
    >>> round(found.quotient, 4), found.counts
    (0.025, array([2., 2.]))
    """

    def __init__(self, n_classes: int | None = None, weighted: bool = False) -> None:
        need(n_classes is None or n_classes >= 2, f"n_classes must be at least 2, got {n_classes}")
        self._n_classes, self._weighted = n_classes, weighted
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._state: _State | None = None

    def update(self, features: Array, labels: Array) -> None:
        """Add samples: features (n, d) and labels (n,); errors as in `nc1`, and a changed d.

        A chunk with an error is not added.
        """
        self._add(_state_of(features, labels, self._n_classes))

    def merge(self, other: ClassMoments) -> None:
        """Add the samples that `other` has seen; it stays as it is."""
        if other._state is not None:
            self._add(other._state)

    def compute(self) -> Moments:
        """Return the moments of all samples so far.

        Raises
        ------
        RuntimeError
            Before the first update.
        ValueError
            If fewer than two classes were seen.
        """
        state = self._state
        if state is None:
            raise RuntimeError("ClassMoments.compute before any update: there are no samples yet")
        xp = state.xp
        (seen,) = xp.nonzero(state.counts > 0)
        labels = tuple(int(c) for c in seen)
        need(len(labels) >= 2, f"neural collapse needs at least two classes, saw {list(labels)}")
        counts = xp.take(state.counts, seen)
        return Moments(
            xp,
            labels,
            counts,
            xp.take(state.means, seen, axis=0),
            state.scatter / xp.sum(counts),
            xp.take(state.squares, seen) / counts,
            state.eps,
            self._weighted,
        )

    def _add(self, new: _State) -> None:
        self._state = new if self._state is None else _joined(self._state, new)


@dataclass(frozen=True, eq=False)
class _State:
    """Counts (C,), means (C, d), sums of squares about them (C,) and the pooled scatter (d, d)."""

    xp: Any
    counts: Array
    means: Array
    squares: Array
    scatter: Array
    eps: float

    def padded(self, C: int) -> _State:
        """Return the state with room for `C` classes."""
        xp, more = self.xp, C - self.counts.shape[0]
        if more <= 0:
            return self
        none = xp.zeros((more, self.means.shape[1]), dtype=xp.float64, device=self.means.device)
        return _State(
            xp,
            xp.concat([self.counts, none[:, 0]]),
            xp.concat([self.means, none]),
            xp.concat([self.squares, none[:, 0]]),
            self.scatter,
            self.eps,
        )


def _state_of(features: Array, labels: Array, n_classes: int | None) -> _State:
    classes = classes_of(features, labels, n_classes, gaps=True)
    xp, (N, d) = classes.xp, classes.features.shape
    double = xp.float64
    means = classes.means(double)
    scatter = xp.zeros((d, d), dtype=double, device=means.device)
    squares = xp.empty((N, 1), dtype=double, device=means.device)
    for rows, _, block in classes.centred(means, double, columns=d):
        squares[rows, 0] = xp.vecdot(block, block)
        scatter += xp.matmul(xp.matrix_transpose(block), block)
    within = classes.sums(squares, double)[:, 0]
    return _State(xp, classes.counts, means, within, scatter, classes.eps)


def _joined(a: _State, b: _State) -> _State:
    xp, d = a.xp, a.means.shape[1]
    need(
        b.means.shape[1] == d,
        f"features of {b.means.shape[1]} numbers cannot be added to those of {d}",
    )
    C = max(a.counts.shape[0], b.counts.shape[0])
    a, b = a.padded(C), b.padded(C)
    counts = a.counts + b.counts
    share = b.counts / xp.where(counts > 0, counts, xp.ones_like(counts))
    delta = b.means - a.means
    weight = a.counts * share
    return _State(
        xp,
        counts,
        a.means + delta * share[:, None],
        a.squares + b.squares + weight * xp.sum(delta * delta, axis=1),
        a.scatter + b.scatter + xp.matmul(xp.matrix_transpose(delta * weight[:, None]), delta),
        max(a.eps, b.eps),
    )
