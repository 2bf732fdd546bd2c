"""Which runs depth needs at each size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.depth.experiment import Depth, Ticket
from layerwise.phenomena.depth.results import Results
from layerwise.phenomena.depth.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size: by number of layers the scales, and the lottery ticket."""

    depths: Mapping[int, tuple[Depth, ...]]
    ticket: Ticket

    @property
    def data(self) -> str:
        return "sparse parity"

    def describe(self) -> str:
        return (
            "ReLU networks of 2 to 4 layers on one skill at several initial scales, and the "
            "lottery ticket of a two-layer network, on sparse parity"
        )

    def roles(self) -> tuple[Experiment, ...]:
        return (*(one for runs in self.depths.values() for one in runs), self.ticket)

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: fewer scales, and the ticket of two skills;
    * laptop: sixteen settings of depth and scale, the ticket of three two-bit skills;
    * paper: the same depths, the ticket of three three-bit skills at width 300.
    """
    scales = {
        2: (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        3: (0.05, 0.1, 0.2, 0.3, 0.4),
        4: (0.2, 0.3, 0.4, 0.5, 0.6),
    }
    match size:
        case "smoke":
            scales = {2: (0.003, 0.03, 0.3), 3: (0.1, 0.2, 0.3), 4: (0.3, 0.4, 0.6)}
            ticket = Ticket(n_skills=2, width=100, batch=250, steps=1200)
        case "laptop":
            ticket = Ticket()
        case "paper":
            ticket = Ticket(skill_bits=3, width=300, steps=9000)
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))
    depths = {
        layers: tuple(Depth(layers=layers, scale=scale) for scale in of_depth)
        for layers, of_depth in scales.items()
    }
    return Plan(depths, ticket)
