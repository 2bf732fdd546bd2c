"""Panel, Map, Tiles, Table: what the report shows of a phenomenon, and small traces to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerwise.trace import Provenance, Trace

__all__ = [
    "Boundary",
    "Curve",
    "Map",
    "Mark",
    "Panel",
    "Shown",
    "Table",
    "Tiles",
    "component",
    "points",
    "setting",
]


@dataclass(frozen=True)
class Curve:
    """A line of a panel: one quantity of one trace per seed (a band where there are several)."""

    label: str
    traces: tuple[Trace, ...]
    quantity: str
    theory: bool = False  # drawn dashed, beside the measured line of the same colour
    points: bool = False  # drawn as points: the clock is then a setting, not a time


@dataclass(frozen=True)
class Mark:
    """An instant on the clock of a panel, with the ends of its interval if it has one."""

    label: str
    at: float
    low: float | None = None
    high: float | None = None


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
    log_from: float | None = None  # the clock is linear up to here: a start at 0 has a place then
    marks: tuple[Mark, ...] = ()

    @property
    def alt(self) -> str:
        """What a reader hears who cannot see it."""
        lines = ", ".join(one.label for one in (*self.curves, *self.marks))
        return f"{self.title}: {self.y} over {self.x}; {lines}. {self.caption}"


@dataclass(frozen=True, eq=False)
class Boundary:
    """A line over a map: where theory sees one side end and the other begin."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Map:
    """A small figure: one number over two settings, as colour.

    Attributes
    ----------
    columns, rows
        The settings along x and y, increasing, shapes (n,) and (m,).
    values
        Shape (m, n); NaN where there is none.
    colour
        What the colour says.
    levels
        Values along which contours are drawn.
    limits
        Ends of the colours; those of the values by default.
    """

    title: str
    caption: str
    columns: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    x: str
    y: str
    colour: str
    log_x: bool = False
    levels: tuple[float, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def alt(self) -> str:
        """What a reader hears who cannot see it."""
        return f"{self.title}: {self.colour} over {self.x} and {self.y}. {self.caption}"


@dataclass(frozen=True, eq=False)
class Tiles:
    """A small figure: rows of small images, each with the label of its row.

    Every image (h, w) is drawn from minus to plus its own largest value.
    """

    title: str
    caption: str
    rows: tuple[tuple[str, np.ndarray], ...]  # label, images (n, h, w)

    @property
    def alt(self) -> str:
        """What a reader hears who cannot see it."""
        return f"{self.title}: {', '.join(label for label, _ in self.rows)}. {self.caption}"


Shown = Panel | Map | Tiles


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
