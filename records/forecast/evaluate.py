"""Calibrate the forecast of grokking and judge it on runs it has not seen.

    python records/forecast/evaluate.py RUNS

trains what RUNS does not hold yet (about twelve CPU minutes in all), writes calibration.csv,
heldout.csv (one line per run and level) and claims.json beside this file, and prints the
calibrated rule and the table by family. The families of held-out runs were written before any of
their runs was made.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import binom

from layerwise.diagnosis.forecast import NotPredicted, read
from layerwise.diagnosis.lazy import Start
from layerwise.diagnosis.rule import Look, Reading, Rule
from layerwise.measures import crossing_time, first_reached
from layerwise.networks import MLP
from layerwise.phenomena.base import run
from layerwise.phenomena.claim import Claim, judge, share
from layerwise.phenomena.grokking import Grokking
from layerwise.phenomena.grokking.experiment import FIT, GENERAL
from layerwise.tasks import images
from layerwise.trace import Trace

HERE = Path(__file__).parent
BASE = Grokking(test_size=2000, points=90, weight_decay=1.0)

CALIBRATION = (
    *(replace(BASE, weight_scale=s) for s in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)),
    replace(BASE, weight_decay=0.4),
    replace(BASE, weight_decay=0.7),
    replace(BASE, weight_decay=2.0),
    replace(BASE, weight_scale=8.0, weight_decay=2.0),
    replace(BASE, weight_scale=3.5, weight_decay=0.5),
    *(replace(BASE, target_scale=t) for t in (1.0, 1.5, 6.0, 15.0)),
    *(replace(BASE, output_scale=o) for o in (0.2, 0.5, 2.0)),
    *(replace(BASE, input_scale=i) for i in (0.03, 0.1, 0.3, 2.0)),
    replace(BASE, weight_scale=7.0, target_scale=9.0),
    replace(BASE, weight_scale=3.0, target_scale=1.0),
    replace(BASE, weight_scale=7.0, input_scale=0.3),
    replace(BASE, weight_scale=10.0, output_scale=0.1),
    # without a delay
    replace(BASE, weight_scale=1.0, target_scale=10.0, steps=1800),
    replace(BASE, weight_scale=2.0, target_scale=10.0, steps=1800),
    replace(BASE, weight_scale=3.0, target_scale=30.0, steps=1800),
    replace(BASE, target_scale=100.0, steps=1800),
    replace(BASE, weight_scale=1.5, weight_decay=0.3, steps=1800),
    replace(BASE, weight_scale=3.0, output_scale=0.1, steps=1800),
    replace(BASE, weight_scale=4.0, target_scale=60.0, steps=1800),
    replace(BASE, weight_scale=7.0, target_scale=300.0, steps=1800),
    replace(BASE, input_scale=0.01, steps=1800),
    replace(BASE, weight_scale=2.0, target_scale=1.0, input_scale=0.1, steps=1800),
)

FASHION = replace(BASE, data="fashion-mnist", tail=0.0, steps=1500, weight_decay=2.0)
DIGITS = replace(BASE, data="digits", train_size=200, test_size=797)
HELD_OUT = {
    "inside": (
        replace(BASE, weight_scale=4.5, weight_decay=1.5),
        replace(BASE, weight_scale=5.5, weight_decay=0.8),
        replace(BASE, weight_scale=7.0, weight_decay=1.2),
        replace(BASE, weight_scale=9.0, weight_decay=1.5),
        replace(BASE, weight_scale=3.3, weight_decay=0.9),
    ),
    "width": (
        *(replace(BASE, width=100, weight_scale=s) for s in (5.0, 8.0, 3.0)),
        replace(BASE, width=300),
        replace(BASE, width=300, weight_scale=7.0, weight_decay=2.0),
        replace(BASE, width=400, weight_scale=4.0),
    ),
    "depth": (
        *(replace(BASE, depth=3, weight_scale=s) for s in (5.0, 8.0, 12.0)),
        *(replace(BASE, depth=5, weight_scale=s) for s in (4.0, 5.0, 7.0)),
        replace(BASE, depth=6, weight_scale=4.0),
        replace(BASE, depth=2, weight_scale=10.0),
    ),
    "learning rate": (
        replace(BASE, learning_rate=5e-4, weight_decay=2.0),
        replace(BASE, learning_rate=2e-3),
        replace(BASE, learning_rate=2e-3, weight_scale=8.0),
    ),
    "images": tuple(
        replace(BASE, train_size=n, weight_scale=s) for n in (500, 2000) for s in (5.0, 8.0)
    ),
    "batch": (replace(BASE, batch=64), replace(BASE, batch=500)),
    "scales": (
        replace(BASE, target_scale=0.7),
        replace(BASE, target_scale=4.5),
        replace(BASE, target_scale=10.0, weight_scale=8.0),
        replace(BASE, output_scale=3.0),
        replace(BASE, output_scale=0.3),
        replace(BASE, output_scale=0.15, weight_scale=7.0),
        replace(BASE, input_scale=0.2),
        replace(BASE, input_scale=0.5),
        replace(BASE, input_scale=0.05, weight_scale=7.0),
        replace(BASE, input_scale=3.0),
    ),
    "fashion-mnist": (
        *(replace(FASHION, weight_scale=s) for s in (5.0, 8.0, 4.0)),
        replace(FASHION, depth=3, weight_scale=6.0),
        replace(FASHION, target_scale=6.0),
        replace(FASHION, input_scale=0.5),
    ),
    "digits": (
        DIGITS,
        replace(DIGITS, weight_scale=8.0),
        replace(DIGITS, depth=3, weight_scale=7.0),
        replace(DIGITS, width=100),
        replace(DIGITS, target_scale=9.0),
        replace(DIGITS, train_size=400),
    ),
    "no delay": (
        replace(BASE, weight_scale=1.2),
        replace(BASE, weight_scale=2.2),
        replace(BASE, weight_scale=4.0, target_scale=30.0),
    ),
}
OTHER_LEVEL = 0.7  # asked of the runs "inside" as well: not new runs


def budgeted(one: Grokking, seed: int) -> Grokking:
    """Return the run with its seed, and steps for 2.6 decay times unless it says how many."""
    if one.steps != BASE.steps:
        return replace(one, seed=seed)
    steps = (2.6 / one.weight_decay + 0.8) / one.learning_rate
    return replace(one, seed=seed, steps=round(steps))


def level(one: Grokking) -> float:
    """Return 0.85, or what is within reach: 0.8 of 500 images, 0.75 of Fashion-MNIST."""
    if one.data == "fashion-mnist":
        return 0.75
    return 0.8 if one.train_size == 500 else GENERAL


def start(one: Grokking) -> Start:
    """Return the run before training: weights, images and settings."""
    x, labels, *_ = images.split(_images(one.data), one.train_size, one.test_size, one.seed)
    widths = (x.shape[1], *[one.width] * (one.depth - 1), int(labels.max()) + 1)
    layers = MLP(widths, weight_scale=one.weight_scale, seed=one.seed).layers
    return Start(
        tuple(layer.weight.detach().numpy() for layer in layers),
        x * one.input_scale,
        labels,
        tuple(layer.bias.detach().numpy() for layer in layers),
        one.target_scale,
        one.output_scale,
        one.learning_rate,
        one.weight_decay,
    )


@cache
def _images(name: str) -> images.Images:
    return images.load(name)


def line(family: str, one: Grokking, asked: float, out: Path) -> dict[str, object]:
    """Return what was measured of a run, and what theory reads off it at the start and the fit."""
    trace = run(one, out).trace
    time = float(crossing_time(trace.clock, trace["test_accuracy"], asked))
    fit = float(first_reached(trace.clock, trace["train_accuracy"], FIT))
    row: dict[str, object] = {"family": family, "level": asked, "time": time, "fit": fit}
    row["refused"] = ""
    try:
        seen = cut(trace, fit) if fit < time < math.inf else None
        reading, look = read(start(one), asked, seen)
        row |= asdict(reading)
        row |= {f"look_{name}": value for name, value in asdict(look).items()} if look else {}
    except NotPredicted as reason:
        row["refused"] = str(reason)
    return row | {f"run_{name}": value for name, value in one.config().items()}


def cut(trace: Trace, step: float) -> Trace:
    keep = trace.clock <= step
    series = {name: trace[name][keep] for name in trace}
    return Trace(trace.clock[keep], series, trace.provenance)


def judged(row: dict[str, object], rule: Rule) -> dict[str, object]:
    """Return the line with its forecasts and how they did."""
    if row["refused"]:
        return row
    (reading, look), time = reading_of(row), float(row["time"])
    told = {"before": rule.steps(reading)}
    if look:
        told["early"] = rule.steps(reading, look)
        told["trace"] = rule.steps_after(look, reading.rate)
    for name, (value, low, high) in told.items():
        row |= {
            name: value,
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_error": abs(value / time - 1),
            f"{name}_covered": low <= time <= high,
        }
    return row


def reading_of(row: dict[str, object]) -> tuple[Reading, Look | None]:
    look = Look(*(row[f"look_{f.name}"] for f in fields(Look))) if "look_step" in row else None
    return Reading(*(row[field.name] for field in fields(Reading))), look


def table(rows: list[dict[str, object]]) -> str:
    """Return the markdown table of errors and coverage by family."""
    lines = [
        "| family | before: runs | median error | covered | early: runs | median error | covered "
        "| trace alone: median error | covered |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    once = [row for row in rows if row["family"] != "other level"]
    families = dict.fromkeys(row["family"] for row in rows)
    for family in (*families, "all runs"):
        own = once if family == "all runs" else [r for r in rows if r["family"] == family]
        cells = [family]
        for name in ("before", "early", "trace"):
            told = [row for row in own if name in row]
            errors = [row[f"{name}_error"] for row in told]
            covered = sum(bool(row[f"{name}_covered"]) for row in told)
            middle = f"{np.median(errors):.0%}" if told else "–"
            runs = [] if name == "trace" else [str(len(told))]  # those of "early"
            cells += [*runs, middle, f"{covered}/{len(told)}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def claims(rows: list[dict[str, object]]) -> tuple[Claim, Claim]:
    """Return the claims on the forecasts before training; the runs take the place of seeds."""
    told = [row for row in rows if "before" in row and row["family"] != "other level"]
    n, runs = len(told), f"{len(told)} held-out runs, each with a seed of its own"
    errors = np.sort([float(row["before_error"]) for row in told])
    # the median lies between these order statistics with a probability of 95 %
    first = int(binom.ppf(0.025, n, 0.5)) - 1
    middle = float(errors[first]), float(errors[n - 1 - first])
    hits = sum(bool(row["before_covered"]) for row in told)
    within = share(hits, n)
    shared = {
        "phenomenon": "forecast",
        "source": "remainder of the initial function under decay (derived here), calibrated on "
        "other runs",
        "seeds": n,
        "data": ", ".join(dict.fromkeys(str(row["run_data"]) for row in told)),
        "size": "laptop",
    }
    return (
        Claim(
            id="forecast.error",
            statement=f"Before training, from weights, images and settings: median relative error "
            f"of the step at which the level is reached, below 0.25, over {runs}. Interval of the "
            "median by order statistics.",
            predicted=0.0,
            measured=float(np.median(errors)),
            interval=middle,
            verdict=judge(*middle, (-math.inf, 0.25), n),
            **shared,
        ),
        Claim(
            id="forecast.coverage",
            statement=f"Share of the 90 % intervals that hold the measured step, above 0.8, over "
            f"{runs}. Interval by Clopper and Pearson.",
            predicted=0.9,
            measured=hits / n,
            interval=within,
            verdict=judge(*within, (0.8, math.inf), n),
            **shared,
        ),
    )


def write(path: Path, rows: list[dict[str, object]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: said(value) for name, value in row.items()} for row in rows)


def said(value: object) -> object:
    return f"{value:.8g}" if isinstance(value, float) else value


def main(out: Path) -> None:
    calibration = [budgeted(one, 100 + seed) for seed, one in enumerate(CALIBRATION)]
    rows = [line("calibration", one, level(one), out) for one in calibration]
    write(HERE / "calibration.csv", rows)
    used = [row for row in rows if not row["refused"] and math.isfinite(row["time"])]
    readings, looks = zip(*map(reading_of, used), strict=True)
    rule = Rule.calibrated(readings, looks, [row["time"] for row in used])
    print(rule)

    held_out = [(family, one) for family, runs in HELD_OUT.items() for one in runs]
    seeded = [(family, budgeted(one, 200 + seed)) for seed, (family, one) in enumerate(held_out)]
    asked = [(family, one, level(one)) for family, one in seeded]
    asked += [("other level", one, OTHER_LEVEL) for family, one in seeded if family == "inside"]
    rows = [judged(line(*each, out), rule) for each in asked]
    write(HERE / "heldout.csv", rows)
    text = json.dumps([claim.as_json() for claim in claims(rows)], indent=2, allow_nan=False)
    (HERE / "claims.json").write_text(text + "\n")
    print(table(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
