"""CPU time per training step of the emergence networks: the gradient by hand, and the generator.

A two-layer ReLU network learns multitask sparse parity (5 skills of 3 of 32 bits) by SGD on fresh
samples. A step is all of it: drawing the batch, the gradient, the update. Three ways to take it:

* ours: `layerwise.train.descend` with `blocked_gradient` and batches of `Fresh`;
* autograd: the same loop and the same batches, the gradient by autograd;
* script: as a research script has it, at the published width 1000 and batch 4000. Every epoch, 5
  batches, draws its samples by bytes and a product with a mask of the skill's bits, and a
  DataLoader collates them one by one for autograd and PyTorch's default SGD.

Both gradients are compared with float64 on a batch of every size. CPU seconds of one thread;
medians over rounds of several steps; the ways take turns, so that a noisy machine disturbs all
alike.

    python benchmarks/emergence_step.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from layerwise.networks import TwoLayer, blocked_gradient
from layerwise.tasks import Parity
from layerwise.trace import versions
from layerwise.train import Fresh, Training, autograd, descend

SIZES = ((100, 250), (300, 500), (1000, 500), (1000, 4000))  # width, batch
SCRIPT = (1000, 4000)
ROUNDS, ROUND_CPU = 15, 0.1  # about so many seconds of ours in every round
SCRIPT_BATCHES = 5  # of an epoch, and of a round of the script
SEED, RATE, STD = 0, 0.02, 0.01
TASK = Parity()
RECORD = Path(__file__).with_suffix(".json")


class Samples(Dataset):
    """A data set as a research script makes it, one tensor a sample."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        skills, m = TASK.n_skills, TASK.skill_bits
        skill = rng.choice(skills, n, p=TASK.frequencies)
        octets = rng.integers(0, 256, (n, TASK.n_bits // 8), dtype=np.uint8)
        bits = np.unpackbits(octets, axis=1)
        mask = np.zeros((skills, TASK.n_bits))
        for k in range(skills):
            mask[k, m * k : m * (k + 1)] = 1
        parity = (bits * mask[skill]).sum(axis=1) % 2
        self.x = torch.tensor(np.hstack([np.eye(skills)[skill], bits]), dtype=torch.float32)
        self.y = torch.tensor(TASK.target * (2 * parity[:, None] - 1), dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[i], self.y[i]


def script(width: int, batch: int) -> Iterator[None]:
    net, rng = TwoLayer(TASK.inputs, width, std=STD, seed=SEED), np.random.default_rng(SEED)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    loss_of = torch.nn.MSELoss()
    while True:
        data = Samples(SCRIPT_BATCHES * batch, rng)
        for x, y in DataLoader(data, batch_size=batch, shuffle=True):
            optimizer.zero_grad()
            loss = loss_of(net(x), y)
            loss.backward()
            optimizer.step()
            yield


def steps(width: int, batch: int, gradient: Callable) -> Iterator[int]:
    net = TwoLayer(TASK.inputs, width, std=STD, seed=SEED)
    training = Training("sgd", RATE, steps=10**9)
    batches = Fresh(TASK.sample, batch, seed=SEED)
    ours = descend(net, batches, training, training.optimizer_for(net), gradient=gradient)
    next(ours)  # the first comes before any update
    return ours


def draws(batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return map(Fresh(TASK.sample, batch, seed=SEED), range(10**9))


def cpu(way: Iterator, n: int) -> float:
    """Return the CPU seconds of a step of `way`, over n of them."""
    began = time.process_time()
    for _ in range(n):
        next(way)
    return (time.process_time() - began) / n


def error(gradient: Callable, width: int, batch: int) -> float:
    """Return the largest error of a gradient, relative to its largest entry, against float64."""
    net = TwoLayer(TASK.inputs, width, std=STD, seed=SEED)
    x, y = Fresh(TASK.sample, batch, seed=SEED)(0)
    found = flat(gradient, net, x, y)
    exact = flat(autograd, net.double(), x.double(), y.double())
    return ((found - exact).abs().max() / exact.abs().max()).item()


def flat(gradient: Callable, net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    gradient(net, x, y)
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def measured(width: int, batch: int) -> dict[str, object]:
    ways = {
        "ours": steps(width, batch, blocked_gradient),
        "autograd": steps(width, batch, autograd),
        "generator": draws(batch),
    }
    if (width, batch) == SCRIPT:
        ways["script"] = script(width, batch)
    warm = {name: cpu(way, SCRIPT_BATCHES) for name, way in ways.items()}
    n = max(10, round(ROUND_CPU / warm["ours"]))
    counts = {name: SCRIPT_BATCHES if name == "script" else n for name in ways}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(cpu(way, counts[name]))
    middle = {name: statistics.median(found) for name, found in times.items()}
    found = {f"{name}_cpu_ms_per_step": round(1e3 * value, 4) for name, value in middle.items()}
    for name in ("autograd", "script"):
        if name in ways:
            ratios = [a / b for a, b in zip(times[name], times["ours"], strict=True)]
            found[f"{name}_over_ours"] = round(middle[name] / middle["ours"], 2)
            found[f"{name}_over_ours_min_max"] = [round(f(ratios), 2) for f in (min, max)]
    found["generator_share_of_ours"] = round(middle["generator"] / middle["ours"], 4)
    for name, gradient in (("ours", blocked_gradient), ("autograd", autograd)):
        found[f"{name}_gradient_error"] = float(f"{error(gradient, width, batch):.1e}")
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    record = {
        "task": "5 skills of 3 of 32 bits, 37 inputs, float32, one thread, medians of "
        f"{ROUNDS} rounds",
        "width x batch": {f"{w} x {batch}": measured(w, batch) for w, batch in SIZES},
        "versions": versions("torch"),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
