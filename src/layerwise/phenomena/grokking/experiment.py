"""Grokking: a network that has long fitted its data generalises late, or at once.

Figure 8 of arXiv 2502.21009: a deep tanh network with large initial weights memorises 1000 digits
and generalises only much later; four changes that lower the weight-to-target ratio (smaller
weights, larger target, smaller input, smaller output) remove the delay. Beside it stands the
1-h-1 network with decay, solved exactly, whose late phase is a clock: weights shrink as
exp(-decay t), and generalisation comes when they have come down to the target's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from layerwise.measures import first_reached
from layerwise.phenomena.base import Experiment
from layerwise.theory import Scalar, solve, time_to
from layerwise.theory.laws.decay import rich_time
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Clock", "Grokking", "twin"]

FIT, GENERAL = 0.99, 0.85  # train accuracy that counts as fitted, test accuracy as general
FASHION = 0.75  # as general on Fashion-MNIST, of which 1000 images do not teach 0.85
LARGEST_LOG = 100.0  # a fitted critical scale beyond e^+-100 is none
TWIN_FIT = 0.01  # relative error at which the exact model counts as fitted


@dataclass(frozen=True)
class Grokking(Experiment):
    """One training of a deep tanh network on a few images, mean squared error on one-hot targets.

    Attributes
    ----------
    data
        ``"mnist"``, ``"fashion-mnist"`` or ``"digits"`` (scikit-learn's 8x8 stand-in).
    train_size, test_size
        Images drawn at random (by the seed) from the official train and test sets.
    width, depth
        Hidden width and number of weight layers.
    weight_scale, target_scale, input_scale, output_scale
        The four dials: initial weights N(0, (weight_scale/sqrt(fan_in))^2), one-hot targets,
        images and network output are multiplied by them.
    optimizer, learning_rate, weight_decay, steps, points
        See `layerwise.train.Training`.
    batch
        Batch size, see `layerwise.train.Epochs`.
    tail
        Training ends this many times after the later of fit and generalisation; 0 runs all steps.
    """

    data: str = "mnist"
    train_size: int = 1000
    test_size: int = 4000
    width: int = 200
    depth: int = 4
    weight_scale: float = 5.0
    target_scale: float = 3.0
    input_scale: float = 1.0
    output_scale: float = 1.0
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.3
    batch: int = 128
    steps: int = 4000
    points: int = 80
    tail: float = 1.15

    def __post_init__(self) -> None:
        self.need_positive("weight_scale", "target_scale", "input_scale", "output_scale")
        if self.depth < 1 or self.width < 1:
            raise ValueError(f"depth and width must be positive, got {self.depth}, {self.width}")

    @property
    def name(self) -> str:
        scales = (self.weight_scale, self.target_scale, self.input_scale, self.output_scale)
        letters = "".join(
            f"{letter}{value:g}" for letter, value in zip("wtio", scales, strict=True)
        )
        return f"grokking-{letters}-decay{self.weight_decay:g}"

    @property
    def general(self) -> float:
        """Test accuracy that counts as general."""
        return FASHION if self.data == "fashion-mnist" else GENERAL

    @property
    def late(self) -> str:
        """What the step is called at which that is reached: ``"t85"``."""
        return f"t{100 * self.general:.0f}"

    @property
    def ratio(self) -> float:
        """Weight-to-target ratio, relative to unit weights on a unit target.

        ``weight_scale^depth * input_scale * output_scale / target_scale``, the dictionary of the
        remedies in the layerwise linear model.
        """
        size = self.weight_scale**self.depth * self.input_scale * self.output_scale
        return size / self.target_scale

    def work(self) -> int:
        if not self.tail or not self.weight_decay:
            return self.steps
        rate = self.learning_rate * self.weight_decay
        expected = self.tail * TYPICAL.decay_time(self, self) / rate + TYPICAL_FIT
        return min(self.steps, round(expected))

    def brief(self) -> Grokking:
        return replace(self, steps=40, points=3, tail=0.0)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch
        from torch.nn.functional import mse_loss, one_hot

        from layerwise.networks import MLP
        from layerwise.train import Epochs, History, Training, as_device, train

        place = as_device(device)
        source, *arrays = _images(self.data, self.train_size, self.test_size, self.seed)
        x, labels, x_test, test_labels = (torch.from_numpy(array).to(place) for array in arrays)
        classes = int(labels.max()) + 1
        x, x_test = x * self.input_scale, x_test * self.input_scale
        targets, test_targets = (
            self.target_scale * one_hot(y, classes).float() for y in (labels, test_labels)
        )
        widths = (x.shape[1], *[self.width] * (self.depth - 1), classes)
        net = MLP(
            widths, weight_scale=self.weight_scale, output_scale=self.output_scale, seed=self.seed
        ).to(place)

        @torch.no_grad()
        def observe(net: torch.nn.Module) -> dict[str, object]:
            row: dict[str, object] = {"weight_scale": net.scales().tolist()}
            for name, inputs, wanted, y in (
                ("train", x, targets, labels),
                ("test", x_test, test_targets, test_labels),
            ):
                output = net(inputs)
                row[f"{name}_accuracy"] = (output.argmax(1) == y).double().mean().item()
                row[f"{name}_loss"] = mse_loss(output, wanted).item()
            return row

        def stop(history: History) -> bool:
            if not self.tail:
                return False
            series = history.series()
            fit = first_reached(history.steps, series["train_accuracy"], FIT)
            general = first_reached(history.steps, series["test_accuracy"], self.general)
            return bool(self.tail * max(fit, general) <= history.steps[-1])

        batches = Epochs(x, targets, self.batch, seed=self.seed)
        training = Training(
            self.optimizer, self.learning_rate, self.weight_decay, self.steps, self.points
        )
        history = train(
            net, batches, training, observe, stop=stop, checkpoint=checkpoint, tick=tick
        )
        provenance = Provenance(
            "network", "optimiser steps", self.config(), self.seed, source, versions("torch")
        )
        return Trace(np.asarray(history.steps), history.series(), provenance)


@dataclass(frozen=True)
class Clock:
    """The decay clock of a deep network, ``decay t = slope ln(weight_scale / critical)``.

    Theory (every layer shrinks as exp(-decay t)) gives slope 1; the critical scale, below which
    there is no delay, has to be measured. Both are fitted on runs that differ in their initial
    scale alone, and then predict every other run.
    """

    slope: float
    critical: float

    @classmethod
    def fitted(cls, scales: list[float], decay_times: list[float]) -> Clock:
        """Return the least-squares line of ``t85 x lr x decay`` over the log of the scale."""
        if not np.all(np.isfinite(decay_times)):
            return cls(math.nan, math.nan)
        slope, intercept = np.polyfit(np.log(scales), decay_times, 1)
        # a delay that does not grow with the scale has no scale at which it vanishes
        growing = slope > 0 and abs(intercept / slope) < LARGEST_LOG
        return cls(float(slope), math.exp(-intercept / slope) if growing else math.nan)

    def excess(self, experiment: Grokking, calibrated: Grokking) -> float:
        """Return the ratio of `experiment`, 1 at the critical scale of the calibrated family."""
        above = (calibrated.weight_scale / self.critical) ** calibrated.depth
        return above * experiment.ratio / calibrated.ratio

    def decay_time(self, experiment: Grokking, calibrated: Grokking) -> float:
        """Return the predicted ``t x lr x decay`` of generalisation, 0 for no delay."""
        excess = self.excess(experiment, calibrated)
        if not math.isfinite(excess) or experiment.optimizer != "adamw":
            return math.nan  # coupled decay is rescaled by Adam: it has no such clock
        return self.slope * float(rich_time(excess, decay=1.0, depth=experiment.depth))


# What MNIST runs were seen to need; used only to say beforehand how long a plan will take.
TYPICAL, TYPICAL_FIT = Clock(slope=1.3, critical=2.6), 500


def twin(experiment: Grokking, excess: float, fit_step: float, steps: np.ndarray) -> Trace:
    """Return the exactly solved 1-h-1 network beside `experiment`, on the clock of its steps.

    Its two layers carry the scale per layer of the deep network, ``Sigma_0/S = excess^(2/depth)``,
    so that decay brings both down at the same time; time is steps x learning rate, as decoupled
    decay counts it. The speed of the gradient cannot be carried over from Adam to a flow and is
    set so that both fit at the same step.
    """
    weight = math.sqrt(excess ** (2 / experiment.depth) / 2)
    a, b = [weight, weight], [weight, -weight]
    lr = experiment.learning_rate
    rate = float(time_to(Scalar(1.0, a, b), error=TWIN_FIT)) / (lr * fit_step)
    model = Scalar(1.0, a, b, rate=rate, decay=experiment.weight_decay)
    solution = solve(model, lr * steps)
    provenance = Provenance(
        "theory", "optimiser steps", model.config() | {"law": solution.law}, versions=versions()
    )
    return Trace(steps, {"fit": solution["map"], "alignment": solution["alignment"]}, provenance)


@cache
def _images(data: str, train_size: int, test_size: int, seed: int) -> tuple[Any, ...]:
    from layerwise.tasks import images

    loaded = images.load(data)
    return f"{loaded.name} ({loaded.source})", *images.split(loaded, train_size, test_size, seed)
