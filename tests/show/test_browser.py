"""The pages in a real browser: headless Chromium, at the width of a desk and of a phone."""

import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from layerwise.diagnosis import diagnose
from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim, Verdict
from layerwise.phenomena.panel import Curve, Panel
from layerwise.show import findings
from layerwise.show.report import write
from layerwise.trace import Provenance, Trace

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VERDICTS = (Verdict.SUPPORTED, Verdict.REFUTED, Verdict.UNDECIDED, Verdict.SUPPORTED)
TALLY = ("2 supported", "1 refuted", "1 undecided")


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = f"no browser: install one of {', '.join(NAMES)} or set CHROMIUM to its path"
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    steps = np.unique(np.geomspace(1, 3200, 60).astype(int))

    def trace(seed, late):
        rise = 1 / (1 + (late / steps) ** (3 - 0.2 * seed))
        return Trace(steps, {"accuracy": rise}, Provenance("network", "steps", seed=seed))

    train, test = (tuple(trace(s, late) for s in range(3)) for late in (20, 1300))
    exact = Trace(steps, {"map": steps / 3200}, Provenance("theory", "steps"))
    curves = (
        Curve("train", train, "accuracy"),
        Curve("test", test, "accuracy"),
        Curve("test, exact model", (exact,), "map", theory=True),
    )
    panels = tuple(
        Panel(title, "The network generalises late; the exact model says when.", curves, "steps", y)
        for title, y in (("Default", "accuracy"), ("A remedy", "accuracy"), ("A clock", "t × lr"))
    )
    statement = "Target amplification brings the delay below an eighth of that of the default run."
    claims = tuple(
        Claim(
            f"grokking.a-rather-long-name-{i}",
            "grokking",
            statement,
            "arXiv 2502.21009, Figure 8",
            0.05,
            1.23e-9,
            (-0.0123, 4.5e-9),
            3,
            "digits",
            "laptop",
            verdict,
        )
        for i, verdict in enumerate(VERDICTS)
    )
    settings = {"steps": "3200 (default), 1300 (remedies)", "width": "200"}
    summary = "A network fits at once and generalises a hundred times later."
    data = "digits (8x8, scikit-learn)"
    study = Study(
        "grokking", "Grokking", summary, data, "laptop", settings, panels, claims, (), stand_in=True
    )
    path = tmp_path_factory.mktemp("report") / "index.html"
    command = (
        "layerwise reproduce grokking --size laptop --seeds 3 --device cpu --out runs/grokking"
    )
    return write([study], path, command=command)


SIZES = [("desk", 1280, 900), ("phone", 390, 844)]


