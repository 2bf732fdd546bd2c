"""Labelled features, checked once and read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerwise.measures.arrays import Array, as_arrays, need

__all__ = [
    "CACHE",
    "Classes",
    "classes_of",
    "detached",
    "head_of",
    "in_dtype",
    "need_finite",
    "need_samples",
    "need_two",
    "row_blocks",
]

CACHE = 7 * 2**13  # numbers in a block: they stay in the cache between two passes over it
WIDE = 768  # rows that a product with many columns needs to run at full speed


@dataclass(frozen=True, eq=False)
class Classes:
    """Features (N, d) and labels (N,) in 0 ... C-1.

    Attributes
    ----------
    order, keys
        The order that sorts the samples by class, and the sorted labels.
    counts
        Sizes of the classes, shape (C,).
    """

    xp: Any
    features: Array
    labels: Array
    order: Array
    keys: Array
    counts: Array

    @property
    def work(self) -> Any:
        """Return the dtype of products with the features: theirs, but at least float32."""
        double = self.features.dtype == self.xp.float64
        return self.xp.float64 if double else self.xp.float32

    @property
    def eps(self) -> float:
        """Return the machine precision of the features."""
        return float(self.xp.finfo(self.features.dtype).eps)

    def sums(self, values: Array, dtype: Any) -> Array:
        """Return the sum over each class of `values` (N, k), shape (C, k), in float64.

        A block of the sorted samples holds one class or few, so that its sums are one thin
        product in `dtype`; blocks are added in float64. What is summed are the differences from
        the first sample of the class: at collapse the samples are nearly equal, and the rounding
        of a sum of equal numbers does not average out.
        """
        xp, (N, width) = self.xp, values.shape
        C = self.counts.shape[0]
        total = xp.zeros((C, width), dtype=xp.float64, device=values.device)
        alone = xp.ones((1, N), dtype=dtype, device=values.device)
        starts = xp.clip(xp.searchsorted(self.keys, self._arange(C)), max=N - 1)
        pivots = in_dtype(xp, xp.take(values, xp.take(self.order, starts), axis=0), dtype)
        for rows in row_blocks((N, max(C, width))):
            block = in_dtype(xp, xp.take(values, self.order[rows], axis=0), dtype)
            keys = self.keys[rows]
            first, last = int(keys[0]), int(keys[-1])
            if first == last:
                block -= pivots[first, :]
                member = alone[:, rows]
            else:
                here = self._arange(last + 1)[first:]
                block -= xp.take(pivots, xp.take(self.labels, self.order[rows]), axis=0)
                member = xp.astype(here[:, None] == keys[None, :], dtype)
            total[first : last + 1, :] += xp.matmul(member, block)
        total += self.counts[:, None] * in_dtype(xp, pivots, xp.float64)
        return total

    def _arange(self, n: int) -> Array:
        return self.xp.arange(n, dtype=self.keys.dtype, device=self.keys.device)

    def means(self, dtype: Any) -> Array:
        """Return the class means (C, d) in float64, 0 for a class without samples.

        Block sums are taken in `dtype`. A ValueError names a feature that is not finite.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            sums = self.sums(self.features, dtype)
        if not bool(self.xp.all(self.xp.isfinite(sums))):
            need_finite(self.features, "features")
            raise ValueError(f"features are too large to be summed in {dtype}")
        counts = self.counts[:, None]
        return sums / self.xp.where(counts > 0, counts, self.xp.ones_like(counts))

    def centred(
        self, means: Array, dtype: Any, columns: int
    ) -> Iterator[tuple[slice, Array, Array]]:
        """Yield ``(rows, labels, mu_y - h)`` block by block, for products with `columns` columns.

        The sign lets each block be centred in place. The means are in `dtype`.
        """
        xp = self.xp
        for rows in row_blocks(self.features.shape, columns):
            labels = self.labels[rows]
            block = xp.take(means, labels, axis=0)
            block -= in_dtype(xp, self.features[rows, :], dtype)
            yield rows, labels, block


