"""Which runs emergence needs at each size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from layerwise.names import nearest
from layerwise.phenomena import base
from layerwise.phenomena.base import SIZES, Experiment, Run, Study
from layerwise.phenomena.emergence.experiment import Emergence, LinearSkills, Widths
from layerwise.phenomena.emergence.results import Results
from layerwise.phenomena.emergence.study import study

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan(base.Plan):
    """The experiments of one size, by their role; each is run once per seed.

    Attributes
    ----------
    staged
        Several skills, fresh samples.
    calibrations
        Several draws of the same network on a single skill.
    published, published_skills
        Three bits a skill, the setting of the published constant; its first so many skills emerge
        within the budget.
    rising
        As `staged`, with targets that grow with rank.
    single_data, data
        Fixed data sets of several sizes: of a single skill, of several.
    single_widths, widths
        Networks of several widths: on a single skill, on two.
    scaling, linear
        Many skills, for the exponent of the loss: the network, and the linear model.
    """

    staged: Emergence
    calibrations: tuple[Emergence, ...]
    published: Emergence
    published_skills: int
    rising: Emergence
    single_data: tuple[Emergence, ...]
    data_sizes: tuple[Emergence, ...]
    single_widths: Widths
    widths: Widths
    scaling: tuple[Emergence, ...]
    linear: tuple[LinearSkills, ...]

    @property
    def data(self) -> str:
        return "sparse parity"

    def describe(self) -> str:
        return (
            "two-layer ReLU networks on multitask sparse parity (skills in stages, one-skill "
            "calibrations, data sets and widths of several sizes, many skills for the exponent)"
        )

    def roles(self) -> tuple[Experiment, ...]:
        return (
            *self.calibrations, self.staged, self.published, self.rising, *self.single_data,
            *self.data_sizes, self.single_widths, self.widths, *self.linear, *self.scaling,
        )  # fmt: skip

    def study(self, size: str, seeds: int, runs: Iterable[Run]) -> Study:
        return study(Results.of(self, size, seeds, runs))


def plan(size: str) -> Plan:
    """Return the experiments of a size: ``"smoke"``, ``"laptop"`` or ``"paper"``.

    * smoke: three skills, narrow networks, seconds;
    * laptop: five skills of two bits, width 200;
    * paper: five skills of three bits, width 1000, and the scaling runs at three exponents.
    """
    staged = Emergence()
    narrow = replace(staged, width=100)
    match size:
        case "smoke":
            staged = replace(narrow, n_skills=3, batch=250, steps=3500, points=100, samples=500)
            return _plan(
                staged, replace(staged, n_skills=1, skill_bits=3, steps=2500), 1,
                draws=2, single_sizes=(60, 120, 240), data_skills=2, sizes=(100, 250, 1000),
                widths=Widths(widths=(2, 4, 8), nets=4, steps=1000),
                scaling=replace(staged, n_skills=8, steps=11_000), alphas=(0.6,),
            )  # fmt: skip
        case "laptop":
            published = replace(staged, skill_bits=3, width=300, steps=6000)
            return _plan(
                staged, published, 2,
                draws=4, single_sizes=(40, 60, 90, 130, 200, 300), data_skills=3,
                sizes=(100, 200, 400, 800, 1600), widths=Widths(),
                scaling=replace(staged, n_skills=12, steps=30_000), alphas=(0.6,),
            )  # fmt: skip
        case "paper":
            published = replace(staged, skill_bits=3, width=1000, steps=21_000, points=200)
            return _plan(
                published, published, 5,
                draws=4, single_sizes=(40, 60, 90, 130, 200, 300), data_skills=3,
                sizes=(100, 200, 400, 800, 1600, 3200), widths=Widths(nets=16),
                scaling=replace(staged, n_skills=12, steps=30_000), alphas=(0.3, 0.6, 0.9),
            )  # fmt: skip
        case _:
            raise ValueError(nearest(size, SIZES, kind="size"))


def _plan(
    staged: Emergence,
    published: Emergence,
    published_skills: int,
    *,
    draws: int,
    single_sizes: tuple[int, ...],
    data_skills: int,
    sizes: tuple[int, ...],
    widths: Widths,
    scaling: Emergence,
    alphas: tuple[float, ...],
) -> Plan:
    single = replace(staged, n_skills=1, steps=staged.steps // 4, points=80)
    fixed = replace(staged, skill_bits=2, width=100, steps=12_000, points=60)
    scalings = tuple(replace(scaling, alpha=alpha) for alpha in alphas)
    return Plan(
        staged=staged,
        calibrations=tuple(replace(single, draw=draw) for draw in range(draws)),
        published=published,
        published_skills=published_skills,
        rising=replace(staged, target_exponent=-0.3, steps=staged.steps * 5 // 8),
        single_data=tuple(replace(fixed, n_skills=1, data_size=size) for size in single_sizes),
        data_sizes=tuple(replace(fixed, n_skills=data_skills, data_size=size) for size in sizes),
        single_widths=widths,
        widths=replace(widths, n_skills=2),
        scaling=scalings,
        linear=tuple(LinearSkills(alpha=one.alpha, batch=one.batch) for one in scalings),
    )
