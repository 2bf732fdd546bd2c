"""Phase maps of linear networks: how far the tangent kernel turns, over scale and imbalance.

The settings are those of figures 6(a) and 6(b) of arXiv 2502.21009, with the sign of the
imbalance of this package: ``lam > 0`` means that the later layer is the larger one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from layerwise.phenomena.base import Experiment
from layerwise.phenomena.lazy_rich.descent import descend
from layerwise.phenomena.lazy_rich.networks import (
    DATA,
    Networks,
    white_task,
)
from layerwise.trace import Provenance, Trace, versions

__all__ = ["BalancedMap", "UnbalancedMap"]

BRIEF = 20  # steps that are timed


@dataclass(frozen=True)
class BalancedMap(Experiment):
    """Figure 6(a): lam-balanced networks 2 -> 2 -> 2, over scale and lam.

    White inputs, ``W1 = R S1 V^T`` and ``W2 = U S2 R^T`` with random U, V, R of their own at every
    point, all singular values of a layer equal, ``S2^2 - S1^2 = lam``; one draw of inputs and
    targets, these divided by the scale. The clock of the trace is the scale; its series
    (points, points) have lam as their second axis: see `Networks.look`.

    Attributes
    ----------
    points
        Settings on each axis. Only an odd number has lam = 0 among them.
    scales, lam
        The scale runs over this range, lam from -lam to lam.
    published
        Whether the singular values of ``W2 W1`` are the square root of the scale, as in the
        published code (E6), instead of the scale.
    samples
        Inputs n.
    learning_rate, steps
        Of gradient descent; 4000 stored weights are 3999 updates.
    """

    points: int = 40
    scales: tuple[float, float] = (1.0, 20.0)
    lam: float = 9.0
    published: bool = False
    samples: int = 10
    learning_rate: float = 0.01
    steps: int = 3999

    def __post_init__(self) -> None:
        self.need_at_least(2, "points")
        self.need_at_least(3, "samples")
        self.need_at_least(1, "steps")
        _need_scales(self)
        self.need_positive("lam", "learning_rate")

    @property
    def name(self) -> str:
        return f"map-balanced-{self.points}" + "-published" * self.published

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The scales and the imbalances, each of shape (points,)."""
        return _axes(self)

    @cached_property
    def networks(self) -> Networks:
        """The networks (points, points, ...) as they start."""
        rng = np.random.default_rng(self.seed)
        inputs, cross = white_task(rng, 2, 2, self.samples)
        scale, lam = (axis[..., None] for axis in np.meshgrid(*self.axes, indexing="ij"))
        root = np.hypot(lam, 2 * (np.sqrt(scale) if self.published else scale))
        drawn = rng.standard_normal((4, *lam.shape[:2], 2, 2))
        U, _, Vt = np.linalg.svd(drawn[0] @ drawn[1])
        R = np.linalg.qr(drawn[2])[0]
        w1 = R * np.sqrt((root - lam) / 2)[..., None, :] @ Vt
        w2 = U * np.sqrt((root + lam) / 2)[..., None, :] @ R.mT
        return Networks(w1, w2, cross / scale[..., None], inputs)

    def work(self) -> int:
        return self.steps

    def brief(self) -> BalancedMap:
        return replace(self, published=False, steps=BRIEF)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        return _map(self, tick)


@dataclass(frozen=True)
class UnbalancedMap(Experiment):
    """Figure 6(b): wide networks that start at the zero map, over target scale and imbalance.

    ``W1 = s1 [A; A]`` and ``W2 = s2 [B, -B]`` with Gaussian A, B of their own at every point,
    ``s1 = std + max(-lam, 0)`` and ``s2 = std + max(lam, 0)`` (the published code has the opposite
    sign, E8); one draw of Gaussian inputs, not whitened, and targets, these divided by the scale.
    Axes and series as in `BalancedMap`.

    Attributes
    ----------
    points, scales, lam, samples, learning_rate, steps
        As in `BalancedMap`.
    inputs, hidden, outputs
        Sizes of the networks; `hidden` is even.
    std
        Standard deviation of the weights of the smaller layer.
    """

    points: int = 40
    scales: tuple[float, float] = (0.1, 50.0)
    lam: float = 0.5
    inputs: int = 20
    hidden: int = 20
    outputs: int = 2
    std: float = 0.1
    samples: int = 10
    learning_rate: float = 0.01
    steps: int = 3999

    def __post_init__(self) -> None:
        self.need_at_least(2, "points")
        self.need_at_least(2, "samples")
        self.need_at_least(1, "steps")
        self.need_at_least(1, "inputs")
        self.need_at_least(2, "hidden")
        self.need_at_least(1, "outputs")
        _need_scales(self)
        self.need_positive("lam", "learning_rate", "std")
        if self.hidden % 2:
            raise ValueError(f"hidden must be even, two copies of each unit, got {self.hidden}")

    @property
    def name(self) -> str:
        return f"map-unbalanced-{self.points}"

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The scales and the imbalances, each of shape (points,)."""
        return _axes(self)

    @cached_property
    def networks(self) -> Networks:
        """The networks (points, points, ...) as they start, on the inputs' range."""
        rng = np.random.default_rng(self.seed)
        X = rng.standard_normal((self.inputs, self.samples)) / math.sqrt(self.samples)
        Y = rng.standard_normal((self.outputs, self.samples)) / math.sqrt(self.samples)
        basis, size, rows = np.linalg.svd(X, full_matrices=False)
        seen = size[:, None] * rows  # what lies beside the inputs' range never moves
        scale, lam = (one[..., None, None] for one in np.meshgrid(*self.axes, indexing="ij"))
        half = self.hidden // 2
        A = rng.standard_normal((*lam.shape[:2], half, self.inputs)) @ basis
        B = rng.standard_normal((*lam.shape[:2], self.outputs, half))
        w1 = (self.std + np.maximum(-lam, 0)) * np.concatenate([A, A], axis=-2)
        w2 = (self.std + np.maximum(lam, 0)) * np.concatenate([B, -B], axis=-1)
        return Networks(w1, w2, Y @ seen.T / scale, seen)

    def work(self) -> int:
        return self.steps

    def brief(self) -> UnbalancedMap:
        return replace(self, steps=BRIEF)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        return _map(self, tick)


def _map(one: BalancedMap | UnbalancedMap, tick: Callable[[int], None]) -> Trace:
    """Train all networks of a map and look at their ends."""
    start = one.networks
    stacked = start.stacked.copy()
    updates = descend(stacked, start.cross, start.variances, one.learning_rate, one.steps)
    for step in updates:
        tick(step)
    origin = Provenance("network", "scale", one.config(), one.seed, DATA, versions())
    return Trace(one.axes[0], start.look(stacked), origin)


def _axes(one: BalancedMap | UnbalancedMap) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(*one.scales, one.points), np.linspace(-one.lam, one.lam, one.points)


def _need_scales(one: BalancedMap | UnbalancedMap) -> None:
    low, high = one.scales
    if not 0 < low < high < math.inf:
        raise ValueError(f"scales must be two increasing positive numbers, got {one.scales}")
