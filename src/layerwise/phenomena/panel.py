"""Curve, Panel, Table: what the report shows of a phenomenon, and small traces to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerwise.trace import Provenance, Trace

__all__ = ["Curve", "Panel", "Table", "component", "points", "setting"]


@dataclass(frozen=True)
class Curve:
    """A line of a panel: one quantity of one trace per seed (a band where there are several)."""

    label: str
    traces: tuple[Trace, ...]
    quantity: str
    theory: bool = False  # drawn dashed, beside the measured line of the same colour
    points: bool = False  # drawn as points: the clock is then a setting, not a time


@dataclass(frozen=True)
class Panel:
    """A small figure: curves on one pair of axes, and the sentence that says what to see."""

    title: str
    caption: str
    curves: tuple[Curve, ...]
    x: str
    y: str
    log_x: bool = True
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Table:
    """A small table of the report: a header, rows of text, and the sentence below."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def setting(settings: np.ndarray, values: np.ndarray, source: str = "network") -> Trace:
    """Return `values` over settings of the experiments as a trace; infinite ones are missing."""
    kept = np.where(np.isfinite(values), values, np.nan)
    return Trace(settings, {"value": kept}, Provenance(source, "setting"))


def points(label: str, settings: np.ndarray, values: np.ndarray) -> Curve:
    """Return the points of a measurement (seeds, settings) as one curve."""
    return Curve(label, tuple(setting(settings, row) for row in values), "value", points=True)


def component(traces: tuple[Trace, ...], name: str, k: int) -> tuple[Trace, ...]:
    """Return the k-th component of a series (T, n) of each trace as a series (T,)."""
    return tuple(Trace(one.clock, {name: one[name][:, k]}, one.provenance) for one in traces)
