"""Trainings for neural collapse: a ResNet18 on real images, and free features on real numbers.

The setting is that of arXiv 2008.08186 (Papyan, Han and Donoho): no augmentation, cross-entropy,
SGD with momentum and decay on all parameters, a rate that falls to a tenth at 1/3 and at 2/3 of the
training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.measures import rank_of_spectrum
from layerwise.measures.collapse import centred_spectrum, d_lr, nc3, neural_collapse
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.pixels import Pixels, pixels
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Collapse", "LinearFeatures"]

DROPS = (1 / 3, 2 / 3)
SHOWN = 15  # singular values of the centred features that are kept
CHUNK = 1024  # images that are evaluated at once
BRIEF = 20  # steps that are timed


@dataclass(frozen=True)
class Collapse(Experiment):
    """One training of a ResNet18 on images by cross-entropy, watched from epoch to epoch.

    Every measure is taken on the features before the head, of the whole training set, in the
    evaluation mode of batch norm. The clock of the trace is the epochs.

    Attributes
    ----------
    data
        ``"digits"``, ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
    train_size, test_size
        Images drawn at random (by the seed) from the official train and test sets; from all 1797
        digits, which have no official ones.
    width
        Of the first blocks; there are eight times as many features.
    epochs, batch
        Passes over the training set, without the incomplete batch that an epoch may end with.
    learning_rate, weight_decay, momentum
        See `layerwise.train.Training`; the rate falls to a tenth after 1/3 and 2/3 of the steps.
    shuffled_labels
        Whether the training images carry each other's labels, in an order drawn by the seed.
    points
        About how many epochs are looked at, log-spaced, the start and the last among them.
    """

    data: str = "digits"
    train_size: int = 1500
    test_size: int = 297
    width: int = 8
    epochs: int = 60
    learning_rate: float = 0.1
    weight_decay: float = 5e-3
    momentum: float = 0.9
    batch: int = 64
    shuffled_labels: bool = False
    points: int = 20

    def __post_init__(self) -> None:
        self.need_at_least(1, "train_size", "test_size", "width", "epochs", "batch", "points")
        if self.batch > self.train_size:
            raise ValueError(
                f"there is no full batch of {self.batch} in {self.train_size} training images"
            )

    @property
    def name(self) -> str:
        shuffled = "-shuffled" if self.shuffled_labels else ""
        return f"collapse-{self.data}-width{self.width}-decay{self.weight_decay:g}{shuffled}"

    def work(self) -> int:
        return self.epochs * (self.train_size // self.batch)

    def brief(self) -> Collapse:
        size = min(self.train_size, BRIEF * self.batch)
        return Collapse(
            data=self.data, train_size=size, test_size=1, width=self.width, batch=self.batch,
            epochs=math.ceil(BRIEF / (size // self.batch)), points=1,
        )  # fmt: skip

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        import torch
        from torch import Tensor

        from layerwise.networks import ResNet18
        from layerwise.train import Epochs, Training, as_device, cross_entropy, log_grid, train

        place = as_device(device)
        source, classes, *arrays = _images(self)
        x, y, x_test, y_test = (torch.from_numpy(array).to(place) for array in arrays)
        mean, std = arrays[0].mean(dtype=np.float32), arrays[0].std(dtype=np.float32)
        fast = torch.channels_last  # by a fifth, also on a CPU
        net = ResNet18(x.shape[1], classes, width=self.width, seed=self.seed)
        net = net.to(place, memory_format=fast)

        def standardised(raw: Tensor) -> Tensor:
            return ((raw.float() - mean) / std).contiguous(memory_format=fast)

        def gradient(net: ResNet18, raw: Tensor, labels: Tensor) -> None:
            with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
                cross_entropy(net, standardised(raw), labels)

        @torch.no_grad()
        def observe(net: ResNet18) -> dict[str, object]:
            net.eval()
            features, test = (
                torch.cat([net.features(standardised(part)) for part in raw.split(CHUNK)])
                for raw in (x, x_test)
            )
            net.train()
            weight, bias = net.head.weight, net.head.bias
            logits = net.head(features)
            return {
                "train_accuracy": (logits.argmax(1) == y).double().mean().item(),
                "train_loss": torch.nn.functional.cross_entropy(logits, y).item(),
                "test_accuracy": (net.head(test).argmax(1) == y_test).double().mean().item(),
                **_collapse(features, y, weight, bias),
                **_spectrum(features, logits, classes),
                **_grams(features, y, weight),
            }

        batches = Epochs(x, y, self.batch, seed=self.seed, drop_last=True)
        training = Training(
            "sgd", self.learning_rate, self.weight_decay, self.work(),
            momentum=self.momentum, drops=DROPS,
        )  # fmt: skip
        history = train(
            net, batches, training, observe, gradient=gradient, checkpoint=checkpoint, tick=tick,
            due=[batches.parts * epoch for epoch in log_grid(self.epochs, self.points)],
        )  # fmt: skip
        budget = {"decay_budget": [training.decay_budget(step) for step in history.steps]}
        provenance = Provenance(
            "network", "epochs", self.config(), self.seed, source, versions("torch")
        )
        epochs = np.asarray(history.steps) // batches.parts
        return Trace(epochs, history.series() | budget, provenance)


@dataclass(frozen=True)
class LinearFeatures(Experiment):
    """Free features H (d, N) under a classifier W (C, d): gradient descent on one-hot labels Y.

    The loss is ``(1/2N) |W H - Y|^2 + (lam_w/2) |W|^2 + (lam_h/2) |H|^2``, without bias, float64:
    a two-layer linear network whose inputs are one-hot. The clock is the time of gradient flow,
    steps x learning rate.

    Attributes
    ----------
    n_per_class
        Samples of each class.
    dim
        The number of features d.
    start
        Every entry of W and H starts as N(0, start^2).
    decay
        ``(lam_w, lam_h)``.
    learning_rate, steps, points
        See `layerwise.train.Training`.
    """

    n_per_class: tuple[int, ...] = (8, 8, 8, 8, 8)
    dim: int = 20
    start: float = 1e-2
    decay: tuple[float, float] = (0.0, 0.0)
    learning_rate: float = 0.1
    steps: int = 10_000
    points: int = 100

    def __post_init__(self) -> None:
        if len(self.n_per_class) < 2 or min(self.n_per_class) < 1:
            raise ValueError(
                f"n_per_class must be two or more classes with samples, got {self.n_per_class}"
            )
        self.need_at_least(1, "dim", "steps", "points")
        self.need_positive("start", "learning_rate")
        if len(self.decay) != 2 or not all(0 <= lam < math.inf for lam in self.decay):
            raise ValueError(f"decay must be two numbers from 0, got {self.decay}")

    @property
    def name(self) -> str:
        classes = "-".join(str(n) for n in self.n_per_class)
        decay = "x".join(f"{lam:g}" for lam in self.decay)
        return f"features-{classes}-start{self.start:g}-decay{decay}"

    @property
    def labels(self) -> np.ndarray:
        """The class of every sample, shape (N,)."""
        return np.repeat(np.arange(len(self.n_per_class)), self.n_per_class)

    def layers(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W (C, d) and H (d, N) as they start."""
        rng = np.random.default_rng(self.seed)
        W = rng.normal(0.0, self.start, (len(self.n_per_class), self.dim))
        return W, rng.normal(0.0, self.start, (self.dim, sum(self.n_per_class)))

    def work(self) -> int:
        return self.steps

    def brief(self) -> LinearFeatures:
        return replace(self, start=1e-2, decay=(0.0, 0.0), learning_rate=0.1, steps=BRIEF, points=1)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        from layerwise.train import log_grid

        due = log_grid(self.steps, self.points)
        wanted, rows = frozenset(due), []
        Y = np.eye(len(self.n_per_class))[:, self.labels]
        rates = [self.learning_rate * lam for lam in self.decay]
        pace = self.learning_rate / Y.shape[1]
        W, H = self.layers()
        for step in range(self.steps + 1):
            tick(step)
            error = W @ H - Y
            if step in wanted:
                rows.append(self._look(W, H, error))
            W, H = (
                (1 - rates[0]) * W - pace * (error @ H.T),
                (1 - rates[1]) * H - pace * (W.T @ error),
            )
        series = {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
        provenance = Provenance(
            "network", "gradient-flow time", self.config(), self.seed,
            "one-hot labels (generated)", versions(),
        )  # fmt: skip
        return Trace(self.learning_rate * np.asarray(due), series, provenance)

    def _look(self, W: np.ndarray, H: np.ndarray, error: np.ndarray) -> dict[str, Any]:
        labels = self.labels
        own = 1 + error[labels, np.arange(len(labels))]
        squares = (W**2).sum(1), (H**2).sum(0)
        penalty = sum(lam * part.sum() for lam, part in zip(self.decay, squares, strict=True))
        return {
            "loss": ((error**2).sum() / len(labels) + penalty) / 2,
            "strength": _means(own, labels),
            "weight_norm": np.sqrt(squares[0]),
            "feature_norm": np.sqrt(_means(squares[1], labels)),
            "spectrum": np.linalg.svdvals(H),
            "nc3_centred": nc3(H.T, labels, W, centre_weight=True),
            **_collapse(H.T, labels, W, None),
        }


def _images(one: Collapse) -> Pixels:
    rng = np.random.default_rng(one.seed)
    found = pixels(one.data, one.train_size, one.test_size, rng)
    return found._replace(y=rng.permutation(found.y)) if one.shuffled_labels else found


def _collapse(features: Any, labels: Any, weight: Any, bias: Any) -> dict[str, object]:
    """Return NC1 to NC4 as plain numbers."""
    found = neural_collapse(features, labels, weight, bias)
    return {
        "nc1": float(found.nc1),
        "nc1_floor": found.nc1.floor,
        "quotient": float(found.quotient),
        "equinorm": found.nc2.equinorm,
        "angle": found.nc2.angle,
        "etf": found.nc2.etf,
        "nc3": found.nc3,
        "nc4": found.nc4,
    }


def _spectrum(features: Any, logits: Any, classes: int) -> dict[str, object]:
    """Return how many directions the centred features fill, and which."""
    spectrum = centred_spectrum(features)
    energy = spectrum**2
    return {
        "effective_rank": float(rank_of_spectrum(spectrum)),
        "top_energy": float(energy[: classes - 1].sum() / energy.sum()),
        "d_lr": float(d_lr(features, logits)),
        "spectrum": spectrum[:SHOWN].tolist(),
    }


def _grams(features: Any, labels: Any, weight: Any) -> dict[str, object]:
    """Return ``A A^T`` and ``W A^T`` (C, C), A the centred class means, W the classifier.

    They draw both: ``(A A^T)^(1/2)`` are the means in the frame that is nearest to a simplex, and
    ``W A^T (A A^T)^(-1/2)`` the classifier in that frame.
    """
    import torch

    means = torch.stack([features[labels == c].double().mean(0) for c in range(len(weight))])
    A = means - means.mean(0)
    return {"means_gram": (A @ A.T).tolist(), "cross_gram": (weight.double() @ A.T).tolist()}


def _means(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean over each class."""
    return np.bincount(labels, values) / np.bincount(labels)
