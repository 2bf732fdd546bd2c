"""Train one labelled run as its owner would, with a probe beside it, and save the trace.

Data, networks and loop are plain PyTorch; nothing here knows the rules of the diagnosis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from layerwise import Probe, Trace
from layerwise.networks import MLP, CentredOutput, Transformer
from layerwise.networks.init import downstream, rescale
from layerwise.networks.remedies import scale_output
from layerwise.tasks import Modular, images
from layerwise.train import log_grid

CLASSES = 10
RARE = 3  # the last classes, where some are rare
PROBED = 256
LOOKS = 45
FIT = 0.99
INK = 0.4  # of a pixel that counts as set


@dataclass(frozen=True)
class Setting:
    """How one run is made.

    Attributes
    ----------
    network, data, seed, train, width, depth, activation
        ``mlp``, ``cnn`` or ``transformer``; ``mnist``, ``fashion-mnist``, ``digits``, or
        ``modular`` of modulus `train`; the size of the training data; the network's size.
    weights, output, centred
        Factors on He's initial weights and on the outputs; whether the initial function is
        subtracted.
    alpha
        Factor by which what comes before the head is larger and the head smaller, at the same
        function.
    noise, noisy_test
        Share of training labels drawn anew, and whether those of the test set are, too.
    rare
        Samples of each of the last three classes; 0 leaves all classes as they are.
    fault
        ``detached`` (a matrix in the middle gets no gradient), ``rewrite`` (one is multiplied by
        1.02 every 20 steps), ``rates`` (the first matrix learns ten times slower).
    optimizer, rate, decay, momentum, loss, batch, steps
        The training; ``mse`` is half the squared error on one-hot targets times `target`.
    until_fit
        Whether the diagnosis is made at the first look at which 0.99 of the training data are
        right, if that comes before the last of the steps.
    later
        Steps after which the outcome is looked up, when the diagnosis has been made.
    """

    network: str
    data: str = "mnist"
    seed: int = 0
    train: int = 1000
    width: int = 100
    depth: int = 3
    activation: str = "relu"
    weights: float = 1.0
    output: float = 1.0
    centred: bool = False
    alpha: float = 1.0
    noise: float = 0.0
    noisy_test: bool = False
    rare: int = 0
    fault: str = ""
    optimizer: str = "adamw"
    rate: float = 1e-3
    decay: float = 0.0
    momentum: float = 0.0
    loss: str = "mse"
    target: float = 1.0
    batch: int = 128
    steps: int = 1000
    until_fit: bool = False
    later: int = 0


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and labels, and the inputs and labels of the test."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def classes(self) -> int:
        return max(CLASSES, int(self.y.max()) + 1)


def data_of(one: Setting) -> Data:
    """Return the data of a run: images for its network, or pairs of numbers."""
    if one.data == "modular":
        pairs = Modular("+", one.train, 0.5).split(one.seed)
        parts = pairs.train, pairs.train_labels, pairs.test, pairs.test_labels
        return Data(*(torch.as_tensor(part) for part in parts))
    source = images.load(one.data)
    most = len(source.train_labels)
    drawn = min(most, 10 * one.train) if one.rare else one.train
    x, y, test_x, test_y = images.split(source, drawn, min(1000, len(source.test_labels)), one.seed)
    draws = np.random.default_rng(1000 + one.seed)
    if one.rare:
        each = one.train // (CLASSES - RARE)
        kept = [
            np.flatnonzero(y == c)[: one.rare if c >= CLASSES - RARE else each]
            for c in range(CLASSES)
        ]
        kept = draws.permutation(np.concatenate(kept))
        x, y = x[kept], y[kept]
    y = _noisy(y, one.noise, draws)
    test_y = _noisy(test_y, one.noise if one.noisy_test else 0.0, draws)
    return Data(*map(torch.as_tensor, (_shaped(x, one), y, _shaped(test_x, one), test_y)))


def _noisy(y: np.ndarray, share: float, draws: np.random.Generator) -> np.ndarray:
    return np.where(draws.random(len(y)) < share, draws.integers(0, CLASSES, len(y)), y)


def _shaped(x: np.ndarray, one: Setting) -> np.ndarray:
    side = math.isqrt(x.shape[1])
    pixels = x.reshape(-1, side, side)
    if one.network != "transformer":
        small = _pooled(pixels, 2) if side == 28 else pixels
        return small.reshape(len(x), -1) if one.network == "mlp" else small[:, None]
    if side == 28:
        pixels = _pooled(np.pad(pixels, ((0, 0), (2, 2), (2, 2))), 4)
    bits = (pixels > INK).reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)
    return bits @ np.array([8, 4, 2, 1]) + 16 * np.arange(16)  # a word of its own for each place


def _pooled(pixels: np.ndarray, size: int) -> np.ndarray:
    n, side, _ = pixels.shape
    return pixels.reshape(n, side // size, size, side // size, size).mean((2, 4))


def network_of(one: Setting, data: Data) -> nn.Module:
    """Return the network of a run at its start."""
    classes, gain = data.classes, math.sqrt(2.0) if one.activation == "relu" else 1.0
    match one.network:
        case "mlp":
            widths = (data.x.shape[1], *[one.width] * (one.depth - 1), classes)
            net: nn.Module = MLP(
                widths, weight_scale=gain, activation=one.activation, seed=one.seed
            )
        case "cnn":
            net = _cnn(data.x.shape[-1], classes, one.width // 10, one.activation, one.seed)
        case _:
            words, length = (one.train, 2) if one.data == "modular" else (256, 16)
            net = Transformer(
                words, length, classes, width=4 * (one.width // 8), hidden=one.width,
                embedding_scale=1.0 if one.data == "modular" else 4.0, seed=one.seed,
            )  # fmt: skip
    if one.weights != 1.0:
        rescale(net, {"": one.weights})
    if one.alpha != 1.0 and isinstance(net, Transformer):
        up = dict.fromkeys(("tokens", "positions"), one.alpha)
        rescale(net, up | dict.fromkeys(("query", "key", "unembed"), 1 / one.alpha))
    elif one.alpha != 1.0:
        downstream(net, one.alpha)
    if one.centred:
        net = CentredOutput(net)
    return net if one.output == 1.0 else scale_output(net, one.output)


def _cnn(side: int, classes: int, channels: int, activation: str, seed: int) -> nn.Sequential:
    """Return a CNN as one writes it down, with He's start."""
    act = nn.ReLU if activation == "relu" else nn.Tanh
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), act(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), act(),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1), act(),
            nn.Flatten(),
            nn.Linear(2 * channels * math.ceil(math.ceil(side / 2) / 2) ** 2, classes),
        )  # fmt: skip
        for parameter in net.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity=activation)
            else:
                nn.init.zeros_(parameter)
    return net


