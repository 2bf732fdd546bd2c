"""Unconstrained features over time: in collapse, or as a two-layer linear network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.models.features import Features
from layerwise.theory.orbits.orbit import Orbit, defect

__all__ = ["Collapsed", "Weighted"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Collapsed(Orbit):
    """The trajectory of `Features` from modes of equal layers, by the laws of its modes.

    One column stands for each class, so that the number of samples costs nothing.
    """

    model: Features

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        modes = self.model.strengths(t)
        match name:
            case "modes":
                return modes
            case "loss":
                return self.model.loss_of(modes)
            case "objective":
                cost = self.model.decay[0]  # the laws have equal decay, or none
                return np.asarray(self.model.loss_of(modes) + cost * np.sum(modes, axis=-1))
            case "nc1":
                return np.zeros(len(t))
            case "conserved":
                return np.zeros((len(t), self.model.dim, self.model.dim))
        return self.model.points(*self.model.collapsed(modes)).quantity(name)

    def states(self, t: Array) -> Array:
        return self.model.joined(*self.model.collapsed(self.model.strengths(t)))

    def residual(self, t: Array) -> float:
        return defect(self.model.strengths, self.model.speed, t, self.model.fastest())


@final
@dataclass(frozen=True, eq=False)
class Weighted(Orbit):
    """The trajectory of `Features` from any weights, by that of its `Features.linear`."""

    model: Features
    linear: Orbit

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        match name:
            case "modes":
                u, _, v = self.model.label_modes
                spread = (v / np.sqrt(self.model.counts)[:, None])[self.model.labels]
                return np.asarray(np.sum(u * (self.linear.quantity("map", t) @ spread), axis=1))
            case "loss":  # labels can be met exactly, so that none of it is irreducible
                return self.linear.quantity("loss", t)
        return self.model.quantity(name, self.states(t))

    def states(self, t: Array) -> Array:
        state = self.linear.states(t)
        if not self.model.bias:
            return state
        _, _, b = self.model.split(self.model.start)
        return np.concatenate([state, np.tile(b, (len(t), 1))], axis=1)

    def residual(self, t: Array) -> float:
        return self.linear.residual(t)

    @property
    def interpolation_error(self) -> float:
        return self.linear.interpolation_error
