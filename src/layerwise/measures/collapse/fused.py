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
from layerwise.measures.collapse.classes import Classes, head_of, in_dtype, row_blocks
from layerwise.measures.collapse.duality import bias_of, nc3_of
from layerwise.measures.collapse.estimate import Estimate
from layerwise.measures.collapse.simplex import NC2, nc2_of
from layerwise.measures.collapse.variability import cdnv, projected, quotient, within

__all__ = ["Collapse", "nc4", "neural_collapse"]

SURE = 0.999  # of a radius: rounding of a sample's distance never takes it across
FAR = 1e150  # a distance whose square is finite
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
    judge = Judgement(answers, axes).mismatches
    spread, energy, mismatches = within(classes, means, axes.rows, judge)
    rank = axes.rows.shape[0]
    return Collapse(
        projected(spread, energy / axes.values, size),
        quotient(spread, size, rank),
        cdnv(spread, answers.apart, size, rank),
        second,
        third,
        mismatches / int(classes.features.shape[0]),
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
    judge = Judgement(answers, axes).mismatches
    _, _, mismatches = within(classes, shape.means(classes.work), axes.rows, judge)
    return mismatches / int(classes.features.shape[0])


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
    """Counts the samples of a block whose two answers differ, with as few products as it can.

    Within `reach` of its mean a sample has the answers of the mean. Elsewhere the classifier is
    asked; its answer is not the nearest mean if the sample's own mean is nearer, and is if it is
    the sample's own and the other means are out of reach. Only what is left is compared with all
    means.
    """

    def __init__(self, answers: Answers, axes: Axes) -> None:
        xp = answers.xp
        self._answers, self._double = answers, 2 * axes.coordinates
        self._all_right = not bool(xp.any(answers.wrong))
        self._nearest = float(xp.min(answers.reach))

    def mismatches(self, labels: Array, block: Array, square: Array, z: Array) -> int:
        """Return how many of n samples differ.

        `block` (n, d) holds ``mu_y - h``, `square` (n,) its squares and `z` (n, r) its projections.
        """
        answers, xp = self._answers, self._answers.xp
        if self._all_right and float(xp.max(square)) < self._nearest:
            return 0
        sure = square < xp.take(answers.reach, labels)
        count = int(xp.count_nonzero(xp.take(answers.wrong, labels) & sure))
        labels, block, z = _where(xp, ~sure, labels, block, z)
        # what the sample adds to its mean is minus the block
        logits = xp.matmul(block, xp.matrix_transpose(answers.weight))
        logits -= xp.take(answers.logits, labels, axis=0)
        given = xp.argmin(logits, axis=1)
        step = xp.take(self._double, given, axis=0)
        step -= xp.take(self._double, labels, axis=0)
        farther = xp.take(xp.reshape(answers.apart, (-1,)), labels * answers.apart.shape[0] + given)
        farther += xp.vecdot(z, step)
        other = farther > 0
        count += int(xp.count_nonzero(other))
        near = (given == labels) & (xp.vecdot(z, z) < xp.take(answers.reach_of_means, labels))
        labels, given, z = _where(xp, ~(other | near), labels, given, z)
        distances = xp.matmul(z, xp.matrix_transpose(self._double))
        distances += xp.take(answers.apart, labels, axis=0)
        return count + int(xp.count_nonzero(xp.argmin(distances, axis=1) != given))


def _where(xp: Any, chosen: Array, *arrays: Array) -> list[Array]:
    """Return the chosen rows of each array, without a copy where all are chosen."""
    (rows,) = xp.nonzero(chosen)
    if rows.shape[0] == chosen.shape[0]:
        return list(arrays)
    return [xp.take(array, rows, axis=0) for array in arrays]
