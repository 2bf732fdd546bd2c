"""Linear networks as they start, what they learn and what is measured of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from layerwise.measures import kernel_distance
from layerwise.phenomena.lazy_rich.descent import folded, triangular

__all__ = ["DATA", "Networks", "white_task"]

DATA = "Gaussian regression (generated)"


@dataclass(frozen=True, eq=False)
class Networks:
    """Linear networks as they start, and what they learn.

    Attributes
    ----------
    w1, w2
        Layers (..., h, i) and (..., o, h).
    cross
        ``E[y x^T]``, shape (..., o, i).
    inputs
        The n inputs over sqrt(n), shape (i, n), in coordinates in which they are uncorrelated.
    """

    w1: np.ndarray
    w2: np.ndarray
    cross: np.ndarray
    inputs: np.ndarray

    @cached_property
    def variances(self) -> np.ndarray:
        """``E[x_j^2]``, shape (i,)."""
        return np.sum(self.inputs**2, axis=1)

    @cached_property
    def stacked(self) -> np.ndarray:
        """The stacked weights at the start, see `layerwise.phenomena.lazy_rich.descent`."""
        return triangular(self.w1, self.w2)

    def look(self, stacked: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is measured of networks that have moved to `stacked`, each of shape (...).

        The distance of their kernels from the start, plain and of centred inputs, and the share of
        the learnable loss that is left (of that of a zero map).
        """
        error = self.cross - self._maps(stacked) * self.variances
        left, all_ = (np.sum(e**2 / self.variances, (-2, -1)) for e in (error, self.cross))
        centred = self.inputs - self.inputs.mean(axis=1, keepdims=True)
        return {
            "distance": self._distance(stacked, self.inputs),
            "distance_centred": self._distance(stacked, centred),
            "unlearned": left / all_,
        }

    def _distance(self, stacked: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        start, now = (folded(*self._grams(Q), inputs) for Q in (self.stacked, stacked))
        return kernel_distance(start, now, centred=False)

    def _maps(self, stacked: np.ndarray) -> np.ndarray:
        i = len(self.inputs)
        return stacked[..., i:, :] @ stacked[..., :i, :].mT

    def _grams(self, stacked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i = len(self.inputs)
        first, second = stacked[..., :i, :], stacked[..., i:, :]
        return first @ first.mT, second @ second.mT


def white_task(rng: np.random.Generator, i: int, o: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return white inputs of mean zero (i, n) over sqrt(n), and ``E[y x^T]`` (o, i)."""
    X, Y = rng.standard_normal((i, n)), rng.standard_normal((o, n))
    centred = X - X.mean(axis=1, keepdims=True)
    inputs = np.linalg.svd(centred, full_matrices=False)[2]
    return inputs, Y @ inputs.T / math.sqrt(n)
