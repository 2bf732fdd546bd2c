import xml.etree.ElementTree as ET

import numpy as np
import pytest

from layerwise.phenomena.panel import Boundary, Map
from layerwise.show.figures import draw, svg

COLUMNS, ROWS = np.array([0.1, 1.0, 10.0]), np.array([-1.0, 0.0])
VALUES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])


def chart(values=VALUES, **settings):
    return Map("A map", "See.", COLUMNS, ROWS, values, "scale", "imbalance", "distance", **settings)


@pytest.mark.parametrize(
    ("log", "edges"),
    [(True, np.sqrt([0.001, 0.1, 10.0, 1000.0])), (False, [-0.35, 0.55, 5.5, 14.5])],
)
def test_every_setting_is_a_cell_around_its_value(log, edges):
    ax = draw(chart(log_x=log)).axes[0]
    cells = ax.collections[0]
    assert np.allclose(cells.get_coordinates()[0, :, 0], edges, rtol=1e-12)
    assert np.allclose(cells.get_coordinates()[:, 0, 1], [-1.5, -0.5, 0.5])
    assert np.array_equal(cells.get_array().filled(np.nan), VALUES, equal_nan=True)
    assert cells.get_clim() == (1.0, 5.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("scale", "imbalance")


def test_a_map_of_one_setting_is_drawn():
    one = Map("t", "c", np.array([2.0]), ROWS, VALUES[:, :1], "x", "y", "z")
    assert np.allclose(draw(one).axes[0].get_xlim(), [1.5, 2.5])


def test_contours_and_boundaries_lie_over_the_cells():
    line = Boundary("predicted", COLUMNS, np.array([-0.9, -0.5, 3.0]))
    figure = draw(chart(levels=(2.5,), boundaries=(line,), limits=(0.0, 9.0)))
    ax = figure.axes[0]
    assert ax.collections[0].get_clim() == (0.0, 9.0)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["predicted"]
    assert np.array_equal(ax.lines[0].get_ydata(), line.y)
    assert ax.get_ylim() == (-1.5, 0.5)  # a boundary does not stretch the map
    assert len(ax.collections) == 2


def test_a_map_is_written_as_one_picture_the_same_each_time():
    first, second = (svg(draw(chart()), prefix="p", alt=chart().alt) for _ in range(2))
    assert first == second
    root = ET.fromstring(first)
    assert root.attrib["aria-label"] == "A map: distance over scale and imbalance. See."
    assert 1 <= sum(element.tag.endswith("image") for element in root.iter()) <= 2


def test_values_must_fit_the_settings():
    with pytest.raises(ValueError, match=r"ask for \(2, 3\) values, got \(3, 2\)"):
        draw(chart(VALUES.T))
