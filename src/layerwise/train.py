"""One training loop: a generator of steps, evaluated on a log-spaced grid, resumable."""

from __future__ import annotations

import io
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.batches import Batches, Epochs, Fresh
from layerwise.files import write_file
from layerwise.optimizers import Descent, Optimizer

__all__ = [
    "Batches",
    "Descent",
    "Epochs",
    "Fresh",
    "History",
    "Training",
    "as_device",
    "autograd",
    "cross_entropy",
    "descend",
    "log_grid",
    "train",
]

CHECKPOINT_SECONDS = 20.0
DROP = 0.1  # what the learning rate is multiplied by where it drops

Observation = dict[str, Any]
Gradient = Callable[[Any, Tensor, Tensor], None]  # fills the gradients of a network on a batch


@dataclass(frozen=True)
class Training:
    """How a network is trained, whatever it is trained on.

    Attributes
    ----------
    optimizer
        ``"adamw"`` (decoupled decay), ``"adam"`` (coupled L2 decay) or ``"sgd"``.
    learning_rate, weight_decay, momentum
        As in ``torch.optim``; decay acts on every parameter, momentum is for ``"sgd"`` alone.
    steps
        Number of updates.
    points
        About how many times the network is evaluated, log-spaced over the steps.
    drops
        Shares of the steps, between 0 and 1 and in order, after each of which the learning rate
        falls to a tenth of what it was.
    beta2
        Adam's memory of squared gradients, for ``"adamw"`` and ``"adam"`` alone.

    Examples
    --------
    >>> training = Training("sgd", 0.1, 5e-3, steps=1380, momentum=0.9, drops=(1 / 3, 2 / 3))
    >>> [round(training.rate(step), 9) for step in (0, 459, 460, 919, 920, 1379)]
    [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    >>> round(training.decay_budget(), 9)
    0.2553
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    steps: int = 1000
    points: int = 110
    momentum: float = 0.0
    drops: tuple[float, ...] = ()
    beta2: float = 0.999

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "adam", "sgd"):
            raise ValueError(f"optimizer must be adamw, adam or sgd, got {self.optimizer!r}")
        for name, low in (("learning_rate", 0.0), ("weight_decay", 0.0)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < low:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for name in ("steps", "points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is for sgd; {self.optimizer} has its own")
        if not 0.0 <= self.beta2 < 1.0:
            raise ValueError(f"beta2 must be in [0, 1), got {self.beta2}")
        edges = (0.0, *self.drops, 1.0)
        if not all(share < later for share, later in pairwise(edges)):
            raise ValueError(f"drops must lie between 0 and 1 and increase, got {self.drops}")

    def rate(self, step: int) -> float:
        """Return the learning rate of the update of `step`."""
        return self.learning_rate * DROP ** sum(step >= fall for fall in self._falls())

    def decay_budget(self, step: int | None = None) -> float:
        """Return the sum of learning rate x weight decay over the updates before `step`, or all.

        Without momentum m that is the e-foldings by which decay alone shrinks the weights; with it,
        they are 1/(1 - m) times as many.
        """
        end = self.steps if step is None else step
        edges = [min(fall, end) for fall in (0, *self._falls(), self.steps)]
        return self.weight_decay * sum(
            self.rate(start) * (stop - start) for start, stop in pairwise(edges)
        )

    def _falls(self) -> tuple[int, ...]:
        return tuple(round(share * self.steps) for share in self.drops)

    def optimizer_for(self, net: nn.Module) -> Optimizer:
        """Return the optimiser over the parameters of `net`."""
        if self.optimizer == "sgd" and not self.momentum:
            return Descent(net, self.learning_rate, self.weight_decay)
        betas = 0.9, self.beta2
        kinds = {
            "adamw": partial(torch.optim.AdamW, betas=betas),
            "adam": partial(torch.optim.Adam, betas=betas),
            "sgd": partial(torch.optim.SGD, momentum=self.momentum),
        }
        return kinds[self.optimizer](
            net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )


@dataclass(frozen=True)
class History:
    """What was observed: the steps, and one observation per step."""

    steps: tuple[int, ...]
    rows: tuple[Observation, ...]

    def series(self) -> dict[str, np.ndarray]:
        """Return the observations as arrays of shape (T, ...) by name."""
        return {name: np.asarray([row[name] for row in self.rows]) for name in self.rows[0]}


def log_grid(steps: int, points: int) -> tuple[int, ...]:
    """Return 0, `steps` and about `points` log-spaced whole steps between them, increasing.

    Examples
    --------
    >>> log_grid(100, 5)
    (0, 1, 3, 10, 32, 100)
    """
    spaced = np.rint(np.geomspace(1, steps, points)).astype(int)
    return tuple(int(k) for k in np.unique(np.concatenate([[0], spaced, [steps]])))


def as_device(name: str) -> torch.device:
    """Return the torch device, or raise a ValueError that says why it cannot be used."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; use 'cpu' or 'cuda'")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for, but this PyTorch sees no CUDA device")
    return device


