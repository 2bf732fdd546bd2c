"""Two trainings whose delay decay ends: a linear network that groks, and the 1-h-1 network.

Both are plain full-batch gradient descent in float64 on ``1/2 E|y - f|^2`` with weight decay
``(decay/2) |weights|^2``; the clock is the time of gradient flow, steps x learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from layerwise import measures
from layerwise.phenomena.base import Experiment
from layerwise.theory import Scalar
from layerwise.theory.clock import rich_time
from layerwise.trace import Provenance, Trace, versions

__all__ = ["LinearGrokking", "ScalarClock"]

TIME = "gradient-flow time"
FIT, GENERAL = 0.01, 0.1  # shares of |w|^2, of the train error and of the test error's excess
PAST = 1.1  # trainings go on this much longer than what they are run for
BRIEF = 60  # steps that are timed


@dataclass(frozen=True)
class LinearGrokking(Experiment):
    """A two-layer linear network ``f = b^T A x`` on fewer samples than inputs: it groks.

    The teacher is ``w = (1, -1, 0, ...)``, inputs are standard normal. Gradients lie in the span
    of the training inputs, so what A holds outside it only decays, ``A_perp (1 - lr decay)^steps``
    (``e^{-decay t}`` in the flow), and with it the test error ``|A_perp^T b|^2`` of the start.
    Test error is ``|A^T b - w|^2``, the mean over all inputs; no training removes the part of it
    that is the teacher's own outside the data, so its excess over that is what has to fall.

    Attributes
    ----------
    scale
        Entries of A start as N(0, scale^2/inputs), those of b as N(0, scale^2/width).
    decay
        Weight decay of both layers.
    inputs, samples, width
        Dimensions d > n and h.
    step
        Learning rate times the largest curvature met, below 2, see `learning_rate`.
    steps, points
        Most steps of a training, which ends once it has generalised, and looks at it, see
        `layerwise.train.log_grid`.
    """

    scale: float = 3.0
    decay: float = 0.02
    inputs: int = 40
    samples: int = 30
    width: int = 60
    step: float = 1.25
    steps: int = 1_000_000
    points: int = 600

    def __post_init__(self) -> None:
        if not 2 <= self.samples < self.inputs:
            raise ValueError(
                f"samples must be at least 2 and fewer than the inputs, got {self.samples} samples "
                f"of {self.inputs} inputs"
            )
        self.need_positive("scale", "decay", "step")
        self.need_at_least(1, "width", "steps", "points")
        if self.step >= 2:
            raise ValueError(f"step must be below 2, where descent diverges, got {self.step}")

    @property
    def name(self) -> str:
        return f"linear-scale{self.scale:g}-decay{self.decay:g}"

    @property
    def learning_rate(self) -> float:
        """`step` over the largest eigenvalue of the loss at the start, or at the end if larger.

        ``(1 + sqrt(d/n))^2 (|b|^2 + |A|^2)``, of large random matrices.
        """
        start = self.scale**2 * (1 + (1 + math.sqrt(self.width / self.inputs)) ** 2)
        inputs = (1 + math.sqrt(self.inputs / self.samples)) ** 2
        return self.step / (inputs * max(start, 2 * math.sqrt(2)))

    @property
    def teacher(self) -> np.ndarray:
        """The teacher w, shape (d,)."""
        w = np.zeros(self.inputs)
        w[:2] = 1.0, -1.0
        return w

    def work(self) -> int:
        # decay brings the start down in ln(scale)/decay; what it takes beyond was seen
        return min(self.steps, round((_folds(self.scale) + 0.3) / self.decay / self.learning_rate))

    def brief(self) -> LinearGrokking:
        return replace(self, scale=1.0, decay=0.01, steps=BRIEF, points=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        from layerwise.train import log_grid

        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.samples, self.inputs))
        A = rng.normal(0.0, self.scale / math.sqrt(self.inputs), (self.width, self.inputs))
        b = rng.normal(0.0, self.scale / math.sqrt(self.width), self.width)
        w, variance = self.teacher, x.T @ x / self.samples
        unseen = np.linalg.svd(x)[2][self.samples :].T
        own = float(np.sum((w @ unseen) ** 2))
        start = np.linalg.norm(A @ unseen)

        rate = self.learning_rate
        kept, end = 1 - rate * self.decay, math.inf
        longest = min(self.steps, math.ceil((_folds(self.scale) + 2) / self.decay / rate))
        due, rows = frozenset(log_grid(longest, self.points)), []
        for step in range(longest + 1):
            tick(step)
            error = b @ A - w
            slope = error @ variance
            if step in due:
                test = float(error @ error)
                rows.append({
                    "step": step,
                    "train_error": float(error @ slope),
                    "test_error": test,
                    "excess": test - own,
                    "unseen": np.linalg.norm(A @ unseen) / start,
                })  # fmt: skip
                if step >= end:
                    break
                if math.isinf(end) and self.generalised(rows[-1]):
                    end = PAST * step
            pull = A @ slope
            A *= kept
            A -= np.multiply.outer(rate * b, slope)
            b = kept * b - rate * pull
        series = {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
        steps = series.pop("step")
        series["unseen_descent"] = kept**steps
        series["unseen_flow"] = np.exp(-self.decay * rate * steps)
        return _trace(self, rate * steps, series)

    def generalised(self, row: dict[str, float]) -> bool:
        """Return whether a look found both train error and excess of the test error small."""
        size = float(self.teacher @ self.teacher)
        return row["train_error"] < FIT * size and row["excess"] < GENERAL * size


@dataclass(frozen=True)
class ScalarClock(Experiment):
    """A 1-h-1 linear network with decay, from a start far above its target.

    Attributes
    ----------
    ratio
        Weight-to-target ratio ``Sigma_0/S`` of the start. Weights are normal, b orthogonal to a
        (``Theta_0 = 0``, so that C_0 is Sigma_0), both of the same norm.
    decay, target, output_scale, width, samples
        lam, S, Z, h, and the number of standard normal inputs x with ``y = S x``.
    level
        Error that counts as fitted, as a share of the target.
    learning_rate
        Times the fastest relaxation rate of the start, ``2 s Sigma_0/Z``, it has to stay well
        below 1, for the descent to be a flow.
    steps, points
        Most steps of a training, and looks at it, see `layerwise.train.log_grid`.
    """

    ratio: float = 30.0
    decay: float = 0.04
    target: float = 1.0
    output_scale: float = 1.0
    width: int = 50
    samples: int = 200
    level: float = 0.1
    learning_rate: float = 1e-3
    steps: int = 1_000_000
    points: int = 1000

    def __post_init__(self) -> None:
        self.need_positive("ratio", "decay", "target", "output_scale", "learning_rate")
        self.need_at_least(1, "samples", "steps", "points")
        if self.width < 2:
            raise ValueError(f"width must be at least 2, for b orthogonal to a, got {self.width}")
        pace = 2 * self.learning_rate * self.ratio * self.target / self.output_scale
        if pace >= 1:
            raise ValueError(
                f"learning_rate {self.learning_rate:g} is too large for a start of ratio "
                f"{self.ratio:g}: 2 learning_rate ratio target/output_scale is {pace:g}, and must "
                "be below 1"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level}")

    @property
    def name(self) -> str:
        return f"scalar-ratio{self.ratio:g}-decay{self.decay:g}"

    @property
    def network(self) -> Scalar:
        """The network as it starts, with the variance of its inputs: the exact model."""
        x, a, b = self._draw()
        return Scalar(
            self.target, a, b, self.output_scale, rate=float(np.mean(x**2)), decay=self.decay
        )

    def work(self) -> int:
        # by the closed formula, and the time in which the network then settles
        end = PAST * (float(rich_time(self.network).value) + self.output_scale / self.target)
        return round(min(self.steps, end / self.learning_rate))

    def brief(self) -> ScalarClock:
        return replace(self, ratio=1.5, steps=BRIEF, points=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        from layerwise.train import log_grid

        x, a, b = self._draw()
        y, Z, rate = self.target * x, self.output_scale, self.learning_rate
        kept, longest = 1 - rate * self.decay, self.work()
        due, rows = frozenset(log_grid(longest, self.points)), []
        for step in range(longest + 1):
            tick(step)
            if step in due:
                rows.append((step, a, b))
            push = rate / Z * (x @ (y - x * (a @ b) / Z)) / len(x)
            a, b = kept * a + push * b, kept * b + push * a
        steps, first, second = (np.asarray(column) for column in zip(*rows, strict=True))
        theta = measures.product(first, second, Z)
        sizes = [np.linalg.norm(first + sign * second, axis=1) for sign in (1, -1)]
        series = {
            "fit": theta / self.target,
            "error": np.abs(1 - theta / self.target),
            "alignment": measures.alignment(first, second),
            "imbalance": sizes[0] * sizes[1] / (2 * Z),
        }
        return _trace(self, rate * steps, series)

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the inputs x and the initial weights a, b."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal(self.samples)
        a, b = rng.standard_normal((2, self.width))
        b -= (a @ b) / (a @ a) * a
        size = math.sqrt(self.ratio * self.target * self.output_scale)
        return x, size / np.linalg.norm(a) * a, size / np.linalg.norm(b) * b


def _trace(one: Experiment, clock: np.ndarray, series: dict[str, np.ndarray]) -> Trace:
    data = "normal inputs, linear teacher (generated)"
    return Trace(
        clock, series, Provenance("network", TIME, one.config(), one.seed, data, versions())
    )


def _folds(scale: float) -> float:
    return max(math.log(scale), 0.0)
