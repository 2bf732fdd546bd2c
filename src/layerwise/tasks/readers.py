"""Readers of the image files that a user has: IDX, ``.npz``, CIFAR-10 batches, one pickle.

A reader never writes and never asks the network. A file that is not whole is refused with a
`DataFileError` that names the file, what was expected and what was found.
"""

from __future__ import annotations

import codecs
import gzip
import io
import math
import pickle
import struct
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

__all__ = [
    "Arrays",
    "DataFileError",
    "idx_bytes",
    "parse_idx",
    "read_cifar10",
    "read_idx",
    "read_idx_folder",
    "read_mnist_pickle",
    "read_npz",
    "tar_members",
]

UByte = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

IDX_PARTS = (("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1))
CIFAR10_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
CIFAR10_TEST = "test_batch"
CIFAR10_FOLDER = "cifar-10-batches-py"
# Raised on a damaged file (TypeError: by numpy on a lone array named .npz).
UNREADABLE = (OSError, EOFError, ValueError, TypeError, tarfile.TarError, BadZipFile, zlib.error)


class DataFileError(ValueError):
    """A data file that is not what it should be; names it, the expected and the found."""


class Arrays(NamedTuple):
    """A data set: images uint8 (N, H, W) or (N, H, W, C), labels int64 (N,)."""

    x_train: UByte
    y_train: Labels
    x_test: UByte
    y_test: Labels


def idx_bytes(array: UByte) -> bytes:
    """Return the IDX file of a uint8 array: magic number, big-endian sizes, raw bytes.

    Examples
    --------
    >>> idx_bytes(np.array([7, 2], dtype=np.uint8)).hex(" ", -4)
    '00000801 00000002 0702'
    """
    if array.dtype != np.uint8:
        raise ValueError(f"expected a uint8 array, found {array.dtype}")
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def parse_idx(data: bytes, where: str = "the bytes") -> UByte:
    """Return the array of an uncompressed IDX file of unsigned bytes; errors call it `where`.

    Raises
    ------
    DataFileError
        If the magic number is wrong, or there are too few or too many bytes.

    Examples
    --------
    >>> parse_idx(bytes.fromhex("00000801 00000002 0702"))
    array([7, 2], dtype=uint8)
    """
    if data[:3] != b"\x00\x00\x08" or len(data) < 4 or data[3] == 0:
        raise DataFileError(
            f"{where}: expected the magic number 0x000008DD of an IDX file of unsigned bytes "
            f"(DD = number of dimensions), found 0x{data[:4].hex() or '(empty file)'}"
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataFileError(f"{where}: expected a header of {start} bytes, found {len(data)}")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    expected = start + math.prod(shape)
    if len(data) != expected:
        raise DataFileError(f"{where}: expected {expected} bytes for {shape}, found {len(data)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_idx(path: Path) -> UByte:
    """Read one IDX file, raw or gzipped (told by its content, not its name); see `parse_idx`."""
    return parse_idx(_read_maybe_gzipped(path), str(path))


def read_idx_folder(folder: Path) -> Arrays:
    """Read the four IDX files of MNIST's layout, each raw or ``.gz``.

    ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, and ``t10k-...`` for the test set.

    Raises
    ------
    DataFileError
        If one is missing or damaged.
    """
    parts = []
    for part, ndim in IDX_PARTS:
        names = [f"{part}{dot}idx{ndim}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
            raise DataFileError(f"{folder}: expected {names[0]} or {names[1]}, found {found}")
        array = read_idx(path)
        if array.ndim != ndim:
            raise DataFileError(f"{path}: expected {ndim} dimension(s), found {array.ndim}")
        parts.append(array)
    return _arrays(parts, str(folder))


def read_npz(path: Path) -> Arrays:
    """Read an ``.npz`` in the Keras layout: ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    Images are uint8, labels any integer type of shape (N,). Pickled members are refused.

    Raises
    ------
    DataFileError
        If a member is missing, of another type, or the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = archive.files
            parts = [archive[name] for name in Arrays._fields if name in members]
    except UNREADABLE as error:
        raise DataFileError(f"{path}: expected a whole .npz file, found: {error}") from error
    if len(parts) < len(Arrays._fields):
        raise DataFileError(
            f"{path}: expected the arrays {', '.join(Arrays._fields)}, "
            f"found {', '.join(members) or 'none'}"
        )
    return _arrays(parts, str(path))


def read_cifar10(path: Path) -> Arrays:
    """Read CIFAR-10's python batches from their folder or ``.tar.gz``; images (N, 32, 32, 3).

    Raises
    ------
    DataFileError
        If a batch is missing or damaged, or its pickle names anything but numpy arrays.
    """
    names = (*CIFAR10_TRAIN, CIFAR10_TEST)
    if path.is_dir():
        folder = path / CIFAR10_FOLDER if (path / CIFAR10_FOLDER).is_dir() else path
        files = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    else:
        files = tar_members(path, names)
    missing = [name for name in names if name not in files]
    if missing:
        raise DataFileError(
            f"{path}: expected the batches {', '.join(names)}, missing {', '.join(missing)}"
        )
    train = [_cifar10_batch(files[name], f"{path}: {name}") for name in CIFAR10_TRAIN]
    x_test, y_test = _cifar10_batch(files[CIFAR10_TEST], f"{path}: {CIFAR10_TEST}")
    x_train = np.concatenate([images for images, _ in train])
    y_train = np.concatenate([labels for _, labels in train])
    return _arrays([x_train, y_train, x_test, y_test], str(path))


def read_mnist_pickle(path: Path) -> Arrays:
    """Read ``mnist.pkl.gz``: (images, labels) of the train, validation and test set.

    Images are float32 rows of 784 values k/256. Train and validation are joined again.

    Raises
    ------
    DataFileError
        If it is damaged, laid out otherwise, or names anything but numpy arrays.
    """
    content = _unpickle(_read_maybe_gzipped(path), str(path))
    try:
        (x_fit, y_fit), (x_val, y_val), (x_test, y_test) = content
        x_train, y_train = np.concatenate([x_fit, x_val]), np.concatenate([y_fit, y_val])
        parts = [_from_256ths(x_train), y_train, _from_256ths(x_test), y_test]
    except (TypeError, ValueError) as error:
        raise DataFileError(
            f"{path}: expected three pairs (images (N, 784), labels (N,)), found: {error}"
        ) from error
    return _arrays(parts, str(path))


def tar_members(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the contents of the members with these names, whatever folder they lie in."""
    # In the archive's own order: seeking backwards in a compressed file decompresses it again.
    files = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and (handle := archive.extractfile(member)) is not None:
                    files[name] = handle.read()
    except UNREADABLE as error:
        raise DataFileError(f"{path}: expected a whole tar archive, found: {error}") from error
    return files


def _read_maybe_gzipped(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except UNREADABLE as error:
        raise DataFileError(f"{path}: expected a whole gzip file, found: {error}") from error


def _from_256ths(pixels: npt.NDArray[Any]) -> UByte:
    images: UByte = np.rint(256 * pixels).astype(np.uint8)
    if not np.array_equal(images / np.float32(256), pixels):
        raise ValueError("pixels other than k/256, k = 0..255")
    return images.reshape(-1, 28, 28)


def _cifar10_batch(data: bytes, where: str) -> tuple[UByte, npt.NDArray[Any]]:
    batch = _unpickle(data, where)
    if not isinstance(batch, Mapping):
        raise DataFileError(f"{where}: expected a dictionary, found {type(batch).__name__}")
    # Keys are text or bytes, depending on the Python that wrote the batch.
    plain = {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in batch.items()}
    if not {"data", "labels"} <= plain.keys():
        raise DataFileError(f"{where}: expected the keys data and labels, found {list(plain)}")
    pixels = np.asarray(plain["data"])
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or pixels.dtype != np.uint8:
        raise DataFileError(
            f"{where}: expected data of shape (N, 3072) and type uint8, "
            f"found {pixels.shape} and {pixels.dtype}"
        )
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.asarray(plain["labels"])


def _arrays(parts: list[npt.NDArray[Any]], where: str) -> Arrays:
    x_train, y_train, x_test, y_test = parts
    for images, labels, kind in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        if images.dtype != np.uint8:
            raise DataFileError(f"{where}: expected uint8 {kind} images, found {images.dtype}")
        if labels.dtype.kind not in "iu":
            raise DataFileError(f"{where}: expected integer {kind} labels, found {labels.dtype}")
        if labels.shape != images.shape[:1]:
            raise DataFileError(
                f"{where}: expected one {kind} label per image, "
                f"found images {images.shape} and labels {labels.shape}"
            )
    return Arrays(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


# numpy moved these functions between versions; an array's own recipe names the present ones.
_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("_codecs", "encode"): codecs.encode,
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build numpy arrays and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"the foreign name {module}.{name}, which was not loaded")
        return _ADMITTED[module, name]


def _unpickle(data: bytes, where: str) -> Any:
    try:
        with warnings.catch_warnings():  # numpy 2.4 warns of the integer flags in old pickles
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataFileError(
            f"{where}: expected a whole pickle of numpy arrays alone, found: {error}"
        ) from error
