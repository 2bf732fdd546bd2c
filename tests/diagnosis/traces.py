"""Traces as a probe fills them, made up for the rules."""

import numpy as np

from layerwise.trace import Provenance, Trace

SGD = {"kind": "SGD", "momentum": 0.0, "decoupled": True, "uniform": True}
ADAMW = {"kind": "AdamW", "momentum": 0.9, "decoupled": True, "uniform": True}
MEASURED = (
    "weight_to_target", "gamma_plus", "norm/", "motion/", "balance", "rank/", "feature_distance/",
    "kernel_", "nc1/", "nc3/", "learning_rate", "weight_decay", "decay_budget",
)  # fmt: skip


def made(series, clock=None, **config):
    """Return a trace of these series; a number stands for the whole series."""
    lengths = [len(v) for v in series.values() if np.ndim(v)]
    clock = np.arange(lengths[0] if lengths else 2) * 100 if clock is None else np.asarray(clock)
    full = {
        f"layerwise/{name}" if name.startswith(MEASURED) else name: np.broadcast_to(
            np.asarray(values, dtype=float), clock.shape
        )
        for name, values in series.items()
    }
    return Trace(clock, full, Provenance("probe", "optimiser steps", config=config))
