"""Images of handwritten digits, clothes and objects, ready for training.

`load` finds a data set, `split` draws the seeded subset that an experiment trains on.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.tasks.fetch import FetchError, cache_file, fetch, need, read_cache, verify
from layerwise.tasks.readers import (
    CIFAR10_FOLDER,
    CIFAR10_TEST,
    Arrays,
    DataFileError,
    read_cifar10,
    read_idx_folder,
    read_mnist_pickle,
    read_npz,
)

__all__ = ["DataNotFound", "Images", "StandInWarning", "load", "load_or_stand_in", "split"]

# Shape of one image; all four data sets have ten classes.
SHAPES = {
    "mnist": (28, 28),
    "fashion-mnist": (28, 28),
    "cifar10": (32, 32, 3),
    "digits": (8, 8),
}
FULL_SIZES = (60000, 10000)  # of MNIST and of Fashion-MNIST, train and test
DIGITS_TRAIN = 1000

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class DataNotFound(FileNotFoundError):
    """A data set that is neither given, nor in the cache, nor to be downloaded."""


class StandInWarning(UserWarning):
    """Another data set is used than the one asked for."""


@dataclass(frozen=True, eq=False)
class Images:
    """An image data set: train and test images with their labels; read-only.

    Attributes
    ----------
    name
        Which data set it really is.
    source
        Where the pixels came from, in words.
    train_images, test_images
        uint8, shape (N, H, W) or (N, H, W, C), values 0..`levels`.
    train_labels, test_labels
        int64, shape (N,), values 0..`classes`-1.
    levels
        The pixel value that means 1.
    classes
        Number of classes.

    Raises
    ------
    ValueError
        If a type, a shape, a pixel or a label is not as above.

    Examples
    --------
    >>> pixels, labels = np.zeros((3, 2, 2), np.uint8), np.arange(3)
    >>> Images("blank", "made up", pixels, labels, pixels, labels, classes=3).train_images.shape
    (3, 2, 2)
    """

    name: str
    source: str
    train_images: npt.NDArray[np.uint8]
    train_labels: Labels
    test_images: npt.NDArray[np.uint8]
    test_labels: Labels
    levels: int = 255
    classes: int = 10

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            self._check(part, images, labels)
            for kind, array in (("images", images), ("labels", labels)):
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, f"{part}_{kind}", view)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"{self.name}: train images have shape {self.train_images.shape[1:]}, "
                f"test images {self.test_images.shape[1:]}"
            )

    def _check(self, part: str, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
        if images.dtype != np.uint8 or labels.dtype != np.int64:
            raise ValueError(
                f"{self.name}: expected uint8 {part} images and int64 labels, "
                f"found {images.dtype} and {labels.dtype}"
            )
        if images.ndim not in (3, 4) or images.size == 0 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{self.name}: expected {part} images (N, H, W) or (N, H, W, C) and labels (N,), "
                f"found {images.shape} and {labels.shape}"
            )
        if images.max() > self.levels:
            raise ValueError(
                f"{self.name}: expected {part} pixels 0..{self.levels}, found {images.max()}"
            )
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(
                f"{self.name}: expected {part} labels 0..{self.classes - 1}, "
                f"found {labels.min()}..{labels.max()}"
            )


def load(name: str, path: str | Path | None = None, download: bool = False) -> Images:
    """Load a data set: from `path`, else the environment, else the cache, else by download.

    Parameters
    ----------
    name
        ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"digits"`` (scikit-learn's 8x8
        digits, always there; the first 1000 in the official order train, the other 797 test;
        ``levels`` is 16).
    path
        The user's own copy: a folder of IDX files or CIFAR-10 batches, an ``.npz``, the CIFAR-10
        ``.tar.gz`` or ``mnist.pkl.gz``. None reads ``LAYERWISE_MNIST``,
        ``LAYERWISE_FASHION_MNIST`` or ``LAYERWISE_CIFAR10``. A copy may be a part of the data
        set; one of full size must hold the published pixels.
    download
        Whether to `fetch` what is not there.

    Raises
    ------
    ValueError
        If the name is unknown, or (`DataFileError`) a file is damaged or another data set.
    FileNotFoundError
        If there is nothing at `path`, or (`DataNotFound`) the data set is nowhere.
    FetchError
        If the download was wanted and failed.

    Examples
    --------
    >>> load("digits").train_images.shape
    (1000, 8, 8)
    """
    if name not in SHAPES:
        raise ValueError(nearest(name, SHAPES, kind="data set"))
    if name == "digits":
        if path is not None:
            raise ValueError("digits come with scikit-learn and are read from no path")
        return _digits()
    variable = f"LAYERWISE_{name.replace('-', '_').upper()}"
    given = path if path is not None else os.environ.get(variable)
    if given:
        return _from_user(name, Path(given).expanduser())
    cached = cache_file(name)
    if not cached.exists():
        if not download:
            raise DataNotFound(
                f"{name} is not in the cache {cached.parent}: `layerwise data {name}` fetches "
                f"it, or pass the path of your copy, or name it in {variable}"
            )
        fetch(name)
    arrays, source = read_cache(name, cached)
    return _images(name, source, arrays, str(cached))


def load_or_stand_in(name: str, path: str | Path | None = None, download: bool = False) -> Images:
    """Load a data set as `load` does, or scikit-learn's 8x8 digits where there is none.

    The stand-in is said by a `StandInWarning` and by the result's ``name`` and ``source``.
    A copy that the user named is never replaced: what is wrong with it is an error.
    """
    try:
        return load(name, path, download)
    except (DataNotFound, FetchError):
        warnings.warn(
            f"NOT {name}: scikit-learn's 8x8 digits stand in, for {name} is not there "
            f"(`layerwise data {name}` fetches it or says why it cannot)",
            StandInWarning,
            stacklevel=2,
        )
        return _digits(f", standing in for {name}")


def split(
    images: Images, n_train: int, n_test: int, seed: int
) -> tuple[Floats, Labels, Floats, Labels]:
    """Draw a random part of the train set and one of the test set.

    The order depends on the seed alone, so that a larger part begins with the smaller one.

    Parameters
    ----------
    images
        The data set.
    n_train, n_test
        How many to draw, without repetition.
    seed
        Seed of the draw.

    Returns
    -------
    x_train, y_train, x_test, y_test
        Pixels float32 in [0, 1], one flat row per image, and labels int64.

    Raises
    ------
    ValueError
        If there are fewer images than asked for; names both numbers.

    Examples
    --------
    >>> x_train, y_train, x_test, y_test = split(load("digits"), 100, 50, seed=0)
    >>> x_train.shape, y_train.shape, x_test.shape, float(x_train.max())
    ((100, 64), (100,), (50, 64), 1.0)
    """
    rng = np.random.default_rng(seed)
    x_train, y_train = _draw(images, "train", n_train, rng)
    x_test, y_test = _draw(images, "test", n_test, rng)
    return x_train, y_train, x_test, y_test


def _draw(images: Images, part: str, n: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
    pixels, labels = getattr(images, f"{part}_images"), getattr(images, f"{part}_labels")
    if not 1 <= n <= len(labels):
        raise ValueError(
            f"{images.name} has {len(labels)} {part} images, asked for {n} (from 1 to that many)"
        )
    chosen = rng.permutation(len(labels))[:n]
    flat = pixels[chosen].reshape(n, -1).astype(np.float32)
    return flat / np.float32(images.levels), labels[chosen]


def _digits(role: str = "") -> Images:
    digits = need("sklearn.datasets").load_digits()
    pixels, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    return Images(
        "digits",
        f"scikit-learn's 8x8 digits{role}",
        pixels[:DIGITS_TRAIN],
        labels[:DIGITS_TRAIN],
        pixels[DIGITS_TRAIN:],
        labels[DIGITS_TRAIN:],
        levels=16,
    )


def _from_user(name: str, path: Path) -> Images:
    arrays = _read(path)
    sizes = len(arrays.y_train), len(arrays.y_test)
    if sizes == FULL_SIZES:
        verify(name, arrays, str(path))
    return _images(name, f"{path.name}, given by the user", arrays, str(path))


def _images(name: str, source: str, arrays: Arrays, where: str) -> Images:
    shape = arrays.x_train.shape[1:]
    if shape != SHAPES[name]:
        raise DataFileError(f"{where}: expected {name} images {SHAPES[name]}, found {shape}")
    try:
        return Images(name, source, *arrays)
    except ValueError as error:
        raise DataFileError(f"{where}: {error}") from error


def _read(path: Path) -> Arrays:
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_dir():
        batches = (path / CIFAR10_FOLDER).is_dir() or (path / CIFAR10_TEST).exists()
        return read_cifar10(path) if batches else read_idx_folder(path)
    if path.name.endswith(".npz"):
        return read_npz(path)
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return read_cifar10(path)
    if path.name.endswith((".pkl", ".pkl.gz")):
        return read_mnist_pickle(path)
    raise DataFileError(
        f"{path}: expected a folder of IDX files or CIFAR-10 batches, an .npz, the CIFAR-10 "
        f".tar.gz or mnist.pkl.gz, found a file named {path.name!r}"
    )
