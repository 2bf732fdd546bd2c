"""Where images come from, what is said about it, and the seeded subset; offline."""

import gzip
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.tasks import (
    DataFileError,
    DataNotFound,
    FetchError,
    Images,
    StandInWarning,
    images,
    load,
    load_or_stand_in,
    split,
)
from layerwise.tasks.readers import idx_bytes

RNG = np.random.default_rng(2)
X_TRAIN, Y_TRAIN = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.arange(6) % 10
X_TEST, Y_TEST = RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8), np.arange(4)
VARIABLES = ("LAYERWISE_MNIST", "LAYERWISE_FASHION_MNIST", "LAYERWISE_CIFAR10")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No data of this machine's user, and no network."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LAYERWISE_DATA", str(tmp_path / "cache"))

    def no_way_out(name):
        raise FetchError(f"{name} could not be fetched")

    monkeypatch.setattr(images, "fetch", no_way_out)


def write_npz(path, x_train=X_TRAIN, y_train=Y_TRAIN, x_test=X_TEST, y_test=Y_TEST, **more):
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, **more)
    return path


def assert_small(found):
    np.testing.assert_array_equal(found.train_images, X_TRAIN)
    np.testing.assert_array_equal(found.train_labels, Y_TRAIN)
    np.testing.assert_array_equal(found.test_images, X_TEST)
    np.testing.assert_array_equal(found.test_labels, Y_TEST)


# --- Images ------------------------------------------------------------------------------------


def test_images_are_read_only_and_leave_the_given_arrays_alone():
    pixels = X_TRAIN.copy()
    found = Images("mnist", "here", pixels, Y_TRAIN, X_TEST, Y_TEST)
    assert (found.classes, found.levels) == (10, 255)
    with pytest.raises(ValueError, match="read-only"):
        found.train_images[0, 0, 0] = 1
    pixels[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_images": X_TRAIN / 255}, "uint8 train images and int64 labels, found float64"),
        ({"test_labels": Y_TEST.astype(np.uint8)}, "found uint8 and uint8"),
        ({"train_images": X_TRAIN.reshape(6, -1)}, r"found \(6, 784\) and \(6,\)"),
        ({"train_labels": Y_TRAIN[:-1]}, r"found \(6, 28, 28\) and \(5,\)"),
        ({"test_images": X_TEST[:0], "test_labels": Y_TEST[:0]}, r"found \(0, 28, 28\)"),
        ({"test_images": X_TEST[:, :9]}, r"shape \(28, 28\), test images \(9, 28\)"),
        ({"train_labels": Y_TRAIN + 5}, r"train labels 0\.\.9, found 5\.\.10"),
        ({"test_labels": Y_TEST - 1}, r"test labels 0\.\.9, found -1\.\.2"),
        ({"levels": 16}, r"train pixels 0\.\.16, found 255"),
        ({"classes": 4}, r"train labels 0\.\.3, found 0\.\.5"),
    ],
)
def test_images_refuse_what_they_are_not(changed, says):
    pixels = X_TRAIN.copy()
    pixels[0, 0, 0] = 255
    fields = {
        "train_images": pixels,
        "train_labels": Y_TRAIN,
        "test_images": X_TEST,
        "test_labels": Y_TEST,
    }
    with pytest.raises(ValueError, match=says):
        Images("mnist", "here", **(fields | changed))


# --- load --------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_in_the_official_order():
    from sklearn.datasets import load_digits

    found, official = load("digits"), load_digits()
    assert found.train_images.shape == (1000, 8, 8)
    assert found.test_images.shape == (797, 8, 8)
    assert found.levels == found.train_images.max() == 16
    joined = np.concatenate([found.train_images, found.test_images])
    np.testing.assert_array_equal(joined, official.images)
    np.testing.assert_array_equal(
        np.concatenate([found.train_labels, found.test_labels]), official.target
    )
    assert (found.name, found.source) == ("digits", "scikit-learn's 8x8 digits")
    with pytest.raises(ValueError, match="read from no path"):
        load("digits", "digits.npz")


