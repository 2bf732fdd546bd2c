"""Traces drawn with matplotlib: `plot` for a reader's own, `draw` for a panel of the report."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerwise.phenomena.panel import Map, Panel, Shown
from layerwise.show.canvas import INK, PALETTE, SIZE, SMALL, TEXT, matplotlib, styled
from layerwise.show.curves import curves_on, draw_curves, visible
from layerwise.show.maps import draw_map
from layerwise.show.tiles import draw_tiles
from layerwise.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "plot", "svg"]

DOTS = 200  # per inch, of what has too many parts to be drawn as lines
ACROSS = 3  # panels of a dashboard in one row
HANDFUL = 6  # components of one series that are labelled one by one


def plot(
    *things: Any,
    quantity: str | None = None,
    ax: Axes | None = None,
    log_x: bool = False,
    label: str | Sequence[str] | None = None,
) -> Axes | npt.NDArray[np.object_]:
    """Draw one quantity of some traces over their clock; return the axes.

    A single trace of a probe, with nothing else said, is drawn as its dashboard: a grid of panels
    in one figure, whose axes are returned as an array, see `layerwise.show.dashboard.dashboard`.

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
    alone = len(traces) == 1 and traces[0].provenance.source == "probe"
    if alone and quantity is None and ax is None and label is None and not log_x:
        from layerwise.show.dashboard import dashboard  # brings the rules, whose bounds it draws

        panels = dashboard(traces[0])
        if panels:
            return _grid(panels)
    name = _default_quantity(traces[0]) if quantity is None else quantity
    series = [trace[name] for trace in traces]  # an unknown name fails before a figure is made
    matplotlib()
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(layout="constrained").add_subplot()
    if log_x:
        ax.set_xscale("log")
    drawn = len(ax.lines)
    for i, (trace, text) in enumerate(zip(traces, labels, strict=True)):
        clock, values = visible(trace.clock, series[i], log=ax.get_xscale() == "log")
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


def _grid(panels: Sequence[Panel]) -> npt.NDArray[np.object_]:
    """Draw panels side by side, as many as fit on a page; return their axes, unused ones hidden."""
    matplotlib()
    from matplotlib import pyplot

    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    with styled():
        size = (SIZE[0] * across, SIZE[1] * down)
        _, axes = pyplot.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
        for ax, panel in zip(axes.flat, panels, strict=False):
            marks, texts = curves_on(ax, panel)
            ax.set_title(panel.title, loc="left", fontsize=TEXT, fontweight="bold", color=INK)
            ax.legend(marks, texts, fontsize=SMALL - 2, labelcolor=INK, framealpha=0.6)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
    return axes


def draw(panel: Shown) -> Figure:
    """Return `panel` as a small figure; its title and caption are left to the page around it."""
    match panel:
        case Panel():
            return draw_curves(panel)
        case Map():
            return draw_map(panel)
        case _:
            return draw_tiles(panel)


def svg(figure: Figure, *, prefix: str, alt: str) -> str:
    """Return `figure` as an SVG element for use inside an HTML page.

    Every id begins with `prefix`, so that several figures can stand on one page; `alt` is what a
    screen reader says; axes and text take the colour of the page's text. The same figure gives the
    same text.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", dpi=DOTS)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"\n\s*", "\n", text).replace(INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


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
