import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import layerwise as lw
from layerwise.trace import versions

THEORY = lw.Provenance("theory", "gradient-flow time")
DTYPES = (
    arrays.floating_dtypes(endianness="?")
    | arrays.integer_dtypes(endianness="?")
    | arrays.unsigned_integer_dtypes(endianness="?")
    | arrays.boolean_dtypes()
)
NAMES = st.text(min_size=1).filter(str.isprintable) | st.sampled_from(
    ["file", "allow_pickle", "clock", "arr_0", "loss.npy", "loss", "a/b", "..", "Θ"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@st.composite
def provenances(draw):
    return lw.Provenance(
        source=draw(st.sampled_from(["theory", "network", "probe"])),
        clock=draw(st.text()),
        config=draw(st.dictionaries(st.text(), JSON, max_size=3)),
        seed=draw(st.none() | st.integers()),
        data=draw(st.none() | st.text()),
        versions=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
    )


@st.composite
def traces(draw):
    clock = np.array(
        sorted(draw(st.sets(st.floats(allow_nan=False, allow_infinity=False), min_size=1)))
    )
    shapes = arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
    series = {
        name: draw(arrays.arrays(draw(DTYPES), (len(clock), *draw(shapes))))
        for name in draw(st.sets(NAMES, max_size=3))
    }
    return lw.Trace(clock, series, draw(provenances()))


@pytest.fixture
def trace():
    series = {"loss": [1.0, 0.5, np.nan], "weights": np.arange(12).reshape(3, 2, 2)}
    provenance = lw.Provenance(
        "network", "optimiser steps", {"lr": 0.1, "sizes": [3, 4]}, 7, "digits", versions("scipy")
    )
    return lw.Trace([0, 10, 100], series, provenance)


def test_a_trace_holds_what_it_was_given(trace):
    assert len(trace) == 3
    assert list(trace) == ["loss", "weights"]
    assert "loss" in trace
    assert "accuracy" not in trace
    assert trace["weights"].shape == (3, 2, 2)
    assert trace.provenance.config["sizes"] == [3, 4]
    assert set(trace.provenance.versions) == {"layerwise", "numpy", "scipy"}


def test_a_trace_is_immutable(trace):
    with pytest.raises(AttributeError):
        trace.clock = np.arange(3)
    with pytest.raises(TypeError):
        trace.series["loss"] = np.zeros(3)
    with pytest.raises(TypeError):
        trace.provenance.config["lr"] = 1
    for array in (trace.clock, trace["loss"], trace["weights"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(trace)


def test_a_trace_does_not_follow_the_arrays_it_was_made_from():
    clock, loss, config = np.arange(3.0), np.ones(3), {"lr": 1}
    trace = lw.Trace(clock, {"loss": loss}, lw.Provenance("theory", "time", config))
    clock[0], loss[0], config["lr"] = -1, 5, 2
    assert trace.clock[0] == 0
    assert trace["loss"][0] == 1
    assert trace.provenance.config["lr"] == 1


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        ([], r"shape \(T,\) with T >= 1, got \(0,\)"),
        (3.0, r"shape \(T,\) with T >= 1, got \(\)"),
        ([[0.0, 1.0]], r"got \(1, 2\)"),
        ([0.0, np.nan], "NaN or infinite"),
        ([0.0, np.inf], "NaN or infinite"),
        ([0.0, 2.0, 2.0], r"clock\[1\] = 2.0 and clock\[2\] = 2.0"),
        ([3.0, 1.0], r"clock\[0\] = 3.0 and clock\[1\] = 1.0"),
        (np.array([3, 1], dtype=np.uint8), "must increase strictly"),
        (["a"], "the clock must hold real numbers, got dtype <U1"),
        ([1j], "the clock must hold real numbers, got dtype complex128"),
    ],
)
def test_a_clock_that_is_none_is_refused(clock, message):
    with pytest.raises(lw.TraceError, match=message):
        lw.Trace(clock, {}, THEORY)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("loss", [1.0, 2.0], r"'loss' has shape \(2,\), the clock has shape \(3,\)"),
        ("loss", 1.0, r"'loss' has shape \(\)"),
        ("loss", ["a", "b", "c"], "'loss' must hold real numbers, got dtype <U1"),
        ("loss", [None] * 3, "'loss' must hold real numbers, got dtype object"),
        ("", [1.0, 2.0, 3.0], "a series needs a .*name, got ''"),
        (5, [1.0, 2.0, 3.0], "a series needs a .*name, got 5"),
        ("lo\0ss", [1.0, 2.0, 3.0], r"a series needs a .*name, got 'lo\\x00ss'"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(name, values, message):
    with pytest.raises(lw.TraceError, match=message):
        lw.Trace([0, 1, 2], {name: values}, THEORY)


@pytest.mark.parametrize("value", [np.nan, np.inf, np.float32(1), {1, 2}, object()])
def test_a_config_that_json_cannot_hold_is_refused(value):
    with pytest.raises(lw.TraceError, match="JSON values only"):
        lw.Provenance("theory", "time", {"value": value})


def test_a_seed_that_json_cannot_hold_is_refused_before_any_work():
    with pytest.raises(lw.TraceError, match="JSON values only"):
        lw.Provenance("network", "steps", seed=np.int64(3))


def test_an_unknown_series_is_answered_with_the_nearest(trace):
    with pytest.raises(KeyError, match="unknown series 'los'; did you mean 'loss'"):
        trace["los"]


@given(traces())
def test_save_and_load_give_the_same_trace(tmp_path_factory, trace):
    folder = tmp_path_factory.mktemp("traces") / "run"
    assert trace.save(folder) == folder
    loaded = lw.Trace.load(folder)
    assert loaded == trace
    assert list(loaded) == list(trace)
    for name in trace:
        assert loaded[name].dtype == trace[name].dtype
        assert loaded[name].shape == trace[name].shape
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "trace.npz"]
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


@given(traces())
def test_pickle_gives_the_same_trace(trace):
    assert pickle.loads(pickle.dumps(trace)) == trace


def test_equality_sees_every_part(trace):
    def changed(clock=trace.clock, series=trace.series, provenance=trace.provenance):
        return lw.Trace(clock, series, provenance)

    assert changed() == trace
    assert changed(clock=[0, 10, 101]) != trace
    assert changed(clock=[0.0, 10.0, 100.0]) != trace
    assert changed(series={"loss": trace["loss"]}) != trace
    assert changed(series={**trace.series, "loss": [1.0, 0.5, 0.0]}) != trace
    assert changed(series={**trace.series, "weights": np.zeros((3, 2, 2), int)}) != trace
    assert changed(provenance=THEORY) != trace
    assert trace != "trace"


def test_resample_interpolates_linearly_and_keeps_the_provenance(trace):
    new = trace.resample([0, 5, 55, 100])
    np.testing.assert_array_equal(new.clock, [0, 5, 55, 100])
    np.testing.assert_allclose(new["loss"], [1.0, 0.75, np.nan, np.nan])
    np.testing.assert_allclose(new["weights"][:, 1, 0], [2, 4, 8, 10])
    assert new["weights"].shape == (4, 2, 2)
    assert new.provenance == trace.provenance


def test_resample_to_its_own_clock_changes_nothing_but_the_dtype(trace):
    new = trace.resample(trace.clock)
    np.testing.assert_array_equal(new["loss"], trace["loss"])
    np.testing.assert_array_equal(new["weights"], trace["weights"])


@pytest.mark.parametrize("clock", [[-1.0, 5.0], [5.0, 100.1]])
def test_resample_never_extrapolates(trace, clock):
    with pytest.raises(lw.TraceError, match=r"the trace covers \[0, 100\]"):
        trace.resample(clock)


@pytest.mark.parametrize("clock", [[], [5.0, 1.0], [1.0, np.nan], [[0.0, 1.0]], 5.0])
def test_resample_needs_a_clock(trace, clock):
    with pytest.raises(lw.TraceError, match="the clock"):
        trace.resample(clock)


def test_save_makes_the_folders_above(trace, tmp_path):
    path = trace.save(tmp_path / "runs" / "deep" / "one")
    assert lw.Trace.load(path) == trace
    assert lw.Trace.load(str(path)) == trace


def test_saved_files_are_plain_numpy_and_json(trace, tmp_path):
    path = trace.save(tmp_path / "run")
    record = json.loads((path / "run.json").read_text())
    assert record["provenance"]["seed"] == 7
    assert record["series"] == {"loss": [3], "weights": [3, 2, 2]}
    with np.load(path / "trace.npz", allow_pickle=False) as stored:
        assert any(name.endswith("loss") for name in stored.files)


def test_save_refuses_to_overwrite_unless_forced(trace, tmp_path):
    path = trace.save(tmp_path / "run")
    other = trace.resample([0, 1])
    with pytest.raises(FileExistsError, match="exists already"):
        other.save(path)
    assert lw.Trace.load(path) == trace
    other.save(path, force=True)
    assert lw.Trace.load(path) == other
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("force", [False, True])
def test_a_failure_while_writing_leaves_nothing_and_harms_nothing(
    trace, tmp_path, monkeypatch, force
):
    path = tmp_path / "run"
    if force:
        trace.save(path)
    write = Path.write_bytes

    def disk_full(self, content):
        if self.name == "run.json":
            raise OSError("no space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="no space"):
        trace.resample([0, 1]).save(path, force=force)
    assert [entry.name for entry in tmp_path.iterdir()] == (["run"] if force else [])
    if force:
        assert lw.Trace.load(path) == trace


def test_load_says_what_is_missing(trace, tmp_path):
    with pytest.raises(FileNotFoundError, match="no trace folder"):
        lw.Trace.load(tmp_path / "nowhere")
    path = trace.save(tmp_path / "run")
    (path / "run.json").unlink()
    with pytest.raises(lw.TraceError, match=r"half-written: run\.json missing"):
        lw.Trace.load(path)
    (path / "trace.npz").unlink()
    with pytest.raises(lw.TraceError, match=r"trace\.npz and run\.json missing"):
        lw.Trace.load(path)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_load_refuses_a_truncated_file(trace, tmp_path, keep):
    path = trace.save(tmp_path / "run")
    content = (path / "trace.npz").read_bytes()
    (path / "trace.npz").write_bytes(content[:keep])
    with pytest.raises(lw.TraceError, match=r"truncated or altered: its SHA-256 is \w+, .*expects"):
        lw.Trace.load(path)


def test_load_refuses_an_altered_file(trace, tmp_path):
    path = trace.save(tmp_path / "run")
    content = bytearray((path / "trace.npz").read_bytes())
    content[40] ^= 1
    (path / "trace.npz").write_bytes(content)
    with pytest.raises(lw.TraceError, match="altered"):
        lw.Trace.load(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"provenance": {}, "sha256": ""}', '{"provenance": 3}', "\x00"]
)
def test_load_refuses_a_damaged_record(trace, tmp_path, text):
    path = trace.save(tmp_path / "run")
    (path / "run.json").write_text(text)
    with pytest.raises(lw.TraceError, match=r"run\.json is damaged"):
        lw.Trace.load(path)


def test_load_refuses_another_format(trace, tmp_path):
    path = trace.save(tmp_path / "run")
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(lw.TraceError, match="has trace format 99, this version reads 1"):
        lw.Trace.load(path)
