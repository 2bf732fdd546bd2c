"""Turn the output folder of `layerwise reproduce` into a record small enough to commit.

    python records/collect.py runs/demo records/grokking-laptop

It keeps the claims, the report and one line per run: its settings, seed, data, versions and the
times read off its trace.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

from layerwise import Trace
from layerwise.measures import first_reached
from layerwise.phenomena.grokking.experiment import FIT, GENERAL


def summary(folder: Path) -> dict[str, object]:
    trace = Trace.load(folder)
    fit = float(first_reached(trace.clock, trace["train_accuracy"], FIT))
    general = float(first_reached(trace.clock, trace["test_accuracy"], GENERAL))
    at_fit = trace["test_accuracy"][trace.clock == fit]
    return {
        "run": folder.name,
        "t_fit": fit,
        "t85": general,
        "test_accuracy_at_t_fit": at_fit[0] if len(at_fit) else "",
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
    rows = [summary(path.parent) for path in sorted(out.glob("*/trace.npz"))]
    with (record / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
