"""A curve of many looks, drawn with fewer points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from layerwise.phenomena.panel import Curve
from layerwise.trace import Trace

__all__ = ["thinned"]


def thinned(curve: Curve, most: int, *, log: bool = False) -> Curve:
    """Return a curve of at most `most` points, evenly spread over the axis of the clock.

    Looks that lie together become their median, at their median instant. A curve of one trace gets
    their least and greatest values too, and so is drawn with a band. A curve of `most` looks or
    fewer stays as it is.

    Parameters
    ----------
    curve
        Its series are measured at every look.
    most
        Number of equal parts of the axis.
    log
        Whether the clock is logarithmic, in units of the first step between two looks.

    Examples
    --------
    >>> from layerwise.trace import Provenance
    >>> origin = Provenance("probe", "optimiser steps")
    >>> trace = Trace(range(6), {"loss": [5.0, 7.0, 6.0, 1.0, 3.0, 2.0]}, origin)
    >>> median, least, greatest = thinned(Curve("train", (trace,), "loss"), 2).traces
    >>> median["loss"], least["loss"], greatest["loss"]
    (array([6., 2.]), array([5., 1.]), array([7., 3.]))
    """
    parts = [_parts(trace, curve.quantity, most, log) for trace in curve.traces]
    traces = parts[0] if len(parts) == 1 else [medians for medians, *_ in parts]
    return replace(curve, traces=tuple(traces))


def _parts(trace: Trace, quantity: str, most: int, log: bool) -> list[Trace]:
    """Return medians, least and greatest values; the trace alone if its looks are few."""
    steps, values = trace.clock.astype(float), trace[quantity]
    if len(steps) <= most:
        return [trace]
    place = (steps - steps[0]) / (steps[1] - steps[0])
    place = np.log1p(place) if log else place
    part = np.minimum(np.floor(most * place / place[-1]), most - 1)
    begins = np.unique(part, return_index=True)[1]
    at, medians = (
        np.array([np.median(some) for some in np.split(every, begins[1:])])
        for every in (steps, values)
    )
    drawn = medians, np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    return [Trace(at, {quantity: each}, trace.provenance) for each in drawn]
