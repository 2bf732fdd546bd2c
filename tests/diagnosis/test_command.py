"""The command line: a saved trace is diagnosed, printed, written."""

import json
import math

import pytest

import layerwise as lw
from layerwise.cli import main

from .traces import made


def saved(folder):
    series = {
        "weight_to_target": [30.0, math.nan],
        "gamma_plus": [1.03, math.nan],
        "train_accuracy": [0.1, 0.9],
    }
    return made(series).save(folder)


def test_a_trace_is_diagnosed_and_written(tmp_path, capsys):
    folder, out = saved(tmp_path / "trace"), tmp_path / "found"
    assert main(["diagnose", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "lazy by scale" in printed
    assert "findings: 1; nothing found by: –" in printed
    assert "not judged: learning in stages: needs the series skill/NAME" in printed
    assert f"The report lies in {out / 'index.html'}" in printed
    assert f"findings as data: {out / 'diagnosis.json'}" in printed
    found = json.loads((out / "diagnosis.json").read_text())
    assert found == {"trace": str(folder)} | lw.diagnose(lw.Trace.load(folder)).as_json()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "lazy by scale" in page
    assert f"layerwise diagnose {folder} --out {out}" in page


def test_without_a_place_it_is_named_as_the_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "runs" / "mine")
    for _ in range(2):  # the same diagnosis is replaced
        assert main(["diagnose", "runs/mine"]) == 0
    assert (tmp_path / "diagnosis" / "mine" / "index.html").exists()
    saved(tmp_path / "elsewhere" / "mine")
    assert main(["diagnose", "elsewhere/mine"]) == 2
    captured = capsys.readouterr()
    assert "holds the diagnosis of runs/mine, not of elsewhere/mine" in captured.err
    assert "lazy by scale" in captured.out  # told all the same
    assert main(["diagnose", "elsewhere/mine", "--force"]) == 0


def test_calls_of_remedies_are_printed_whole(tmp_path, capsys):
    assert main(["diagnose", str(saved(tmp_path / "a")), "--out", str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    assert "> lw.remedies.scale_output(model, 0.0333):" in printed


def test_the_runs_of_a_folder_are_named(tmp_path, capsys):
    for name in ("b", "a", "deep/c"):
        saved(tmp_path / name)
    assert main(["diagnose", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path} is no run but holds 3; diagnose one of them:\n  a\n  b\n  deep/c\n" in err
    for i in range(20):
        saved(tmp_path / f"more{i}")
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "  and 3 more\n" in capsys.readouterr().err


def test_a_run_that_holds_runs_is_the_one_that_is_meant(tmp_path):
    saved(tmp_path / "run")
    saved(tmp_path / "run" / "earlier")
    assert main(["diagnose", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0


def test_what_cannot_be_diagnosed_is_refused(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path / "nothing")]) == 2
    assert "no trace folder at" in capsys.readouterr().err
    folder = made({"anything": [1.0, 2.0]}).save(tmp_path / "empty")
    assert main(["diagnose", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "no rule can be judged on this trace" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["trace.npz", "run.json"])
def test_a_half_written_trace_is_named_as_such(tmp_path, damage, capsys):
    folder = saved(tmp_path / "trace")
    (folder / damage).unlink()
    assert main(["diagnose", str(folder)]) == 2
    assert f"{folder} is half-written: {damage} missing" in capsys.readouterr().err
