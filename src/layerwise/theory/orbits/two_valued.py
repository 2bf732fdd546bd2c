"""A two-layer network of two-valued imbalance, at given times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.grams import Grams
from layerwise.theory.laws.two_valued import TwoValued
from layerwise.theory.models.linear import Linear
from layerwise.theory.reduction import Reduced

__all__ = ["TwoValuedGrams"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class TwoValuedGrams(Grams):
    """Grams of a network of two-valued imbalance at times t.

    Attributes
    ----------
    model
        The network as it was given.
    reduced
        The same with whitened inputs.
    law
        Its law.
    t
        Times of `model`.
    """

    model: Linear
    reduced: Reduced
    law: TwoValued
    t: Array

    def times(self) -> int:
        return len(self.t)

    def part(self, times: slice) -> TwoValuedGrams:
        return TwoValuedGrams(self.model, self.reduced, self.law, self.t[times])

    def map(self, out: Array | None = None) -> Array:
        i, into = self.reduced.w1.shape[1], self.reduced.into
        found = self._stacked[:, i:, :i]
        if into is not None:
            found = found @ into.T
        if out is None:
            return found.copy()
        out[...] = found
        return out

    def gram_in(self) -> Array:
        i, into = self.reduced.w1.shape[1], self.reduced.into
        found = self.reduced.stretch * self._stacked[:, :i, :i]
        return found if into is None else into @ found @ into.T

    def gram_out(self) -> Array:
        i = self.reduced.w1.shape[1]
        return self._stacked[:, i:, i:] / self.reduced.stretch

    @cached_property
    def _stacked(self) -> Array:
        return np.stack([self.law.at(time) for time in self.reduced.clock * self.t])
