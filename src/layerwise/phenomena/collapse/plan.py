"""Which runs neural collapse needs at each size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.collapse.experiment import Collapse, LinearFeatures
from layerwise.phenomena.collapse.results import Results
from layerwise.phenomena.collapse.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size, by their role; each is run once per seed.

    Attributes
    ----------
    decayed, control
        The network with weight decay, and for as many epochs without.
    shuffled
        With decay, on shuffled labels.
    modes, balanced
        Free features without decay: of unequal classes, and of equal ones.
    minorities
        Free features of unequal classes, at several decays.
    starts
        Free features without decay, from several initial scales.
    """

    decayed: Collapse
    control: Collapse
    shuffled: Collapse
    modes: LinearFeatures
    balanced: LinearFeatures
    minorities: tuple[LinearFeatures, ...]
    starts: tuple[LinearFeatures, ...]

    @property
    def data(self) -> str:
        return self.decayed.data

    def describe(self) -> str:
        return (
            f"a ResNet18 of width {self.decayed.width} on {self.decayed.train_size} images of "
            f"{self.data} (with decay, without, on shuffled labels), and of free features"
        )

    def roles(self) -> tuple[Experiment, ...]:
        return (
            *self.starts, self.modes, self.balanced, *self.minorities,
            self.decayed, self.control, self.shuffled,
        )  # fmt: skip

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str, data: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: 384 digits, 30 epochs, seconds;
    * laptop: 1500 digits, width 8, decay 5e-3 for 50 epochs; 100 of them with shuffled labels;
    * paper: width 64 on all training images for 350 epochs, the published recipe, for a GPU.
    """
    # labels without meaning are fitted late, and by few samples only where decay is strong
    few = Collapse(
        data=data, train_size=100, batch=50, epochs=300, learning_rate=0.05, weight_decay=2e-2
    )
    match size:
        case "smoke":
            decayed = Collapse(data=data, train_size=384, epochs=30, weight_decay=1e-2, points=12)
            shuffled = replace(few, epochs=150)
        case "laptop":
            decayed = Collapse(data=data, epochs=50)
            shuffled = few
        case "paper":
            decayed = Collapse(
                data=data, train_size=50_000, test_size=10_000, width=64, epochs=350,
                learning_rate=0.0679, weight_decay=5e-4, batch=128, points=50,
            )  # fmt: skip
            if data == "digits":
                decayed = replace(decayed, train_size=1500, test_size=297)
            shuffled = replace(decayed, shuffled_labels=True)
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    unequal = LinearFeatures(
        n_per_class=(40, 20, 10, 5, 2), start=1e-3, learning_rate=1.0, steps=1500
    )
    samples = sum(unequal.n_per_class)
    equal = LinearFeatures()
    return Plan(
        decayed=decayed,
        control=replace(decayed, weight_decay=0.0),
        shuffled=replace(shuffled, shuffled_labels=True),
        modes=unequal,
        balanced=replace(unequal, n_per_class=(15,) * 5),
        minorities=tuple(
            replace(unequal, decay=(level / samples,) * 2, steps=6000, learning_rate=2.0)
            for level in (1.0, 1.8, 2.7, 3.8, 5.4)
        ),
        starts=tuple(replace(equal, start=start) for start in (1e-4, 1e-2, 0.3, 1.0)),
    )
