"""A panel of curves, drawn with matplotlib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerwise.show.band import Band, band
from layerwise.show.canvas import (
    DASHES,
    INK,
    MARKERS,
    PALETTE,
    canvas,
    dress,
    legend,
    log_ticks,
    plain,
    start_ticks,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from layerwise.phenomena.panel import Curve, Mark, Panel

__all__ = ["curves_on", "draw_curves", "visible"]

Floats = npt.NDArray[np.float64]

MANY_SETTINGS = 10  # more of them get no tick of their own
FEW_TWINS = 2  # more theory curves beside measured ones are not listed one by one
DOTS = ((1.0, 1.0), (1.0, 2.5), (4.0, 1.5, 1.0, 1.5))  # of marks


def draw_curves(panel: Panel) -> Figure:
    """Return `panel` as a small figure; its title and caption are left to the page around it.

    Drawn and refused as by `curves_on`.
    """
    with styled():
        figure = canvas()
        legend(figure, *curves_on(figure.add_subplot(), panel))
    return figure


def curves_on(ax: Axes, panel: Panel) -> tuple[list[Any], list[str]]:
    """Draw `panel` on `ax`, and return what a legend shows of it and its texts.

    Several seeds are drawn as their median and a band from the least to the greatest, see `band`.
    A theory curve is dashed and takes the colour of the measured curve with the same stem (the
    label up to the first comma, colon or bracket), or of the only other curve. What is not positive
    has no place on a logarithmic axis: a clock that begins at 0 loses its start, unless the panel
    says from where on it is logarithmic. A curve without any value is a result too: the legend says
    so. A mark is a dotted line, its interval a band behind the curves.

    Raises
    ------
    KeyError
        If a trace lacks the quantity of its curve; the known ones are named.
    ValueError
        If there is no curve, or a series has components.
    """
    if not panel.curves:
        raise ValueError(f"panel {panel.title!r} has no curve")
    bands = [_band_of(curve, panel) for curve in panel.curves]
    looks = _looks(panel.curves)
    shown = [
        _draw_curve(ax, curve, seeds, look)
        for curve, seeds, look in zip(panel.curves, bands, looks, strict=True)
    ]
    events = [_draw_mark(ax, mark, dots) for mark, dots in zip(panel.marks, cycle(DOTS))]
    _dress(ax, panel, bands)
    entries, texts = _entries(panel.curves, bands, shown)
    return [*entries, *events], [*texts, *(mark.label for mark in panel.marks)]


def visible(clock: Any, values: Any, *, log: bool) -> tuple[Any, Any]:
    """Return the instants that have a place on the axis, and their values."""
    keep = clock > 0 if log else np.full(len(clock), True)
    return clock[keep], values[keep]


def _band_of(curve: Curve, panel: Panel) -> Band:
    seeds = band(curve.traces, curve.quantity, points=curve.points)
    columns = np.stack([seeds.median, seeds.low, seeds.high], axis=1)
    x, columns = visible(seeds.x, columns, log=panel.log_x and panel.log_from is None)
    if panel.log_y:  # what is not positive has no place either
        x, columns = x[columns[:, 0] > 0], columns[columns[:, 0] > 0]
        columns = np.where(columns > 0, columns, np.nan)
    return Band(x, *columns.T)


def _stem(label: str) -> str:
    return re.split(r"[,:(\[]", label, maxsplit=1)[0].strip()


def _twins(curves: Sequence[Curve]) -> list[bool]:
    """Return which curves are the theory of a measured one."""
    measured = {curve.label for curve in curves if not curve.theory}
    return [curve.theory and curve.label in measured for curve in curves]


def _looks(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return colour, and mark or dashes, of each curve."""
    stems = [_stem(curve.label) for curve in curves if not curve.theory]
    measured, theories, fresh = count(), count(), count(len(stems))
    together = sum(_twins(curves)) > FEW_TWINS
    looks = []
    for curve in curves:
        if not curve.theory:
            hue = next(measured)
            look: dict[str, Any] = {"marker": MARKERS[hue % len(MARKERS)]}
        else:
            pair = len(curves) == 2 and len(stems) == 1
            stem = stems[0] if pair else _stem(curve.label)
            hue = stems.index(stem) if stem in stems else next(fresh)
            dashes = 0 if together else next(theories) % len(DASHES)
            look = {"dashes": DASHES[dashes], "zorder": 3}
        looks.append(look | {"color": PALETTE[hue % len(PALETTE)]})
    return looks


