"""Upstream, balanced and downstream starts of a convolutional network on images.

A factor a multiplies the first layer and divides the head, which leaves the function at the start
as it is: a < 1 makes the later layer larger, "upstream", so that the first filters learn
(arXiv 2406.06158).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerwise.measures import (
    filter_energy,
    filter_participation,
    filter_roughness,
    kernel_alignment,
    kernel_distance,
    kernel_growth,
    layer_imbalance,
    relative_motion,
    sign_distance,
)
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.pixels import pixels
from layerwise.trace import Provenance, Trace, versions

if TYPE_CHECKING:
    from torch import Tensor

    from layerwise.networks import CNN

__all__ = ["Convolution"]

CHUNK = 1024  # images that are evaluated at once
BRIEF = 20  # steps that are timed


@dataclass(frozen=True)
class Convolution(Experiment):
    """A small bias-free CNN on images from He's start, its first layer scaled against its head.

    The first layer is multiplied by ``a tau`` and the head by ``tau / a``. Outputs less those at
    the start are trained on one-hot labels, on the mean of ``1/2 |f - f_0 - Y|^2``, by plain SGD.
    The learning rate is `margin` over the largest eigenvalue of the tangent kernel at the start,
    traced over the outputs and divided by the number of inputs. That bounds the curvature of the
    loss, which is smaller by a factor between 1 and the number of outputs: about 2 upstream, 10
    downstream on the digits.

    The clock of the trace is steps. Its series are, on the training and test images: `train_loss`,
    `test_accuracy`; on the probes, compared with the start: `kernel_distance` (centred),
    `kernel_distance_plain`, `kernel_growth` of the exact traced kernel, its `kernel_alignment` with
    the labels, `feature_distance` (one minus the CKA of what the head reads), `sign_distance`
    (T, 3) of each layer's ReLUs; of the weights: `motion` (T, 4) of each layer relative to its
    start, `imbalance` ``|head|^2 - |c_1|^2``, which flow conserves, and of the first layer
    `filters` (T, 16, channels, 5, 5), `filter_energy`, `filter_roughness`, `filter_participation`.
    `time` is steps x learning rate.

    Attributes
    ----------
    a
        Below 1 upstream, above downstream.
    tau
        The common scale of both layers; the smaller, the richer.
    data
        ``"digits"``, ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
    train_size, test_size
        See `layerwise.phenomena.pixels.pixels`; drawn by the seed.
    steps, batch
        See `layerwise.train`.
    margin
        See above, below 2: then no start is unstable.
    probes
        Training images on which kernels and activations are compared.
    points
        About how many times the network is looked at, log-spaced.
    """

    a: float = 1.0
    tau: float = 0.3
    data: str = "digits"
    train_size: int = 1500
    test_size: int = 297
    steps: int = 1200
    batch: int = 128
    margin: float = 0.5
    probes: int = 128
    points: int = 12

    def __post_init__(self) -> None:
        self.need_at_least(1, "train_size", "test_size", "steps", "batch", "points")
        if not 2 <= self.probes <= self.train_size:
            raise ValueError(
                f"probes must be from 2 to the {self.train_size} training images, got {self.probes}"
            )
        self.need_positive("a", "tau")
        if not 0 < self.margin < 2:
            raise ValueError(f"margin must lie between 0 and 2 to be stable, got {self.margin}")

    @property
    def name(self) -> str:
        return f"convolution-{self.data}-a{self.a:g}-tau{self.tau:g}"

    def work(self) -> int:
        return self.steps

    def brief(self) -> Convolution:
        return replace(self, seed=0, a=1.0, tau=0.3, margin=0.5, steps=BRIEF, points=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import CNN, rescale
        from layerwise.train import Epochs, Training, as_device, log_grid, train

        place, fast = as_device(device), torch.channels_last  # by a sixth, also on a CPU
        found = pixels(self.data, self.train_size, self.test_size, np.random.default_rng(self.seed))
        x, y, x_test, y_test = (torch.from_numpy(array).to(place) for array in found[2:])
        mean, std = found.x.mean(dtype=np.float32), found.x.std(dtype=np.float32)
        x, x_test = (((part.float() - mean) / std) for part in (x, x_test))
        net = CNN(x.shape[1], found.classes, side=x.shape[2], seed=self.seed)
        net = net.to(place, memory_format=fast)
        rescale(net, {"body.0": self.a * self.tau, "head": self.tau / self.a})
        one_hot = torch.nn.functional.one_hot(y, found.classes).float()
        offset, offset_test = _outputs(net, x), _outputs(net, x_test)
        targets = offset + one_hot  # what f has to reach for f - f_0 to reach the labels
        start = _Look.at(net, x[: self.probes])
        patches = _patches(x, net)
        top = torch.linalg.eigvalsh(start.kernel)[-1].item() / self.probes

        def observe(net: CNN) -> dict[str, object]:
            error = _outputs(net, x) - targets
            right = (_outputs(net, x_test) - offset_test).argmax(1) == y_test
            return {
                "train_loss": error.double().square().sum(1).mean().item() / 2,
                "test_accuracy": right.double().mean().item(),
                **_compare(start, _Look.at(net, x[: self.probes]), one_hot[: self.probes]),
                **_filters(net.body[0].weight.detach(), patches),
            }

        training = Training("sgd", self.margin / top, steps=self.steps)
        history = train(
            net, Epochs(x.contiguous(memory_format=fast), targets, self.batch, seed=self.seed),
            training, observe, gradient=_gradient, due=log_grid(self.steps, self.points),
            checkpoint=checkpoint, tick=tick,
        )  # fmt: skip
        steps = np.asarray(history.steps)
        origin = Provenance(
            "network", "optimiser steps", self.config(), self.seed, found.source, versions("torch")
        )
        return Trace(steps, history.series() | {"time": steps * training.learning_rate}, origin)


@dataclass(frozen=True, eq=False)
class _Look:
    """A network on the probes: weights (layers), kernel, features, activations (layers)."""

    weights: tuple[Tensor, ...]
    kernel: Tensor
    features: Tensor
    hidden: tuple[Tensor, ...]

    @classmethod
    def at(cls, net: CNN, x: Tensor) -> _Look:
        from layerwise.networks import ntk

        weights = tuple(weight.detach().clone() for weight in net.parameters())
        hidden = tuple(part.detach() for part in net.hidden(x))
        # exact: a few random directions of the ten outputs cost nearly as much, and their noise
        # raises the centred distance of upstream starts (six of them by a half, on the digits)
        return cls(weights, ntk(net, x).double(), hidden[-1].flatten(1).double(), hidden)


def _compare(start: _Look, now: _Look, targets: Tensor) -> dict[str, object]:
    """Return what has moved between two looks, as plain numbers."""
    grams = (look.features @ look.features.T for look in (start, now))
    kernels = start.kernel, now.kernel
    return {
        "kernel_distance": kernel_distance(*kernels).item(),
        "kernel_distance_plain": kernel_distance(*kernels, centred=False).item(),
        "kernel_growth": kernel_growth(*kernels).item(),
        "kernel_alignment": kernel_alignment(now.kernel, targets).item(),
        "feature_distance": kernel_distance(*grams).item(),
        "sign_distance": [
            sign_distance(*pair).item() for pair in zip(start.hidden, now.hidden, strict=True)
        ],
        "motion": [
            relative_motion(*pair).item() for pair in zip(start.weights, now.weights, strict=True)
        ],
        "imbalance": layer_imbalance(now.weights[0].double(), now.weights[-1].double()).item(),
    }


def _filters(filters: Tensor, patches: Tensor) -> dict[str, object]:
    """Return the filters of the first layer and what they look like."""
    return {
        "filters": filters.tolist(),
        "filter_energy": filter_energy(filters, patches).item(),
        "filter_roughness": filter_roughness(filters).item(),
        "filter_participation": filter_participation(filters).item(),
    }


def _patches(x: Tensor, net: CNN) -> Tensor:
    """Return all patches inside the images that a filter of the first layer can see."""
    import torch

    shape = net.body[0].weight.shape[1:]
    columns = torch.nn.functional.unfold(x, shape[1:])
    return columns.transpose(1, 2).reshape(-1, *shape)


def _outputs(net: CNN, x: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(CHUNK)])


def _gradient(net: CNN, x: Tensor, y: Tensor) -> None:
    net.zero_grad(set_to_none=True)
    ((net(x) - y).square().sum(1).mean() / 2).backward()
