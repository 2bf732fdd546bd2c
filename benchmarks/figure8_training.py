"""CPU time per epoch of the Figure 8 training: our loop against a straightforward script.

The network is that of arXiv 2502.21009, figure 8a: 784-512-512-512-10, tanh, Adam with coupled
decay 1e-4, batch 128, 1000 training and 10 000 test images, 2000 epochs. The competitor is the
loop a research script has: a DataLoader, PyTorch's default Adam, a second forward pass for the
accuracy of every batch, and an evaluation of both sets before every epoch. Ours is
`layerwise.train.train`: one forward pass, fused Adam, denormals flushed, evaluation on a
log-spaced grid of about 120 steps.

Both loops see the same initial weights and the same batches, and their accuracies are compared
at every step that both evaluate. CPU seconds of one thread; medians; the two take turns, so that
a noisy machine disturbs both alike.

    python benchmarks/figure8_training.py
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from layerwise.networks import MLP
from layerwise.tasks import images
from layerwise.trace import versions
from layerwise.train import Epochs, Training, descend, log_grid

EPOCHS, ROUNDS, EPOCHS_A_ROUND = 2000, 6, 3
SEED = 0
TRAINING = Training("adam", 1e-3, 1e-4, steps=16_000, points=120)
BATCH = 128
RECORD = Path(__file__).with_suffix(".json")


def network() -> MLP:
    return MLP((784, 512, 512, 512, 10), weight_scale=5.0, seed=SEED)


def accuracy(net: MLP, x: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (net(x).argmax(1) == labels).double().mean().item()


def script_epoch(net, optimizer, data, epoch: int) -> tuple[float, float]:
    """One epoch as a research script writes it; accuracies are those before its updates."""
    x, labels, targets, x_test, test_labels = data
    scores = []
    for inputs, truth in ((x, labels), (x_test, test_labels)):
        right = 0
        for batch, wanted in DataLoader(TensorDataset(inputs, truth), batch_size=128):
            with torch.no_grad():
                right += (net(batch).argmax(1) == wanted).sum().item()
        scores.append(right / len(inputs))
    order = np.random.default_rng([SEED, epoch]).permutation(len(x)).tolist()
    batches = [order[i : i + 128] for i in range(0, len(order), 128)]
    for batch, wanted, truth in DataLoader(
        TensorDataset(x, targets, labels), batch_sampler=batches
    ):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(batch), wanted)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            (net(batch).argmax(1) == truth).float().mean().item()
    return scores[0], scores[1]


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # also for the script: the comparison is of the loops
    loaded = images.load_or_stand_in("mnist")
    arrays = images.split(loaded, 1000, 10_000, SEED)
    x, labels, x_test, test_labels = (torch.from_numpy(array) for array in arrays)
    targets = 3.0 * torch.nn.functional.one_hot(labels, 10).float()
    data = (x, labels, targets, x_test, test_labels)

    script_net, our_net = network(), network()
    script = torch.optim.Adam(script_net.parameters(), lr=1e-3, weight_decay=1e-4)
    batches = Epochs(x, targets, BATCH, seed=SEED)
    ours = descend(our_net, batches, TRAINING, TRAINING.optimizer_for(our_net))
    next(ours)
    script_times, step_times, look_times, gaps = [], [], [], []
    for epoch in range(ROUNDS * EPOCHS_A_ROUND):
        began = time.process_time()
        scores = script_epoch(script_net, script, data, epoch)
        script_times.append(time.process_time() - began)
        began = time.process_time()
        looks = accuracy(our_net, x, labels), accuracy(our_net, x_test, test_labels)
        look_times.append(time.process_time() - began)
        gaps.append(max(abs(a - b) for a, b in zip(scores, looks, strict=True)))
        began = time.process_time()
        for _ in range(8):
            next(ours)
        step_times.append(time.process_time() - began)

    looks_per_epoch = len(log_grid(TRAINING.steps, TRAINING.points)) / EPOCHS
    script_cpu = statistics.median(script_times)
    steps_cpu, look_cpu = statistics.median(step_times), statistics.median(look_times)
    our_cpu = steps_cpu + looks_per_epoch * look_cpu
    record = {
        "data": loaded.source,
        "script_cpu_seconds_per_epoch": round(script_cpu, 4),
        "our_cpu_seconds_per_epoch": round(our_cpu, 4),
        "of_which_steps": round(steps_cpu, 4),
        "one_evaluation": round(look_cpu, 4),
        "ratio": round(script_cpu / our_cpu, 2),
        "ratio_of_each_epoch_min_max": [
            round(f(s / (o + looks_per_epoch * look_cpu) for s, o in
                    zip(script_times, step_times, strict=True)), 2) for f in (min, max)
        ],
        "largest_accuracy_difference": max(gaps),
        "epochs_compared": len(gaps),
        "versions": versions("torch"),
    }  # fmt: skip
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
