"""A map of one number over two settings, drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerwise.show.canvas import DASHES, INK, SMALL, TEXT, canvas, dress, legend, log_ticks, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from layerwise.phenomena.panel import Map

__all__ = ["draw_map"]

COLOURS = "cividis"  # the same to readers with any kind of colour vision; bright is much
LINE = "#D55E00"


def draw_map(panel: Map) -> Figure:
    """Return `panel` as a small figure; its title and caption are left to the page around it.

    Every setting is a cell around its value. Contours are thin and labelled, boundaries thick and
    dashed, with a legend above.

    Raises
    ------
    ValueError
        If the values are not one for each row and column; the shapes are named.
    """
    shape = (len(panel.rows), len(panel.columns))
    if panel.values.shape != shape:
        raise ValueError(
            f"map {panel.title!r}: rows and columns ask for {shape} values, got "
            f"{panel.values.shape}"
        )
    low, high = panel.limits or (np.nanmin(panel.values), np.nanmax(panel.values))
    with styled():
        figure = canvas()
        ax = figure.add_subplot()
        if panel.log_x:
            ax.set_xscale("log")
        cells = ax.pcolormesh(
            _edges(panel.columns, log=panel.log_x), _edges(panel.rows), panel.values,
            cmap=COLOURS, vmin=low, vmax=high, rasterized=True,
        )  # fmt: skip
        limits = ax.get_xlim(), ax.get_ylim()
        if panel.levels:
            lines = ax.contour(
                panel.columns, panel.rows, panel.values, panel.levels, colors="white",
                linestyles="solid", linewidths=0.9,
            )  # fmt: skip
            ax.clabel(lines, fontsize=SMALL - 1)
        marks = [
            ax.plot(line.x, line.y, color=LINE, linewidth=2.2, dashes=dashes)[0]
            for line, dashes in zip(panel.boundaries, DASHES, strict=False)
        ]
        ax.set_xlim(*limits[0])
        ax.set_ylim(*limits[1])
        dress(ax, panel.x, panel.y)
        if panel.log_x:
            log_ticks(ax.xaxis, limits[0])
        bar = figure.colorbar(cells, ax=ax)
        bar.set_label(panel.colour, fontsize=TEXT, color=INK)
        bar.ax.tick_params(labelsize=SMALL, color=INK, labelcolor=INK)
        bar.outline.set_edgecolor(INK)
        if marks:
            legend(figure, marks, [line.label for line in panel.boundaries])
    return figure


def _edges(settings: np.ndarray, *, log: bool = False) -> np.ndarray:
    """Return where the cells around the settings meet, and the outer ends."""
    place = np.log(settings) if log else settings
    half = np.diff(place) / 2 if len(place) > 1 else np.array([0.5])
    edges = np.concatenate([
        [place[0] - half[0]], place[:-1] + half[: len(place) - 1], [place[-1] + half[-1]],
    ])  # fmt: skip
    return np.exp(edges) if log else edges
