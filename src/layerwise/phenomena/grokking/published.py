"""The accuracies that figure 8 of arXiv 2502.21009 shows, and ours at the same epochs.

They were read off the vector graphics, to 0.003; each panel is one run. An epoch is measured before
its updates: epoch 1 is the untrained network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from layerwise.phenomena.grokking.experiment import Grokking
from layerwise.phenomena.grokking.results import Results

__all__ = ["EPOCHS", "PUBLISHED", "at_epochs", "steps_per_epoch", "within"]

EPOCHS: Final = (1, 2, 5, 10, 20, 100, 500, 1000)
PUBLISHED: Final[Mapping[str, tuple[float | None, ...]]] = {  # test accuracy
    "default": (0.126, 0.202, 0.289, 0.321, 0.32, 0.334, 0.507, 0.889),
    "weight": (0.096, 0.800, 0.843, 0.859, 0.897, 0.905, None, 0.908),
    "target": (0.128, 0.598, 0.812, 0.848, 0.863, 0.864, None, 0.903),
    "input": (0.111, 0.404, 0.718, 0.814, 0.851, 0.903, None, None),
    "output": (0.136, 0.608, 0.814, 0.850, 0.869, 0.909, None, 0.920),
}


def at_epochs(results: Results, experiment: Grokking) -> np.ndarray:
    """Return the test accuracy at `EPOCHS`, shape (seeds, epochs), between the steps looked at."""
    steps = steps_per_epoch(experiment) * (np.array(EPOCHS) - 1)
    return np.stack([
        np.interp(steps, trace.clock, trace["test_accuracy"], right=math.nan)
        for trace in results.traces(experiment)
    ])  # fmt: skip


def within(results: Results, experiment: Grokking, level: float) -> np.ndarray:
    """Return the epoch at which a test accuracy is reached, shape (seeds,); infinity if never."""
    per = steps_per_epoch(experiment)
    return 1 + results.reached(experiment, "test_accuracy", level) / per


def steps_per_epoch(experiment: Grokking) -> int:
    """Return the updates of an epoch."""
    return math.ceil(experiment.train_size / experiment.batch)
