"""CPU time of a training step of many networks: one by one, side by side, and stacked by hand.

The networks of grokking.md, section 10, by AdamW on one batch that all share. A step is all of it:
the gradients and the update of every network. Three ways to take it:

* one by one: `layerwise.train.descend`, an optimiser for each network;
* side by side: the same loop on an `Ensemble` (torch.func.vmap), one optimiser for all;
* by hand: batched matrix products written for the architecture, one optimiser for all; not in the
  library, it says what generality costs.

CPU seconds of one thread; medians over rounds of several steps; the ways take turns, so that a
noisy machine disturbs all alike.

    python benchmarks/ensembles.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from layerwise.ensembles import pays
from layerwise.networks import MLP, Ensemble, Quadratic
from layerwise.trace import versions
from layerwise.train import Training, autograd, descend

CASES = (  # sizes, samples, networks
    ((784, 200, 200, 200, 10), 128, 8),
    ((64, 128, 128, 128, 10), 100, 8),
    ((64, 64, 64, 64, 10), 100, 8),
    ((64, 64, 64, 64, 10), 100, 32),
    ((46, 128, 23), 265, 3),
    ((46, 128, 23), 265, 8),
    ((46, 128, 23), 265, 32),
    ((16, 16, 16, 1), 64, 8),
    ((16, 16, 16, 1), 64, 32),
)
TRAINING = Training("adamw", 1e-3, 0.3, steps=10**9)
ROUNDS, ROUND_CPU = 11, 0.1  # about so many seconds of the first way in every round
RECORD = Path(__file__).with_suffix(".json")


def networks(sizes: tuple[int, ...], count: int) -> list[nn.Module]:
    if len(sizes) == 3:
        return [Quadratic(*sizes, seed=seed) for seed in range(count)]
    return [MLP(sizes, seed=seed) for seed in range(count)]


def one_by_one(nets: list[nn.Module], x: Tensor, y: Tensor) -> Iterator[int]:
    each = [descend(net, lambda k: (x, y), TRAINING, TRAINING.optimizer_for(net)) for net in nets]
    return map(len, zip(*each, strict=True))


def steps(net: nn.Module, x: Tensor, y: Tensor, gradient: Callable) -> Iterator[int]:
    optimizer = TRAINING.optimizer_for(net)
    return descend(net, lambda k: (x, y), TRAINING, optimizer, gradient=gradient)


def side_by_side(nets: list[nn.Module], x: Tensor, y: Tensor) -> Iterator[int]:
    def gradient(ensemble: Ensemble, x: Tensor, y: Tensor) -> None:
        ensemble.zero_grad(set_to_none=True)
        ensemble.losses(nn.functional.mse_loss, x, y).sum().backward()

    x, y = (part.expand(len(nets), *part.shape) for part in (x, y))
    return steps(Ensemble(nets), x, y, gradient)


def by_hand(nets: list[nn.Module], x: Tensor, y: Tensor) -> Iterator[int]:
    mlp = isinstance(nets[0], MLP)

    def outputs(h: Tensor, values: list[Tensor]) -> Tensor:
        if not mlp:
            weight, readout = values
            return torch.bmm(torch.bmm(h, weight.mT).square(), readout.mT)
        for i in range(0, len(values), 2):
            h = torch.baddbmm(values[i + 1][:, None], h, values[i].mT)
            h = torch.tanh(h) if i + 2 < len(values) else h
        return h

    def gradient(ensemble: Ensemble, x: Tensor, y: Tensor) -> None:
        ensemble.zero_grad(set_to_none=True)
        (outputs(x, list(ensemble.stacked)) - y).square().mean((1, 2)).sum().backward()

    x, y = (part.expand(len(nets), *part.shape) for part in (x, y))
    return steps(Ensemble(nets), x, y, gradient)


def cpu(way: Iterator, n: int) -> float:
    """Return the CPU seconds of a step of `way`, over n of them."""
    began = time.process_time()
    for _ in range(n):
        next(way)
    return (time.process_time() - began) / n


def gap(sizes: tuple[int, ...], count: int, x: Tensor, y: Tensor) -> float:
    """Return how far the gradients of an ensemble are off, relative to the largest entry."""
    nets, others = networks(sizes, count), networks(sizes, count)
    ensemble = Ensemble(nets)
    many = [part.expand(count, *part.shape) for part in (x, y)]
    ensemble.losses(nn.functional.mse_loss, *many).sum().backward()
    gaps = []
    for k, net in enumerate(others):
        autograd(net, x, y)
        for stacked, alone in zip(ensemble.stacked, net.parameters(), strict=True):
            gaps.append(
                ((stacked.grad[k] - alone.grad).abs().max() / alone.grad.abs().max()).item()
            )
    return max(gaps)


def measured(sizes: tuple[int, ...], samples: int, count: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, sizes[0], generator=generator)
    y = torch.randn(samples, sizes[-1], generator=generator)
    kinds = {"one_by_one": one_by_one, "side_by_side": side_by_side, "by_hand": by_hand}
    ways = {name: kind(networks(sizes, count), x, y) for name, kind in kinds.items()}
    warm = {name: cpu(way, 5) for name, way in ways.items()}
    n = max(2, round(ROUND_CPU / warm["one_by_one"]))
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(cpu(way, n))
    middle = {name: statistics.median(found) for name, found in times.items()}
    found = {f"{name}_cpu_ms": round(1e3 * value, 3) for name, value in middle.items()}
    for name in ("side_by_side", "by_hand"):
        ratios = [a / b for a, b in zip(times["one_by_one"], times[name], strict=True)]
        found[f"{name}_gain"] = round(middle["one_by_one"] / middle[name], 2)
        found[f"{name}_gain_min_max"] = [round(f(ratios), 2) for f in (min, max)]
    nets = networks(sizes, count)
    found["products_of_a_step"] = samples * sum(p.numel() for p in nets[0].parameters())
    found["rule_says_side_by_side"] = pays(nets, samples)
    found["largest_gradient_gap"] = float(f"{gap(sizes, count, x, y):.1e}")
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    record = {
        "step": f"all networks, float32, AdamW, one thread, medians of {ROUNDS} rounds",
        "sizes, samples, networks": {
            f"{'-'.join(map(str, sizes))}, {samples}, {count}": measured(sizes, samples, count)
            for sizes, samples, count in CASES
        },
        "versions": versions("torch"),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
