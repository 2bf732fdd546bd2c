"""The exact models beside the networks: skills on the clock of SGD steps, data and width ramps."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.emergence.experiment import STEPS, Emergence, LinearSkills
from layerwise.theory import Skills, solve
from layerwise.trace import Provenance, Trace, versions

__all__ = ["PUBLISHED_DIVISOR", "divisor", "linear_twin", "trace", "twin"]

# arXiv 2404.17563: the strength at the start is weight_std^2/3.6, and a network of three-bit skills
# learns 22 times as slowly as the multilinear model (there written B^2 = 1/22).
START = 3.6
PUBLISHED_DIVISOR = 22.0


def start(experiment: Emergence) -> float:
    """Return the strength R_k(0) at which every skill starts."""
    return experiment.weight_std**2 / START


def divisor(experiment: Emergence, half_time: float) -> float:
    """Return the rate divisor that the half time of the first, or only, skill calibrates.

    ``kappa = t_half 4 lr S P_1 / ln c`` with ``c = S/R(0) - 1``.
    """
    return half_time / float(twin(experiment, 1.0).half_times(1))


def twin(experiment: Emergence, divisor: float) -> Skills:
    """Return the multilinear model of `experiment`; its time is in steps.

    A mean squared error without the factor 1/2 doubles the rate.
    """
    one = start(experiment)  # of every skill, whatever the size of its target
    return Skills(
        experiment.alpha,
        experiment.n_skills,
        experiment.target,
        start=np.full(experiment.n_skills, one) if experiment.target_exponent else one,
        rate=2 * experiment.learning_rate,
        target_exponent=experiment.target_exponent,
        rate_divisor=divisor,
    )


def linear_twin(experiment: Emergence | LinearSkills) -> Skills:
    """Return the exact linear model of the same skills; its time is in steps."""
    return Skills(
        experiment.alpha,
        experiment.n_skills,
        experiment.target,
        start=0.0,
        rate=2 * experiment.learning_rate,
        depth=1,
    )


def trace(model: Skills, steps: np.ndarray) -> Trace:
    """Return strengths R_k/S_k and the loss of `model` over `steps`, as a network's trace has."""
    solution = solve(model, steps)
    series = {"strength": solution["map"] / model.targets(model.ranks), "loss": solution["loss"]}
    return Trace(steps, series, Provenance("theory", STEPS, model.config(), versions=versions()))
