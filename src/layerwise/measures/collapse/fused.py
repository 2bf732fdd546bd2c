"""NC4, and all of NC1 to NC4 from one product of the features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from layerwise.measures.arrays import Array
from layerwise.measures.collapse.between import (
    Axes,
    Between,
    axes_of,
    between,
    double_products,
    squared_distances,
)
from layerwise.measures.collapse.classes import (
    CACHE,
    Classes,
    head_of,
    in_dtype,
    row_blocks,
)
from layerwise.measures.collapse.duality import bias_of, nc3_of
from layerwise.measures.collapse.estimate import Estimate
from layerwise.measures.collapse.simplex import NC2, nc2_of
from layerwise.measures.collapse.variability import cdnv, projected, quotient, within

__all__ = ["Collapse", "nc4", "neural_collapse"]

SURE = 0.999  # of a radius: rounding of a sample's distance never takes it across
FAR = 1e150  # a distance whose square is finite
RIVALS = 64  # classes that are asked first where there are many times more
ROUNDING = 1e-14  # of squared distances from a Gram matrix, relative to its diagonal


@dataclass(frozen=True)
class Collapse:
    """All measures of neural collapse of one set of features under one classifier.

    Attributes
    ----------
    nc1, quotient, cdnv
        The three forms of `layerwise.measures.nc1`.
    nc2, nc3, nc4
        As the functions of these names return them.
    bias
        ``|b + W mu_G|``.
    """

    nc1: Estimate
    quotient: Estimate
    cdnv: Estimate
    nc2: NC2
    nc3: float
    nc4: float
    bias: float


def neural_collapse(
    features: Array,
    labels: Array,
    weight: Array,
    bias: Array | None,
    *,
    weighted: bool = False,
    centre_weight: bool = False,
) -> Collapse:
    """Return NC1 to NC4 together: two readings of the features and one product with the means.

    NC4 asks each sample for two answers. Within the largest ball about a class mean that no
    decision boundary enters both are those of the mean, so that only samples outside the balls,
    few once collapse has begun, cost a product with the classifier and one with the means.

    Parameters, errors and references as in `nc1`, `nc2`, `nc3` and `nc4`.

    Examples
    --------
    >>> import numpy as np
    >>> found = neural_collapse(np.eye(4), range(4), np.eye(4), np.zeros(4))
    >>> found.nc4, round(found.nc3, 4), found.nc1.rank
    (0.0, 0.2679, 3)
    """
    classes, weight, bias = head_of(features, labels, weight, bias)
    xp, work = classes.xp, classes.work
    shape = between(classes, weighted)
    rows = double_products(xp, weight, weight)
    second = nc2_of(xp, shape.gram, rows, centre_weight)
    third = nc3_of(xp, shape.offsets, weight, centre_weight)
    moved = bias_of(xp, shape.centre, weight, bias)
    answers = Answers.of(classes, shape, weight, rows, bias)
    del rows  # what is large and in float64 would double the memory of the pass
    axes = axes_of(shape, classes.eps, work)
    means, size = shape.means(work), shape.size
    del shape
    judge = Judgement(answers, axes)
    spread, energy = within(classes, means, axes.rows, judge.see)
    rank = axes.rows.shape[0]
    return Collapse(
        projected(spread, energy / axes.values, size),
        quotient(spread, size, rank),
        cdnv(spread, answers.apart, size, rank),
        second,
        third,
        judge.mismatches() / int(classes.features.shape[0]),
        moved,
    )


def nc4(features: Array, labels: Array, weight: Array, bias: Array | None) -> float:
    """Return the share of samples that the classifier does not give to the nearest class mean.

    ``argmax_c (w_c . h + b_c)`` against ``argmin_c |h - mu_c|``, with the bias: without it a
    classifier ruled by its bias would seem to have collapsed.

    Parameters
    ----------
    features, labels
        Shapes (N, d) and (N,); labels in 0 ... C-1, each with a sample.
    weight
        Classifier, shape (C, d).
    bias
        Shape (C,); None only for a layer without bias.

    Returns
    -------
    float
        Between 0 (nearest-class-mean classifier) and 1.

    Raises
    ------
    ValueError
        If shapes or labels do not fit, a class has no sample, or a number is not finite.

    References
    ----------
    Papyan, Han and Donoho 2020 (arXiv 2008.08186).

    Examples
    --------
    >>> features = [[1.0], [0.9], [-1.0], [-0.9]]
    >>> nc4(features, [0, 0, 1, 1], [[1.0], [-1.0]], [0.0, 0.0])
    0.0
    >>> nc4(features, [0, 0, 1, 1], [[1.0], [-1.0]], [9.0, 0.0])
    0.5
    """
    classes, weight, bias = head_of(features, labels, weight, bias)
    shape = between(classes, weighted=False)
    rows = double_products(classes.xp, weight, weight)
    answers = Answers.of(classes, shape, weight, rows, bias)
    axes = axes_of(shape, classes.eps, classes.work)
    judge = Judgement(answers, axes)
    within(classes, shape.means(classes.work), axes.rows, judge.see)
    return judge.mismatches() / int(classes.features.shape[0])


@dataclass(frozen=True, eq=False)
class Answers:
    """What classifier and nearest mean answer at the class means, and how far around them.

    Attributes
    ----------
    weight
        Classifier rows (C, d).
    logits
        Logits of the mean of each class (row) relative to its best, so that small ones survive a
        large bias.
    apart
        Squared distances of the means, shape (C, C).
    reach, reach_of_means
        Squared distance of each mean from the nearest boundary of either answer, and from the
        nearest one between means.
    wrong
        Whether the classifier does not give the mean to its class.
    """

    xp: Any
    weight: Array
    logits: Array
    apart: Array
    reach: Array
    reach_of_means: Array
    wrong: Array

    @classmethod
    def of(
        cls, classes: Classes, shape: Between, weight: Array, rows: Array, bias: Array
    ) -> Answers:
        """Return the answers for the means of `shape` and a classifier with the Gram `rows`."""
        xp, work, C = classes.xp, classes.work, weight.shape[0]
        logits = double_products(xp, shape.offsets, weight)
        logits += double_products(xp, shape.centre[None, :], weight) + bias
        logits -= xp.max(logits, axis=1, keepdims=True)
        best = xp.argmax(logits, axis=1)
        apart = squared_distances(xp, shape.gram)
        own = xp.arange(C, dtype=best.dtype, device=best.device)
        of_means = _reach(xp, apart, shape.gram, own) / 2
        reach = xp.minimum(of_means, _reach(xp, -logits, rows, best))
        logits, apart, weight = (in_dtype(xp, x, work) for x in (logits, apart, weight))
        reach, of_means = (xp.clip(SURE * x, max=FAR) ** 2 for x in (reach, of_means))
        return cls(xp, weight, logits, apart, reach, of_means, best != own)


def _reach(xp: Any, gap: Array, gram: Array, given: Array) -> Array:
    """Return the distance of each class mean from the nearest boundary of its answer.

    Rival c of the answer a falls short by `gap` (C, C) at the mean and gains on it by at most
    ``|v_a - v_c|`` per unit of length, `gram` (C, C) being that of the vectors v.
    """
    C = gram.shape[0]
    squares = xp.linalg.diagonal(gram)
    others = xp.arange(C, dtype=given.dtype, device=given.device)
    found = xp.empty(C, dtype=xp.float64, device=gram.device)
    for part in row_blocks((C, C)):
        answer = given[part]
        slope = (xp.take(squares, answer)[:, None] + squares[None, :]) * (1 + ROUNDING)
        slope -= 2 * xp.take(gram, answer, axis=0)
        never = xp.full_like(slope, math.inf)
        level = xp.where(gap[part, :] > 0, never, xp.zeros_like(slope))
        steep = slope > 0
        ratio = gap[part, :] / xp.sqrt(xp.where(steep, slope, xp.ones_like(slope)))
        ratio = xp.where(steep, ratio, level)
        found[part] = xp.min(xp.where(others[None, :] == answer[:, None], never, ratio), axis=1)
    return found


class Judgement:
    """Counts the samples whose two answers differ, block by block, with as few products as it can.

    Within `reach` of its mean a sample has the answers of the mean. Elsewhere its nearest mean is
    its own if the others are out of reach, and else found from its projections; the classifier
    differs once any logit exceeds that of the nearest mean. Of many classes a few show it for most
    samples of an untrained classifier; only what is left costs all logits. The logits of few
    classes are collected over several blocks: each step then has enough to do.
    """

    def __init__(self, answers: Answers, axes: Axes) -> None:
        xp, C = answers.xp, answers.weight.shape[0]
        self._answers, self._double = answers, 2 * axes.coordinates
        self._all_right = not bool(xp.any(answers.wrong))
        self._nearest = float(xp.min(answers.reach))
        self._many, self._enough = C >= 8 * RIVALS, CACHE // (4 * C)
        self._held: list[tuple[Array, ...]] = []
        self._rows = self._count = 0

    def see(self, labels: Array, block: Array, square: Array, z: Array) -> None:
        """Judge n samples, now or later.

        `block` (n, d) holds ``mu_y - h``, `square` (n,) its squares and `z` (n, r) its projections.
        """
        answers, xp = self._answers, self._answers.xp
        if self._all_right and float(xp.max(square)) < self._nearest:
            return
        if self._many:
            self._judge(labels, square, z, block)
            return
        across = xp.matrix_transpose(answers.weight)
        self._held.append((labels, square, z, xp.matmul(block, across)))
        self._rows += labels.shape[0]
        if self._rows >= self._enough:
            self._release()

    def mismatches(self) -> int:
        """Return how many of the samples seen differ."""
        self._release()
        return self._count

    def _release(self) -> None:
        if self._held:
            self._judge(*(self._answers.xp.concat(each) for each in zip(*self._held, strict=True)))
        self._held, self._rows = [], 0

    def _judge(self, labels: Array, square: Array, z: Array, given: Array) -> None:
        """Count mismatches; `given` is the block of features, or of few classes its products."""
        answers, xp = self._answers, self._answers.xp
        sure = square < xp.take(answers.reach, labels)
        self._count += int(xp.count_nonzero(xp.take(answers.wrong, labels) & sure))
        labels, z, given = _where(xp, ~sure, labels, z, given)
        nearest = self._nearest_means(labels, z)
        if self._many:
            few, C = answers.weight[:RIVALS, :], answers.weight.shape[0]
            short = xp.matmul(given, xp.matrix_transpose(few))
            short -= xp.take(answers.logits[:, :RIVALS], labels, axis=0)
            own = xp.vecdot(given, xp.take(answers.weight, nearest, axis=0))
            own -= xp.take(xp.reshape(answers.logits, (-1,)), labels * C + nearest)
            beaten = (xp.min(short, axis=1) < own) & (xp.argmin(short, axis=1) != nearest)
            self._count += int(xp.count_nonzero(beaten))
            labels, nearest, given = _where(xp, ~beaten, labels, nearest, given)
            given = xp.matmul(given, xp.matrix_transpose(answers.weight))
        # what a sample adds to its mean is minus its block, so these are the logits turned round
        given -= xp.take(answers.logits, labels, axis=0)
        self._count += int(xp.count_nonzero(xp.argmin(given, axis=1) != nearest))

    def _nearest_means(self, labels: Array, z: Array) -> Array:
        answers, xp = self._answers, self._answers.xp
        nearest = xp.asarray(labels, copy=True)
        far = xp.vecdot(z, z) >= xp.take(answers.reach_of_means, labels)
        labels, z = _where(xp, far, labels, z)
        distances = xp.matmul(z, xp.matrix_transpose(self._double))
        distances += xp.take(answers.apart, labels, axis=0)
        nearest[far] = xp.argmin(distances, axis=1)
        return nearest


def _where(xp: Any, chosen: Array, *arrays: Array) -> list[Array]:
    """Return the chosen rows of each array, without a copy where all are chosen."""
    (rows,) = xp.nonzero(chosen)
    if rows.shape[0] == chosen.shape[0]:
        return list(arrays)
    return [xp.take(array, rows, axis=0) for array in arrays]
