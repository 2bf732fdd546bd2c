"""Which runs grokking needs at each size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Run, Study
from layerwise.phenomena.grokking.experiment import Grokking
from layerwise.phenomena.grokking.results import Results
from layerwise.phenomena.grokking.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size, by their role; each is run once per seed."""

    default: Grokking
    remedies: dict[str, Grokking]
    symmetric: tuple[Grokking, Grokking]  # target x10 and output x0.1, decoupled decay
    decays: tuple[Grokking, ...]
    scales: tuple[Grokking, ...]
    no_decay: Grokking

    @property
    def data(self) -> str:
        return self.default.data

    def describe(self) -> str:
        return (
            f"a deep tanh network on {self.default.train_size} images (the default, four "
            "remedies, the clock over decays and initial scales, no decay)"
        )

    def roles(self) -> tuple[Grokking, ...]:
        return (
            self.default, *self.remedies.values(), *self.symmetric,
            *self.decays, *self.scales, self.no_decay,
        )  # fmt: skip

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str, data: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: fewer steps, meant for 200 of scikit-learn's 8x8 digits, done in seconds;
    * laptop: width 200, decoupled decay 0.3, 1000 images: every effect in a few minutes;
    * paper: the published settings (width 512, coupled decay 1e-4, 2000 epochs), all steps.
    """
    rates: tuple[float, ...] = (0.3, 0.6, 1.0)
    scales: tuple[float, ...] = (3.5, 5.0, 7.0, 10.0)
    match size:
        case "smoke":
            default = Grokking(data=data, weight_decay=0.5, steps=2400, points=70)
            rates, scales = (0.5, 1.0, 1.5), (3.5, 5.0, 7.0)
        case "laptop":
            default = Grokking(data=data)
        case "paper":
            default = Grokking(
                data=data, test_size=10_000, width=512, optimizer="adam", weight_decay=1e-4,
                steps=16_000, points=120, tail=0.0,
            )  # fmt: skip
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    if data == "digits":  # few and easy: with more than 200 of them there is no delay to see
        default = replace(default, train_size=200, test_size=797)
    remedies = {
        "weight": replace(default, weight_scale=1.0),
        "target": replace(default, target_scale=30.0),
        "input": replace(default, input_scale=0.01),
        "output": replace(default, output_scale=0.1),
    }
    clock = replace(default, optimizer="adamw", tail=Grokking.tail)
    decoupled = default if default.optimizer == "adamw" else replace(clock, weight_decay=rates[0])
    return Plan(
        default=default,
        remedies=remedies,
        symmetric=(
            replace(decoupled, target_scale=30.0),
            replace(decoupled, output_scale=0.1),
        ),
        decays=tuple(replace(decoupled, weight_decay=rate) for rate in rates),
        scales=tuple(replace(clock, weight_decay=1.0, weight_scale=scale) for scale in scales),
        no_decay=replace(default, weight_decay=0.0),
    )
