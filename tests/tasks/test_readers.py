"""Every reader, on small files made here, whole and broken."""

import contextlib
import gzip
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerwise.tasks.readers import (
    CIFAR10_TEST,
    CIFAR10_TRAIN,
    DataFileError,
    idx_bytes,
    parse_idx,
    read_cifar10,
    read_idx,
    read_idx_folder,
    read_mnist_pickle,
    read_npz,
)

RNG = np.random.default_rng(0)
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def small(shape=(28, 28), n_train=5, n_test=3):
    """Four arrays in the order of `Arrays`, labels as int64."""
    return (
        RNG.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        RNG.integers(0, 10, n_train),
        RNG.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        RNG.integers(0, 10, n_test),
    )


def assert_same(read, expected):
    for found, wanted in zip(read, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [array.dtype for array in read] == [np.uint8, np.int64, np.uint8, np.int64]


def write_idx(folder, arrays, names=IDX_NAMES):
    folder.mkdir(exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        data = idx_bytes(array.astype(np.uint8))
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def write_cifar10(folder, keys=str, labels=list, protocol=2):
    """Write tiny batches; return the arrays they hold."""
    folder.mkdir()
    batches = []
    for name in (*CIFAR10_TRAIN, CIFAR10_TEST):
        rows = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
        numbers = RNG.integers(0, 10, 2)
        key = (lambda text: text.encode()) if keys is bytes else str
        batch = {key("data"): rows, key("labels"): labels(numbers), key("batch_label"): key(name)}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
        batches.append((rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), numbers))
    train = [np.concatenate(parts) for parts in zip(*batches[:5], strict=True)]
    return (*train, *batches[5])


# --- IDX ---------------------------------------------------------------------------------------


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_idx_written_and_read_is_the_same(array):
    read = parse_idx(idx_bytes(array))
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_idx_parser_in_another_way(data):
    with contextlib.suppress(DataFileError):
        parse_idx(data)


@given(st.data())
def test_an_idx_file_cut_anywhere_is_refused(data):
    whole = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DataFileError):
        parse_idx(whole[:cut])


def test_idx_writer_refuses_other_types():
    with pytest.raises(ValueError, match="uint8 array, found float64"):
        idx_bytes(np.zeros(3))


@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_raw_or_gzipped_whatever_its_name(tmp_path, zipped):
    array = RNG.integers(0, 256, (4, 3, 2), dtype=np.uint8)
    path = tmp_path / "pixels"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_read_idx_folder(tmp_path, ending, dot):
    arrays = small()
    names = [name.replace("-idx", f"{dot}idx") + ending for name in IDX_NAMES]
    assert_same(read_idx_folder(write_idx(tmp_path, arrays, names)), arrays)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty file"),
        (b"\x89PNG\r\n", "found 0x89504e47"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "expected the magic number 0x000008DD"),
        (b"\x00\x00\x08\x00", "found 0x00000800"),
        (idx_bytes(np.zeros((2, 2), np.uint8))[:9], "header of 12 bytes, found 9"),
        (idx_bytes(np.zeros((2, 2), np.uint8))[:-1], r"expected 16 bytes for \(2, 2\), found 15"),
        (idx_bytes(np.zeros((2, 2), np.uint8)) + b"x", "expected 16 bytes .* found 17"),
        (gzip.compress(idx_bytes(np.zeros(9, np.uint8)))[:-12], "expected a whole gzip file"),
        (gzip.compress(b"abc")[:-8] + b"12345678", "expected a whole gzip file"),
    ],
)
def test_a_broken_idx_file_says_what_is_wrong(tmp_path, data, says):
    path = tmp_path / "broken-idx"
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=says) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_idx_folder_names_what_is_missing(tmp_path):
    write_idx(tmp_path, small())
    (tmp_path / IDX_NAMES[3]).unlink()
    with pytest.raises(DataFileError, match=r"t10k-labels-idx1-ubyte or .*gz, found t10k-images"):
        read_idx_folder(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataFileError, match="found nothing"):
        read_idx_folder(tmp_path)