def test_path_then_environment_then_cache_then_error(monkeypatch, tmp_path):
    with pytest.raises(DataNotFound) as caught:
        load("mnist")
    for part in ("`layerwise data mnist`", "LAYERWISE_MNIST", str(tmp_path / "cache")):
        assert part in str(caught.value)

    def published(name, arrays, where):
        assert name == "mnist"

    monkeypatch.setattr("layerwise.tasks.fetch.verify", published)
    write_npz(tmp_path / "cache" / "mnist.npz", source="a mirror")
    found = load("mnist")
    assert_small(found)
    assert (found.name, found.source) == ("mnist", "a mirror")

    monkeypatch.setenv("LAYERWISE_MNIST", str(write_npz(tmp_path / "env.npz")))
    assert load("mnist").source == "env.npz, given by the user"
    assert load("mnist", write_npz(tmp_path / "path.npz")).source.startswith("path.npz")
    assert load("mnist", str(tmp_path / "path.npz")).source.startswith("path.npz")


def test_download_only_when_asked_and_only_when_nothing_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr("layerwise.tasks.fetch.verify", lambda name, arrays, where: None)
    asked = []

    def fetch(name):
        asked.append(name)
        write_npz(tmp_path / "cache" / f"{name}.npz", source="a mirror")

    with pytest.raises(FetchError):
        load("fashion-mnist", download=True)
    monkeypatch.setattr(images, "fetch", fetch)
    with pytest.raises(DataNotFound, match="LAYERWISE_FASHION_MNIST"):
        load("fashion-mnist")
    assert_small(load("fashion-mnist", download=True))
    assert_small(load("fashion-mnist", download=True))
    assert asked == ["fashion-mnist"]


def test_every_kind_of_file_the_user_may_have(tmp_path):
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for name, array in zip(names, (X_TRAIN, Y_TRAIN, X_TEST, Y_TEST), strict=True):
        path = tmp_path / f"{name}-ubyte.gz"
        path.write_bytes(gzip.compress(idx_bytes(array.astype(np.uint8))))
    assert_small(load("mnist", tmp_path))
    assert_small(load("mnist", write_npz(tmp_path / "a.npz")))
    rows = [x.reshape(len(x), -1) / np.float32(256) for x in (X_TRAIN, X_TEST)]
    pairs = (rows[0][:5], Y_TRAIN[:5]), (rows[0][5:], Y_TRAIN[5:]), (rows[1], Y_TEST)
    (tmp_path / "mnist.pkl").write_bytes(pickle.dumps(pairs))
    assert_small(load("mnist", tmp_path / "mnist.pkl"))


def test_cifar10_batches_of_the_user(tmp_path, monkeypatch):
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {b"data": np.full((2, 3072), 9, np.uint8), b"labels": [1, 2]}
        (tmp_path / name).write_bytes(pickle.dumps(batch, 2))
    monkeypatch.setenv("LAYERWISE_CIFAR10", str(tmp_path))
    found = load("cifar10")
    assert found.train_images.shape == (10, 32, 32, 3)
    assert found.test_labels.tolist() == [1, 2]


