"""Which runs modular arithmetic needs at each size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.modular.experiment import QuadraticModular, TransformerModular
from layerwise.phenomena.modular.results import Results
from layerwise.phenomena.modular.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size: of each network ``"base"`` and what differs from it, by name."""

    quadratic: Mapping[str, QuadraticModular]
    transformer: Mapping[str, TransformerModular]

    @property
    def data(self) -> str:
        return "modular arithmetic"

    def describe(self) -> str:
        return (
            f"a quadratic network ({len(self.quadratic)} settings) and a one-layer transformer "
            f"({len(self.transformer)}) on modular arithmetic"
        )

    def roles(self) -> tuple[Experiment, ...]:
        return (*self.quadratic.values(), *self.transformer.values())

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: the quadratic network and one remedy; some steps of a small transformer, which do not
      suffice for anything;
    * laptop: the scales and the decay of the quadratic network; the transformer, one remedy, and
      what leads it to a plateau;
    * paper: other moduli, shares and operations as well; of the transformer every remedy.
    """
    square, former = QuadraticModular(), TransformerModular()
    quadratic = {"base": square, "output x0.1": replace(square, output_scale=0.1)}
    transformer = {
        "base": former,
        "output x0.2": replace(former, output_scale=0.2, steps=1200),
        "squared error, output x0.1": replace(former, loss="mse", output_scale=0.1, steps=600),
    }
    match size:
        case "smoke":
            transformer = {
                name: replace(one, modulus=23, width=32, hidden=64, steps=40, points=10)
                for name, one in transformer.items()
            }
        case "laptop":
            quadratic |= _scales(square) | _controls(square)
        case "paper":
            quadratic |= _scales(square) | _controls(square) | _tables(square)
            transformer = _grid(replace(former, steps=2500))
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    return Plan(quadratic, transformer)


def _scales(one: QuadraticModular) -> dict[str, QuadraticModular]:
    return {
        "output x0.03": replace(one, output_scale=0.03),
        "output x10": replace(one, output_scale=10.0),
        "target x10": replace(one, target_scale=10.0),
        "weights x0.3": replace(one, weight_scale=0.3),
    }


def _controls(one: QuadraticModular) -> dict[str, QuadraticModular]:
    return {
        "decay x0.5": replace(one, weight_decay=0.5, steps=2000),
        "decay x2": replace(one, weight_decay=2.0),
        "no decay": replace(one, weight_decay=0.0),
        "unordered pairs": replace(one, split_by="unordered"),
        "random table": replace(one, operation="table"),
    }


def _tables(one: QuadraticModular) -> dict[str, QuadraticModular]:
    small, more, middle, large = (
        replace(one, fraction=0.45, steps=2000), replace(one, fraction=0.7),
        replace(one, modulus=31), replace(one, modulus=47, fraction=0.4),
    )  # fmt: skip
    return {
        "45 % of the table": small,
        "70 % of the table": more,
        "70 % of the table, output x0.03": replace(more, output_scale=0.03),
        "p = 31": middle,
        "p = 31, output x0.1": replace(middle, output_scale=0.1),
        "p = 47, 40 %": large,
        "p = 47, 40 %, output x0.1": replace(large, output_scale=0.1),
        "subtraction": replace(one, operation="-"),
        "multiplication": replace(one, operation="*"),
        "division": replace(one, operation="/"),
    }


def _grid(one: TransformerModular) -> dict[str, TransformerModular]:
    squared = replace(one, loss="mse")
    return {
        "base": one,
        "output x0.2": replace(one, output_scale=0.2),
        "output x0.5": replace(one, output_scale=0.5),
        "output x3": replace(one, output_scale=3.0),
        "weights x0.75": replace(one, weight_scale=0.75),
        "weights x0.5": replace(one, weight_scale=0.5),
        "embedding x0.1": replace(one, embedding_scale=0.1),
        "embedding x1/3": replace(one, embedding_scale=1 / 3),
        "embedding x3": replace(one, embedding_scale=3.0),
        "decay x2": replace(one, weight_decay=2.0),
        "unordered pairs": replace(one, split_by="unordered"),
        "squared error": squared,
        "squared error, output x0.1": replace(squared, output_scale=0.1),
    }