def test_idx_folder_wants_as_many_labels_as_images(tmp_path):
    x_train, y_train, x_test, y_test = small()
    write_idx(tmp_path, (x_train, y_train[:-1], x_test, y_test))
    with pytest.raises(DataFileError, match=r"one train label per image.*\(5, 28, 28\).*\(4,\)"):
        read_idx_folder(tmp_path)


def test_idx_folder_wants_three_dimensions_of_images(tmp_path):
    x_train, y_train, x_test, y_test = small()
    write_idx(tmp_path, (x_train.reshape(5, -1), y_train, x_test, y_test))
    with pytest.raises(DataFileError, match=r"expected 3 dimension\(s\), found 2"):
        read_idx_folder(tmp_path)


# --- npz ---------------------------------------------------------------------------------------


def as_npz(path, arrays, **changed):
    keys = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path, **(dict(zip(keys, arrays, strict=True)) | changed))
    return path


def test_read_npz(tmp_path):
    x_train, y_train, x_test, y_test = small((32, 32, 3))
    written = (x_train, y_train.astype(np.uint8), x_test, y_test.astype(np.int32))
    assert_same(read_npz(as_npz(tmp_path / "a.npz", written)), (x_train, y_train, x_test, y_test))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"x_test": np.zeros((3, 28, 28))}, "expected uint8 test images, found float64"),
        ({"y_train": np.zeros(5)}, "expected integer train labels, found float64"),
        ({"y_test": np.zeros((3, 1), int)}, r"found images \(3, 28, 28\) and labels \(3, 1\)"),
        ({"x_train": np.array([{"a": 1}])}, "Object arrays cannot be loaded"),
        ({"x_train": np.uint8(3)}, r"found images \(\) and labels \(5,\)"),
    ],
)
def test_an_npz_of_other_content_is_refused(tmp_path, changed, says):
    path = as_npz(tmp_path / "a.npz", small(), **changed)
    with pytest.raises(DataFileError, match=says) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


def test_an_npz_without_a_part_names_the_expected_and_the_found(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((1, 2, 2), np.uint8), other=1)
    with pytest.raises(DataFileError, match="x_train, y_train, x_test, y_test, found x_train, oth"):
        read_npz(tmp_path / "a.npz")


def test_a_damaged_npz_is_refused(tmp_path):
    path = as_npz(tmp_path / "a.npz", small())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[400] ^= 1
    for data in (b"", b"no archive at all", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(data)
        with pytest.raises(DataFileError, match=r"expected a whole \.npz file"):
            read_npz(path)
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))
    with pytest.raises(DataFileError, match=r"expected a whole \.npz file"):
        read_npz(path)


# --- CIFAR-10 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("keys", [str, bytes])
@pytest.mark.parametrize("labels", [list, np.asarray, np.ndarray.tolist])
def test_read_cifar10_folder_of_any_writer(tmp_path, keys, labels, protocol):
    arrays = write_cifar10(tmp_path / "batches", keys, labels, protocol)
    assert_same(read_cifar10(tmp_path / "batches"), arrays)


def test_read_cifar10_parent_folder_and_archive(tmp_path):
    arrays = write_cifar10(tmp_path / "cifar-10-batches-py")
    assert_same(read_cifar10(tmp_path), arrays)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    assert_same(read_cifar10(tmp_path / "c.tar.gz"), arrays)


def test_a_batch_written_by_python_2_is_read(tmp_path):
    # Byte strings (opcode U, T) and integer flags of the dtype, as in the published archive.
    rows = bytes(range(256)) * 12
    batch = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff"
        b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00"
        + rows
        + b"tbU\x06labels]K\x07au."
    )
    for name in (*CIFAR10_TRAIN, CIFAR10_TEST):
        (tmp_path / name).write_bytes(batch)
    read = read_cifar10(tmp_path)
    assert read.x_train.shape == (5, 32, 32, 3)
    assert read.y_test.tolist() == [7]
    np.testing.assert_array_equal(read.x_test[0, :, :, 0].ravel(), list(rows[:1024]))


