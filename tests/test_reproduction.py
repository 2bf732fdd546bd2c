"""`reproduce` and the command line, end to end at smoke size, and every refusal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

import layerwise as lw
from layerwise.cli import main
from layerwise.phenomena import grokking
from layerwise.reproduction import OutputFolderError, reproduce

KEYS = [
    "id",
    "phenomenon",
    "statement",
    "source",
    "predicted",
    "measured",
    "interval",
    "seeds",
    "data",
    "size",
    "verdict",  # in this order
]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Run the smoke size once, from the command line, with three seeds."""
    out = tmp_path_factory.mktemp("smoke") / "runs"
    command = [sys.executable, "-m", "layerwise", "reproduce", "grokking", "--size", "smoke"]
    done = subprocess.run(
        [*command, "--seeds", "3", "--device", "cpu", "--out", str(out)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return out, done


def test_smoke_size_ends_well_and_says_where_the_report_lies(smoke):
    out, done = smoke
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert "Ctrl-C keeps what is done" in done.stdout
    assert f"The report lies in {out / 'index.html'}" in done.stdout


def test_the_claims_file_keeps_the_contract(smoke):
    out, _ = smoke
    claims = json.loads((out / "claims.json").read_text())
    assert len(claims) == 10
    for claim in claims:
        assert list(claim) == KEYS
        assert claim["verdict"] in ("supported", "refuted", "undecided")
        assert claim["seeds"] == 3
        assert claim["size"] == "smoke"
        assert claim["data"].startswith("digits")
        assert len(claim["interval"]) == 2


def test_smoke_size_shows_the_delay_and_the_clock(smoke):
    out, _ = smoke
    claims = {claim["id"]: claim for claim in json.loads((out / "claims.json").read_text())}
    assert claims["grokking.delay"]["measured"] > 8
    assert claims["grokking.remedy.weight"]["measured"] < 1 / 8
    assert claims["grokking.clock.scale"]["measured"] == pytest.approx(1.2, abs=0.4)
    assert claims["grokking.no-decay"]["verdict"] == "supported"


def test_every_run_has_its_folder_and_names_its_data(smoke):
    out, _ = smoke
    plan = grokking.plan("smoke", "digits")
    for experiment in plan.experiments(3):
        trace = lw.Trace.load(out / experiment.key)
        assert trace.provenance.seed == experiment.seed
        assert trace.provenance.data.startswith("digits")
        assert dict(trace.provenance.config) == experiment.config()
    assert not list(out.glob("*.checkpoint*"))


def test_the_report_names_every_claim_and_loads_nothing(smoke):
    out, _ = smoke
    page = (out / "index.html").read_text()
    for claim in json.loads((out / "claims.json").read_text()):
        assert claim["id"] in page

    class Loads(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attributes):
            if tag in ("script", "link", "img", "iframe"):
                self.found += [value for key, value in attributes if key in ("src", "href")]

    parser = Loads()
    parser.feed(page)
    assert [link for link in parser.found if not link.startswith("data:")] == []


def test_the_same_command_again_runs_nothing_and_gives_the_same_claims(smoke, monkeypatch):
    out, _ = smoke
    before = (out / "claims.json").read_bytes()
    monkeypatch.setattr(grokking.Grokking, "measure", None)
    claims = reproduce("grokking", size="smoke", seeds=3, out=out, quiet=True)
    assert (out / "claims.json").read_bytes() == before
    assert [claim.id for claim in claims] == [claim["id"] for claim in json.loads(before)]


def test_the_other_phenomena_run_end_to_end_at_smoke_size(tmp_path):
    names = ("emergence", "depth", "collapse")
    claims = reproduce(names, size="smoke", seeds=1, out=tmp_path / "runs", quiet=True)
    assert [len([c for c in claims if c.phenomenon == name]) for name in names] == [10, 7, 11]
    assert {claim.verdict for claim in claims} == {"undecided"}
    measured = {claim.id: claim.measured for claim in claims}
    assert measured["emergence.order"] == 1
    assert measured["emergence.times.calibrated"] < 0.35
    assert -1.2 < measured["depth.slope-3"] < -0.8
    assert measured["collapse.minority"] == 1
    assert measured["collapse.decay-budget"] > 1.5
    page = (tmp_path / "runs" / "index.html").read_text()
    assert all(f"<code>{claim.id}</code>" in page for claim in claims)
    assert not list((tmp_path / "runs").glob("*checkpoint*"))
    assert not (tmp_path / "runs" / ".pace").exists()


def test_another_reproduction_is_not_overwritten_without_force(smoke, capsys):
    out, _ = smoke
    before = (out / "claims.json").read_bytes()
    status = main(["reproduce", "grokking", "--size", "smoke", "--seeds", "2", "--out", str(out)])
    assert status == 2
    assert "holds another reproduction" in capsys.readouterr().err
    assert (out / "claims.json").read_bytes() == before


def test_ctrl_c_leaves_a_state_that_the_same_command_goes_on_from(tmp_path):
    command = [sys.executable, "-m", "layerwise", "reproduce", "grokking", "--size", "smoke"]
    process = subprocess.Popen(
        [*command, "--seeds", "1", "--out", str(tmp_path / "runs")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a parent that ignores Ctrl-C, as a background job does, would hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("grokking-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "runs" / "claims.json").exists()
    kept = {path.name for path in (tmp_path / "runs").glob("grokking-*")}
    assert kept
    claims = reproduce("grokking", size="smoke", seeds=1, out=tmp_path / "runs", quiet=True)
    assert {claim.verdict for claim in claims} == {"undecided"}


def test_a_damaged_run_is_an_error_before_work(smoke, tmp_path, monkeypatch):
    out, _ = smoke
    copy = shutil.copytree(out, tmp_path / "runs")
    key = grokking.plan("smoke", "digits").default.key
    (copy / key / "run.json").unlink()
    monkeypatch.setattr(grokking.Grokking, "measure", None)
    with pytest.raises(lw.TraceError, match=r"half-written: run\.json missing; delete it"):
        reproduce("grokking", size="smoke", seeds=3, out=copy, quiet=True)


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputFolderError, match="not a reproduction of ours"):
        reproduce("grokking", size="smoke", out=tmp_path, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(OutputFolderError, match="is a file, not a folder"):
        reproduce("grokking", size="smoke", out=tmp_path / "runs", quiet=True)


def test_an_unwritable_place_is_an_error_before_work(tmp_path):
    with pytest.raises(OutputFolderError, match="cannot write to"):
        reproduce("grokking", size="smoke", out="/proc/nowhere/runs", quiet=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phenomenon": "groking"}, "unknown phenomenon 'groking'; did you mean 'grokking'"),
        ({"size": "labtop"}, "unknown size 'labtop'; did you mean 'laptop'"),
        ({"data": "mnits"}, "unknown data set for grokking 'mnits'; did you mean 'mnist'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"device": "tpu9"}, "unknown device 'tpu9'"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(tmp_path, arguments, message):
    given = {"phenomenon": "grokking", "size": "smoke"} | arguments
    with pytest.raises(ValueError, match=message):
        reproduce(given.pop("phenomenon"), out=tmp_path / "runs", quiet=True, **given)
    assert not (tmp_path / "runs").exists()


def test_a_missing_package_is_named_with_its_extra_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "layerwise.reproduction.find_spec", lambda name: None if name == "matplotlib" else True
    )
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'layerwise\[plot\]'"):
        reproduce("grokking", size="smoke", out=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs").exists()


def test_without_mnist_the_stand_in_is_said_loudly(tmp_path, monkeypatch, capsys):
    from layerwise.reproduction import _data

    monkeypatch.setenv("LAYERWISE_DATA", str(tmp_path))
    monkeypatch.delenv("LAYERWISE_MNIST", raising=False)
    assert _data("laptop", print) == "digits"
    assert "*** NOT mnist: scikit-learn's 8x8 digits stand in" in capsys.readouterr().out
