"""Trainings on multitask sparse parity: a ReLU network, a linear model of the skills, many widths.

The task and its two-layer network are those of arXiv 2404.17563. The clock of every training is
its steps; its mean squared error has no factor 1/2, so that one step is worth 2 x learning rate of
the gradient flow of the loss 1/2 E(y - f)^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.measures import skill_strength
from layerwise.phenomena.base import Experiment
from layerwise.tasks import Parity
from layerwise.trace import Provenance, Trace, versions

__all__ = ["LEARNED", "Emergence", "LinearSkills", "Widths", "evaluate"]

STEPS = "optimiser steps"
LEARNED = 0.95  # strength at which a training of a single skill may end
FITTED = 0.02  # mean squared error on a fixed data set at which its training may end
BRIEF = 60  # steps that are timed
DRAWS = 1000  # seeds of further draws of the same setting lie this far apart


@dataclass(frozen=True)
class Emergence(Experiment):
    """One training of a two-layer ReLU network on multitask sparse parity by plain SGD.

    Attributes
    ----------
    n_skills, skill_bits, n_bits, alpha, target, target_exponent
        The task, see `layerwise.tasks.Parity`.
    data_size
        Number of samples of a fixed data set; 0 for fresh samples at every step.
    width, weight_std
        Hidden neurons; every parameter starts as N(0, weight_std^2).
    learning_rate, batch, steps, points
        See `layerwise.train.Training`.
    samples
        Held-out samples of each skill on which strengths and loss are measured.
    draw
        Which of several draws of the same setting; each has its own initial weights and data.
    """

    n_skills: int = 5
    skill_bits: int = 2
    n_bits: int = 32
    alpha: float = 0.6
    target: float = 5.0
    target_exponent: float = 0.0
    data_size: int = 0
    width: int = 200
    weight_std: float = 0.01
    learning_rate: float = 0.02
    batch: int = 500
    steps: int = 8000
    points: int = 150
    samples: int = 1000
    draw: int = 0

    def __post_init__(self) -> None:
        if self.data_size < 0:
            raise ValueError(f"data_size must be 0 (fresh samples) or more, got {self.data_size}")
        _ = self.task  # refuses what is no task

    @property
    def name(self) -> str:
        beyond = {
            "rising": -self.target_exponent,
            "data": self.data_size,
            "draw": self.draw,
        }
        more = "".join(f"-{word}{value:g}" for word, value in beyond.items() if value)
        task = f"{self.n_skills}x{self.skill_bits}bits-alpha{self.alpha:g}"
        return f"emergence-{task}-width{self.width}{more}"

    @property
    def task(self) -> Parity:
        """The task that the network learns."""
        return Parity(
            self.n_skills, self.skill_bits, self.n_bits, self.alpha, self.target,
            self.target_exponent,
        )  # fmt: skip

    def work(self) -> int:
        return self.steps

    def brief(self) -> Emergence:
        return Emergence(
            width=self.width, batch=self.batch, n_bits=self.n_bits, skill_bits=self.skill_bits,
            n_skills=self.n_skills, steps=BRIEF, points=2, samples=10,
        )  # fmt: skip

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import TwoLayer, blocked_gradient
        from layerwise.train import Epochs, Fresh, History, Training, as_device, train

        place, task, seed = as_device(device), self.task, DRAWS * self.draw + self.seed
        net = TwoLayer(task.inputs, self.width, std=self.weight_std, seed=seed).to(place)
        held_out = _tensors(task.evaluation(self.samples, seed), place)
        if self.data_size:
            x, y = _tensors(task.fixed(self.data_size, seed), place)
            batches: Any = Epochs(x, y, self.batch, seed=seed)
        else:
            batches = Fresh(task.sample, self.batch, seed=seed, device=place)

        @torch.no_grad()
        def observe(net: TwoLayer) -> dict[str, object]:
            row = evaluate(net, task, *held_out)
            if self.data_size:
                row["train_loss"] = torch.nn.functional.mse_loss(net(x), y).item()
            return row

        def stop(history: History) -> bool:
            last = history.rows[-1]
            if self.data_size:
                return bool(last["train_loss"] < FITTED)
            return self.n_skills == 1 and bool(last["strength"][0] > LEARNED)

        training = Training("sgd", self.learning_rate, steps=self.steps, points=self.points)
        history = train(
            net, batches, training, observe,
            gradient=blocked_gradient, stop=stop, checkpoint=checkpoint, tick=tick,
        )  # fmt: skip
        return Trace(np.asarray(history.steps), history.series(), _origin(self, STEPS, "torch"))


@dataclass(frozen=True)
class LinearSkills(Experiment):
    """SGD on the skills themselves, ``f = sum_k w_k g_k(x)``: no layers, no feedback.

    Attributes as in `Emergence`; the weights start at 0.
    """

    n_skills: int = 32
    alpha: float = 0.6
    target: float = 5.0
    learning_rate: float = 0.02
    batch: int = 500
    steps: int = 3000
    points: int = 150

    @property
    def name(self) -> str:
        return f"linear-{self.n_skills}skills-alpha{self.alpha:g}"

    def work(self) -> int:
        return self.steps

    def brief(self) -> LinearSkills:
        return LinearSkills(n_skills=self.n_skills, batch=self.batch, steps=BRIEF, points=2)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.train import Fresh, Training, as_device, train

        place = as_device(device)
        task = Parity(self.n_skills, 1, self.n_skills, self.alpha, self.target)
        net = torch.nn.Linear(self.n_skills, 1, bias=False)
        torch.nn.init.zeros_(net.weight)

        def sample(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            x, y = task.sample(n, rng)
            return task.features(x), y

        def observe(net: torch.nn.Linear) -> dict[str, object]:
            strength = net.weight.detach()[0].double().cpu().numpy() / task.targets
            loss = task.frequencies @ (task.targets * (1 - strength)) ** 2 / 2
            return {"strength": strength.tolist(), "loss": float(loss)}

        history = train(
            net.to(place),
            Fresh(sample, self.batch, seed=self.seed, device=place),
            Training("sgd", self.learning_rate, steps=self.steps, points=self.points),
            observe,
            checkpoint=checkpoint,
            tick=tick,
        )
        return Trace(np.asarray(history.steps), history.series(), _origin(self, STEPS, "torch"))


@dataclass(frozen=True)
class Widths(Experiment):
    """Many tiny networks of several widths, trained by Adam until they learn no more.

    Their mean strength over `nets` draws, as a function of the width, is what is compared with
    theory: a single small network jumps.

    Attributes
    ----------
    widths
        Hidden neurons.
    nets
        Networks of each width.
    """

    n_skills: int = 1
    skill_bits: int = 2
    n_bits: int = 16
    alpha: float = 0.6
    target: float = 1.0
    widths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12)
    nets: int = 8
    weight_std: float = 0.3
    learning_rate: float = 0.05
    batch: int = 300
    steps: int = 4000
    samples: int = 1000

    @property
    def name(self) -> str:
        return f"widths-{self.n_skills}x{self.skill_bits}bits"

    def work(self) -> int:
        return self.steps

    def brief(self) -> Widths:
        return Widths(n_skills=self.n_skills, widths=self.widths, nets=self.nets, steps=BRIEF)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import Stack, stacked_gradient
        from layerwise.train import Fresh, Training, as_device, train

        place = as_device(device)
        task = Parity(self.n_skills, self.skill_bits, self.n_bits, self.alpha, self.target)
        each = np.repeat(self.widths, self.nets).tolist()
        seed = self.seed * DRAWS  # the networks of one stack count on from here
        net = Stack(task.inputs, each, std=self.weight_std, seed=seed).to(place)
        x, y = _tensors(task.evaluation(self.samples, self.seed), place)

        @torch.no_grad()
        def observe(net: Stack) -> dict[str, object]:
            by_skill = net(x).reshape(self.n_skills, self.samples, len(each))
            target = y.reshape(self.n_skills, 1, self.samples).double()
            strength = skill_strength(by_skill.transpose(1, 2).double(), target)
            return {"strength": strength.cpu().tolist()}

        history = train(
            net,
            Fresh(task.sample, self.batch, seed=self.seed, device=place),
            Training("adam", self.learning_rate, steps=self.steps, drops=(0.7,)),
            observe,
            gradient=stacked_gradient,
            due=(self.steps,),
            checkpoint=checkpoint,
            tick=tick,
        )
        final = np.array(history.rows[-1]["strength"]).reshape(self.n_skills, -1, self.nets)
        series = {"strength": final.mean(axis=2).T, "nets": final.transpose(1, 0, 2)}
        return Trace(self.widths, series, _origin(self, "width in neurons", "torch"))


def evaluate(net: Any, task: Parity, x: Any, y: Any) -> dict[str, object]:
    """Return strengths R_k/S_k and the loss ``1/2 E(y - f)^2`` on the task's evaluation set."""
    output = net(x).reshape(task.n_skills, -1).double()
    target = y.reshape(task.n_skills, -1).double()
    errors = (output - target).square().mean(1).cpu().numpy()
    return {
        "strength": skill_strength(output, target).tolist(),
        "loss": float(task.frequencies @ errors / 2),
    }


def _tensors(samples: tuple[np.ndarray, np.ndarray], place: Any) -> tuple[Any, Any]:
    import torch

    x, y = samples
    return torch.from_numpy(x).to(place), torch.from_numpy(y).to(place)


def _origin(experiment: Experiment, clock: str, *packages: str) -> Provenance:
    data = "sparse parity (generated)"
    return Provenance(
        "network", clock, experiment.config(), experiment.seed, data, versions(*packages)
    )
