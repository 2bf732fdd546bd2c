from __future__ import annotations

import numpy as np
import pytest

from layerwise.phenomena import pixels as module
from layerwise.phenomena.pixels import pixels
from layerwise.tasks import Images, load


def drawn(data, train_size, test_size, seed=0):
    return pixels(data, train_size, test_size, np.random.default_rng(seed))


def test_all_digits_are_used_once_with_their_labels():
    found = drawn("digits", 1500, 297)
    assert found.x.shape == (1500, 1, 8, 8)
    assert found.x_test.shape == (297, 1, 8, 8)
    assert (found.classes, found.source) == (10, "digits (scikit-learn's 8x8 digits)")
    digits = load("digits")
    official = np.concatenate([digits.train_images, digits.test_images]).reshape(1797, -1)
    classes = np.r_[digits.train_labels, digits.test_labels]
    labels = dict(zip(map(bytes, official), classes, strict=True))
    images = np.concatenate([found.x, found.x_test]).reshape(1797, -1)
    assert sorted(map(bytes, official)) == sorted(map(bytes, images))
    assert [labels[bytes(p)] for p in images] == np.r_[found.y, found.y_test].tolist()


def test_the_draw_depends_on_the_seed_and_larger_parts_begin_with_smaller_ones():
    found, again, other = (drawn("digits", 100, 50, seed) for seed in (0, 0, 1))
    assert (found.x == again.x).all()
    assert (found.x != other.x).any()
    assert (drawn("digits", 60, 50).x == found.x[:60]).all()


@pytest.mark.parametrize(("shape", "channels"), [((6, 6), 1), ((6, 6, 3), 3)])
def test_official_parts_stay_apart(monkeypatch, shape, channels):
    rng = np.random.default_rng(0)
    made = Images(
        "cifar10", "made up",
        rng.integers(0, 100, (30, *shape), np.uint8), rng.integers(0, 10, 30),
        rng.integers(100, 200, (20, *shape), np.uint8), rng.integers(0, 10, 20),
    )  # fmt: skip
    monkeypatch.setattr(module, "load", lambda name: made)
    found = drawn("cifar10", 24, 20)
    assert found.x.shape == (24, channels, 6, 6)
    assert found.x.max() < 100 <= found.x_test.min()
    wanted = np.moveaxis(made.test_images.reshape(20, 6, 6, channels), -1, 1)
    assert sorted(map(bytes, found.x_test)) == sorted(map(bytes, np.ascontiguousarray(wanted)))
    assert sorted(found.y_test) == sorted(made.test_labels)
    with pytest.raises(ValueError, match="cifar10 has 20 test images, asked for 21"):
        drawn("cifar10", 24, 21)


def test_more_digits_than_there_are_are_refused():
    with pytest.raises(ValueError, match="digits has 97 test images, asked for 297"):
        drawn("digits", 1700, 297)