def train(one: Setting, folder: Path) -> Trace:
    """Train a run, save its trace as the diagnosis sees it, and return it up to the end."""
    data = data_of(one)
    net = network_of(one, data)
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = _optimizer(one, weights)
    targets = one.target * nn.functional.one_hot(data.y, data.classes).float()

    def loss_of(index: Tensor) -> tuple[Tensor, Tensor]:
        out = net(data.x[index])
        if one.loss == "ce":
            return nn.functional.cross_entropy(out, data.y[index]), out
        return 0.5 * (out - targets[index]).square().sum(1).mean(), out

    draws = torch.Generator().manual_seed(one.seed)
    everything = torch.arange(len(data.y))
    some = _some_of_each(data.y, PROBED // data.classes)
    probe = Probe(
        net,
        batch=(data.x[some], data.y[some]),
        optimizer=optimizer,
        target_scale=one.target,
        class_counts=torch.bincount(data.y, minlength=data.classes).tolist(),
    )
    last = max(one.steps, one.later)
    looks = {*log_grid(one.steps, LOOKS), last}
    matrices = [p for p in weights if p.ndim > 1]
    batches: list[Tensor] = []
    shown = False
    for step in range(last + 1):
        if step in looks:
            with torch.no_grad():
                loss, out = loss_of(everything)
                tested = net(data.test_x)
            right = _accuracy(out, data.y)
            probe.look(
                step,
                train_loss=loss.item(),
                train_accuracy=right,
                test_accuracy=_accuracy(tested, data.test_y),
            )
            lost = not math.isfinite(loss.item())
            fitted = one.until_fit and right >= FIT
            if not shown and (step == one.steps or lost or fitted):
                probe.trace().save(folder, force=True)
                shown = True
            if step == last or lost:
                break
        batches = batches or list(torch.randperm(len(data.y), generator=draws).split(one.batch))
        loss, _ = loss_of(batches.pop())
        optimizer.zero_grad()
        loss.backward()
        if one.fault == "detached":
            matrices[len(matrices) // 2].grad = None
        if one.fault == "rates":
            matrices[0].grad /= 10
        optimizer.step()
        if one.fault == "rewrite" and step % 20 == 19:
            with torch.no_grad():
                matrices[0].mul_(1.02)
    return probe.trace()


def _some_of_each(labels: Tensor, most: int) -> Tensor:
    return torch.cat([torch.nonzero(labels == c)[:most, 0] for c in range(int(labels.max()) + 1)])


def _optimizer(one: Setting, weights: list[Tensor]) -> torch.optim.Optimizer:
    if one.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=one.rate, weight_decay=one.decay)
    return torch.optim.SGD(weights, lr=one.rate, weight_decay=one.decay, momentum=one.momentum)


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return (outputs.argmax(1) == labels).float().mean().item()
