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
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.batches import Batches, Epochs, Fresh
from layerwise.files import write_file

__all__ = [
    "Batches",
    "Descent",
    "Epochs",
    "Fresh",
    "History",
    "Training",
    "as_device",
    "autograd",
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
    learning_rate, weight_decay
        As in ``torch.optim``.
    steps
        Number of updates.
    points
        About how many times the network is evaluated, log-spaced over the steps.
    drop_at
        Share of the steps after which the learning rate is a tenth, in (0, 1]; 1 for never.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    steps: int = 1000
    points: int = 110
    drop_at: float = 1.0

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
        if not 0.0 < self.drop_at <= 1.0:
            raise ValueError(f"drop_at must be in (0, 1], got {self.drop_at}")

    def optimizer_for(self, net: nn.Module) -> Optimizer:
        """Return the optimiser over the parameters of `net`."""
        if self.optimizer == "sgd":
            return Descent(net, self.learning_rate, self.weight_decay)
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.optimizer]
        return kind(
            net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )


class Descent:
    """Plain gradient descent ``w <- w - rate (gradient + decay w)``, as ``torch.optim.SGD``.

    `torch.optim` wraps every step in hooks and profiling, which take a sixth of the time of a whole
    step of a network of two layers of a few hundred neurons.
    """

    def __init__(self, net: nn.Module, learning_rate: float, weight_decay: float) -> None:
        self.parameters = list(net.parameters())
        self.param_groups = [{"lr": learning_rate, "weight_decay": weight_decay}]

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its gradient."""
        (group,) = self.param_groups
        for p in self.parameters:
            if group["weight_decay"]:
                p.grad.add_(p, alpha=group["weight_decay"])
            p.add_(p.grad, alpha=-group["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to know."""
        return {"param_groups": self.param_groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.param_groups = state["param_groups"]


Optimizer = torch.optim.Optimizer | Descent


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
    drop = round(training.drop_at * training.steps)
    for k in range(start, training.steps):
        yield k
        if k == drop:
            for group in optimizer.param_groups:
                group["lr"] = DROP * training.learning_rate
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
