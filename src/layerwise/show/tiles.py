"""Rows of small images, drawn with matplotlib."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from layerwise.show.canvas import INK, SMALL, canvas, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from layerwise.phenomena.panel import Tiles

__all__ = ["draw_tiles"]

COLOURS = "PuOr_r"  # both ends are told apart by readers with any kind of colour vision
LABEL = 0.24  # share of the width that the labels take


def draw_tiles(panel: Tiles) -> Figure:
    """Return `panel` as a small figure; its title and caption are left to the page around it.

    Raises
    ------
    ValueError
        If there is no row, or a row has no image (n, h, w).
    """
    if not panel.rows:
        raise ValueError(f"panel {panel.title!r} has no row of images")
    for label, images in panel.rows:
        if images.ndim != 3 or not len(images):
            raise ValueError(f"row {label!r} needs images (n, h, w), got {images.shape}")
    most = max(len(images) for _, images in panel.rows)
    with styled():
        figure = canvas()
        height = figure.get_figwidth() * (1 - LABEL) / most * len(panel.rows) * 1.08
        figure.set_size_inches(figure.get_figwidth(), height)
        figure.set_layout_engine("none")
        across, down = (1 - LABEL) / most, 1 / len(panel.rows)
        for row, (label, images) in enumerate(panel.rows):
            low = 1 - (row + 1) * down
            figure.text(
                0.0, low + down / 2, textwrap.fill(label, 14), fontsize=SMALL, color=INK,
                verticalalignment="center",
            )  # fmt: skip
            for column, image in enumerate(images):
                ax = figure.add_axes(
                    (
                        LABEL + (column + 0.04) * across,
                        low + 0.04 * down,
                        0.92 * across,
                        0.92 * down,
                    )
                )
                largest = np.max(np.abs(image)) or 1.0
                ax.imshow(image, cmap=COLOURS, vmin=-largest, vmax=largest)
                ax.set_axis_off()
    return figure
