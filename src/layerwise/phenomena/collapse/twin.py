"""The exact model beside free features."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.collapse.experiment import LinearFeatures
from layerwise.theory import Features
from layerwise.theory.laws.features_modes import mode_starts
from layerwise.trace import Provenance, Trace, versions

__all__ = ["trace", "twin"]


def twin(experiment: LinearFeatures) -> Features:
    """Return the exact model of `experiment`, its modes as strong as those of its start."""
    return Features(
        len(experiment.n_per_class),
        experiment.n_per_class,
        experiment.dim,
        decay=experiment.decay,
        start=mode_starts(*experiment.layers(), experiment.labels),
    )


def trace(experiment: LinearFeatures, t: np.ndarray) -> Trace:
    """Return the exact ``w_c . h_c`` over time, as `experiment` measures them."""
    model = twin(experiment)
    origin = Provenance(
        "theory", "gradient-flow time", model.config(), experiment.seed, versions=versions()
    )
    strength = model.strengths(t) / np.sqrt(experiment.n_per_class)
    return Trace(t, {"strength": strength}, origin)
