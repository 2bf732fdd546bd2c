r"""When a network that only memorised will generalise: the remainder of its initial function.

A network with large weights fits its data by a small change, so that off the data its initial
function f0 stays. What it computes is f0 plus the kernel fit of what f0 lacks,

    f(x) = f0(x) + k(x, X) K^{-1} (Y - f0(X)),

and it generalises where the remainder ``f0(x) - k(x, X) K^{-1} f0(X)`` is small beside the fitted
targets. Decay shrinks every layer as ``e^{-tau}``, ``tau = learning rate x decay x steps``, and the
network goes on fitting: at tau it is the network that had started from weights ``e^{-tau} W``. So
its accuracy over tau follows from the initial weights and the training data alone, without a free
parameter; left-out data are the training data, one at a time.

The kernel is the tangent kernel of a wide network with the layers' own scales (arXiv 1806.07572),
tanh taken as ``erf(sqrt(pi) z/2)``, whose averages are elementary (Williams 1997, "Computing with
infinite networks").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Start"]

Array = npt.NDArray[np.float64]

RIDGE: Final = 1e-4  # of the kernel's mean diagonal: keeps repeated inputs from a singular matrix
STEP: Final = 0.1  # in tau, of the accuracies that are computed


@dataclass(frozen=True, eq=False)
class Start:
    """A deep tanh network before training, its training data and how its weights will decay.

    Attributes
    ----------
    weights
        ``[W_1, ..., W_L]``, L >= 2, each (outputs, inputs); tanh follows all but the last.
    inputs
        Shape (n, i), as the network sees them.
    labels
        Shape (n,), whole numbers from 0; the targets are ``target_scale`` times one-hot.
    biases
        ``[b_1, ..., b_L]``; none by default.
    target_scale, output_scale
        Factors on the targets and on the last layer's output.
    learning_rate, weight_decay
        As in AdamW: every update multiplies the weights by ``1 - learning_rate x weight_decay``.
    optimizer
        Its name; only ``"adamw"`` is calibrated.

    Raises
    ------
    ValueError
        If shapes do not fit each other, a number is not finite, or a factor is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, labels = rng.standard_normal((30, 4)), rng.integers(0, 2, 30)
    >>> start = Start.drawn((4, 50, 2), 5.0, x, labels)
    >>> start.scales.round(1), start.outputs(shrink=math.log(2)).shape
    (array([4.8, 5.6]), (30, 2))
    """

    weights: tuple[Array, ...]
    inputs: Array
    labels: Array
    biases: tuple[Array, ...] = ()
    target_scale: float = 1.0
    output_scale: float = 1.0
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        weights = tuple(_finite("weights", weight, 2) for weight in self.weights)
        biases = tuple(_finite("biases", bias, 1) for bias in self.biases)
        inputs, labels = _finite("inputs", self.inputs, 2), np.asarray(self.labels)
        sizes = (inputs.shape[1], *(weight.shape[0] for weight in weights))
        shapes = tuple(weight.shape for weight in weights)
        if len(weights) < 2 or shapes != tuple((o, i) for i, o in pairwise(sizes)):
            raise ValueError(
                f"weights (outputs, inputs) must be two or more, and follow on each other and on "
                f"inputs (n, i): weights {list(shapes)}, inputs {inputs.shape}"
            )
        if biases and tuple(bias.shape for bias in biases) != tuple((o,) for o in sizes[1:]):
            raise ValueError(
                f"biases must be one per output of each layer: {[b.shape for b in biases]} for "
                f"weights {list(shapes)}"
            )
        if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"labels must be whole numbers, one per input: {labels.dtype} {labels.shape} for "
                f"{inputs.shape[0]} inputs"
            )
        if labels.min() < 0 or labels.max() >= sizes[-1] or len(np.unique(labels)) < 2:
            raise ValueError(
                f"labels must be two or more classes from 0 to {sizes[-1] - 1}, got "
                f"{labels.min()} to {labels.max()}"
            )
        for name in ("target_scale", "output_scale", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be finite and >= 0, got {self.weight_decay}")
        for name, value in (
            ("weights", weights),
            ("biases", biases),
            ("inputs", inputs),
            ("labels", labels),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def drawn(
        cls,
        widths: tuple[int, ...],
        weight_scale: float,
        inputs: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        seed: int = 0,
        **settings: Any,
    ) -> Start:
        """Return a network of settings alone.

        Weights are drawn from N(0, (weight_scale/sqrt(fan_in))^2), biases from PyTorch's default,
        U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
        """
        rng = np.random.default_rng(seed)
        fans = [(o, i, 1 / math.sqrt(i)) for i, o in pairwise(widths)]
        weights = tuple(weight_scale * std * rng.standard_normal((o, i)) for o, i, std in fans)
        biases = tuple(rng.uniform(-std, std, o) for o, _, std in fans)
        return cls(weights, np.asarray(inputs), np.asarray(labels), biases, **settings)

    @property
    def depth(self) -> int:
        """Number of weight layers."""
        return len(self.weights)

    @cached_property
    def scales(self) -> Array:
        """Root-mean-square weight times sqrt(fan_in) of every layer, shape (L,)."""
        return np.array([np.linalg.norm(w) / math.sqrt(w.shape[0]) for w in self.weights])

    def outputs(self, shrink: float = 0.0) -> Array:
        """Return the outputs (n, o) of the network with all parameters times ``e^-shrink``."""
        factor, hidden = math.exp(-shrink), self.inputs
        for layer, weight in enumerate(self.weights):
            hidden = np.tanh(hidden) if layer else hidden
            hidden = factor * (hidden @ weight.T + (self.biases[layer] if self.biases else 0.0))
        return self.output_scale * hidden

    def kernel(self, shrink: float = 0.0) -> Array:
        """Return the tangent kernel (n, n) of a wide network with the scales ``e^-shrink`` s_l.

        With ``K_1 = x x^T``, ``z_l`` Gaussian of covariance ``s_l^2 K_l/h_l + E[b_l^2]`` with h_l
        the layer's inputs, averages over it, and 1 for the biases if there are any,

            K_{l+1} = h_{l+1} E[tanh z_l tanh z_l^T],
            T_1 = K_1 + 1,    T_{l+1} = s_{l+1}^2 E[tanh' z_l tanh' z_l^T] T_l + K_{l+1} + 1.
        """
        factor, bias = math.exp(-shrink), 1.0 if self.biases else 0.0
        scales = factor * self.scales
        K = self.inputs @ self.inputs.T
        T = K + bias
        for layer, (scale, after) in enumerate(pairwise(scales)):
            outputs, inputs = self.weights[layer].shape
            offset = float(np.mean(np.square(factor * self.biases[layer]))) if bias else 0.0
            K = math.pi / 2 * (scale**2 / inputs * K + offset)
            size = 1 + np.diag(K)
            size = np.multiply.outer(size, size)
            T *= after**2 / np.sqrt(size - K**2)
            K = outputs * 2 / math.pi * np.arcsin(K / np.sqrt(size))
            T += K + bias
        return T

    def accuracy(self, shrink: float = 0.0) -> float:
        """Return the accuracy on left-out data of the fit that starts from ``e^-shrink`` W.

        For every datum the fit of all the others, in closed form:
        ``y_i - [K^{-1} (Y - f0)]_i / [K^{-1}]_ii``.
        """
        K = self.kernel(shrink)
        K[np.diag_indices_from(K)] += RIDGE * np.trace(K) / len(K)
        inverse = np.linalg.inv(K)
        Y = self.target_scale * np.eye(self.weights[-1].shape[0])[self.labels]
        left_out = Y - inverse @ (Y - self.outputs(shrink)) / np.diag(inverse)[:, None]
        return float(np.mean(left_out.argmax(axis=1) == self.labels))

    def curve(self, level: float) -> tuple[Array, Array]:
        """Return shrinks tau = 0, 0.1, ... and accuracies there, until `level` is reached.

        It ends without having reached the level where the largest layer has come down to scale 1.
        """
        last = max(math.log(np.max(self.scales)), 0.0) + STEP
        shrinks, accuracies = [0.0], [self.accuracy()]
        while accuracies[-1] < level and shrinks[-1] < last:
            shrinks.append(shrinks[-1] + STEP)
            accuracies.append(self.accuracy(shrinks[-1]))
        return np.array(shrinks), np.array(accuracies)


def _finite(name: str, values: npt.ArrayLike, dimensions: int) -> Array:
    array = np.asarray(values, dtype=float)
    if array.ndim != dimensions or array.size == 0 or not np.all(np.isfinite(array)):
        raise ValueError(
            f"{name} must be finite, of {dimensions} dimension(s) and not empty, got shape "
            f"{array.shape} with {np.sum(~np.isfinite(array))} values that are not finite"
        )
    return array
