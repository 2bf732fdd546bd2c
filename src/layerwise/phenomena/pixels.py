"""Which images a network is trained on and which it is tested on, drawn at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from layerwise.tasks import load

__all__ = ["Pixels", "pixels"]


class Pixels(NamedTuple):
    """Images for training and testing.

    Attributes
    ----------
    source
        The data set really used, and where it came from.
    classes
        How many there are.
    x, x_test
        uint8, shape (n, channels, height, width).
    y, y_test
        Labels int64, shape (n,).
    """

    source: str
    classes: int
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def pixels(data: str, train_size: int, test_size: int, rng: np.random.Generator) -> Pixels:
    """Draw images from the official train and test sets, or from all digits, which have none.

    Parameters
    ----------
    data
        ``"digits"``, ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
    train_size, test_size
        How many.
    rng
        What to draw with.

    Raises
    ------
    ValueError
        If there are fewer images than asked for; both numbers are named.

    Examples
    --------
    >>> found = pixels("digits", 1500, 297, np.random.default_rng(0))
    >>> found.x.shape, found.y_test.shape
    ((1500, 1, 8, 8), (297,))
    """
    loaded = load(data)
    images = np.concatenate([loaded.train_images, loaded.test_images])
    labels = np.concatenate([loaded.train_labels, loaded.test_labels])
    official = len(loaded.train_labels)
    if data == "digits":
        order = rng.permutation(len(labels))
        parts = {"train": order[:train_size], "test": order[train_size:]}
    else:
        parts = {
            "train": rng.permutation(official),
            "test": official + rng.permutation(len(labels) - official),
        }
    arrays = []
    for (part, order), size in zip(parts.items(), (train_size, test_size), strict=True):
        if size > len(order):
            raise ValueError(f"{data} has {len(order)} {part} images, asked for {size}")
        x = images[order[:size]]
        x = np.moveaxis(x, -1, 1) if x.ndim == 4 else x[:, None]
        arrays += [np.ascontiguousarray(x), labels[order[:size]]]
    return Pixels(f"{loaded.name} ({loaded.source})", loaded.classes, *arrays)