def autograd(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Fill the gradients with those of ``mean((net(x) - y)^2)`` over batch and outputs.

    There is no factor 1/2. Targets (n, 1) count for every output of the network.
    """
    net.zero_grad(set_to_none=True)
    output = net(x)
    nn.functional.mse_loss(output, y.expand_as(output)).backward()


def cross_entropy(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Fill the gradients with those of the mean cross-entropy of the labels `y`, int64 (n,)."""
    net.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(net(x), y).backward()


def descend(
    net: nn.Module,
    batches: Batches,
    training: Training,
    optimizer: Optimizer,
    *,
    gradient: Gradient = autograd,
    start: int = 0,
) -> Iterator[int]:
    """Yield k = start, start + 1, ..., steps, the network standing after k updates each time."""
    for k in range(start, training.steps):
        yield k
        for group in optimizer.param_groups:
            group["lr"] = training.rate(k)
        gradient(net, *batches(k))
        optimizer.step()
    yield training.steps


def train(
    net: nn.Module,
    batches: Batches,
    training: Training,
    observe: Callable[[nn.Module], Observation],
    *,
    gradient: Gradient = autograd,
    due: Sequence[int] | None = None,
    stop: Callable[[History], bool] = lambda history: False,
    checkpoint: Path | None = None,
    tick: Callable[[int], None] = lambda step: None,
) -> History:
    """Train `net` in place and return what `observe` saw of it.

    Parameters
    ----------
    batches
        Called with every step k = 0, 1, ...: returns the inputs and targets of its update, which
        must depend on k alone (`Epochs`, `Fresh`).
    observe
        Called on the steps that are due, before the update of that step; returns numbers, or lists
        of them, by name.
    gradient
        Fills the gradients of the network on a batch.
    due
        Steps at which to observe, between 0 and ``training.steps``; log-spaced by default.
    stop
        Called after each observation; true ends the training early.
    checkpoint
        A file. State is kept there every few seconds and on interruption; if it exists, training
        goes on from it, bit for bit as if it had never stopped: Ctrl-C waits for the end of the
        step. Removing the file is up to the caller.
    tick
        Called with every step, for a progress bar.
    """
    due = log_grid(training.steps, training.points) if due is None else tuple(due)
    if not due or not 0 <= min(due) <= max(due) <= training.steps:
        raise ValueError(f"due must be steps from 0 to {training.steps}, got {due}")
    wanted = frozenset(due)
    optimizer = training.optimizer_for(net)
    steps: list[int] = []
    rows: list[Observation] = []
    start = 0
    if checkpoint is not None and checkpoint.exists():
        device = next(net.parameters()).device
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        start, steps, rows = state["step"], state["steps"], state["rows"]

    def save(checkpoint: Path, step: int) -> None:
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"step": step, "steps": steps, "rows": rows}
        content = io.BytesIO()
        torch.save(state, content)
        write_file(checkpoint, content.getvalue())

    saved, step = time.monotonic(), start
    with _denormals_flushed(), _interrupts_held() as interrupted:
        try:
            updates = descend(net, batches, training, optimizer, gradient=gradient, start=start)
            for step in updates:
                tick(step)
                if interrupted():
                    raise KeyboardInterrupt
                if step in wanted and step not in steps[-1:]:
                    row = observe(net)
                    steps.append(step)
                    rows.append(row)
                    if stop(History(tuple(steps), tuple(rows))):
                        break
                if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save(checkpoint, step)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if checkpoint is not None:
                save(checkpoint, step)
            raise
    return History(tuple(steps), tuple(rows))


@contextmanager
def _interrupts_held() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back and yield a function that says whether it came.

    An interrupt in the middle of an update would leave weights and step number out of step. A
    second Ctrl-C is not held.
    """
    handler = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or not callable(handler):  # nothing would interrupt this loop
        yield lambda: False
        return
    pressed: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, handler)

    signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, handler)
    if pressed:
        raise KeyboardInterrupt  # it came after the last look


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    # Decayed weights pass through denormal numbers, which cost the CPU a hundredfold.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