def row_blocks(shape: tuple[int, int], columns: int = 1) -> Iterator[slice]:
    """Yield slices of rows of an array (n, width) that is multiplied by (width, columns)."""
    n, width = shape
    step = max(16, CACHE // width, min(columns, WIDE))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def classes_of(
    features: Array, labels: Array, n_classes: int | None = None, gaps: bool = False
) -> Classes:
    """Check features and labels and sort them.

    With `n_classes` every label must lie below. Without it the classes are the labels that occur,
    numbered in their order unless `gaps` keeps the place of those that do not.
    """
    xp, features = as_arrays(detached(features))
    need_samples(features, "features (N, d)")
    labels = xp.asarray(labels, device=features.device)
    if not xp.isdtype(labels.dtype, ("integral", "bool")):
        raise TypeError(f"labels must be whole numbers, got dtype {labels.dtype}")
    need(
        tuple(labels.shape) == (features.shape[0],),
        f"features (N, d) and labels (N,) do not fit: {tuple(features.shape)} and "
        f"{tuple(labels.shape)}",
    )
    labels = xp.astype(labels, xp.int64, copy=False)
    least, most = int(xp.min(labels)), int(xp.max(labels))
    need(
        least >= 0 and (n_classes is None or most < n_classes),
        f"labels must lie in 0 ... {'C' if n_classes is None else n_classes}-1, "
        f"found {least} ... {most}",
    )
    keep = gaps or n_classes is not None
    if keep or most < features.shape[0]:
        found = _sorted(xp, features, labels, most + 1 if n_classes is None else n_classes)
        if keep or bool(xp.all(found.counts > 0)):
            return found
    labels = xp.unique_inverse(labels).inverse_indices
    return _sorted(xp, features, labels, int(xp.max(labels)) + 1)


def _sorted(xp: Any, features: Array, labels: Array, C: int) -> Classes:
    # numbers of 16 bits are sorted by radix, several times faster
    keys = xp.astype(labels, xp.int16) if C < 2**15 else labels
    order = xp.argsort(keys)
    keys = xp.take(keys, order)
    edges = xp.searchsorted(keys, xp.arange(C + 1, dtype=keys.dtype, device=features.device))
    counts = xp.astype(edges[1:] - edges[:-1], xp.float64)
    return Classes(xp, features, labels, order, keys, counts)


def in_dtype(xp: Any, values: Array, dtype: Any) -> Array:
    """Return `values` in `dtype`, themselves where they have it."""
    return values if values.dtype == dtype else xp.astype(values, dtype)


def need_two(classes: Classes, every: bool) -> Classes:
    """Raise a ValueError unless there are two classes and, if `every`, none without samples."""
    C = classes.counts.shape[0]
    need(C >= 2, f"neural collapse needs at least two classes, found {C}")
    if every:
        empty = [c for c in range(C) if float(classes.counts[c]) == 0]
        need(not empty, f"classes without samples have no mean: {empty}")
    return classes


def head_of(
    features: Array, labels: Array, weight: Array, bias: Array | None = None
) -> tuple[Classes, Array, Array]:
    """Return ``(classes, weight, bias)`` of features under a classifier, checked.

    The weight keeps its precision, the bias is in float64 and 0 if there is none.
    """
    _, features, weight = as_arrays(detached(features), detached(weight))
    need_samples(features, "features (N, d)")
    need(
        weight.ndim == 2 and weight.shape[1] == features.shape[1],
        f"weight must have the shape (C, d) of features (N, d), got {tuple(weight.shape)} and "
        f"{tuple(features.shape)}",
    )
    classes = need_two(classes_of(features, labels, weight.shape[0]), every=True)
    xp = classes.xp
    if bias is None:
        bias = xp.zeros(weight.shape[0], dtype=xp.float64, device=features.device)
    _, _, bias = as_arrays(features, detached(bias))
    need(
        tuple(bias.shape) == (weight.shape[0],),
        f"bias must have the shape (C,) of weight {tuple(weight.shape)}, got {tuple(bias.shape)}",
    )
    need_finite(weight, "weight")
    need_finite(bias, "bias")
    return classes, weight, xp.astype(bias, xp.float64)


def need_samples(values: Array, name: str) -> None:
    """Raise a ValueError unless `values` has two axes and is not empty."""
    need(
        values.ndim == 2 and 0 not in values.shape,
        f"{name} must have two axes and not be empty, got {tuple(values.shape)}",
    )


def need_finite(values: Array, name: str) -> None:
    """Raise a ValueError that names the first entry of `values` that is not finite."""
    xp, values = as_arrays(values)
    bad = xp.reshape(~xp.isfinite(values), (-1,))
    if bool(xp.any(bad)):
        first = int(xp.argmax(xp.astype(bad, xp.int8)))
        index = tuple(int(i) for i in np.unravel_index(first, values.shape))
        raise ValueError(f"{name} must be finite, but {name}{list(index)} is {values[index]}")


def detached(values: Array) -> Array:
    """Return an array without its gradient graph: no measure of collapse is differentiated."""
    return values.detach() if hasattr(values, "detach") else values
