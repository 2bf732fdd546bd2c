"""Diverged: the weights are no numbers any more."""

from __future__ import annotations

import math

from layerwise.diagnosis.evidence import all_of, at_every_look, config, curve, last
from layerwise.diagnosis.finding import Finding, NotJudged, Premise, counted
from layerwise.trace import Trace

__all__ = ["diverged"]


def diverged(trace: Trace) -> Finding | None:
    """Find weights that were finite and are not at the last look."""
    norms = all_of(trace, "norm")
    if not norms:
        raise NotJudged("needs the series norm/L")
    lost = [
        layer for layer, name in norms.items() if not math.isfinite(at_every_look(trace, name)[-1])
    ]
    if not lost:
        return None
    until = max(float(curve(trace, norms[layer])[0][-1]) for layer in lost)
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