@contextmanager
def opened(browser, path, size):
    """Open a page, and fail if it asks for anything or complains."""
    _, width, height = size
    tab = browser.new_page(viewport={"width": width, "height": height})
    asked, said = [], []
    tab.on("request", lambda r: asked.append(r.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    yield tab
    tab.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []


@pytest.fixture(params=SIZES, ids=lambda param: param[0])
def page(request, browser, report):
    with opened(browser, report, request.param) as tab:
        yield tab


def test_it_opens_and_asks_for_nothing(page):
    page.wait_for_load_state("networkidle")
    assert page.title() == "Layerwise linear models beside real networks"


def test_the_tally_is_on_the_first_screen(page):
    for text in TALLY:
        box = page.get_by_text(text).bounding_box()
        assert box["y"] + box["height"] <= page.viewport_size["height"]


def test_every_claim_is_seen_with_its_verdict(page):
    for i, verdict in enumerate(VERDICTS):
        row = page.locator(f'[id="grokking.a-rather-long-name-{i}"]')
        assert row.get_by_text(f"grokking.a-rather-long-name-{i}").is_visible()
        assert row.get_by_text(str(verdict)).is_visible()
        assert row.get_by_text("1.23 × 10⁻⁹").is_visible()


def assert_nothing_overflows(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wider = (
        "e => e.getBoundingClientRect().right > innerWidth + 0.5 || e.scrollWidth > e.clientWidth"
    )
    tables = page.locator("table, pre, figure, article, dl")
    assert not any(element.evaluate(wider) for element in tables.all())


def test_nothing_overflows(page):
    assert_nothing_overflows(page)


def test_every_figure_has_a_size_and_a_name(page):
    figures = page.locator("figure svg").all()
    assert len(figures) == 3
    for figure in figures:
        box = figure.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 200
        assert figure.get_attribute("aria-label")
    names = [picture.get_attribute("aria-label") for picture in page.get_by_role("img").all()]
    assert len(names) == 3


def test_the_phone_shows_cards_and_the_desk_a_table(page):
    phone = page.viewport_size["width"] < 500
    row = page.locator(".claims tbody tr").first
    assert row.evaluate("e => getComputedStyle(e).display") == ("block" if phone else "table-row")
    assert page.get_by_text("Stand-in data").is_visible()


def test_dark_mode_keeps_the_letters_of_the_figures_legible(page):
    page.emulate_media(color_scheme="dark")
    text = page.locator("figure svg g[style*='currentColor']").first
    assert text.evaluate("e => getComputedStyle(e).fill") == "rgb(230, 233, 237)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_it_prints(page):
    page.emulate_media(media="print")
    assert page.pdf(format="A4").startswith(b"%PDF")
    row = page.locator(".claims tbody tr").first
    assert row.evaluate("e => getComputedStyle(e).breakInside") == "avoid"
    figure = page.locator("figure").first
    assert figure.evaluate("e => getComputedStyle(e).breakInside") == "avoid"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Write the diagnosis of a run with long names that has memorised its data."""
    steps = np.array([0, 50, 100, 250, 500, 1000])
    once = np.where(steps, np.nan, 1420.0)
    rise = 1 / (1 + np.exp(-(steps - 200) / 40))
    series = {
        "train_accuracy": rise,
        "test_accuracy": 0.1 + rise / 10,
        "layerwise/learning_rate": np.full(6, 1e-3),
        "layerwise/weight_decay": np.full(6, 0.1),
        "layerwise/decay_budget": 1e-4 * steps,
        "layerwise/weight_to_target": once,
        "layerwise/gamma_plus": once / 1419,
        "layerwise/nc1/penultimate": 1 - rise / 2,
        "layerwise/feature_distance/penultimate": rise / 2,
    } | {
        f"layerwise/motion/transformer.layers.{i}.self_attention.out_projection": rise / (i + 1)
        for i in range(24)
    }
    config = {
        "model": "TransformerWithALongName",
        "parameters": 124_439_808,
        "samples": 256,
        "classes": 10,
        "layers": {"fc1": [20, 5], "fc2": [10, 20]},
        "degree": 1.3,
        "optimizer": {"kind": "AdamW"},
        "notes": ["kernel: " + "a_very_long_name_of_something_" * 4],
    }
    origin = Provenance("probe", "optimiser steps", config=config, versions={"torch": "2.6.0"})
    trace = Trace(steps, series, origin)
    folder = tmp_path_factory.mktemp("diagnosis")
    return findings.write(diagnose(trace), trace, folder, name="runs/a-run-with-a-long-name/trace")


@pytest.fixture(params=SIZES, ids=lambda param: param[0])
def diagnosis(request, browser, found):
    with opened(browser, found, request.param) as tab:
        yield tab


def test_the_first_finding_is_on_the_first_screen(diagnosis):
    first = diagnosis.locator("article").first
    for seen in (
        diagnosis.get_by_text("! 1 warning"),
        first.get_by_role("heading", name="memorised and waiting"),
        first.locator("p").first,
        first.get_by_text("Forecast: step"),
    ):
        box = seen.bounding_box()
        assert box["y"] + box["height"] <= diagnosis.viewport_size["height"]


def test_nothing_overflows_on_the_page_of_a_diagnosis(diagnosis):
    assert_nothing_overflows(diagnosis)
    sizes = [figure.bounding_box() for figure in diagnosis.locator("figure svg").all()]
    assert len(sizes) == 5
    assert all(box["width"] > 300 and box["height"] > 200 for box in sizes)


def test_the_page_of_a_diagnosis_is_legible_in_the_dark_and_prints(diagnosis):
    colour = "e => getComputedStyle(e).color"
    warning = diagnosis.locator("h3 .warning").first
    assert warning.evaluate(colour) == "rgb(125, 82, 0)"
    diagnosis.emulate_media(color_scheme="dark")
    assert warning.evaluate(colour) == "rgb(240, 180, 64)"
    assert diagnosis.locator("article p").first.evaluate(colour) == "rgb(230, 233, 237)"
    diagnosis.emulate_media(media="print")
    assert diagnosis.pdf(format="A4").startswith(b"%PDF")
