"""Several seeds of one curve on a common grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise.trace import Trace

__all__ = ["Band", "band"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Band:
    """Several seeds on a common grid: their median, least and greatest value."""

    x: Floats
    median: Floats
    low: Floats  # NaN where fewer than two seeds have a value
    high: Floats


def band(traces: Sequence[Trace], quantity: str, *, points: bool = False) -> Band:
    """Return median, least and greatest value of the series `quantity` over `traces`.

    The grid is the union of the clocks. Between its own instants a trace is interpolated, unless
    they are `points`; outside them it has no value: where traces end at different instants, the
    median is that of those which go on, and the band ends where a single one is left.

    Examples
    --------
    >>> from layerwise.trace import Provenance
    >>> origin = Provenance("network", "steps")
    >>> short = Trace([0, 1], {"loss": [1.0, 3.0]}, origin)
    >>> long = Trace([0, 2], {"loss": [2.0, 2.0]}, origin)
    >>> both = band([short, long], "loss")
    >>> both.median, both.high
    (array([1.5, 2.5, 2. ]), array([ 2.,  3., nan]))
    """
    knots, grid = [], np.empty(0)
    for trace in traces:
        values = trace[quantity]
        if values.ndim != 1:
            raise ValueError(f"a line needs shape (T,), {quantity!r} has {values.shape}")
        known = np.isfinite(values)  # what was not measured is no knot
        if known.any():
            knots.append((trace.clock[known].astype(float), values[known].astype(float)))
            grid = np.union1d(grid, knots[-1][0])
    if not knots:
        return Band(grid, grid, grid, grid)
    values = np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in knots])
    if points:
        values[~np.stack([np.isin(grid, x) for x, _ in knots])] = np.nan
    several = np.isfinite(values).sum(axis=0) >= 2
    low = np.where(several, np.nanmin(values, axis=0), np.nan)
    high = np.where(several, np.nanmax(values, axis=0), np.nan)
    return Band(grid, np.nanmedian(values, axis=0), low, high)
