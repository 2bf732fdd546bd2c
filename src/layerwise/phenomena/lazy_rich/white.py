"""Images as white inputs: their principal components, for networks that are solved exactly."""

from __future__ import annotations

import math

import numpy as np

from layerwise.tasks import load, split

__all__ = ["white_images"]

ROUNDING = 1e-10  # a component of a smaller share of the largest is none


def white_images(
    data: str, samples: int, components: int, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return white inputs X (samples, components), targets Y (samples, classes) and their source.

    X are the leading principal components of the pixels of `samples` training images, drawn by the
    seed, each of mean zero and variance 1; Y the one-hot labels, less their mean.

    Raises
    ------
    ValueError
        If the images have fewer principal components; both numbers are named.

    Examples
    --------
    >>> X, Y, source = white_images("digits", samples=200, components=5, seed=0)
    >>> bool(np.allclose(X.T @ X / 200, np.eye(5))), Y.shape
    (True, (200, 10))
    """
    loaded = load(data)
    pixels, labels, _, _ = split(loaded, samples, 1, seed)
    pixels = pixels.astype(float)
    directions, size, _ = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    there = int(np.sum(size > ROUNDING * size[0]))
    if not 1 <= components <= there:
        raise ValueError(
            f"{samples} images of {data} have {there} principal components, asked for {components}"
        )
    one_hot = np.eye(loaded.classes)[labels]
    X = math.sqrt(samples) * directions[:, :components]
    return X, one_hot - one_hot.mean(axis=0), f"{loaded.name} ({loaded.source})"
