"""Upstream starts in a linear network and in a ReLU network of the same weights.

In a linear network an upstream start, early layers small and late layers large, cannot make early
learning rich by itself; with ReLU it can (arXiv 2406.06158). The tangent kernel of
``W2 phi(W1 x)``, traced over its outputs,

    K = o H H^T + (X X^T) o (D diag(|w_j|^2) D^T),   H = phi(X W1^T), D = phi'(X W1^T),

w_j the columns of W2, says why. If W1 is small and W2 large, the first term is small and the w_j
hardly move. In a linear network D = 1, so that the kernel cannot turn: K changes by the share a^4,
and its distance is of order a^8 if W1 is made smaller by the factor a, W2 larger by 1/a. With ReLU
D is the pattern of active neurons, and small weights change it by moving a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from layerwise.measures import kernel_distance
from layerwise.phenomena.base import Experiment
from layerwise.tasks import load, split
from layerwise.trace import Provenance, Trace, versions

__all__ = ["ACTIVATIONS", "LinearUpstream", "early"]

ACTIVATIONS = ("linear", "relu")
BRIEF = 20  # steps that are timed


@dataclass(frozen=True)
class LinearUpstream(Experiment):
    """Two-layer networks, linear and ReLU from the same weights, over the size of the first layer.

    Networks ``W2 phi(W1 x)`` without biases, from He's start times `scale`. A factor a multiplies
    W1 and divides W2, which leaves the map at the start as it is: a < 1 is upstream. Outputs less
    those at the start are trained on one-hot labels, on ``1/2 E|f - f_0 - y|^2``, by full-batch
    gradient descent. Each network has its own learning rate, `margin` over the largest eigenvalue
    of its traced kernel at the start (over the samples), so that all are as stable; the clock of
    the trace is steps. Its series are (T, activations, factors), activations as in `ACTIVATIONS`:

    * `loss`, relative to its start;
    * `distance`, `distance_centred`: of the traced kernel from its start, on the probes;
    * `features`: the same, centred, of the kernel ``H H^T`` of the hidden layer;
    * `signs`: the share of (probe, neuron) pairs whose pre-activation changed its sign;
    * `test_accuracy`.

    Attributes
    ----------
    data
        See `layerwise.tasks.load`.
    train_size, test_size
        Images, drawn by the seed.
    width
        Hidden neurons.
    factors
        Values of a, increasing.
    scale
        Factor on He's standard deviation, of both layers.
    margin
        See above; from 2 on descent is unstable.
    steps, points
        Updates, and about how many times are looked at, log-spaced.
    probes
        Training images on which the kernels are compared.
    """

    data: str = "digits"
    train_size: int = 256
    test_size: int = 297
    width: int = 64
    factors: tuple[float, ...] = (0.1, 1.0, 10.0)
    scale: float = 0.3
    margin: float = 0.5
    steps: int = 1000
    points: int = 40
    probes: int = 128

    def __post_init__(self) -> None:
        self.need_at_least(1, "train_size", "test_size", "width", "steps", "points")
        if not 2 <= self.probes <= self.train_size:
            raise ValueError(
                f"probes must be from 2 to the {self.train_size} training images, got {self.probes}"
            )
        positive = all(0 < a < math.inf for a in self.factors)
        if not self.factors or not positive or list(self.factors) != sorted(set(self.factors)):
            raise ValueError(f"factors must be increasing positive numbers, got {self.factors}")
        self.need_positive("scale")
        if not 0 < self.margin < 2:
            raise ValueError(f"margin must lie between 0 and 2 to be stable, got {self.margin}")

    @property
    def name(self) -> str:
        return f"linear-upstream-{self.data}-scale{self.scale:g}"

    def layers(self, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return W1 (width, inputs) and W2 (outputs, width) as they start with a = 1."""
        rng = np.random.default_rng(self.seed)
        W1 = math.sqrt(2 / inputs) * self.scale * rng.standard_normal((self.width, inputs))
        return W1, self.scale / math.sqrt(self.width) * rng.standard_normal((outputs, self.width))

    def work(self) -> int:
        return self.steps

    def brief(self) -> LinearUpstream:
        return replace(self, scale=0.3, margin=0.5, steps=BRIEF, points=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        from layerwise.train import log_grid

        loaded = load(self.data)
        X, labels, X_test, y_test = split(loaded, self.train_size, self.test_size, self.seed)
        X, X_test, Y = X.astype(float), X_test.astype(float), np.eye(loaded.classes)[labels]
        W1, W2 = self.layers(X.shape[1], Y.shape[1])
        a = np.array(self.factors)[:, None, None]
        # leading axes (activations, factors)
        W1, W2 = (np.stack([layer] * len(ACTIVATIONS)) for layer in (a * W1, W2 / a))
        start, start_test = (_Look.at(W1, W2, pixels) for pixels in (X, X_test))
        rate = self.margin * len(X) / np.linalg.norm(start.kernel, 2, axis=(-2, -1))
        rate = rate[..., None, None]
        due, rows = log_grid(self.steps, self.points), []
        for step in range(self.steps + 1):
            tick(step)
            now = _Look.at(W1, W2, X)
            error = now.outputs - start.outputs - Y
            if step in due:
                test = _Look.at(W1, W2, X_test).outputs - start_test.outputs
                right = np.argmax(test, axis=-1) == y_test
                rows.append(self._compare(start, now) | {
                    "loss": np.sum(error**2, axis=(-2, -1)) / np.sum(Y**2),
                    "test_accuracy": right.mean(axis=-1),
                })  # fmt: skip
            push = rate / len(X) * error
            W1, W2 = W1 - ((push @ W2) * now.slopes).mT @ X, W2 - push.mT @ now.hidden
        series = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        origin = Provenance(
            "network", "optimiser steps", self.config(), self.seed,
            f"{loaded.name} ({loaded.source})", versions(),
        )  # fmt: skip
        return Trace(np.asarray(due), series, origin)

    def _compare(self, start: _Look, now: _Look) -> dict[str, np.ndarray]:
        start, now = start.of(self.probes), now.of(self.probes)
        kernels = start.kernel, now.kernel
        return {
            "distance": kernel_distance(*kernels, centred=False),
            "distance_centred": kernel_distance(*kernels),
            "features": kernel_distance(start.hidden @ start.hidden.mT, now.hidden @ now.hidden.mT),
            "signs": np.mean((start.pre > 0) != (now.pre > 0), axis=(-2, -1)),
        }


@dataclass(frozen=True, eq=False)
class _Look:
    """What networks (activations, factors, ...) do with inputs X, (n, ...)."""

    X: np.ndarray
    W2: np.ndarray
    pre: np.ndarray
    slopes: np.ndarray

    @classmethod
    def at(cls, W1: np.ndarray, W2: np.ndarray, X: np.ndarray) -> _Look:
        pre = X @ W1.mT
        slopes = (pre > 0).astype(float)
        slopes[ACTIVATIONS.index("linear")] = 1.0
        return cls(X, W2, pre, slopes)

    def of(self, count: int) -> _Look:
        """Return the same of the first inputs."""
        return _Look(self.X[:count], self.W2, self.pre[..., :count, :], self.slopes[..., :count, :])

    @cached_property
    def hidden(self) -> np.ndarray:
        return self.pre * self.slopes

    @cached_property
    def outputs(self) -> np.ndarray:
        return self.hidden @ self.W2.mT

    @cached_property
    def kernel(self) -> np.ndarray:
        """The tangent kernel, traced over the outputs."""
        readout = np.sum(self.W2**2, axis=-2)[..., None, :]
        by_second = self.W2.shape[-2] * self.hidden @ self.hidden.mT
        return by_second + (self.X @ self.X.T) * ((self.slopes * readout) @ self.slopes.mT)


def early(trace: Trace, name: str, loss: float = 0.5) -> np.ndarray:
    """Return a series (activations, factors) at the first look with at most this share of the loss.

    NaN for a network that does not get there.
    """
    reached = trace["loss"] <= loss
    first = np.argmax(reached, axis=0)[None]
    found = np.take_along_axis(trace[name], first, axis=0)[0]
    return np.where(reached.any(axis=0), found, np.nan)