def test_a_missing_batch_is_named(tmp_path):
    write_cifar10(tmp_path / "batches")
    (tmp_path / "batches" / "data_batch_3").unlink()
    with pytest.raises(DataFileError, match="missing data_batch_3"):
        read_cifar10(tmp_path / "batches")


def test_a_truncated_archive_is_refused(tmp_path):
    write_cifar10(tmp_path / "batches")
    path = tmp_path / "c.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "batches", "batches")
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DataFileError, match="expected a whole tar archive"):
        read_cifar10(path)
    path.write_bytes(b"not an archive")
    with pytest.raises(DataFileError, match="expected a whole tar archive"):
        read_cifar10(path)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ([1, 2], "expected a dictionary, found list"),
        ({"pixels": 1}, r"expected the keys data and labels, found \['pixels'\]"),
        ({"data": np.zeros((2, 9), np.uint8), "labels": [1, 2]}, r"found \(2, 9\) and uint8"),
        ({"data": np.zeros((2, 3072)), "labels": [1, 2]}, r"found \(2, 3072\) and float64"),
    ],
)
def test_a_batch_of_other_content_is_refused(tmp_path, batch, says):
    write_cifar10(tmp_path / "batches")
    (tmp_path / "batches" / "data_batch_2").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(DataFileError, match=says) as caught:
        read_cifar10(tmp_path / "batches")
    assert "data_batch_2" in str(caught.value)


# --- pickles -----------------------------------------------------------------------------------


class Foreign:
    """Pickles to a call of `print`, which would be seen."""

    def __reduce__(self):
        return print, ("RAN",)


def test_a_foreign_name_is_refused_by_name_and_not_run(tmp_path, capsys):
    write_cifar10(tmp_path / "batches")
    batch = {"data": np.zeros((1, 3072), np.uint8), "labels": [0], "more": Foreign()}
    (tmp_path / "batches" / CIFAR10_TEST).write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(DataFileError, match=r"the foreign name \w+\.print, which was not loaded"):
        read_cifar10(tmp_path / "batches")
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(Foreign())))
    with pytest.raises(DataFileError, match=r"builtins\.print"):
        read_mnist_pickle(path)
    assert "RAN" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["os\nsystem", "numpy\nload", "numpy\nfromfile", "_codecs\ndecode", "builtins\ngetattr"]
)
def test_names_near_the_admitted_ones_are_refused(tmp_path, name):
    path = tmp_path / "mnist.pkl"
    path.write_bytes(b"\x80\x02c" + name.encode() + b"\n.")
    with pytest.raises(DataFileError, match=name.replace("\n", ".")):
        read_mnist_pickle(path)


def test_a_truncated_pickle_is_refused(tmp_path):
    path = tmp_path / "mnist.pkl"
    path.write_bytes(pickle.dumps(small())[:-30])
    with pytest.raises(DataFileError, match="expected a whole pickle"):
        read_mnist_pickle(path)


def mnist_pickle(path, arrays, n_val=2, scale=256):
    """Write arrays in the layout of mnist.pkl.gz."""
    x_train, y_train, x_test, y_test = arrays
    rows = [x.reshape(len(x), -1) / np.float32(scale) for x in (x_train, x_test)]
    n = len(x_train) - n_val
    content = (rows[0][:n], y_train[:n]), (rows[0][n:], y_train[n:]), (rows[1], y_test)
    path.write_bytes(gzip.compress(pickle.dumps(content, 2)))
    return path


def test_mnist_pickle_joins_train_and_validation_and_loses_no_level(tmp_path):
    x_train, y_train, x_test, y_test = small()
    x_test[0].ravel()[:256] = np.arange(256)
    arrays = x_train, y_train, x_test, y_test
    assert_same(read_mnist_pickle(mnist_pickle(tmp_path / "mnist.pkl.gz", arrays)), arrays)


def test_mnist_pickle_of_other_content_is_refused(tmp_path):
    path = mnist_pickle(tmp_path / "mnist.pkl.gz", small(), scale=255)
    with pytest.raises(DataFileError, match="pixels other than k/256"):
        read_mnist_pickle(path)
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(DataFileError, match="expected three pairs"):
        read_mnist_pickle(path)
