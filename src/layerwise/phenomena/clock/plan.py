"""Which runs the clock needs at each size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.clock.experiment import LinearGrokking, ScalarClock
from layerwise.phenomena.clock.results import Results
from layerwise.phenomena.clock.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size.

    Attributes
    ----------
    linear
        By decay the linear networks, by increasing scale of their start; at least two of them.
    scalar
        The 1-h-1 networks, by increasing weight-to-target ratio.
    """

    linear: Mapping[float, tuple[LinearGrokking, ...]]
    scalar: tuple[ScalarClock, ...]

    @property
    def data(self) -> str:
        return "linear teacher"

    def describe(self) -> str:
        return (
            "two-layer linear networks on fewer samples than inputs from several initial scales, "
            "and of 1-h-1 networks far above their target, with weight decay"
        )

    def roles(self) -> tuple[Experiment, ...]:
        return (*(one for runs in self.linear.values() for one in runs), *self.scalar)

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: three scales and ratios, one stronger decay, a second or two;
    * laptop: 40 inputs, scales 0.1 to 5, decays 0.02 and 0.04, about ten seconds;
    * paper: 100 inputs and a quarter of the steps' size, some minutes.
    """
    scales, decays, ratios = (0.1, 0.3, 1.0, 3.0, 5.0), (0.02, 0.04), (3.0, 10.0, 30.0, 100.0)
    linear, scalar = LinearGrokking(), ScalarClock()
    match size:
        case "smoke":
            scales, decays, ratios = (1.0, 3.0, 5.0), (0.06,), (3.0, 10.0, 30.0)
            scalar = ScalarClock(decay=0.08, learning_rate=2e-3)
        case "laptop":
            pass
        case "paper":
            linear = LinearGrokking(inputs=100, samples=75, width=150, step=0.25)
            scalar = ScalarClock(decay=0.01, learning_rate=5e-4)
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    return Plan(
        {
            decay: tuple(replace(linear, scale=scale, decay=decay) for scale in scales)
            for decay in decays
        },
        tuple(replace(scalar, ratio=ratio) for ratio in ratios),
    )
