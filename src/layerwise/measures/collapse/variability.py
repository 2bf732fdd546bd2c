"""NC1: the variability within classes relative to that between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from layerwise.measures.arrays import Array, need
from layerwise.measures.collapse.between import (
    Size,
    axes_of,
    between,
    squared_distances,
    whitened_draws,
)
from layerwise.measures.collapse.classes import Classes, classes_of, in_dtype, need_two
from layerwise.measures.collapse.estimate import Estimate

__all__ = ["Form", "Judge", "Within", "cdnv", "nc1", "projected", "quotient", "within"]

Form = Literal["projected", "quotient", "cdnv"]
Judge = Callable[[Array, Array, Array, Array], None]


def nc1(
    features: Array,
    labels: Array,
    form: Form = "projected",
    *,
    weighted: bool = False,
    probes: int | None = None,
    seed: int = 0,
) -> Estimate:
    """Return NC1, by default ``(1/C) tr(Sigma_W Sigma_B^+)``: 0 where each class is one point.

    It is taken as ``mean_i |B (h_i - mu_y)|^2 / C`` with ``B^T B = Sigma_B^+``, so that no d x d
    matrix is formed and no digits are lost to an offset of the features.

    Parameters
    ----------
    features
        Shape (N, d).
    labels
        Whole numbers, shape (N,). The classes are the labels that occur.
    form
        ``"projected"``, the definition of Papyan et al.; it sees only the directions of the class
        means and is unbounded while ``Sigma_B`` is nearly singular, so look at the rank beside it.
        ``"quotient"`` is ``tr Sigma_W / tr Sigma_B`` and sees every direction. ``"cdnv"`` is the
        mean over pairs of classes of ``(v_c + v_c') / (2 |mu_c - mu_c'|^2)`` with the variances
        ``v_c = mean |h - mu_c|^2``.
    weighted
        Whether ``mu_G`` is the mean of the samples and not that of the class means.
    probes
        Estimate the projected form from this many random signs z, at least 2, as the mean of
        ``(z^T B (h - mu))^2``: far cheaper than the exact value for hundreds of classes, with the
        relative error ``sqrt(2 / (probes rank))`` for equal eigenvalues of ``Sigma_B``.
    seed
        Of the random signs.

    Returns
    -------
    Estimate
        A float with `floor`, ``eps^2 mean|h|^2 / tr Sigma_B``, below which it is rounding of the
        features; `rank`, that of ``Sigma_B``; and `error`, the standard error of probes. Infinite
        where all class means coincide (rank 0), NaN where also all features do.

    Raises
    ------
    ValueError
        If shapes do not fit, a feature is not finite (the first is named), a label is negative, or
        there are fewer than two classes.

    References
    ----------
    Papyan, Han and Donoho 2020 (arXiv 2008.08186); quotient: Tirer, Huang and Niles-Weed 2023
    (arXiv 2210.16658); CDNV: Galanti, György and Hutter 2021 (arXiv 2112.15121). The projected
    evaluation is derived here.

    Examples
    --------
    >>> features = [[1.1, 0.1], [0.9, -0.1], [-1.1, 0.2], [-0.9, -0.2]]
    >>> found = nc1(features, [0, 0, 1, 1])
    >>> round(found, 12), found.rank, f"{found:.3f}"
    (0.005, 1, '0.005')
    >>> round(nc1(features, [0, 0, 1, 1], form="quotient"), 12)
    0.035
    """
    need(form in ("projected", "quotient", "cdnv"), f"unknown form of NC1: {form!r}")
    need(
        probes is None or (form == "projected" and probes >= 2),
        f"probes estimate the projected form and are at least 2, got {probes} for {form!r}",
    )
    classes = need_two(classes_of(features, labels), every=False)
    xp, work = classes.xp, classes.work
    shape = between(classes, weighted)
    if probes is not None:
        rows, rank = whitened_draws(shape, classes.eps, work, probes, seed)
        spread, energy = within(classes, shape.means(work), rows)
        return probed(spread, energy, shape.size, rank)
    axes = axes_of(shape, classes.eps, work)
    rank = axes.rows.shape[0]
    rows = axes.rows if form == "projected" else axes.rows[:0, :]
    spread, energy = within(classes, shape.means(work), rows)
    if form == "quotient":
        return quotient(spread, shape.size, rank)
    if form == "cdnv":
        return cdnv(spread, squared_distances(xp, shape.gram), shape.size, rank)
    return projected(spread, energy / axes.values, shape.size)


@dataclass(frozen=True, eq=False)
class Within:
    """How far the features spread about their class means.

    Attributes
    ----------
    variances, counts
        ``v_c = mean |h - mu_c|^2`` of each class, shape (C,), and the sizes of the classes.
    eps
        Machine precision of the features.
    """

    xp: Any
    variances: Array
    counts: Array
    eps: float

    @property
    def trace(self) -> float:
        """Return ``tr Sigma_W``."""
        xp = self.xp
        return float(xp.sum(self.variances * self.counts) / xp.sum(self.counts))

    def floor(self, size: Size) -> float:
        """Return what rounding of the features can make of NC1."""
        return _ratio(self.eps**2 * (size.mean_square + self.trace), size.trace)


def within(
    classes: Classes, means: Array, rows: Array, judge: Judge | None = None
) -> tuple[Within, Array]:
    """Return the spread about `means` and the mean squares along `rows` (r,).

    One pass over the features. The judge, if any, gets of each block the labels, ``mu_y - h``, its
    squares and its projections (n, r).
    """
    xp = classes.xp
    N = classes.features.shape[0]
    energy = xp.zeros(rows.shape[0], dtype=xp.float64, device=rows.device)
    squares = xp.empty((N, 1), dtype=classes.work, device=rows.device)
    across = xp.matrix_transpose(rows)
    # sums by products are fast for few columns and for many
    alone = xp.ones((1, N), dtype=classes.work, device=rows.device)
    for part, labels, block in classes.centred(means, classes.work, rows.shape[0]):
        square = xp.vecdot(block, block)
        squares[part, 0] = square
        z = xp.matmul(block, across)
        if judge is not None:
            judge(labels, block, square, z)
        energy += xp.astype(xp.matmul(alone[:, part], z * z)[0, :], xp.float64)
    variances = classes.sums(squares, classes.work)[:, 0] / classes.counts
    return Within(xp, variances, classes.counts, classes.eps), energy / N


def projected(spread: Within, shares: Array, size: Size) -> Estimate:
    """Return ``tr(Sigma_W Sigma_B^+) / C`` from its share along each axis."""
    rank, C = shares.shape[0], spread.counts.shape[0]
    value = float(spread.xp.sum(shares)) / C if rank else _ratio(spread.trace, 0.0)
    return Estimate(value, spread.floor(size), rank)


def probed(spread: Within, draws: Array, size: Size, rank: int) -> Estimate:
    """Return ``tr(Sigma_W Sigma_B^+) / C`` from random draws of the trace, with its error."""
    if rank == 0:
        return projected(spread, draws[:0], size)
    xp, (probes,), C = spread.xp, draws.shape, spread.counts.shape[0]
    error = float(xp.std(draws, correction=1)) / C / math.sqrt(probes)
    return Estimate(float(xp.mean(draws)) / C, spread.floor(size), rank, error)


def quotient(spread: Within, size: Size, rank: int) -> Estimate:
    """Return ``tr Sigma_W / tr Sigma_B``."""
    return Estimate(_ratio(spread.trace, size.trace), spread.floor(size), rank)


def cdnv(spread: Within, apart: Array, size: Size, rank: int) -> Estimate:
    """Return the class-distance normalised variance, the mean over pairs at distances `apart`."""
    xp, v = spread.xp, in_dtype(spread.xp, spread.variances, apart.dtype)
    C = v.shape[0]
    same = xp.eye(C, dtype=xp.bool, device=v.device)
    pairs = v[:, None] + v[None, :]
    coincide = (apart == 0) & ~same
    one = xp.ones_like(apart)
    ratio = xp.where(same, xp.zeros_like(apart), pairs / xp.where(apart == 0, one, 2 * apart))
    never = xp.where(pairs > 0, math.inf * one, math.nan * one)
    ratio = xp.where(coincide, never, ratio)
    value = float(xp.sum(ratio)) / (C * (C - 1))
    return Estimate(value, spread.floor(size), rank)


def _ratio(above: float, below: float) -> float:
    """Return the quotient, infinite over zero and NaN where both are zero."""
    if below > 0:
        return above / below
    return math.inf if above > 0 else math.nan
