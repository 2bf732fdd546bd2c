"""Progress over many runs: a bar on a terminal, a line per finished run anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Runs", "Work"]


@dataclass(frozen=True)
class Work:
    """What a run is expected to need: so many steps, so many seconds in all."""

    steps: int
    seconds: float


class Runs:
    """The runs still to do, by name, and how much work each is expected to be.

    A run that ends before its expected work is done moves the progress on to its expected end.

    Examples
    --------
    >>> with Runs({"one": Work(10, 0.1)}, quiet=True) as runs:
    ...     runs.begin("one")
    ...     runs.step(3)
    ...     runs.end()
    >>> runs.share
    1.0
    """

    def __init__(self, work: Mapping[str, Work], *, quiet: bool = False) -> None:
        self._work = work
        self._total = sum(one.seconds for one in work.values()) or 1.0
        self._lines = not quiet and not Console().is_terminal
        self._bar = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            disable=quiet or self._lines,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=self._total)
        self._name, self._done = "", 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @property
    def share(self) -> float:
        """Return the share of the expected work that lies behind."""
        return self._done / self._total

    def begin(self, name: str) -> None:
        """Say which run begins."""
        self._name = name
        self._bar.update(self._task, description=name)

    def step(self, step: int) -> None:
        """Say how far the run has come."""
        if step % 16 == 0:
            work = self._work[self._name]
            inside = min(step / work.steps, 1.0) * work.seconds
            self._bar.update(self._task, completed=self._done + inside)

    def end(self) -> None:
        """Say that the run has ended."""
        self._done += self._work[self._name].seconds
        self._bar.update(self._task, completed=self._done)
        if self._lines:
            seconds = time.monotonic() - self._began
            print(f"{self.share:5.0%} {seconds:5.0f} s  {self._name}", flush=True)
