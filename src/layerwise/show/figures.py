"""Traces drawn with matplotlib: `plot` for a reader's own, `draw` for a panel of the report.

Colours are those of Okabe and Ito, told apart by readers with any kind of colour vision; marks and
dashes tell the lines apart once more, without colour.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from html import escape
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerwise.show.band import Band, band
from layerwise.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from layerwise.phenomena.panel import Curve, Panel

__all__ = ["draw", "plot", "svg"]

Floats = npt.NDArray[np.float64]

# blue, vermilion, green, purple, orange, sky blue
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MANY_SETTINGS = 10  # more of them get no tick of their own
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((4.0, 1.6), (2.4, 1.3), (7.0, 2.2), (1.0, 1.2))
INK = "#1f2328"  # axes and text; the report replaces it by the colour of the page's text
FEW_TWINS = 2  # more theory curves beside measured ones are not listed one by one
HANDFUL = 6  # components of one series that are labelled one by one

SIZE = (4.2, 3.1)  # inches; 10 points are then legible on a screen 360 pixels wide
SMALL, TEXT = 10, 11  # points
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "svg.fonttype": "path",
    "svg.hashsalt": "layerwise",
}


def plot(
    *things: Any,
    quantity: str | None = None,
    ax: Axes | None = None,
    log_x: bool = False,
    label: str | Sequence[str] | None = None,
) -> Axes:
    """Draw one quantity of some traces over their clock; return the axes.

    Parameters
    ----------
    things
        Traces, or whatever has one as `trace` or `trace()`: a solution, a run, a probe.
    quantity
        Name of the series; by default the only one, else ``"loss"``.
    ax
        Axes to draw on; by default those of a new figure.
    log_x
        Use a logarithmic clock. Instants that are not positive, such as the start at 0, have no
        place on it and are left out.
    label
        Label of the thing, or one for each.

    Notes
    -----
    Theory is dashed. A series of shape (T, ...) gives one line for each component: labelled ones
    if they are few and of a single thing, else thin ones of one colour.

    Raises
    ------
    KeyError
        If a trace has no such quantity; the known ones are named.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from layerwise.trace import Provenance, Trace
    >>> trace = Trace([0, 1, 2], {"loss": [1.0, 0.5, 0.25]}, Provenance("theory", "time"))
    >>> ax = plot(trace, ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.lines[0].get_linestyle()
    ('time', 'loss', '--')
    """
    traces = [_trace_of(thing) for thing in things]
    if not traces:
        raise ValueError("there is nothing to plot: give at least one trace")
    labels = _labels(traces, label)
    name = _default_quantity(traces[0]) if quantity is None else quantity
    series = [trace[name] for trace in traces]  # an unknown name fails before a figure is made
    _matplotlib()
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(layout="constrained").add_subplot()
    if log_x:
        ax.set_xscale("log")
    drawn = len(ax.lines)
    for i, (trace, text) in enumerate(zip(traces, labels, strict=True)):
        clock, values = _visible(trace.clock, series[i], log=ax.get_xscale() == "log")
        if not len(clock):
            raise ValueError(f"a logarithmic clock needs instants above 0, not {trace.clock}")
        parts = values.reshape(len(clock), -1)
        few = len(traces) == 1 and 1 < parts.shape[1] <= HANDFUL
        for k, index in enumerate(np.ndindex(*values.shape[1:])):
            ax.plot(
                clock,
                parts[:, k],
                color=PALETTE[(drawn + i + k * few) % len(PALETTE)],
                linestyle="--" if trace.provenance.source == "theory" else "-",
                linewidth=1.6 if few or parts.shape[1] == 1 else 0.7,
                label=f"{text} {list(index)}" if few else text if k == 0 else "_nolegend_",
            )
    # Clocks with different units may share the axes, but the reader must see that they differ.
    clocks = dict.fromkeys(trace.provenance.clock for trace in traces)
    ax.set_xlabel(" | ".join(clocks))
    ax.set_ylabel(name)
    if len(ax.lines) > 1 or label is not None:
        ax.legend()
    return ax


def draw(panel: Panel) -> Figure:
    """Return `panel` as a small figure; its title and caption are left to the page around it.

    Several seeds are drawn as their median and a band from the least to the greatest, see `band`.
    A theory curve is dashed and takes the colour of the measured curve with the same stem (the
    label up to the first comma, colon or bracket), or of the only other curve. A clock that begins
    at 0 loses its start on a logarithmic axis. A curve without any value is a result too: the
    legend says so.

    Raises
    ------
    KeyError
        If a trace lacks the quantity of its curve; the known ones are named.
    ValueError
        If there is no curve, or a series has components.
    """
    if not panel.curves:
        raise ValueError(f"panel {panel.title!r} has no curve")
    bands = [_band_of(curve, log=panel.log_x) for curve in panel.curves]
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        figure.patch.set_visible(False)
        ax = figure.add_subplot()
        ax.patch.set_visible(False)
        looks = _looks(panel.curves)
        marks = [
            _draw_curve(ax, curve, seeds, look)
            for curve, seeds, look in zip(panel.curves, bands, looks, strict=True)
        ]
        _dress(ax, panel, bands)
        _legend(figure, *_entries(panel.curves, bands, marks))
    return figure


def svg(figure: Figure, *, prefix: str, alt: str) -> str:
    """Return `figure` as an SVG element for use inside an HTML page.

    Every id begins with `prefix`, so that several figures can stand on one page; `alt` is what a
    screen reader says; axes and text take the colour of the page's text. The same figure gives the
    same text.
    """
    buffer = io.StringIO()
    with _matplotlib().rc_context(STYLE):
        figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"\n\s*", "\n", text).replace(INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'layerwise[plot]'") from None
    return matplotlib


def _trace_of(thing: Any) -> Trace:
    trace = thing if isinstance(thing, Trace) else getattr(thing, "trace", None)
    if callable(trace):
        trace = trace()
    if not isinstance(trace, Trace):
        raise TypeError(f"{type(thing).__name__} is no Trace and has none as .trace or .trace()")
    return trace


def _labels(traces: Sequence[Trace], label: str | Sequence[str] | None) -> list[str]:
    if label is None:
        origins = [t.provenance for t in traces]
        labels = [o.source if o.seed is None else f"{o.source}, seed {o.seed}" for o in origins]
        twice = {text for text in labels if labels.count(text) > 1}
        return [f"{t} ({i})" if t in twice else t for i, t in enumerate(labels, start=1)]
    labels = [label] if isinstance(label, str) else list(label)
    if len(labels) != len(traces):
        raise ValueError(f"{len(labels)} labels for {len(traces)} traces")
    return labels


def _default_quantity(trace: Trace) -> str:
    names = list(trace)
    if len(names) == 1:
        return names[0]
    if "loss" in names:
        return "loss"
    raise ValueError(f"which quantity? Say quantity=...; known: {', '.join(sorted(names))}")


def _visible(clock: Any, values: Any, *, log: bool) -> tuple[Any, Any]:
    keep = clock > 0 if log else np.full(len(clock), True)
    return clock[keep], values[keep]


def _band_of(curve: Curve, *, log: bool) -> Band:
    seeds = band(curve.traces, curve.quantity, points=curve.points)
    x, columns = _visible(seeds.x, np.stack([seeds.median, seeds.low, seeds.high], axis=1), log=log)
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


def _dress(ax: Axes, panel: Panel, bands: Sequence[Band]) -> None:
    if panel.log_x:
        ax.set_xscale("log")
    settings = [b.x for b, curve in zip(bands, panel.curves, strict=True) if curve.points]
    if panel.log_y:
        ax.set_yscale("log")
    if panel.x_range is not None:
        ax.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        ax.set_ylim(*panel.y_range)
    distinct = np.unique(np.concatenate(settings)) if settings else np.empty(0)
    if 0 < len(distinct) <= MANY_SETTINGS:
        _setting_ticks(ax, distinct, log=panel.log_x)
    elif panel.log_x:
        _log_ticks(ax.xaxis, ax.get_xlim())
    if panel.log_y:
        _log_ticks(ax.yaxis, ax.get_ylim())
    ax.set_xlabel(textwrap.fill(panel.x, 42), fontsize=TEXT, color=INK)
    ax.set_ylabel(textwrap.fill(panel.y, 22), fontsize=TEXT, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, color=INK, labelcolor=INK)
    ax.grid(color=INK, alpha=0.13, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _setting_ticks(ax: Axes, x: Floats, *, log: bool) -> None:
    """Put ticks at the settings that were run, leaving out those too close to the one before."""
    from matplotlib import ticker

    place = np.log(x) if log else x
    ticks = [0]
    for i in range(1, len(x)):
        if place[i] - place[ticks[-1]] > 0.1 * np.ptp(place):
            ticks.append(i)
    ax.set_xticks(x[ticks], [f"{value:.3g}" for value in x[ticks]])
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    from matplotlib import ticker

    low, high = limits
    steps = (1.0,) if high / low > 30 else (1.0, 2.0, 5.0)
    axis.set_major_locator(ticker.LogLocator(subs=steps, numticks=7))
    axis.set_major_formatter(ticker.FuncFormatter(_power))
    axis.set_minor_formatter(ticker.NullFormatter())


def _power(value: float, _: int | None = None) -> str:
    """Write a tick in full where that is short: a small exponent is hard to read on a phone."""
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = rf"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else rf"${mantissa}\times {power}$"


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


def _legend(figure: Figure, marks: Sequence[Any], texts: Sequence[str]) -> None:
    """Put the legend above the axes, where it covers nothing, in as few rows as it fits in."""
    labels = [textwrap.fill(text, 44) for text in texts]
    for rows in range(1, len(labels) + 1):
        legend = figure.legend(
            marks,
            labels,
            loc="outside upper left",
            ncols=-(-len(labels) // rows),
            fontsize=SMALL,
            labelcolor=INK,
            frameon=False,
            handlelength=2.4,
            columnspacing=1.2,
            borderpad=0.1,
        )
        figure.draw_without_rendering()
        if rows == len(labels) or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()
