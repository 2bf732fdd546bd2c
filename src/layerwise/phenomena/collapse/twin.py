"""The exact modes beside free features: one product of two layers for each class."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.collapse.experiment import LinearFeatures
from layerwise.theory import Diagonal, solve, time_to
from layerwise.trace import Provenance, Trace, versions

__all__ = ["half_times", "limits", "offset", "trace"]


def modes(experiment: LinearFeatures) -> Diagonal:
    """Return the modes of the classes without decay, each with two equal layers.

    Class c is a mode of strength ``sqrt(n_c)`` and rate 1/N. From small random layers only what
    they have in common grows: ``z0 = |(w_c + H q_c)/2|^2``, q_c its normalised label vector.
    """
    W, H = experiment.layers()
    labels, counts = experiment.labels, np.array(experiment.n_per_class)
    Q = (labels[:, None] == np.arange(len(counts))) / np.sqrt(counts)
    common = np.linalg.norm(W + (H @ Q).T, axis=1) / 2
    return Diagonal(np.sqrt(counts), common, common, rate=1 / len(labels))


def half_times(experiment: LinearFeatures) -> np.ndarray:
    """Return when the mode of each class is half learned, shape (classes,)."""
    model = modes(experiment)
    return np.asarray(time_to(model, level=model.target / 2))


def limits(experiment: LinearFeatures) -> np.ndarray:
    """Return w_c . h_c at the optimum of equal decay l: ``max(sqrt(n_c) - N l, 0)/sqrt(n_c)``."""
    strengths = np.sqrt(experiment.n_per_class)
    return np.maximum(strengths - sum(experiment.n_per_class) * experiment.decay[0], 0) / strengths


def offset(classes: int) -> float:
    """Return NC3 at the optimum of squared error without bias, ``2 - 2 sqrt((C-1)/C)``."""
    return 2 - 2 * float(np.sqrt((classes - 1) / classes))


def trace(experiment: LinearFeatures, t: np.ndarray) -> Trace:
    """Return the exact ``w_c . h_c`` over time, as `experiment` measures them."""
    model = modes(experiment)
    series = {"strength": solve(model, t)["map"] / model.target}
    origin = Provenance(
        "theory", "gradient-flow time", model.config(), experiment.seed, versions=versions()
    )
    return Trace(t, series, origin)
