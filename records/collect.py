"""Turn the output folder of `layerwise reproduce` into a record small enough to commit.

    python records/collect.py runs/demo records/grokking-laptop

It keeps the claims, the report, its first two figures, and one line per run: its settings, seed,
data, versions and the times read off its trace.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

from layerwise.phenomena import grokking
from layerwise.phenomena.base import Run, run
from layerwise.show.figures import draw

FIGURES = ("default.png", "remedy.png")


def line(results: grokking.Results, run: Run) -> dict[str, object]:
    experiment, trace = run.experiment, run.trace
    seed = experiment.seed
    return {
        "run": run.folder.name,
        "t_fit": results.fit_steps(experiment)[seed],
        "t85": results.general_steps(experiment)[seed],
        "test_accuracy_at_t_fit": results.at_fit(experiment)[seed],
        "last_step": trace.clock[-1],
        "last_test_accuracy": trace["test_accuracy"][-1],
        **trace.provenance.config,
        "data": trace.provenance.data,
        **{f"version_{name}": text for name, text in trace.provenance.versions.items()},
    }


def main(out: Path, record: Path) -> None:
    record.mkdir(parents=True)
    for name in ("claims.json", "reproduction.json", "index.html"):
        shutil.copy(out / name, record / name)
    asked = json.loads((out / "reproduction.json").read_text())
    plan = grokking.plan(asked["size"], asked["data"])
    runs = [run(experiment, out) for experiment in plan.experiments(asked["seeds"])]
    results = grokking.Results.of(plan, asked["size"], asked["seeds"], runs)
    rows = [line(results, one) for one in runs]
    with (record / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for name, panel in zip(FIGURES, grokking.study(results).panels, strict=False):
        figure = draw(panel)
        figure.patch.set(visible=True, alpha=1.0, facecolor="white")  # the report's are clear
        figure.savefig(record / name, dpi=150, facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
