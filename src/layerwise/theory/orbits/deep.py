"""Deep linear networks over time: one layer, two layers, aligned chains of equal layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.laws import deep_aligned, depth
from layerwise.theory.laws.deep_aligned import NOISE, Chains
from layerwise.theory.models.deep_linear import DeepLinear
from layerwise.theory.orbits.orbit import Orbit, defect

__all__ = ["EqualChains", "TwoLayers", "chains", "one_layer"]

Array = npt.NDArray[np.float64]


def one_layer(model: DeepLinear, t: Array) -> Array:
    """Return the weights (T, d) of a single layer, ``W* + (W_0 - W*) e^{-Sxx t}``."""
    values, vectors = model.regression.variances
    rates = np.where(values > model.regression.extent[0] / 2, values, 0.0)
    start, best = model.weights[0] @ vectors, model.regression.best @ vectors
    moved = depth.weights(start, best, 1, rates, t)
    return np.asarray((moved @ vectors.T).reshape(len(t), -1))


def chains(model: DeepLinear) -> tuple[Chains | None, float]:
    """Return the chains of a network, found on the inputs that vary, and how far it is from any."""
    values, vectors = model.regression.variances
    seen = vectors[:, values > model.regression.extent[0] / 2]
    if model.input_cov is None or seen.shape[1] in (0, len(seen)):
        return deep_aligned.find(model.weights, model.cross, model.input_cov)
    layers = [model.weights[0] @ seen, *model.weights[1:]]
    found, off = deep_aligned.find(layers, model.cross @ seen, seen.T @ model.input_cov @ seen)
    if found is None:
        return None, off
    modes = replace(found.modes, v=seen @ found.modes.v)
    return replace(found, modes=modes, sides=(seen @ found.sides[0], *found.sides[1:])), off


@final
@dataclass(frozen=True, eq=False)
class TwoLayers(Orbit):
    """The trajectory of a `DeepLinear` of two layers, which is that of a `Linear`.

    Attributes
    ----------
    inner
        The trajectory of the `Linear`.
    """

    inner: Orbit

    @property
    def interpolation_error(self) -> float:
        return self.inner.interpolation_error

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        found = self.inner.quantity(name, t, out)
        return found.reshape(len(t), -1) if name == "conserved" else found

    def states(self, t: Array) -> Array:
        return self.inner.states(t)

    def residual(self, t: Array) -> float:
        return self.inner.residual(t)


@final
@dataclass(frozen=True, eq=False)
class EqualChains(Orbit):
    """The trajectory of a `DeepLinear` of aligned chains of equal layers, by the depth law.

    Attributes
    ----------
    model
        What was solved.
    found
        Its chains; all else stands still.
    """

    model: DeepLinear
    found: Chains

    def states(self, t: Array) -> Array:
        found, layers = self.found, self.model.weights
        target, L = self._signs * self._target, len(layers)
        sizes = depth.weights(found.size, target, L, self._xi, t)[:, None, :]
        parts = []
        for layer, link, signs, before, after in zip(
            layers, found.links, found.signs, found.sides[:-1], found.sides[1:], strict=True
        ):
            still = layer - after * link @ before.T
            parts.append((still + (after * signs * sizes) @ before.T).reshape(len(t), -1))
        states = np.concatenate(parts, axis=1)
        states[t == 0] = self.model.start
        return states

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        model, found = self.model, self.found
        if name == "conserved" or self._uses_other_inputs:
            return model.quantity(name, self.states(t))
        learned, left = self._products(t)
        u, v = (found.modes.u[:, found.which], found.modes.v[:, found.which])
        match name:
            case "map":
                return np.matmul(u * learned[:, None, :], v.T, out=out)
            case "error":
                return model.regression.error(self.quantity("map", t))
            case "loss":
                missed = np.delete(self._goals * found.modes.s, found.which)
                return np.asarray((np.sum(self._xi * left**2, axis=1) + np.sum(missed)) / 2)
            case "modes":
                p, _, q = model.regression.modes
                return np.asarray(learned @ ((p.T @ u) * (q.T @ v)).T)
            case "singular_values":
                values = np.zeros((len(t), min(model.cross.shape)))
                values[:, : learned.shape[1]] = np.sort(np.abs(learned), axis=1)[:, ::-1]
                return values
            case "effective_rank":
                return np.asarray(measures.rank_of_spectrum(self.quantity("singular_values", t)))
        raise model.unknown(name)

    def residual(self, t: Array) -> float:
        return defect(self.states, self.model.velocity, t, self.model.fastest())

    def _products(self, t: Array) -> tuple[Array, Array]:
        """Return the product of every chain and what it is short of its target, each (T, m)."""
        L = len(self.model.weights)
        return depth.product(self._signs * self.found.size**L, self._target, L, self._xi, t)

    @property
    def _xi(self) -> Array:
        return self.found.modes.xi[self.found.which]

    @property
    def _goals(self) -> Array:
        """Return the target of every mode; 0 on inputs without variance."""
        s, xi = self.found.modes.s, self.found.modes.xi
        return np.asarray(s / np.where(xi > 0, xi, 1.0))

    @property
    def _target(self) -> Array:
        return self._goals[self.found.which]

    @property
    def _signs(self) -> Array:
        return np.asarray(np.prod(self.found.signs, axis=0))

    @cached_property
    def _uses_other_inputs(self) -> bool:
        """Whether the map sees inputs without variance: there it is no sum of the chains."""
        values, vectors = self.model.regression.variances
        first = self.model.weights[0]
        blind = vectors[:, values <= self.model.regression.extent[0] / 2]
        return bool(np.max(np.abs(first @ blind), initial=0.0) > NOISE * np.linalg.norm(first))
