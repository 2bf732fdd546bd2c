"""A two-layer network that falls apart into aligned modes, at given times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.grams import Grams
from layerwise.theory.laws import decay, pair
from layerwise.theory.laws.aligned import Modes
from layerwise.theory.models.linear import Linear

__all__ = ["AlignedGrams"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class AlignedGrams(Grams):
    """Grams, and the weights, of aligned modes at times t.

    Attributes
    ----------
    model
        The network.
    joint
        Its joint modes.
    t
        Times.
    """

    model: Linear
    joint: Modes
    t: Array

    def times(self) -> int:
        return len(self.t)

    def part(self, times: slice) -> AlignedGrams:
        return AlignedGrams(self.model, self.joint, self.t[times])

    def map(self, out: Array | None = None) -> Array:
        k = len(self.joint.s)
        left = self.joint.u[:, :k] * self._products[:, None, :]
        return np.matmul(left, self.joint.v[:, :k].T, out=out)

    def gram_in(self) -> Array:
        first, _ = self.layers
        v = self.joint.v
        return np.asarray((v * np.sum(first**2, axis=2)[:, None, :]) @ v.T)

    def gram_out(self) -> Array:
        _, second = self.layers
        u = self.joint.u
        return np.asarray((u * np.sum(second**2, axis=2)[:, None, :]) @ u.T)

    def loss(self) -> Array:
        left = self._products - self._best
        return np.asarray(np.sum(self.joint.xi * left**2, axis=1) / 2)

    def modes(self) -> Array:
        u, _, v = self.model.regression.modes
        k = len(self.joint.s)
        shared = (u.T @ self.joint.u[:, :k]) * (v.T @ self.joint.v[:, :k])
        return np.asarray(self._products @ shared.T)

    def singular_values(self) -> Array:
        return np.sort(np.abs(self._products), axis=1)[:, ::-1]

    def traces(self) -> tuple[Array, Array]:
        first, second = self.layers
        cov, v = self.model.input_cov, self.joint.v
        xi = np.ones(len(v)) if cov is None else np.einsum("ik,ij,jk->k", v, cov, v)
        return np.sum(first**2, axis=2) @ xi, np.sum(second**2, axis=(1, 2))

    def states(self) -> Array:
        """Return the weights of the network as one array (T, d)."""
        first, second = self.layers
        w1 = np.swapaxes(first, 1, 2) @ self.joint.v.T
        w2 = self.joint.u @ second
        flat = [layer.reshape(len(self.t), -1) for layer in (w1, w2)]
        return np.concatenate(flat, axis=1)

    @cached_property
    def layers(self) -> tuple[Array, Array]:
        """``W1 v_k`` of all inputs, shape (T, i, h), and ``W2^T u_k`` of all outputs (T, o, h)."""
        a, b = self._vectors
        k = len(self.joint.s)
        fall = np.exp(-self.model.decay * self.model.rates[0] * self.t)[:, None, None]
        first, second = fall * a, fall * b
        change = self._change
        moved = self._solved(change * a[:k], b[:k] / change)
        first[:, :k], second[:, :k] = moved[0] / change, moved[1] * change
        return first, second

    @cached_property
    def _products(self) -> Array:
        """Return ``a_k . b_k``, shape (T, k): two numbers stand for each pair of vectors."""
        a, b = (vectors[: len(self.joint.s)] for vectors in self._vectors)
        a, b = self._change * a, b / self._change
        up, down = np.linalg.norm(a + b, axis=1) / 2, np.linalg.norm(a - b, axis=1) / 2
        first, second = self._solved(np.stack([up, down], 1), np.stack([up, -down], 1))
        return np.asarray(np.sum(first * second, axis=2))

    @property
    def _change(self) -> float:
        r1, r2 = self.model.rates
        return float((r2 / r1) ** 0.25)

    @property
    def _vectors(self) -> tuple[Array, Array]:
        return (self.model.w1 @ self.joint.v).T, self.joint.u.T @ self.model.w2

    @property
    def _best(self) -> Array:
        s, xi = self.joint.s, self.joint.xi
        return np.where(xi > 0, s / np.where(xi > 0, xi, 1.0), 0.0)

    def _solved(self, a: Array, b: Array) -> tuple[Array, Array]:
        r1, r2 = self.model.rates
        clock, xi = np.sqrt(r1 * r2), np.maximum(self.joint.xi, 0.0)
        if not self.model.decay:
            return pair.weights(a, b, self._best, np.ones(()), xi, clock * self.t)
        first, second = np.empty((2, len(self.t), *a.shape))
        for k, (target, rate) in enumerate(zip(self._best, xi, strict=True)):
            path = decay.weights(
                a[k], b[k], float(target), 1.0, float(rate), self.model.decay, clock * self.t
            )
            first[:, k], second[:, k] = path.a, path.b
        return first, second
