"""The command line: a saved trace is diagnosed, printed, written."""

import json
import math

import layerwise as lw
from layerwise.cli import main

from .traces import made


def saved(tmp_path):
    series = {"weight_to_target": [30.0, math.nan], "gamma_plus": [1.03, math.nan]}
    return made(series).save(tmp_path / "trace")


def test_a_trace_is_diagnosed_and_written(tmp_path, capsys):
    folder = saved(tmp_path)
    assert main(["diagnose", str(folder), "--out", str(tmp_path / "found.json")]) == 0
    out = capsys.readouterr().out
    assert "lazy by scale" in out
    assert "findings: 1; nothing found by: –" in out
    assert "not judged: stages: needs the series skill/NAME" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == lw.diagnose(lw.Trace.load(folder)).as_json()


def test_what_cannot_be_diagnosed_is_refused_in_one_line(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path / "nothing")]) == 2
    assert "no trace folder at" in capsys.readouterr().err
    folder = made({"anything": [1.0, 2.0]}).save(tmp_path / "empty")
    assert main(["diagnose", str(folder)]) == 2
    assert "no rule can be judged on this trace" in capsys.readouterr().err
