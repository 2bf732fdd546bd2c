import numpy as np
import pytest

from layerwise.phenomena.panel import Tiles
from layerwise.show.figures import draw


def test_every_image_stands_in_its_row_and_reaches_its_own_limits():
    images = np.arange(24.0).reshape(2, 3, 4) - 5
    figure = draw(Tiles("Filters", "See.", (("before", images), ("after", np.zeros((1, 3, 4))))))
    shown = [ax.images[0] for ax in figure.axes]
    assert len(shown) == 3
    assert np.array_equal(shown[1].get_array(), images[1])
    assert [image.get_clim() for image in shown] == [(-6.0, 6.0), (-18.0, 18.0), (-1.0, 1.0)]
    tops = [ax.get_position().y0 for ax in figure.axes]
    assert tops[0] == tops[1] > tops[2]
    assert [text.get_text() for text in figure.texts] == ["before", "after"]


def test_labels_are_heard():
    assert Tiles("T", "C.", (("one", np.zeros((1, 2, 2))),)).alt == "T: one. C."


@pytest.mark.parametrize("images", [np.zeros((0, 2, 2)), np.zeros((2, 2))])
def test_a_row_needs_images(images):
    with pytest.raises(ValueError, match="row 'one' needs images"):
        draw(Tiles("T", "C.", (("one", images),)))


def test_a_panel_needs_a_row():
    with pytest.raises(ValueError, match="has no row"):
        draw(Tiles("T", "C.", ()))
