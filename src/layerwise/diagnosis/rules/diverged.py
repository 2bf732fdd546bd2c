"""Diverged: the weights are no numbers any more."""

from __future__ import annotations

import math

import numpy as np

from layerwise.diagnosis.evidence import all_of, config, last
from layerwise.diagnosis.finding import Finding, NotJudged, Premise, counted
from layerwise.trace import Trace

__all__ = ["diverged"]


def diverged(trace: Trace) -> Finding | None:
    """Find weights that were finite and are not at the last look."""
    norms = all_of(trace, "norm")
    if not norms:
        raise NotJudged("needs the series norm/L")
    full = {layer: next(n for n in trace if n.endswith(name)) for layer, name in norms.items()}
    lost = [layer for layer, name in full.items() if not math.isfinite(trace[name][-1])]
    if not lost:
        return None
    seen = np.isfinite(trace[full[lost[0]]])
    until = float(trace.clock[seen][-1])
    failed = [note for note in config(trace, "notes") or () if note.startswith("norms")]
    rate = last(trace, "learning_rate")
    return Finding(
        "diverged",
        "fault",
        f"The weights of {', '.join(lost)} are not finite after step {counted(until)}: take "
        "smaller steps, or look for what is divided by zero.",
        {"last_finite_step": until, "learning_rate": rate},
        (
            Premise(
                "norms are still measured",
                not failed,
                failed[0] if failed else "no measure of them has failed",
            ),
        ),
    )
