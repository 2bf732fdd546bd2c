"""The command line: solve, data, and its refusals in one line."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw
from layerwise.cli import main

SOLVE = ["solve", "scalar", "--target", "1", "--a", "3", "3", "--b", "3", "-3"]


def test_solve_prints_the_law_and_the_quantities(capsys):
    assert main([*SOLVE, "--times", "0", "1", "400", "--quantity", "map", "alignment"]) == 0
    out = capsys.readouterr().out
    assert "method: exact, law: 1-h-1" in out
    assert "alignment" in out
    assert "residual" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["solve", "diagonal", "--target", "3", "1", "--a", "0.1", "--b", "0.1", "0.2"],
        ["solve", "shallow", "--target", "3", "1", "--method", "descent"],
        [*SOLVE, "--decay", "0.1", "--method", "flow"],
        ["solve", "deep", "--target", "1", "2", "--weight", "0.2", "--depth", "3"],
    ],
)
def test_every_model_and_method_solves(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""


def test_a_network_is_solved_from_a_file_and_says_what_its_law_assumes(tmp_path, capsys):
    arrays = {"w1": 0.1 * np.eye(3, 4), "w2": 0.1 * np.eye(2, 3), "cross": np.ones((2, 4))}
    np.savez(tmp_path / "net.npz", **arrays, input_cov=np.eye(4))
    assert main(["solve", "linear", "--arrays", str(tmp_path / "net.npz")]) == 0
    out = capsys.readouterr().out
    assert "method: " in out
    assert "inputs whitened on their range: holds" in out
    assert main(["solve", "linear", "--arrays", str(tmp_path / "net.npz"), "--decay", "-1"]) == 2
    assert "decay must be finite and not negative" in capsys.readouterr().err
    del arrays["cross"]
    np.savez(tmp_path / "half.npz", **arrays)
    np.save(tmp_path / "one.npy", arrays["w1"])
    for name, message in (("half.npz", "lacks cross"), ("one.npy", "one array"), ("no", "No such")):
        assert main(["solve", "linear", "--arrays", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_solve_saves_a_trace_once_and_cites(tmp_path, capsys):
    arguments = [*SOLVE, "--out", str(tmp_path / "trace"), "--cite"]
    assert main(arguments) == 0
    assert "2502.21009" in capsys.readouterr().out
    assert lw.Trace.load(tmp_path / "trace").provenance.config["law"] == "1-h-1"
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SOLVE, "--quantity", "los"], "unknown quantity of Scalar 'los'; did you mean 'loss'"),
        ([*SOLVE, "7"], "shapes do not fit"),
        ([*SOLVE, "--times", "2", "1"], "t must increase strictly"),
        ([*SOLVE, "--scale", "0"], "scale must be positive"),
        ([*SOLVE, "--rate", "nan"], "rate must be finite"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_data_reports_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "layerwise.tasks.fetch.fetch", lambda name, cache, force: tmp_path / f"{name}.npz"
    )
    assert main(["data", "mnist"]) == 0
    assert f"mnist lies in {tmp_path / 'mnist.npz'}" in capsys.readouterr().out


def test_data_that_cannot_be_had_is_status_2(tmp_path, monkeypatch, capsys):
    from layerwise.tasks import FetchError

    def fail(name, cache, force):
        raise FetchError("no source answered")

    monkeypatch.setattr("layerwise.tasks.fetch.fetch", fail)
    assert main(["data", "cifar10"]) == 2
    assert "no source answered" in capsys.readouterr().err
