"""The finished runs of the plan, and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from layerwise.measures import crossing_time
from layerwise.phenomena import base
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.claim import slope
from layerwise.phenomena.emergence.experiment import Emergence, LinearSkills
from layerwise.phenomena.emergence.twin import divisor, linear_twin, twin
from layerwise.theory import scaling
from layerwise.trace import Trace

if TYPE_CHECKING:
    from layerwise.phenomena.emergence.plan import Plan

__all__ = ["Exponents", "Results"]

# First and last step of a fit, over the half times of the first and of the last skill. A linear
# model is half way with later skills too when it has half learned the last: its window ends early.
FIRST, LAST, LAST_LINEAR = 1.3, 0.9, 0.3


@dataclass(frozen=True)
class Exponents:
    """Exponents of the loss over time of one experiment, per seed.

    Attributes
    ----------
    alpha, theory
        Of the task, and the exponent -alpha/(alpha+1) that follows.
    raw, completed
        Slopes of the loss as it is, and with that of the skills never asked for; shape (seeds,).
    windows
        First and last step of the fits, shape (seeds, 2); NaN where no window shows an exponent.
    """

    alpha: float
    theory: float
    raw: np.ndarray
    completed: np.ndarray
    windows: np.ndarray


@dataclass(frozen=True)
class Results(base.Results):
    """The runs of a plan, and what is read off them; arrays have the seeds first."""

    phenomenon: ClassVar[str] = "emergence"

    plan: Plan

    @property
    def data(self) -> str:
        return str(self.traces(self.plan.staged)[0].provenance.data)

    def crossings(self, experiment: Experiment, share: float = 0.5) -> np.ndarray:
        """Return the steps at which R_k/S_k crosses `share`, shape (seeds, skills)."""
        return np.array([
            crossing_time(trace.clock, trace["strength"], share)
            for trace in self.traces(experiment)
        ])  # fmt: skip

    def final(self, experiment: Experiment) -> np.ndarray:
        """Return the last strengths, shape (seeds, skills)."""
        return np.array([trace["strength"][-1] for trace in self.traces(experiment)])

    @cached_property
    def divisors(self) -> np.ndarray:
        """The rate divisor per seed, each the mean of the draws of a single-skill network."""
        draws = self.plan.calibrations
        halves = np.mean([self.crossings(one)[:, 0] for one in draws], axis=0)
        return np.array([divisor(draws[0], half) for half in halves])

    def curve(self, experiments: Sequence[Emergence]) -> np.ndarray:
        """Return the last strengths of several experiments, shape (seeds, experiments, skills)."""
        return np.stack([self.final(one) for one in experiments], axis=1)

    def half_data(self, experiments: Sequence[Emergence]) -> np.ndarray:
        """Return the data size at which each skill is half learned, shape (seeds, skills).

        Interpolated in the logarithm of the size; infinite where half is not reached.
        """
        sizes = np.log([one.data_size for one in experiments])
        halves = [crossing_time(sizes, curve, 0.5) for curve in self.curve(experiments)]
        return np.exp(np.array(halves))

    @cached_property
    def per_skill(self) -> np.ndarray:
        """Neurons N_c that a skill takes per seed: twice the width at which it is half learned."""
        return np.array([
            2 * float(crossing_time(np.append(0, one.clock), np.append(0, one["strength"]), 0.5))
            for one in self.traces(self.plan.single_widths)
        ])  # fmt: skip

    def exponents(self, experiment: Emergence | LinearSkills) -> Exponents:
        """Return the exponents fitted from after the first skill to before the last."""
        rows = [_fitted(experiment, trace) for trace in self.traces(experiment)]
        raw, completed, *window = np.array(rows).T
        alpha = experiment.alpha
        return Exponents(alpha, -alpha / (alpha + 1), raw, completed, np.transpose(window))

    def slopes(self, experiment: Experiment) -> np.ndarray:
        """Return d ln(half time) / d ln(rank) by least squares, per seed."""
        halves = self.crossings(experiment)
        ranks = np.log(np.arange(1, halves.shape[1] + 1))
        return np.array([slope(ranks, np.log(row)) for row in halves])


def _fitted(experiment: Emergence | LinearSkills, trace: Trace) -> tuple[float, ...]:
    """Return raw and completed slope, and the window of the fits."""
    first = float(crossing_time(trace.clock, trace["strength"][:, 0], 0.5))
    if not math.isfinite(first):
        return (math.nan,) * 4
    if isinstance(experiment, LinearSkills):
        skills, share = linear_twin(experiment), LAST_LINEAR
    else:
        skills, share = twin(experiment, divisor(experiment, first)), LAST
    last = share * float(skills.half_times(skills.n_skills))
    window = FIRST * first, min(last, float(trace.clock[-1]))
    try:
        raw, completed = (
            scaling.fit_exponent(trace.clock, trace["loss"], window, skills, raw=raw).slope
            for raw in (True, False)
        )
    except ValueError:  # the window is too small to show an exponent
        return (math.nan,) * 4
    return raw, completed, *window
