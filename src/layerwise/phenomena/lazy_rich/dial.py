r"""The non-linearity dial: how far exact linear predictions hold as a ReLU is turned on.

The activation ``phi_k(z) = (1 - k) z + k max(z, 0) = c z + (k/2) |z|`` is linear at k = 0 and the
ReLU at k = 1. Its odd part is linear, of slope ``c = 1 - k/2``; only the even part ``(k/2) |z|`` is
not. On inputs and targets that are odd (with each (x, y) goes (-x, -y)) that part is correlated
with neither, and what the network holds of the target's modes, ``E[f x^T]``, changes as in a linear
network of that slope, up to terms of order k^2. They vanish for neurons in opposite pairs: then a
ReLU network *is* a linear one at half the rate (arXiv 2406.12615). Images are not odd.

A linear network of slope c from layers W1, W2 is one of slope 1 from ``sqrt(c) W1``, ``sqrt(c)
W2``, with c as the rate of both layers: `twin`. It has no free number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from layerwise.measures import crossing_time, kernel_distance, mode_strengths
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.lazy_rich.white import white_images
from layerwise.theory import Linear, solve, starts
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Dial", "Transfer", "transfer", "twin"]

CLASSES = 10  # of every image data set
CLOCK = "gradient-flow time"
BRIEF = 50  # steps that are timed


@dataclass(frozen=True)
class Dial(Experiment):
    """A two-layer network ``W2 phi_k(W1 x)`` on whitened images, from a small balanced start.

    Inputs and targets are those of `layerwise.phenomena.lazy_rich.white.white_images`; the loss is
    ``1/2 E|f - y|^2``, by full-batch gradient descent in float64. The clock of the trace is the
    time of gradient flow, steps x learning rate. Its series:

    * ``loss``;
    * ``modes`` (T, modes): ``u_j^T E[f x^T] v_j / s_j``, the share learned of each of the strongest
      singular modes of the target ``E[y x^T] = U diag(s) V^T``;
    * ``kernel_distance``: of the tangent kernel, traced over the outputs, from its start, centred;
    * ``off_diagonal``, ``diagonal``: of the changes since the start of ``W1 W1^T`` and ``W2^T W2``,
      which flow keeps equal in linear networks, the part that differs: ``|D2 - D1|/hypot(|D1|,
      |D2|)`` over all pairs of neurons, and over each neuron with itself. 0 where they are equal,
      1 where they have nothing to do with each other.

    Attributes
    ----------
    k
        The dial, from 0 (linear) to 1 (ReLU).
    data
        See `layerwise.tasks.load`.
    samples, inputs, hidden
        Images, principal components, hidden neurons.
    start
        Standard deviation of the initial weights on the directions in use, see
        `layerwise.theory.starts.balanced`.
    modes
        How many modes are followed.
    learning_rate, time
        Of gradient descent; `time` is the end of the clock.
    looks
        Intervals between looks, of one length.
    probes
        Inputs on which the kernel is taken.
    """

    k: float = 1.0
    data: str = "digits"
    samples: int = 800
    inputs: int = 20
    hidden: int = 32
    start: float = 0.05
    modes: int = 5
    learning_rate: float = 0.05
    time: float = 60.0
    looks: int = 150
    probes: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.k <= 1:
            raise ValueError(f"k must lie between 0 and 1, got {self.k}")
        self.need_at_least(1, "samples", "inputs", "hidden", "modes", "looks", "probes")
        self.need_positive("start", "learning_rate", "time")
        if self.modes > min(self.inputs, CLASSES - 1):
            raise ValueError(
                f"{self.inputs} inputs and {CLASSES} centred classes have "
                f"{min(self.inputs, CLASSES - 1)} modes, asked for {self.modes}"
            )
        if self.work() < 1:
            raise ValueError(
                f"time {self.time} has no step of the learning rate {self.learning_rate}"
            )

    @property
    def name(self) -> str:
        return f"dial-{self.data}-k{self.k:g}"

    @property
    def slope(self) -> float:
        """The slope c of the odd part of the activation."""
        return 1 - self.k / 2

    def task(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Return inputs X (samples, inputs), targets Y (samples, classes) and their source."""
        return white_images(self.data, self.samples, self.inputs, self.seed)

    def layers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W1 (hidden, inputs) and W2 (classes, hidden) as they start."""
        return starts.balanced(
            (self.inputs, self.hidden, CLASSES), scale=self.start, seed=self.seed
        )

    def work(self) -> int:
        return round(self.time / self.learning_rate)

    def brief(self) -> Dial:
        return replace(self, seed=0, k=1.0, time=BRIEF * self.learning_rate, looks=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        X, Y, source = self.task()
        modes, probes = _Modes.of(X, Y, self.modes), X[: self.probes]
        start, due, rows = self.layers(), _due(self), []
        first = _kernel(probes, *start, self.k)
        for step, W1, W2, f in _descend(X, Y, *start, self.k, self.learning_rate, self.work()):
            tick(step)
            if step in due:
                before, after = W1 @ W1.T - start[0] @ start[0].T, W2.T @ W2 - start[1].T @ start[1]
                diagonals = np.diag(before), np.diag(after)
                rows.append(
                    {
                        "loss": ((f - Y) ** 2).sum() / len(X) / 2,
                        "modes": modes.shares(f.T @ X / len(X)),
                        "kernel_distance": kernel_distance(first, _kernel(probes, W1, W2, self.k)),
                        "off_diagonal": _apart(
                            before - np.diag(diagonals[0]), after - np.diag(diagonals[1])
                        ),
                        "diagonal": _apart(*diagonals),
                    }
                )
        series = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        origin = Provenance("network", CLOCK, self.config(), self.seed, source, versions())
        return Trace(self.learning_rate * np.array(sorted(due)), series, origin)


class Transfer(NamedTuple):
    """How far linear predictions are from a network at one setting of the dial; 0 is exact.

    Attributes
    ----------
    modes
        Root-mean-square, over modes, of ``ln(t_half / t_half of the twin)``; the time at which
        half of a mode is learned.
    modes_unscaled
        The same with the linear network of slope 1, as if the dial were not known.
    kernel
        ``|ln(S / S of the twin)|`` of the kernel distance at the end of the clock.
    off_diagonal, diagonal
        As in `Dial`, at the end of the clock.
    """

    modes: float
    modes_unscaled: float
    kernel: float
    off_diagonal: float
    diagonal: float


def twin(one: Dial, t: np.ndarray, *, scaled: bool = True) -> Trace:
    """Return the exact ``modes`` and ``kernel_distance`` of the linear network from the same start.

    Parameters
    ----------
    one
        The network.
    t
        Shape (T,), in units of the gradient flow.
    scaled
        Whether the linear network has the slope of the activation, ``1 - k/2``, and not 1.
    """
    X, Y, source = one.task()
    c = one.slope if scaled else 1.0
    W1, W2 = (math.sqrt(c) * layer for layer in one.layers())
    solution = solve(Linear(W1, W2, Y.T @ X / len(X), rates=(c, c)), t)
    probes = X[: one.probes]
    # the trace over outputs of K = I (x) X W1^T W1 X^T + W2 W2^T (x) X X^T
    outer = np.trace(solution["gram_out"], axis1=1, axis2=2)[:, None, None] * (probes @ probes.T)
    kernels = CLASSES * probes @ solution["gram_in"] @ probes.T + outer
    series = {
        "modes": _Modes.of(X, Y, one.modes).shares(solution["map"]),
        "kernel_distance": kernel_distance(kernels[0], kernels),
    }
    origin = Provenance("theory", CLOCK, one.config(), one.seed, source, versions())
    return Trace(t, series, origin)


def transfer(one: Dial, trace: Trace) -> Transfer:
    """Return how far linear predictions are from the `trace` of `one`."""
    found, t = _half_times(trace), trace.clock
    scaled, unscaled = twin(one, t), twin(one, t, scaled=False)
    errors = [
        math.sqrt(np.mean(np.log(found / _half_times(theory)) ** 2))
        for theory in (scaled, unscaled)
    ]
    ends = [float(part["kernel_distance"][-1]) for part in (trace, scaled)]
    shares = (float(trace[name][-1]) for name in ("off_diagonal", "diagonal"))
    return Transfer(*errors, abs(math.log(ends[0] / ends[1])), *shares)


class _Modes(NamedTuple):
    """The strongest singular modes of ``E[y x^T]``."""

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, Y: np.ndarray, count: int) -> _Modes:
        u, s, vt = np.linalg.svd(Y.T @ X / len(X), full_matrices=False)
        return cls(u[:, :count], s[:count], vt[:count].T)

    def shares(self, maps: np.ndarray) -> np.ndarray:
        """Return what maps (..., classes, inputs) hold of each mode, 1 where it is learned."""
        return np.asarray(mode_strengths(maps, self.u, self.v)) / self.s


def _descend(
    X: np.ndarray, Y: np.ndarray, W1: np.ndarray, W2: np.ndarray, k: float, rate: float, steps: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield step, layers and outputs (n, classes) of gradient descent, before every update."""
    for step in range(steps + 1):
        hidden, slopes = _activation(X @ W1.T, k)
        f = hidden @ W2.T
        yield step, W1, W2, f
        error = (f - Y) / len(X)
        W1, W2 = W1 - rate * (error @ W2 * slopes).T @ X, W2 - rate * error.T @ hidden


def _activation(z: np.ndarray, k: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ``phi_k(z)`` and its derivative."""
    slopes = np.where(z > 0, 1.0, 1 - k)
    return slopes * z, slopes


def _kernel(X: np.ndarray, W1: np.ndarray, W2: np.ndarray, k: float) -> np.ndarray:
    """Return the tangent kernel (n, n), traced over the outputs."""
    hidden, slopes = _activation(X @ W1.T, k)
    return len(W2) * hidden @ hidden.T + (X @ X.T) * (slopes * (W2**2).sum(axis=0) @ slopes.T)


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    size = math.hypot(np.linalg.norm(first), np.linalg.norm(second))
    return float(np.linalg.norm(second - first)) / size if size else 0.0


def _due(one: Dial) -> frozenset[int]:
    return frozenset(np.rint(np.linspace(0, one.work(), one.looks + 1)).astype(int).tolist())


def _half_times(trace: Trace) -> np.ndarray:
    """Return the time at which half of each mode is learned; infinity where it is not."""
    return np.asarray(crossing_time(trace.clock, trace["modes"], 0.5))
