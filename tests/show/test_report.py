import math
from html import escape
from pathlib import Path

import numpy as np
import pytest

from layerwise.phenomena.base import Experiment, Run, Study
from layerwise.phenomena.claim import Claim, Verdict
from layerwise.phenomena.panel import Curve, Panel
from layerwise.show import report
from layerwise.show.number import number
from layerwise.show.report import write
from layerwise.trace import Provenance, Trace

from .pages import NASTY, Page, assert_whole


class Nothing(Experiment):
    name = "nothing"

    def measure(self, checkpoint, device, tick):
        raise NotImplementedError

    def work(self):
        return 0

    def brief(self):
        raise NotImplementedError


def claim(id="toy.delay", verdict=Verdict.SUPPORTED, **fields):
    given = {
        "statement": "It is late.",
        "source": "a paper, section 1",
        "predicted": 10.0,
        "measured": 12.3456,
        "interval": (11.0, 13.7),
        "seeds": 3,
        "data": "mnist",
        "size": "smoke",
    }
    return Claim(id, "toy", verdict=verdict, **given | fields)


def study(**fields):
    def trace(seed, versions):
        origin = Provenance("network", "steps", seed=seed, versions=versions)
        return Trace([0, 1, 10], {"accuracy": np.array([0.1, 0.5, 0.9]) - seed / 50}, origin)

    traces = tuple(trace(seed, {"numpy": "2.0.0", "torch": f"2.{seed + 6}.0"}) for seed in (0, 1))
    curve = Curve("test", traces, "accuracy")
    given = {
        "name": "toy",
        "title": "A toy",
        "summary": "A toy is late.",
        "data": "mnist",
        "size": "smoke",
        "settings": {"width": "200"},
        "panels": tuple(Panel(t, "See.", (curve,), "steps", "accuracy") for t in ("One", "Two")),
        "claims": (claim(), claim("toy.no-decay", Verdict.REFUTED)),
        "runs": tuple(Run(Nothing(s), t, Path(f"runs/{s}")) for s, t in enumerate(traces)),
    }
    return Study(**given | fields)


def page(tmp_path, *studies, command="layerwise reproduce toy"):
    path = write(studies, tmp_path / "index.html", command=command)
    return path.read_text(encoding="utf-8")


def test_a_page_says_what_was_run_and_what_came_out(tmp_path):
    text = page(tmp_path, study())
    seen = " ".join(" ".join(Page(text).text).split())
    for words in (
        "A toy is late.",
        "✓ 1 supported ✗ 1 refuted ? 0 undecided",
        "Data: mnist. Size: smoke. Runs: 2.",
        "It is late.",
        "toy.delay · a paper, section 1",
        "10 12.3 [11, 13.7] 3",
        "width 200",
        "This page is made by layerwise reproduce toy",
        "numpy 2.0.0 torch 2.6.0, 2.7.0",
        "@inproceedings{nam2025position,",
        "@software{layerwise,",
    ):
        assert words in seen
    assert "Stand-in" not in seen


def test_the_page_is_whole_and_asks_for_nothing(tmp_path):
    text = page(tmp_path, study(), study(name="other", claims=()))
    assert_whole(text)
    assert {"main", "section", "figure", "figcaption", "svg", "table"} <= set(Page(text).tags)


def test_every_figure_says_what_it_shows(tmp_path):
    html = Page(page(tmp_path, study()))
    labels = [value for tag, value in html.values("aria-label") if tag == "svg"]
    assert labels == [f"{title}: accuracy over steps; test. See." for title in ("One", "Two")]


def test_every_string_is_escaped(tmp_path):
    curve = study().panels[0].curves[0]
    nasty = study(
        title=NASTY,
        summary=NASTY,
        data=f"digits {NASTY}",
        size=NASTY,
        settings={NASTY: NASTY},
        panels=(Panel(NASTY, NASTY, (Curve(NASTY, curve.traces, "accuracy"),), NASTY, NASTY),),
        claims=(claim(statement=NASTY, source=NASTY),),
    )
    text = page(tmp_path, nasty, study(name="other"), command=NASTY)
    assert "<script" not in text
    assert "".join(Page(text).text).count(NASTY) >= 12


def test_the_stand_in_is_said_loudly_and_first(tmp_path):
    data = "digits (scikit-learn's 8x8 digits, standing in for mnist)"
    text = page(tmp_path, study(data=data, stand_in=True))
    banner = text.index(f"Stand-in data: {escape(data)}.")
    assert banner < text.index("<figure>")
    assert banner < text.index("<table")
    assert "Stand-in" not in page(tmp_path, study(data=data))  # where the digits are meant


@pytest.mark.parametrize("ends", [(None, None), (-math.inf, math.inf)])
def test_what_is_not_known_is_a_dash(tmp_path, ends):
    missing = claim(predicted=None, measured=math.nan, interval=ends, seeds=1)
    text = page(tmp_path, study(claims=(missing,)))
    assert '<td class="number" data-label="Predicted">–</td>' in text
    assert '<td class="number" data-label="Measured"><span>–</span></td>' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (1, "1"),
        (0.05, "0.05"),
        (0.0123456, "0.0123"),
        (9.996, "10"),
        (-1.234, "−1.23"),
        (12345.6, "12,300"),
        (999999.0, "1 × 10⁶"),
        (2.5e-7, "2.5 × 10⁻⁷"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert page(tmp_path / "a", study()) == page(tmp_path / "b", study())


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    first = page(tmp_path, study())

    def full(self, target):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="no space left"):
            write([study(title="B")], tmp_path / "index.html", command="")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == first
    assert page(tmp_path, study(title="B")) != first


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="different names, got none"):
        write([], tmp_path / "index.html", command="")
    with pytest.raises(ValueError, match="toy"):
        write([study(), study()], tmp_path / "index.html", command="")
    assert not any(tmp_path.iterdir())


def test_every_verdict_has_a_symbol():
    assert set(report.SYMBOLS) == set(Verdict)
    assert len(set(report.SYMBOLS.values())) == len(Verdict)
