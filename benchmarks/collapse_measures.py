"""CPU time and memory of NC1 to NC4 against the covariance route, a bare pass and bare products.

Small: 50 000 features of 512 numbers in 10 classes, as of a ResNet18 on CIFAR-10. The competitor is
what a script does: within-class covariance from centred chunks, the pseudo-inverse of the
between-class covariance, all logits and all distances. "One pass" has four readings: the logits
alone, which is the plain one, since whoever measures collapse asks for the accuracy too; the
centred features, the first line of any script; and two reductions, the sum and the mean feature,
which do no more than read. The measures read the features twice (the axes of NC1 need the final
means), so that three reductions leave room for one reduction's worth of work.

Large: 100 000 features of 2048 numbers in 1000 classes, as of a ResNet50 on ImageNet (a tenth of
it). The bare products are those with the class means and with the classifier, block by block; 16
random probes are compared with the exact NC1.

Both at two stages: "start", classes hardly apart, and "collapsed", within-class energy 0.6 % of
that between. CPU seconds of one thread; medians; those compared take turns. Peak memory is that of
`tracemalloc` in numbers of 8 bytes, beyond the features and labels.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/collapse_measures.py
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)

import numpy as np  # noqa: E402

from layerwise.measures import nc1, neural_collapse  # noqa: E402
from layerwise.trace import versions  # noqa: E402

RECORD = Path(__file__).with_suffix(".json")
CHUNK = 8192
PROBES = 16
STAGES = {"start": 1.3, "collapsed": 0.078}  # within-class over between-class standard deviation


class Data(NamedTuple):
    features: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


def data(N: int, d: int, C: int, stage: str) -> Data:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((C, d), dtype=np.float32)
    labels = rng.integers(0, C, N)
    features = np.empty((N, d), np.float32)
    for a in range(0, N, CHUNK):
        block = features[a : a + CHUNK]
        rng.standard_normal(dtype=np.float32, out=block)
        block *= np.float32(STAGES[stage])
        block += means[labels[a : a + CHUNK]] + np.float32(1.0)
    noise = rng.standard_normal((C, d), dtype=np.float32)
    weight = noise if stage == "start" else means + np.float32(0.05) * noise
    return Data(features, labels, weight, 0.1 * noise[:, 0])


def covariance_route(data: Data) -> tuple[float, float, float, float]:
    """NC1, NC2 angle, NC3 and NC4 as a careful script computes them."""
    features, labels, weight, bias = data
    (N, d), C = features.shape, len(weight)
    counts = np.bincount(labels, minlength=C)
    means = np.zeros((C, d))
    for a in range(0, N, CHUNK):
        member = (labels[a : a + CHUNK] == np.arange(C)[:, None]).astype(np.float32)
        means += member @ features[a : a + CHUNK]
    means /= counts[:, None]
    single = means.astype(np.float32)
    within = np.zeros((d, d))
    differ = 0
    squares = (single**2).sum(axis=1)
    for a in range(0, N, CHUNK):
        block = features[a : a + CHUNK]
        centred = block - single[labels[a : a + CHUNK]]
        within += centred.T @ centred
        answers = (block @ weight.T + bias).argmax(axis=1)
        differ += (answers != (squares - 2 * (block @ single.T)).argmin(axis=1)).sum()
    offsets = means - means.mean(axis=0)
    between = offsets.T @ offsets / C
    first = np.trace(within / N @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / C
    unit = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[~np.eye(C, dtype=bool)]
    angle = np.abs(cosines + 1 / (C - 1)).mean()
    dual = weight / np.linalg.norm(weight) - offsets / np.linalg.norm(offsets)
    return float(first), float(angle), float((dual**2).sum()), float(differ) / N


def bare_products(data: Data) -> None:
    for a in range(0, len(data.features), CHUNK):
        block = data.features[a : a + CHUNK]
        block @ data.weight.T
        block @ data.weight.T


def medians(rounds: int, **tasks: Callable[[], object]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            began = time.process_time()
            task()
            times[name].append(time.process_time() - began)
    return {name: round(statistics.median(taken), 4) for name, taken in times.items()}


def peak_over_bound(data: Data) -> float:
    """Return the peak of neural_collapse in numbers, relative to 2 C d + d^2."""
    (_, d), C = data.features.shape, len(data.weight)
    tracemalloc.start()
    neural_collapse(*data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 8 / (2 * C * d + d * d), 3)


def ratio(above: float, below: float) -> float:
    return round(above / below, 2)


def small(stage: str, rounds: int = 15) -> dict[str, object]:
    given = data(50_000, 512, 10, stage)
    theirs, ours = covariance_route(given), neural_collapse(*given)
    values = float(ours.nc1), ours.nc2.angle, ours.nc3, ours.nc4
    cpu = medians(
        rounds,
        ours=lambda: neural_collapse(*given),
        covariance_route=lambda: covariance_route(given),
        sum_of_features=lambda: given.features.sum(),
        mean_feature=lambda: given.features.mean(axis=0),
        logits_alone=lambda: given.features @ given.weight.T,
        centred_features=lambda: given.features - given.features.mean(axis=0),
    )
    return {
        "nc1": values[0],
        "nc4": values[3],
        "largest_relative_difference": max(
            abs(a - b) / max(abs(b), 1e-12) for a, b in zip(values[:3], theirs[:3], strict=True)
        ),
        "difference_in_nc4": abs(values[3] - theirs[3]),
        "cpu_seconds": cpu,
        "ours_over_covariance_route": ratio(cpu["ours"], cpu["covariance_route"]),
        "ours_over_one_pass": {
            name: ratio(cpu["ours"], cpu[name])
            for name in ("logits_alone", "centred_features", "sum_of_features", "mean_feature")
        },
        "peak_memory_over_2Cd_plus_d2": peak_over_bound(given),
    }


def large(stage: str, rounds: int = 3) -> dict[str, object]:
    given = data(100_000, 2048, 1000, stage)
    exact = nc1(given.features, given.labels)
    guess = nc1(given.features, given.labels, probes=PROBES)
    cpu = medians(
        rounds,
        ours=lambda: neural_collapse(*given),
        two_bare_products=lambda: bare_products(given),
        nc1_exact=lambda: nc1(given.features, given.labels),
        nc1_probes=lambda: nc1(given.features, given.labels, probes=PROBES),
    )
    return {
        "nc1": float(exact),
        "nc4": neural_collapse(*given).nc4,
        "cpu_seconds": cpu,
        "ours_over_two_bare_products": ratio(cpu["ours"], cpu["two_bare_products"]),
        "exact_over_probes": ratio(cpu["nc1_exact"], cpu["nc1_probes"]),
        "probes": {
            "number": PROBES,
            "relative_standard_error": guess.error / guess,
            "relative_error": guess / exact - 1,
        },
        "peak_memory_over_2Cd_plus_d2": peak_over_bound(given),
    }


def main() -> None:
    record = {
        "small": {stage: small(stage) for stage in STAGES},
        "large": {stage: large(stage) for stage in STAGES},
        "versions": versions("numpy"),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
