import json
import math
from pathlib import Path

import numpy as np
import pytest

from layerwise.diagnosis import Diagnosis, Finding, Forecast, Premise, diagnose
from layerwise.diagnosis.advice import Remedy
from layerwise.diagnosis.finding import SEVERITIES
from layerwise.show import findings
from layerwise.show.findings import write
from layerwise.show.number import number
from layerwise.trace import Provenance, Trace

from .pages import NASTY, Page, assert_whole


def run(**config):
    """Return a run that has memorised its data and waits for decay to do its work."""
    clock = np.array([0, 100, 200, 300])
    once = [50.0, math.nan, math.nan, math.nan]
    series = {
        "train_accuracy": [0.1, 0.9, 1.0, 1.0],
        "test_accuracy": [0.1, 0.2, 0.3, 0.3],
        "layerwise/learning_rate": np.full(4, 1e-3),
        "layerwise/weight_decay": np.full(4, 0.3),
        "layerwise/decay_budget": 3e-4 * clock,
        "layerwise/weight_to_target": once,
        "layerwise/gamma_plus": once,
    }
    known = {
        "model": "MLP",
        "parameters": 1234567,
        "samples": 200,
        "classes": 10,
        "layers": {"fc1": [20, 5], "fc2": [10, 20]},
        "degree": 1.3,
        "optimizer": {"kind": "AdamW"},
        "notes": ["kernel: needs a batch"],
    }
    origin = Provenance(
        "probe", "optimiser steps", config=known | config, versions={"torch": "2.6.0"}
    )
    return Trace(clock, series, origin)


def page(tmp_path, found=None, trace=None, **given):
    trace = run() if trace is None else trace
    found = diagnose(trace) if found is None else found
    path = write(found, trace, tmp_path / "out", **{"name": "runs/mine"} | given)
    return path.read_text(encoding="utf-8")


def seen(text):
    return " ".join(" ".join(Page(text).text).split())


def test_a_page_says_what_was_probed_what_was_found_and_what_to_try(tmp_path):
    found = diagnose(run())
    first, told = found.findings[0], found.forecast
    assert first.rule == "memorised and waiting"
    words = seen(page(tmp_path, found))
    for part in (
        "MLP, 1,234,567 parameters, 300 optimiser steps",
        f"! {len(found.findings)} warnings",
        "Optimiser: AdamW, learning rate 0.001, weight decay 0.3.",
        "4 looks at 200 samples of 10 classes.",
        f"! warning memorised and waiting {first.sentence} Forecast: step {number(told.time)} , "
        f"with 90 % from {number(told.low)} to {number(told.high)}",
        f"Confidence: {first.confidence}.",
        "test accuracy 0.3 fitted at 200 weight decay 0.3 weight to target 50",
        *(f"{one.name}: ✓ holds {one.seen}" for one in first.premises),
        *(f"{one.call} {one.effect} Predicted:" for one in first.remedies if one.predicted),
        "times as many steps Predicted: steps 0.333. The outputs stay as they are.",
        f"Rules that found nothing {' '.join(found.clear)}",
        "Rules not judged Rule Why",
        *(f"{rule} {why}" for rule, why in found.not_judged.items()),
        "Notes of the probe kernel: needs a batch",
        "This page is made by layerwise diagnose runs/mine --out",
        "torch 2.6.0",
        "@inproceedings{nam2025position,",
    ):
        assert part in words
    assert words.index("Findings") < words.index("The run") < words.index("Rules not judged")


def test_every_panel_of_the_dashboard_is_a_figure_and_says_what_it_shows(tmp_path):
    html = Page(page(tmp_path))
    names = [value for tag, value in html.values("aria-label") if tag == "svg"]
    assert [name.partition(":")[0] for name in names] == ["Accuracy", "Work of weight decay"]
    assert "train, test, fitted, step 200, forecast, step" in names[0]


def test_the_page_is_whole_and_asks_for_nothing(tmp_path):
    assert_whole(page(tmp_path))


def finding(severity="note", **fields):
    given = {"rule": "a rule", "sentence": "It is so.", "evidence": {"motion/fc_1": 0.5}}
    return Finding(severity=severity, **given | fields)


