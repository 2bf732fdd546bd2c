"""What a probe costs: CPU time of its looks against that of the training steps between them.

Two networks in training on random data, batch 128, the probe at its default cadence (every=50) on a
batch of 128 samples with labels and the optimiser, so that all groups of measures are taken:

* mlp: 784-200-200-200-10 with ReLU, AdamW, as for 1000 digits of MNIST;
* resnet: ResNet18 of width 16 on 32x32 images, SGD with momentum.

In every round a few training steps, calls that are not due, a look at the weights, and a look that
also runs the model take turns, so that a noisy machine disturbs all alike; medians over the rounds,
CPU seconds of one thread. The share of a run of n steps is that of the looks due in it, the first
and the construction included. For the MLP whole runs of 1000 and 4690 steps are measured too: the
time inside of the probe over the time outside, medians of three.

    python benchmarks/probe.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import layerwise as lw
from layerwise.networks import MLP, ResNet18
from layerwise.trace import versions

ROUNDS = {"mlp": 25, "resnet": 5}
STEPS = {"mlp": 20, "resnet": 1}  # of training in every round
RUNS = (1000, 2000, 4690, 20000)  # 4690 are ten epochs of MNIST
WHOLE, REPEATS = (1000, 4690), 3
BATCH, EVERY = 128, 50
CALLS = 1000
RECORD = Path(__file__).with_suffix(".json")


class Case:
    """A network in training with its probe."""

    def __init__(self, name: str) -> None:
        draws = torch.Generator().manual_seed(0)
        if name == "mlp":
            self.net = MLP((784, 200, 200, 200, 10), activation="relu", seed=0)
            self.x = torch.rand(1000, 784, generator=draws)
            self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, fused=True)
        else:
            self.net = ResNet18(3, 10, width=16, seed=0)
            self.x = torch.rand(512, 3, 32, 32, generator=draws)
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.05, momentum=0.9)
        self.y = torch.randint(10, (len(self.x),), generator=draws)
        self.steps = 0

    def probe(self) -> lw.Probe:
        batch = self.x[:BATCH], self.y[:BATCH]
        return lw.Probe(self.net, batch=batch, every=EVERY, optimizer=self.optimizer)

    def train(self) -> float:
        loss = self.backward()
        self.optimizer.step()
        self.steps += 1
        return loss

    def backward(self) -> float:
        at = BATCH * self.steps % (len(self.x) - BATCH)
        x, y = self.x[at : at + BATCH], self.y[at : at + BATCH]
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.net(x), y)
        loss.backward()
        return loss.item()


def cpu(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


def looks(steps: int) -> tuple[int, int]:
    """Return how many looks a run has, and how many of them run the model."""
    net = nn.Linear(2, 2)
    probe = lw.Probe(net, batch=torch.ones(2, 2), every=EVERY, measures=("norms", "kernel"))
    rows = [row for k in range(0, steps, EVERY) if (row := probe.step(k))]
    return len(rows), sum("layerwise/kernel_distance" in row for row in rows)


def one_round(case: Case, kept: lw.Probe, steps: int, at: int) -> dict[str, float]:
    """Return the CPU seconds of each part; training comes before every look, for cold caches."""

    def calls() -> None:
        for _ in range(CALLS):
            kept.step(1, train_loss=0.5)

    made: list[lw.Probe] = []
    took = {"training step": cpu(lambda: [case.train() for _ in range(steps)]) / steps}
    took["look at weights"] = cpu(lambda: kept.step(at, train_loss=0.5))
    case.train()
    took["construction"] = cpu(lambda: made.append(case.probe()))
    case.backward()  # the first look comes before the first update
    took["first look"] = cpu(lambda: made[0].step(0, train_loss=0.5))
    case.train()
    took["full look"] = cpu(lambda: made[0].step(EVERY, train_loss=0.5))
    return took | {"call not due": cpu(calls) / CALLS}


def measured(name: str) -> dict[str, object]:
    case = Case(name)
    found: dict[str, list[float]] = {}
    kept = case.probe()
    kept.step(0)
    later = EVERY * 7 * 10**4  # no multiple of the interval at which the model is run
    for k in range(ROUNDS[name] + 1):
        took = one_round(case, kept, STEPS[name], later + EVERY * 10 * k)
        if k:  # the first round is warm-up
            for what, seconds in took.items():
                found.setdefault(what, []).append(seconds)
    middle = {what: statistics.median(values) for what, values in found.items()}
    record: dict[str, object] = {
        "cpu_ms": {what: float(f"{1e3 * value:.3g}") for what, value in middle.items()},
        "in_training_steps": {
            what: float(f"{value / middle['training step']:.3g}") for what, value in middle.items()
        },
    }
    shares = {}
    for steps in RUNS:
        all_of, full = looks(steps)
        cost = steps * middle["call not due"] + (all_of - full) * middle["look at weights"]
        cost += (full - 1) * middle["full look"] + middle["first look"] + middle["construction"]
        shares[f"{steps} steps, {all_of} looks, {full} full"] = round(
            cost / (steps * middle["training step"]), 4
        )
    return record | {"share_of_training": shares}


def whole(steps: int) -> float:
    """Return the time inside of a probe over that of the training, of a whole run.

    What it costs to ask for the time in every step is taken off.
    """
    case = Case("mlp")
    inside, outside, loss, made = 0.0, 0.0, [0.0], []
    inside += cpu(lambda: made.append(case.probe()))
    for k in range(steps):
        inside += cpu(lambda k=k: made[0].step(k, train_loss=loss[-1]))
        outside += cpu(lambda: loss.append(case.train()))
    asking = statistics.median(cpu(lambda: None) for _ in range(steps))
    return (inside - steps * asking) / (outside - steps * asking)


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    record = {
        "setting": f"batch {BATCH}, every={EVERY}, float32, one thread, medians of rounds: "
        f"{ROUNDS}",
        **{name: measured(name) for name in ROUNDS},
        **{
            f"mlp, whole runs of {steps} steps": round(
                statistics.median(whole(steps) for _ in range(REPEATS)), 4
            )
            for steps in WHOLE
        },
        "versions": versions("torch"),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
