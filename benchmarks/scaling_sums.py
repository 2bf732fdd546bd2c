"""CPU time of the loss of a million skills and more over time, against adding them all up.

The loss of power-law skills, `layerwise.theory.scaling.time_loss`, at 200 times from before the
first skill to after the last. The competitor is the full sum, vectorised: its weights and paces
are prepared and not counted, it works in blocks that stay in the cache and in place, and for depth
2 it takes the sigmoid itself, ``(1 - u) = c/(c + e^{2 P t})``; other depths take the package's own
law for every skill. Its cost is in proportion to the number of times, so where the sum is long a
few of the 200 are timed, evenly spread, and the rest extrapolated; the record says how many.
At these times, too, the errors are measured: ours against the full sum, whose blocks are added
exactly, and the estimates that ours reports. For infinitely many skills the sum is compared with
its power law, where they agree to rounding. CPU seconds of one thread; medians; the two take turns.

    python benchmarks/scaling_sums.py           # about half a minute
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import numpy.typing as npt

import layerwise as lw
from layerwise.theory import scaling
from layerwise.theory.laws import shares
from layerwise.trace import versions

Array = npt.NDArray[np.float64]

RECORD = Path(__file__).with_suffix(".json")
TIMES, BLOCK, ROUNDS = 200, 16_384, 5
START = 1e-3
ALIVE = 1e-6  # relative errors count while the loss is above this share of its start
TARGETS = {10**6: 100, 10**7: 1000}  # times less CPU


@dataclass(frozen=True)
class Row:
    """One sum, and at how many times the full one is computed (and timed) in each round."""

    alpha: float
    depth: float
    n: float
    checked: int


ROWS = (
    Row(0.3, 2, 10**6, 40),
    Row(0.6, 2, 10**6, 40),
    Row(1.0, 2, 10**6, 40),
    Row(0.6, 3, 10**6, 10),
    Row(0.3, 2, 10**7, 8),
    Row(0.6, 2, 10**7, 8),
    Row(1.0, 2, 10**7, 8),
    Row(0.6, 3, 10**7, 2),
    Row(0.6, 2, 10**8, 2),
    Row(0.3, 2, math.inf, 0),
    Row(0.6, 2, math.inf, 0),
    Row(0.6, 3, math.inf, 0),
    Row(0.6, math.inf, math.inf, 0),
)


def full_sum(weight: Array, pace: Array, depth: float, t: float) -> float:
    """The loss at one time from every skill."""
    c, parts = (1 - START) / START, []
    work = np.empty(BLOCK)
    for first in range(0, len(pace), BLOCK):
        some = slice(first, first + BLOCK)
        left = work[: len(pace[some])]
        if depth == 2:
            np.multiply(pace[some], 2 * t, out=left)
            np.minimum(left, 700.0, out=left)
            np.exp(left, out=left)
            left += c
            np.divide(c, left, out=left)
        else:
            left = shares.left(START, depth, pace[some] * t)
        left *= left
        parts.append(float(np.dot(weight[some], left)))
    return math.fsum(parts)


def cpu(call):
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def measure(row: Row) -> dict[str, object]:
    skills = lw.Skills(row.alpha, row.n, start=START, depth=row.depth)
    reach = min(row.n, 10**9) ** (row.alpha + 1)
    t = float(skills.half_times(1)) * np.geomspace(0.1, reach, TIMES)
    places = np.linspace(0, TIMES - 1, row.checked).round().astype(int)
    if row.checked:
        k = skills.ranks
        pace, weight = skills.paces(k), skills.frequencies(k) / 2
        del k
    ours, theirs, full = [], [], np.empty(row.checked)
    first_call, found = cpu(lambda: scaling.time_loss(skills, t))
    for _ in range(ROUNDS if row.n < 10**8 or not row.checked else 1):
        for _ in range(ROUNDS):
            ours.append(cpu(lambda: scaling.time_loss(skills, t))[0])
        if row.checked:
            spent, sums = cpu(lambda: [full_sum(weight, pace, row.depth, t[i]) for i in places])
            theirs.append(spent * TIMES / row.checked)
            full[:] = sums
    if not row.checked:  # the law holds once the front is many skills wide
        places = np.arange(TIMES // 2, TIMES)
        full = scaling.time_law(skills)(t[places])
    wrong, doubt = np.abs(found.value[places] - full), found.error[places]
    alive = full > ALIVE / 2
    record: dict[str, object] = {
        "alpha": row.alpha,
        "depth": "infinite" if row.depth == math.inf else row.depth,
        "skills": "infinite" if row.n == math.inf else row.n,
        "our_cpu_ms": round(1e3 * statistics.median(ours), 2),
        "our_first_call_ms": round(1e3 * first_call, 2),
        "compared_with": "full sum" if row.checked else "power law",
        "times_compared": len(full),
        "largest_relative_error": float(f"{np.max(wrong[alive] / full[alive]):.1e}"),
        "largest_relative_estimate": float(f"{np.max(doubt[alive] / full[alive]):.1e}"),
        "estimate_bounds_error": bool(np.all(wrong <= doubt)),
    }
    if row.checked:
        ratio = statistics.median(theirs) / statistics.median(ours)
        target = TARGETS.get(int(row.n))
        record |= {
            "full_sum_cpu_s": round(statistics.median(theirs), 3),
            "ratio": round(ratio),
            "target": target,
            "reached": None if target is None else ratio >= target,
        }
    return record


def main() -> None:
    rows = []
    for row in ROWS:
        rows.append(measure(row))
        print(json.dumps(rows[-1]))
    record = {
        "times": TIMES,
        "start": START,
        "rounds": ROUNDS,
        "rows": rows,
        "versions": versions("scipy"),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
