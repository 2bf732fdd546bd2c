"""One training loop: a generator of steps, evaluated on a log-spaced grid, resumable."""

from __future__ import annotations

import io
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from layerwise.files import write_file

__all__ = ["History", "Training", "as_device", "descend", "log_grid", "train"]

CHECKPOINT_SECONDS = 20.0

Observation = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """How a network is trained: mean squared error on mini-batches.

    Attributes
    ----------
    optimizer
        ``"adamw"`` (decoupled decay), ``"adam"`` (coupled L2 decay) or ``"sgd"``.
    learning_rate, weight_decay
        As in ``torch.optim``.
    batch
        Batch size; every epoch is a fresh permutation and keeps its last, smaller batch.
    steps
        Number of updates.
    points
        About how many times the network is evaluated, log-spaced over the steps.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch: int = 128
    steps: int = 1000
    points: int = 110

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "adam", "sgd"):
            raise ValueError(f"optimizer must be adamw, adam or sgd, got {self.optimizer!r}")
        for name, low in (("learning_rate", 0.0), ("weight_decay", 0.0)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < low:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        for name in ("batch", "steps", "points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def optimizer_for(self, net: nn.Module) -> torch.optim.Optimizer:
        """Return the fused optimiser over the parameters of `net`."""
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        return kind[self.optimizer](
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


def descend(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    training: Training,
    optimizer: torch.optim.Optimizer,
    *,
    seed: int,
    start: int = 0,
) -> Iterator[int]:
    """Yield k = start, start + 1, ..., steps, the network standing after k updates each time.

    The batches depend on `seed` and k alone, never on the device or on where training was
    resumed. The loss is ``mean((net(x) - y)^2)`` over batch and outputs (no factor 1/2).
    """
    per_epoch = math.ceil(len(x) / training.batch)
    for k in range(start, training.steps):
        yield k
        epoch, part = divmod(k, per_epoch)
        if part == 0 or k == start:
            order = np.random.default_rng([seed, epoch]).permutation(len(x))
            index = torch.from_numpy(order).to(x.device)
            inputs, targets = (tensor[index].split(training.batch) for tensor in (x, y))
        optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(net(inputs[part]), targets[part]).backward()
        optimizer.step()
    yield training.steps


def train(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    training: Training,
    observe: Callable[[nn.Module], Observation],
    *,
    seed: int,
    stop: Callable[[History], bool] = lambda history: False,
    checkpoint: Path | None = None,
    tick: Callable[[int], None] = lambda step: None,
) -> History:
    """Train `net` in place and return what `observe` saw on the log-spaced grid.

    Parameters
    ----------
    observe
        Called on the grid, before the update of that step; returns numbers, or lists of them, by
        name.
    stop
        Called after each observation; true ends the training early.
    checkpoint
        A file. State is kept there every few seconds and on interruption; if it exists, training
        goes on from it, bit for bit as if it had never stopped: Ctrl-C waits for the end of the
        step. Removing the file is up to the caller.
    tick
        Called with every step, for a progress bar.
    """
    optimizer = training.optimizer_for(net)
    due = set(log_grid(training.steps, training.points))
    steps: list[int] = []
    rows: list[Observation] = []
    start = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=x.device, weights_only=True)
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
            for step in descend(net, x, y, training, optimizer, seed=seed, start=start):
                tick(step)
                if interrupted():
                    raise KeyboardInterrupt
                if step in due and step not in steps[-1:]:
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
