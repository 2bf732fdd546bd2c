"""Canvas of every figure: its size, letters and colours, and how its axes and ticks look.

Colours are those of Okabe and Ito, told apart by readers with any kind of colour vision; marks and
dashes tell the lines apart once more, without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "DASHES",
    "INK",
    "MARKERS",
    "PALETTE",
    "SIZE",
    "SMALL",
    "TEXT",
    "canvas",
    "dress",
    "legend",
    "log_ticks",
    "matplotlib",
    "plain",
    "start_ticks",
    "styled",
]

# blue, vermilion, green, purple, orange, sky blue
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((4.0, 1.6), (2.4, 1.3), (7.0, 2.2), (1.0, 1.2))
INK = "#1f2328"  # axes and text; the report replaces it by the colour of the page's text

SIZE = (4.2, 3.1)  # inches; 10 points are then legible on a screen 360 pixels wide
SMALL, TEXT = 10, 11  # points
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "svg.fonttype": "path",
    "svg.hashsalt": "layerwise",
}


def matplotlib() -> Any:
    """Return the library, or raise an ImportError that says how to install it."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'layerwise[plot]'") from None
    return matplotlib


@contextmanager
def styled() -> Iterator[None]:
    """Draw, or write, with the letters of every figure."""
    with matplotlib().rc_context(STYLE):
        yield


def canvas() -> Figure:
    """Return an empty figure without a background, to be drawn on while `styled`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_visible(False)
    return figure


def dress(ax: Axes, x: str, y: str) -> None:
    """Label the axes, and keep the left and the lower spine only."""
    ax.patch.set_visible(False)
    ax.set_xlabel(textwrap.fill(x, 42), fontsize=TEXT, color=INK)
    ax.set_ylabel(textwrap.fill(y, 22), fontsize=TEXT, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, color=INK, labelcolor=INK)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Put ticks at powers of ten, and between them where there are few."""
    from matplotlib import ticker

    low, high = limits
    steps = (1.0,) if high / low > 30 else (1.0, 2.0, 5.0)
    axis.set_major_locator(ticker.LogLocator(subs=steps, numticks=7))
    axis.set_major_formatter(ticker.FuncFormatter(plain))
    axis.set_minor_formatter(ticker.NullFormatter())


def start_ticks(axis: Axis, start: float, end: float) -> None:
    """Put ticks at 0 and, from `start` on, as `log_ticks` does; the axis ends soon after `end`."""
    from matplotlib import ticker

    axis.set_view_interval(-0.2 * start, 1.2 * end, ignore=True)
    places = ticker.LogLocator(subs=(1.0,) if end / start > 30 else (1.0, 2.0, 5.0), numticks=7)
    axis.set_ticks([0.0, *(x for x in places.tick_values(start, end) if start <= x <= end)])
    axis.set_major_formatter(ticker.FuncFormatter(plain))
    axis.set_minor_locator(ticker.NullLocator())


def legend(figure: Figure, marks: Sequence[Any], texts: Sequence[str]) -> None:
    """Put the legend above the axes, where it covers nothing, in as few rows as it fits in."""
    labels = [textwrap.fill(text, 44) for text in texts]
    for rows in range(1, len(labels) + 1):
        box = figure.legend(
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
        if rows == len(labels) or box.get_window_extent().width <= figure.bbox.width:
            return
        box.remove()


def plain(value: float, _: int | None = None) -> str:
    """Write a tick in full where that is short: a small exponent is hard to read on a phone."""
    if value == 0 or 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = rf"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else rf"${mantissa}\times {power}$"