def test_what_the_user_gave_is_checked(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'mnits'; did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nowhere\.npz"):
        load("mnist", tmp_path / "nowhere.npz")
    (tmp_path / "mnist.csv").write_text("5,0,0")
    with pytest.raises(DataFileError, match=r"found a file named 'mnist\.csv'"):
        load("mnist", tmp_path / "mnist.csv")
    path = write_npz(tmp_path / "a.npz")
    with pytest.raises(DataFileError, match=r"cifar10 images \(32, 32, 3\), found \(28, 28\)"):
        load("cifar10", path)
    write_npz(path, y_train=Y_TRAIN + 5)
    with pytest.raises(DataFileError, match=r"a\.npz: mnist: expected train labels 0\.\.9"):
        load("mnist", path)


def test_a_copy_of_full_size_must_hold_the_published_pixels(tmp_path):
    path = write_npz(
        tmp_path / "full.npz",
        np.zeros((60000, 28, 28), np.uint8),
        np.zeros(60000, int),
        np.zeros((10000, 28, 28), np.uint8),
        np.zeros(10000, int),
    )
    with pytest.raises(DataFileError, match="train-images of mnist has the wrong checksum: expect"):
        load("mnist", path)


# --- the stand-in ------------------------------------------------------------------------------


@pytest.mark.parametrize("download", [False, True])
def test_the_stand_in_is_said_in_one_line_and_in_the_result(download):
    with pytest.warns(StandInWarning, match="NOT mnist: scikit-learn's 8x8 digits") as said:
        found = load_or_stand_in("mnist", download=download)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert said[0].filename == __file__
    assert found.name == "digits"
    assert found.source == "scikit-learn's 8x8 digits, standing in for mnist"


def test_no_stand_in_for_what_is_there_or_what_the_user_named(tmp_path):
    assert_small(load_or_stand_in("mnist", write_npz(tmp_path / "a.npz")))
    assert load_or_stand_in("digits").source == "scikit-learn's 8x8 digits"
    with pytest.raises(FileNotFoundError):
        load_or_stand_in("mnist", tmp_path / "nowhere.npz")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataFileError):
        load_or_stand_in("mnist", tmp_path / "a.npz")


# --- split -------------------------------------------------------------------------------------


def numbered(n_train, n_test):
    """Images whose pixels and labels say which image they are."""
    train, test = np.arange(n_train), np.arange(n_test)
    return Images(
        "numbered",
        "here",
        np.tile(train[:, None, None], (1, 2, 3)).astype(np.uint8),
        train,
        np.tile(test[:, None, None], (1, 2, 3)).astype(np.uint8),
        test,
        levels=100,
        classes=100,
    )


@given(st.data(), st.integers(0, 2**32 - 1))
def test_split_draws_without_repetition_keeps_pairs_and_is_seeded(data, seed):
    whole = numbered(30, 20)
    n_train, n_test = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 20))
    x_train, y_train, x_test, y_test = split(whole, n_train, n_test, seed)
    for x, y, n in ((x_train, y_train, n_train), (x_test, y_test, n_test)):
        assert (x.shape, x.dtype) == ((n, 6), np.float32)
        assert (y.shape, y.dtype) == ((n,), np.int64)
        assert len(set(y.tolist())) == n
        np.testing.assert_array_equal(x, np.tile(y[:, None].astype(np.float32) / 100, (1, 6)))
    for once, again in zip(split(whole, 30, 20, seed)[1::2], (y_train, y_test), strict=True):
        np.testing.assert_array_equal(once[: len(again)], again)


def test_split_pixels_span_0_to_1_and_seeds_differ():
    digits = load("digits")
    x_train, y_train, x_test, _ = split(digits, 1000, 797, seed=0)
    assert (x_train.min(), x_train.max(), x_test.max()) == (0, 1, 1)
    assert sorted(y_train) == sorted(digits.train_labels)
    assert not np.array_equal(y_train, split(digits, 1000, 797, seed=1)[1])


@pytest.mark.parametrize(
    ("n_train", "n_test", "says"),
    [(31, 5, "has 30 train images, asked for 31"), (5, 0, "has 20 test images, asked for 0")],
)
def test_split_names_both_numbers_when_there_are_too_few(n_train, n_test, says):
    with pytest.raises(ValueError, match=says):
        split(numbered(30, 20), n_train, n_test, seed=0)


def test_data_need_neither_torch_nor_the_extras_to_be_imported():
    code = (
        "import sys, layerwise.tasks\n"
        "loaded = {'torch', 'pooch', 'sklearn', 'requests'} & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
