"""Trainings for depth: one skill in networks of several depths and scales, and lottery tickets."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.files import write_file
from layerwise.measures import skill_strength
from layerwise.phenomena.base import Experiment
from layerwise.tasks import Parity
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Depth", "Ticket"]

DATA = "sparse parity (generated)"
STEPS = "optimiser steps"
LEARNED = 0.95  # strength of every skill at which a training may end
BRIEF = 60  # steps that are timed
DRAWS = 1000  # seeds of new initial weights lie this far from those of the first


@dataclass(frozen=True)
class Depth(Experiment):
    """One skill, learned by a deep ReLU network from He's start times a scale, by plain SGD.

    Attributes
    ----------
    layers, scale
        Weight matrices, and the factor on every initial weight; biases start at 0.
    skill_bits, n_bits, target
        The task, see `layerwise.tasks.Parity`.
    width, learning_rate, batch, steps
        See `layerwise.train.Training`.
    every
        Steps between two looks at the network.
    samples
        Held-out samples on which the strength is measured.
    """

    layers: int = 3
    scale: float = 0.3
    skill_bits: int = 2
    n_bits: int = 16
    target: float = 1.0
    width: int = 64
    learning_rate: float = 0.05
    batch: int = 256
    steps: int = 4000
    every: int = 10
    samples: int = 2000

    @property
    def name(self) -> str:
        return f"depth-{self.layers}layers-scale{self.scale:g}"

    def __post_init__(self) -> None:
        self.need_at_least(1, "layers")
        self.need_positive("scale")

    def work(self) -> int:
        # what runs were seen to need, by the laws of their depth
        expected = {2: 150 - 55 * math.log(self.scale), 3: 80 / self.scale, 4: 40 / self.scale**2}
        return min(self.steps, round(1.3 * expected.get(self.layers, self.steps)))

    def brief(self) -> Depth:
        return Depth(self.seed, self.layers, width=self.width, batch=self.batch, steps=BRIEF)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import MLP
        from layerwise.train import Fresh, History, Training, as_device, train

        place = as_device(device)
        task = Parity(1, self.skill_bits, self.n_bits, target=self.target)
        widths = (task.inputs, *[self.width] * (self.layers - 1), 1)
        he = math.sqrt(2) * self.scale
        net = MLP(widths, weight_scale=he, bias_scale=0.0, activation="relu", seed=self.seed)
        held_out = task.evaluation(self.samples, self.seed)
        x, y = (torch.from_numpy(part).to(place) for part in held_out)

        @torch.no_grad()
        def observe(net: MLP) -> dict[str, object]:
            output, target = net(x)[:, 0].double(), y[:, 0].double()
            return {
                "strength": float(skill_strength(output, target)),
                "loss": (output - target).square().mean().item() / 2,
            }

        def stop(history: History) -> bool:
            return bool(history.rows[-1]["strength"] > LEARNED)

        history = train(
            net.to(place),
            Fresh(task.sample, self.batch, seed=self.seed, device=place),
            Training("sgd", self.learning_rate, steps=self.steps),
            observe,
            due=range(0, self.steps + 1, self.every),
            stop=stop,
            checkpoint=checkpoint,
            tick=tick,
        )
        origin = Provenance("network", STEPS, self.config(), self.seed, DATA, versions("torch"))
        return Trace(np.asarray(history.steps), history.series(), origin)


@dataclass(frozen=True)
class Ticket(Experiment):
    """Lottery tickets of a two-layer ReLU network: train, prune the first layer, rewind, again.

    The trace holds the strengths of all skills (T, skills) of every training of the table: the
    dense network, after each round of magnitude pruning the rewound network and one with a random
    mask of the same size, and at last a new draw of the initial weights under the final mask. A
    training that has learned all its skills ends, and has no values (NaN) from then on.

    Attributes
    ----------
    keep, rounds
        Share of the weights that a round keeps, by their size after training, and how many rounds.
    n_skills, skill_bits, n_bits, alpha, target, width, weight_std, learning_rate, batch, steps
        As in the staged training of `layerwise.phenomena.emergence`.
    every, samples
        Steps between two looks at the network, and samples of each skill they take.
    """

    n_skills: int = 3
    skill_bits: int = 2
    n_bits: int = 32
    alpha: float = 0.6
    target: float = 5.0
    width: int = 200
    weight_std: float = 0.01
    learning_rate: float = 0.05
    batch: int = 500
    steps: int = 3000
    every: int = 25
    samples: int = 500
    keep: float = 0.4
    rounds: int = 3

    @property
    def name(self) -> str:
        return f"ticket-{self.n_skills}x{self.skill_bits}bits-width{self.width}"

    @property
    def task(self) -> Parity:
        """The task that the networks learn."""
        return Parity(self.n_skills, self.skill_bits, self.n_bits, self.alpha, self.target)

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of the trainings, in the order in which they are made."""
        rounds = range(1, self.rounds + 1)
        pruned = [f"{kind} {number}" for number in rounds for kind in ("magnitude", "random")]
        return ("dense", *pruned, "fresh")

    def work(self) -> int:
        return round(0.6 * self.steps * len(self.trainings))

    def brief(self) -> Ticket:
        return replace(self, steps=BRIEF, rounds=1, every=BRIEF)

    def kept(self, training: str) -> float:
        """Return the share of first-layer weights that a training of the table has."""
        if training == "dense":
            return 1.0
        last = self.rounds if training == "fresh" else int(training.split()[1])
        return self.keep**last

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch

        from layerwise.networks import TwoLayer
        from layerwise.train import as_device

        place = as_device(device)
        clock = range(0, self.steps + 1, self.every)
        running = checkpoint.with_name(f"{checkpoint.name}-training")
        done: dict[str, np.ndarray] = {}
        mask, weight = torch.ones(self.width, self.task.inputs), torch.empty(0)
        if checkpoint.exists():
            done, mask, weight = torch.load(checkpoint, weights_only=False)
        for i, training in enumerate(self.trainings):
            if training in done:
                continue
            kind, fresh = training.split()[0], training == "fresh"
            net = TwoLayer(
                self.task.inputs, self.width, std=self.weight_std, seed=self.seed + DRAWS * fresh
            )
            if kind == "magnitude":
                mask = _largest(weight, mask, self.kept(training))
            net.restrict(_shuffled(mask, [self.seed, i]) if kind == "random" else mask)
            strengths = self._train(net.to(place), running, lambda k, i=i: tick(i * self.steps + k))
            done[training] = np.full((len(clock), self.n_skills), np.nan)
            done[training][: len(strengths)] = strengths
            if kind in ("dense", "magnitude"):
                weight = net.weight.detach().cpu()
            content = io.BytesIO()
            torch.save((done, mask, weight), content)
            write_file(checkpoint, content.getvalue())
            running.unlink(missing_ok=True)
        origin = Provenance("network", STEPS, self.config(), self.seed, DATA, versions("torch"))
        return Trace(clock, done, origin)

    def _train(self, net: Any, checkpoint: Path, tick: Callable[[int], None]) -> np.ndarray:
        """Train one network of the table and return its strengths (T, skills)."""
        import torch

        from layerwise.networks import TwoLayer, blocked_gradient
        from layerwise.train import Fresh, History, Training, train

        place = net.weight.device
        held_out = self.task.evaluation(self.samples, self.seed)
        x, y = (torch.from_numpy(part).to(place) for part in held_out)
        target = y.reshape(self.n_skills, -1).double()

        @torch.no_grad()
        def observe(net: TwoLayer) -> dict[str, object]:
            output = net(x).reshape(target.shape).double()
            return {"strength": skill_strength(output, target).tolist()}

        def stop(history: History) -> bool:
            return min(history.rows[-1]["strength"]) > LEARNED

        history = train(
            net,
            Fresh(self.task.sample, self.batch, seed=self.seed, device=place),
            Training("sgd", self.learning_rate, steps=self.steps),
            observe,
            gradient=blocked_gradient,
            due=range(0, self.steps + 1, self.every),
            stop=stop,
            checkpoint=checkpoint,
            tick=tick,
        )
        return history.series()["strength"]


def _largest(weight: Any, mask: Any, share: float) -> Any:
    """Return the mask of the largest weights inside `mask`, `share` of all weights in number."""
    sizes = (weight.abs() * mask).flatten()
    chosen = sizes.topk(round(share * sizes.numel())).indices
    largest = mask.new_zeros(sizes.numel())
    largest[chosen] = 1.0
    return largest.reshape(mask.shape)


def _shuffled(mask: Any, seed: list[int]) -> Any:
    """Return a random mask with as many ones as `mask`."""
    order = np.random.default_rng(seed).permutation(mask.numel())
    return mask.flatten()[order].reshape(mask.shape)