def test_severities_and_premises_are_told_by_word_and_symbol(tmp_path):
    premises = tuple(Premise(f"premise {holds}", holds, "seen") for holds in (True, False, None))
    found = Diagnosis(tuple(finding(one, premises=premises) for one in SEVERITIES), (), {})
    words = seen(page(tmp_path, found))
    for part in ("✗ 1 fault ! 1 warning i 1 note", "✗ fault a rule", "! warning a rule",
                 "i note a rule", "premise True: ✓ holds", "premise False: ✗ fails",
                 "premise None: ? not known", "Confidence: low.", "motion/fc_1 0.5"):  # fmt: skip
        assert part in words
    assert set(findings.SYMBOLS) == set(SEVERITIES)


def test_what_a_finding_lacks_has_no_heading(tmp_path):
    words = seen(page(tmp_path, Diagnosis((finding(),), (), {})))
    for heading in ("What this takes for granted", "What to try", "Forecast", "Rules not judged",
                    "Rules that found nothing"):  # fmt: skip
        assert heading not in words


def test_a_healthy_run_is_said_to_be_one(tmp_path):
    words = seen(page(tmp_path, Diagnosis((), ("idle layer", "stages"), {})))
    assert "Nothing was found: 2 rules could be judged, and none applies." in words
    assert "✗ 0 faults ! 0 warnings i 0 notes" in words
    assert "idle layer stages" in words
    assert "Findings" not in words


def test_a_trace_that_knows_little_of_its_run_says_what_it_knows(tmp_path):
    origin = Provenance("network", "steps", data="digits")
    words = seen(page(tmp_path, Diagnosis((), (), {}), Trace([7], {"loss": [0.5]}, origin)))
    assert "A run of a network, 7 steps" in words
    assert "Data: digits. 1 look." in words
    assert "The run" not in words
    assert "Optimiser" not in words


def test_every_string_is_escaped(tmp_path):
    nasty = finding(
        rule=NASTY,
        sentence=NASTY,
        evidence={NASTY: 1.0},
        premises=(Premise(NASTY, None, NASTY),),
        remedies=(Remedy(NASTY, NASTY, NASTY, {NASTY: 1.0}),),
        forecast=Forecast(0.85, 400.0, 350.0, 500.0, True, (NASTY,)),
    )
    trace = run(model=NASTY, notes=[NASTY], optimizer={"kind": NASTY})
    trace = Trace(trace.clock, dict(trace.series) | {f"class_accuracy/{NASTY}": np.ones(4)},
                  trace.provenance)  # fmt: skip
    text = page(tmp_path, Diagnosis((nasty,), (NASTY,), {NASTY: NASTY}), trace, name=NASTY)
    assert "<script" not in text
    assert_whole(text)
    assert "".join(Page(text).text).count(NASTY) >= 11


def test_the_record_is_the_diagnosis_with_the_name_of_its_trace(tmp_path):
    page(tmp_path)
    record = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert record == {"trace": "runs/mine"} | diagnose(run()).as_json()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "diagnosis.json"}


def test_the_same_diagnosis_gives_the_same_bytes_and_replaces_itself(tmp_path):
    first = page(tmp_path)
    assert page(tmp_path) == first


def test_another_diagnosis_and_other_files_are_kept_unless_forced(tmp_path):
    found, trace, out = diagnose(run()), run(), tmp_path / "out"
    before = page(tmp_path)
    with pytest.raises(
        FileExistsError, match="holds the diagnosis of runs/mine, not of runs/other"
    ):
        write(found, trace, out, name="runs/other")
    assert (out / "index.html").read_text(encoding="utf-8") == before
    write(found, trace, out, name="runs/other", force=True)
    for holds in ("not JSON", "[]", '{"findings": []}'):
        (out / "diagnosis.json").write_text(holds)
        with pytest.raises(FileExistsError, match="is not empty and holds no diagnosis"):
            write(found, trace, out, name="runs/other")
    other = tmp_path / "other"
    other.mkdir()
    write(found, trace, other, name="runs/mine")  # an empty folder is as good as none
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileExistsError, match="file is a file, not a folder"):
        write(found, trace, tmp_path / "file", name="runs/mine", force=True)
    assert (tmp_path / "file").read_text() == "kept"


def test_files_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    first = page(tmp_path)

    def full(self, target):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no space left"):
            page(tmp_path, Diagnosis((), (), {}))
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8") == first
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_nothing_is_written_where_the_page_cannot_be_drawn(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"layerwise\[plot\]"):
        page(tmp_path)
    assert not (tmp_path / "out").exists()