def _draw_curve(ax: Axes, curve: Curve, seeds: Band, look: dict[str, Any]) -> Any:
    """Draw `curve` and return what the legend shows of it."""
    look = look | {"label": curve.label, "linewidth": 1.8, "markersize": 5}
    if curve.points:
        look |= {"markersize": 7, "capsize": 4}
        look |= {"marker": "x"} if curve.theory else {"linestyle": "none"}
        spread = np.stack([seeds.median - seeds.low, seeds.high - seeds.median])
        return ax.errorbar(seeds.x, seeds.median, spread, **look)
    ax.fill_between(seeds.x, seeds.low, seeds.high, color=look["color"], alpha=0.22, linewidth=0)
    # A few marks along a line, begun at different places, tell it from the others without colour.
    start = 0.04 + 0.07 * (len(ax.lines) % 4)
    return ax.plot(seeds.x, seeds.median, markevery=(start, 0.28), **look)[0]


def _draw_mark(ax: Axes, mark: Mark, dots: tuple[float, ...]) -> Any:
    """Draw `mark` and return what the legend shows of it."""
    if mark.low is not None and mark.high is not None:
        ax.axvspan(mark.low, mark.high, color=INK, alpha=0.1, linewidth=0, zorder=0.5)
    return ax.axvline(mark.at, color=INK, linewidth=1.6, linestyle=(0, dots))


def _dress(ax: Axes, panel: Panel, bands: Sequence[Band]) -> None:
    some = any(len(seeds.x) for seeds in bands)  # an empty axis has no logarithm
    log_x, log_y = panel.log_x and some, panel.log_y and some
    if log_x and panel.log_from is not None:
        ax.set_xscale("symlog", linthresh=panel.log_from, linscale=0.4)
    elif log_x:
        ax.set_xscale("log")
    settings = [b.x for b, curve in zip(bands, panel.curves, strict=True) if curve.points]
    if log_y:
        ax.set_yscale("log")
    if panel.x_range is not None:
        ax.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        ax.set_ylim(*panel.y_range)
    distinct = np.unique(np.concatenate(settings)) if settings else np.empty(0)
    if 0 < len(distinct) <= MANY_SETTINGS:
        _setting_ticks(ax, distinct, log=log_x)
    elif log_x and panel.log_from is not None:
        ends = [seeds.x[-1] for seeds in bands if len(seeds.x)]
        ends += [mark.at if mark.high is None else mark.high for mark in panel.marks]
        start_ticks(ax.xaxis, panel.log_from, max(ends))
    elif log_x:
        log_ticks(ax.xaxis, ax.get_xlim())
    if log_y:
        log_ticks(ax.yaxis, ax.get_ylim())
    dress(ax, panel.x, panel.y)
    ax.grid(color=INK, alpha=0.13, linewidth=0.8)
    ax.set_axisbelow(True)


def _setting_ticks(ax: Axes, x: Floats, *, log: bool) -> None:
    """Put ticks at the settings that were run, leaving out those too close to the one before."""
    from matplotlib import ticker

    place = np.log(x) if log else x
    ticks = [0]
    for i in range(1, len(x)):
        if place[i] - place[ticks[-1]] > 0.1 * np.ptp(place):
            ticks.append(i)
    ax.set_xticks(x[ticks], [f"{value:.3g}" if value < 1e3 else plain(value) for value in x[ticks]])
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _entries(
    curves: Sequence[Curve], bands: Sequence[Band], marks: Sequence[Any]
) -> tuple[list[Any], list[str]]:
    """Return what the legend shows, and its texts; many twins share one entry."""
    from matplotlib.lines import Line2D

    twins = _twins(curves)
    together = sum(twins) > FEW_TWINS
    entries = [
        (mark, curve.label + ", theory" * twin + " (no value)" * (len(seeds.x) == 0))
        for curve, seeds, mark, twin in zip(curves, bands, marks, twins, strict=True)
        if not (together and twin)
    ]
    if together:
        dashed = Line2D([], [], color=INK, dashes=DASHES[0], linewidth=1.8)
        entries.append((dashed, "theory, in their colours"))
    return [mark for mark, _ in entries], [text for _, text in entries]
