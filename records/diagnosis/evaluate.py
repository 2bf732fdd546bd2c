"""Train the labelled runs, diagnose them, and count what is right.

    python records/diagnosis/evaluate.py RUNS

trains what RUNS does not hold yet (about half an hour on two cores; MNIST and Fashion-MNIST must be
in the cache: ``layerwise data mnist``), writes runs.csv (a line per run) and confusion.md (what was
said of the runs with each label) beside this file, and prints the count.

A diagnosis says what its faults and warnings say with a confidence that is not low. It is right if
it says all that the label demands, and nothing that the label does not allow.
"""

from __future__ import annotations

import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from labelled import DRAWN, FIRST, LABELS, SECOND, Labelled
from training import Setting, train

from layerwise import Trace, diagnose
from layerwise.diagnosis import Diagnosis
from layerwise.phenomena.claim import share

HERE = Path(__file__).parent
PARTS = {
    "Unseen, settings drawn at random": ("drawn",),
    "Seen while the rules were written": ("first", "second"),
}
NETWORKS = ("mlp", "cnn", "transformer")
OUTCOME = "later.txt"


@dataclass(frozen=True)
class Judged:
    """A labelled run, its trace, what was said of it, and the test accuracy long after."""

    run: Labelled
    trace: Trace
    diagnosis: Diagnosis
    later: float

    @property
    def said(self) -> tuple[str, ...]:
        found = self.diagnosis.findings
        return tuple(f.rule for f in found if f.severity != "note" and f.confidence != "low")

    @property
    def right(self) -> bool:
        said, must = set(self.said), set(self.run.must)
        return must <= said <= must | set(self.run.may)


def make(runs: Path, one: Labelled) -> str:
    """Train a run, unless its trace is there, and keep its last test accuracy beside it."""
    torch.set_num_threads(1)
    folder = runs / one.name
    if not folder.exists():
        last = train(one.setting, folder)["test_accuracy"][-1]
        (runs / f"{one.name}.{OUTCOME}").write_text(repr(float(last)))
    return one.name


def judge(runs: Path, one: Labelled) -> Judged:
    trace = Trace.load(runs / one.name)
    later = float((runs / f"{one.name}.{OUTCOME}").read_text())
    return Judged(one, trace, diagnose(trace), later)


def count(judged: list[Judged]) -> str:
    right = sum(one.right for one in judged)
    low, high = share(right, len(judged))
    percent = f"{right / len(judged):.0%}, 95 % interval {low:.0%} to {high:.0%}"
    return f"{right} of {len(judged)} right ({percent})"


def confusion(judged: list[Judged]) -> str:
    """Return a table of Markdown: a row for each label, a column for each thing that was said."""
    told = [rule for must, _ in LABELS.values() for rule in must]
    others = sorted({rule for one in judged for rule in one.said} - set(told))
    columns = [*told, *others]
    lines = [
        f"| made as | {' | '.join(columns)} | nothing | right |",
        f"|---|{'---|' * (len(columns) + 2)}",
    ]
    for label, (must, may) in LABELS.items():
        own = [one for one in judged if one.run.label == label]
        cells = []
        for rule in columns:
            n = sum(rule in one.said for one in own)
            cells.append(f"**{n}**" if rule in must else f"({n})" if rule in may else f"{n or ''}")
        silent = sum(not one.said for one in own)
        cells.append(f"**{silent}**" if not must else f"{silent or ''}")
        cells.append(f"{sum(one.right for one in own)} of {len(own)}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_network(judged: list[Judged]) -> str:
    parts = []
    for name in NETWORKS:
        own = [one for one in judged if one.run.setting.network == name]
        parts.append(f"{name} {sum(one.right for one in own)} of {len(own)}")
    return ", ".join(parts)


def outcomes(judged: list[Judged]) -> str:
    """Say what became of the runs of which it was said whether decay will end their delay."""
    parts = []
    for rule in ("memorised and waiting", "decay too weak"):
        own = [one for one in judged if rule in one.said and one.run.setting.later]
        rises = [one.later - end(one, "test_accuracy") for one in own]
        parts.append(f"*{rule}* in {len(own)} runs, by {min(rises):.2f} to {max(rises):.2f}")
    return f"Long after, the test accuracy had risen where was said {'; '.join(parts)}."


def end(one: Judged, name: str) -> float:
    values = one.trace[name][np.isfinite(one.trace[name])]
    return round(float(values[-1]), 4)


def row(one: Judged) -> dict[str, object]:
    low = [f.rule for f in one.diagnosis.findings if f.confidence == "low"]
    notes = [f.rule for f in one.diagnosis.findings if f.severity == "note"]
    setting = one.run.setting
    plain = {field.name: field.default for field in fields(Setting)}
    changed = {k: v for k, v in asdict(setting).items() if v != plain[k] and k != "network"}
    return {
        "run": one.run.name,
        "label": one.run.label,
        "group": one.run.group,
        "network": setting.network,
        "said": "; ".join(one.said),
        "right": one.right,
        "said with low confidence": "; ".join(low),
        "notes": "; ".join(notes),
        "train_accuracy": end(one, "train_accuracy"),
        "test_accuracy": end(one, "test_accuracy"),
        "test_accuracy later": round(one.later, 4) if setting.later else "",
        "setting": "; ".join(f"{k} {v}" for k, v in changed.items()),
    }


def main(runs: Path) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    every = [*DRAWN, *SECOND, *FIRST]
    with ProcessPoolExecutor(max_workers=2) as pool:
        for n, name in enumerate(pool.map(partial(make, runs), every), start=1):
            print(f"{n} of {len(every)}: {name}", flush=True)
    judged = [judge(runs, one) for one in every]
    with (HERE / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row(judged[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(row, judged))
    text = ""
    for title, groups in PARTS.items():
        part = [one for one in judged if one.run.group in groups]
        text += f"**{title}:** {count(part)}; {by_network(part)}.\n\n{confusion(part)}\n\n"
        text += f"{outcomes(part)}\n\n"
    (HERE / "confusion.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    print(text)
    for one in judged:
        if not one.right:
            print(f"wrong: {one.run.name}: said {', '.join(one.said) or 'nothing'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
