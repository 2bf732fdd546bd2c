"""Turn the output folder of `layerwise reproduce` into a record small enough to commit.

    python records/collect.py runs/demo records/grokking-laptop

It keeps the claims, the report, the first two figures of every phenomenon, and one line per run:
its settings, seed, data, versions, the times read off its trace and where its series ended.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from layerwise.measures import crossing_time, first_reached
from layerwise.phenomena import collapse, depth, grokking, modular
from layerwise.phenomena.base import Run, run
from layerwise.phenomena.grokking.experiment import FIT
from layerwise.reproduction import plan_of
from layerwise.show.figures import draw

FIGURES = 2


def times(run: Run) -> dict[str, object]:
    """Return the clock at which accuracies or strengths reach their levels."""
    trace = run.trace
    if isinstance(run.experiment, grokking.Grokking):
        return {
            "t_fit": first_reached(trace.clock, trace["train_accuracy"], FIT),
            run.experiment.late: first_reached(
                trace.clock, trace["test_accuracy"], run.experiment.general
            ),
        }
    if isinstance(run.experiment, modular.QuadraticModular | modular.TransformerModular):
        return {
            "t_fit": first_reached(trace.clock, trace["train_accuracy"], FIT),
            "t95": first_reached(trace.clock, trace["test_accuracy"], 0.95),
        }
    if isinstance(run.experiment, collapse.Collapse):
        return {"t_fit": first_reached(trace.clock, trace["train_accuracy"], 1.0)}
    return {
        f"half times of {name}": said(crossing_time(trace.clock, trace[name], 0.5))
        for name in trace
        if name == "strength" or isinstance(run.experiment, depth.Ticket)
    }


def line(run: Run) -> dict[str, object]:
    trace, origin = run.trace, run.trace.provenance
    return {
        "run": run.folder.name,
        **times(run),
        "last_step": trace.clock[-1],
        **{f"last {name}": said(trace[name][-1]) for name in trace if trace[name].ndim <= 2},
        **origin.config,
        "data": origin.data,
        **{f"version_{name}": text for name, text in origin.versions.items()},
    }


def said(values: np.ndarray) -> str:
    return " ".join(f"{value:.5g}" for value in np.ravel(values))


def main(out: Path, record: Path) -> None:
    record.mkdir(parents=True)
    for name in ("claims.json", "reproduction.json", "index.html"):
        shutil.copy(out / name, record / name)
    asked = json.loads((out / "reproduction.json").read_text())
    for name in asked["phenomena"]:
        chosen = plan_of(name, asked["size"], asked["data"])
        runs = [run(experiment, out) for experiment in chosen.experiments(asked["seeds"])]
        rows = [line(one) for one in runs]
        fields = dict.fromkeys(field for row in rows for field in row)
        with (record / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        panels = chosen.study(asked["size"], asked["seeds"], runs).panels
        for number, panel in enumerate(panels[:FIGURES], start=1):
            figure = draw(panel)
            figure.patch.set(visible=True, alpha=1.0, facecolor="white")  # the report's are clear
            figure.savefig(record / f"{name}-{number}.png", dpi=150, facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
