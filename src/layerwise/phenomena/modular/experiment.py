"""Trainings on modular arithmetic: a two-layer quadratic network and a one-layer transformer.

Both memorise a part of the table of an operation, and know the rest of it only much later (Power et
al. 2022, arXiv 2201.02177). Accuracy on the pairs left out is taken twice: on those whose mirror
(b, a) was a training pair, which need no more than a + b = b + a, and on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from layerwise.measures import fourier_concentration
from layerwise.phenomena.base import Experiment
from layerwise.tasks import Modular
from layerwise.trace import Provenance, Trace, versions

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FIT", "GENERAL", "EitherModular", "QuadraticModular", "TransformerModular"]

FIT, GENERAL = 0.99, 0.95  # train accuracy that counts as fitted, test accuracy as general
LEARNED = 0.99  # train and test accuracy at which a training ends
LEAST = 5  # tokens that have two frequencies, zero left out
BRIEF = 20  # steps that are timed
WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "over", "table": "table"}


@dataclass(frozen=True)
class QuadraticModular(Experiment):
    """A two-layer quadratic network on one-hot pairs, squared error, AdamW, the full batch.

    Attributes
    ----------
    operation, modulus, fraction, split_by
        The table and the share of it that is for training, see `layerwise.tasks.Modular`.
    width, weight_scale, output_scale
        See `layerwise.networks.Quadratic`.
    target_scale
        Factor on the one-hot targets.
    learning_rate, weight_decay, beta2, steps, points
        See `layerwise.train.Training`; a training ends before its last step once train and test
        accuracy are 0.99.
    """

    operation: Literal["+", "-", "*", "/", "table"] = "+"
    modulus: int = 23
    fraction: float = 0.5
    split_by: Literal["ordered", "unordered"] = "ordered"
    width: int = 128
    weight_scale: float = 1.0
    output_scale: float = 1.0
    target_scale: float = 1.0
    learning_rate: float = 1e-2
    weight_decay: float = 1.0
    beta2: float = 0.98
    steps: int = 1000
    points: int = 120

    def __post_init__(self) -> None:
        scales = ("weight_scale", "output_scale", "target_scale")
        _need_sound(self, ("width", "steps", "points"), scales)

    @property
    def name(self) -> str:
        return _name("quadratic", self) + f"-t{self.target_scale:g}"

    def task(self) -> Modular:
        """Return the table to be learned."""
        return Modular(self.operation, self.modulus, self.fraction, self.split_by)

    def work(self) -> int:
        return self.steps

    def brief(self) -> QuadraticModular:
        return QuadraticModular(
            modulus=self.modulus, fraction=self.fraction, width=self.width, steps=BRIEF, points=2
        )

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import Quadratic
        from layerwise.train import autograd

        task, p = self.task(), self.modulus
        net = Quadratic(
            task.inputs, self.width, p,
            weight_scale=self.weight_scale, output_scale=self.output_scale, seed=self.seed,
        )  # fmt: skip

        def tokens(net: Quadratic) -> Tensor:
            return net.weight.reshape(-1, p)  # a neuron's weights for a, then those for b

        def targets(labels: Tensor) -> Tensor:
            return self.target_scale * torch.nn.functional.one_hot(labels, p).float()

        return _trained(
            self, net, task.one_hot, targets, autograd, tokens, checkpoint, device, tick
        )


@dataclass(frozen=True)
class TransformerModular(Experiment):
    """A one-layer transformer without norms on token pairs, AdamW, the full batch.

    Attributes
    ----------
    operation, modulus, fraction, split_by
        The table and the share of it that is for training, see `layerwise.tasks.Modular`.
    width, heads, hidden, weight_scale, embedding_scale, output_scale
        See `layerwise.networks.Transformer`.
    loss
        ``"ce"`` (cross-entropy) or ``"mse"`` (squared error on one-hot targets).
    learning_rate, weight_decay, beta2, steps, points
        See `layerwise.train.Training`; a training ends before its last step once train and test
        accuracy are 0.99.
    """

    operation: Literal["+", "-", "*", "/", "table"] = "+"
    modulus: int = 47
    fraction: float = 0.5
    split_by: Literal["ordered", "unordered"] = "ordered"
    width: int = 64
    heads: int = 4
    hidden: int = 128
    weight_scale: float = 1.0
    embedding_scale: float = 1.0
    output_scale: float = 1.0
    loss: Literal["ce", "mse"] = "ce"
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    beta2: float = 0.98
    steps: int = 1500
    points: int = 120

    def __post_init__(self) -> None:
        scales = ("weight_scale", "embedding_scale", "output_scale")
        _need_sound(self, ("width", "heads", "hidden", "steps", "points"), scales)
        if self.loss not in ("ce", "mse"):
            raise ValueError(f"loss must be ce or mse, got {self.loss!r}")

    @property
    def name(self) -> str:
        return _name("transformer", self) + f"-e{self.embedding_scale:g}-{self.loss}"

    def task(self) -> Modular:
        """Return the table to be learned."""
        return Modular(self.operation, self.modulus, self.fraction, self.split_by)

    def work(self) -> int:
        return self.steps

    def brief(self) -> TransformerModular:
        return TransformerModular(
            modulus=self.modulus, fraction=self.fraction, width=self.width, heads=self.heads,
            hidden=self.hidden, steps=BRIEF, points=2,
        )  # fmt: skip

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import Transformer
        from layerwise.train import autograd, cross_entropy

        p = self.modulus
        net = Transformer(
            p, 2, p, width=self.width, heads=self.heads, hidden=self.hidden,
            weight_scale=self.weight_scale, embedding_scale=self.embedding_scale,
            output_scale=self.output_scale, seed=self.seed,
        )  # fmt: skip

        def tokens(net: Transformer) -> Tensor:
            # what the units of the MLP see of the tokens where all heads attend alike
            path = net.mlp_in.weight @ net.output.weight @ net.value.weight
            return path @ net.tokens.weight.T

        def targets(labels: Tensor) -> Tensor:
            if self.loss == "ce":
                return labels
            return torch.nn.functional.one_hot(labels, p).float()

        gradient = cross_entropy if self.loss == "ce" else autograd
        return _trained(self, net, lambda pairs: pairs, targets, gradient, tokens, checkpoint,
                        device, tick)  # fmt: skip


EitherModular = QuadraticModular | TransformerModular


def _trained(
    experiment: EitherModular,
    net: nn.Module,
    encode: Callable[[np.ndarray], np.ndarray],
    targets: Callable[[Tensor], Tensor],
    gradient: Callable[[Any, Tensor, Tensor], None],
    tokens: Callable[[Any], Tensor],
    checkpoint: Path,
    device: str,
    tick: Callable[[int], None],
) -> Trace:
    """Train `net` on the table of the experiment and return what was seen of it."""
    import torch

    from layerwise.train import History, Training, as_device, train

    place = as_device(device)
    task, parts = experiment.task(), experiment.task().split(experiment.seed)
    x, x_test = (torch.from_numpy(encode(one)).to(place) for one in (parts.train, parts.test))
    labels, test_labels, mirrored = (
        torch.from_numpy(one).to(place)
        for one in (parts.train_labels, parts.test_labels, parts.mirrored)
    )
    y, cycle = targets(labels), torch.from_numpy(task.cycle).to(place)

    @torch.no_grad()
    def observe(net: nn.Module) -> dict[str, object]:
        right = (net(x).argmax(1) == labels).double()
        right_test = (net(x_test).argmax(1) == test_labels).double()
        return {
            "train_accuracy": right.mean().item(),
            "test_accuracy": right_test.mean().item(),
            # NaN where there are no such pairs
            "mirror_accuracy": right_test[mirrored].mean().item(),
            "other_accuracy": right_test[~mirrored].mean().item(),
            "concentration": float(fourier_concentration(tokens(net)[:, cycle])),
        }

    def stop(history: History) -> bool:
        last = history.rows[-1]
        return bool(min(last["train_accuracy"], last["test_accuracy"]) >= LEARNED)

    training = Training(
        "adamw", experiment.learning_rate, experiment.weight_decay, experiment.steps,
        experiment.points, beta2=experiment.beta2,
    )  # fmt: skip
    history = train(
        net.to(place), lambda step: (x, y), training, observe,
        gradient=gradient, stop=stop, checkpoint=checkpoint, tick=tick,
    )  # fmt: skip
    origin = Provenance(
        "network", "optimiser steps", experiment.config(), experiment.seed,
        f"{task.formula} (generated)", versions("torch"),
    )  # fmt: skip
    return Trace(np.asarray(history.steps), history.series(), origin)


def _name(net: str, one: EitherModular) -> str:
    split = "" if one.split_by == "ordered" else "-unordered"
    return (
        f"modular-{net}-{WORDS[one.operation]}{one.modulus}-{one.fraction:g}{split}-"
        f"w{one.weight_scale:g}-o{one.output_scale:g}-decay{one.weight_decay:g}"
    )


def _need_sound(one: EitherModular, counts: tuple[str, ...], scales: tuple[str, ...]) -> None:
    one.task()
    if one.modulus < LEAST:
        raise ValueError(f"modulus must be at least {LEAST} to have waves, got {one.modulus}")
    one.need_at_least(1, *counts)
    one.need_positive(*scales)
