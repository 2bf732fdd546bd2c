"""CPU time of the exact solutions against ODE solvers, and the error of both.

A row is one task: a model, its times and the quantities asked. Ours is `layerwise.solve` and the
quantities, preparation included: every repetition solves afresh. The competitors integrate the
weights and keep only what is asked (`competitors.py`); each is run at ever tighter tolerances until
it reaches 1e-7, and the fastest of those named in the target is the one compared. Ours must be
within 1e-10. Errors are absolute, relative to max(1, largest value), against a reference that
shares no code with either. CPU seconds of one thread pinned to one core, medians; ours and the
competitor take turns. Compiling is not counted in a competitor's time, it is reported beside it;
likewise our first call, which builds what later calls find in a cache.

    pip install -e '.[bench]'
    python benchmarks/theory_speed.py                     # every group, about 12 minutes
    python benchmarks/theory_speed.py few-outputs pair    # some; the record keeps the others

Groups: few-outputs low-rank dense late stiff depth pair small.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from competitors import (
    THEIRS,
    Arrays,
    Flow,
    Run,
    balanced,
    bdf,
    cpu,
    deep,
    dop853,
    dopri8,
    error,
    lsoda,
    pair,
    short,
    trial,
    tsit5,
)

import layerwise as lw
from layerwise.trace import versions

Array = npt.NDArray[np.float64]

RECORD = Path(__file__).with_suffix(".json")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
}
OURS = 1e-10  # the error ours must keep
CHECKED = 40  # times at which errors are measured
SECONDS, FEWEST, MOST = 6.0, 3, 25  # what the rounds of a row may take, and their number
TURN = 0.1  # seconds


@dataclass(frozen=True, eq=False)
class Task:
    """One row: what is asked, the two ways to it, and the ratio aimed at (None: information)."""

    name: str
    flow: Flow
    ours: Callable[[], Arrays]
    reference: Callable[[Array], Arrays]
    target: float | None
    against: tuple[Callable[[Flow], Run], ...] = (dop853, tsit5, dopri8)
    beside: tuple[Callable[[Flow], Run], ...] = ()  # measured, not compared


# --- two-layer networks -------------------------------------------------------------------------


def balanced_start(
    sizes: tuple[int, int, int], lam: float, scale: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Random weights with ``W2^T W2 - W1 W1^T = lam I``, lam <= 0; W2 has entries of size scale."""
    inputs, hidden, outputs = sizes
    w2 = scale * rng.standard_normal((outputs, hidden))
    values, vectors = np.linalg.eigh(w2.T @ w2 - lam * np.eye(hidden))
    kept = values > 1e-12 * values[-1]
    w1 = np.sqrt(values[kept]) * vectors[:, kept] @ frame(inputs, int(kept.sum()), rng).T
    return w1, w2


def frame(rows: int, columns: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def two_layers(weights: Arrays, data: Arrays) -> Arrays:
    w1, w2 = weights
    gap = data[0] - w2 @ w1
    return w2.mT @ gap, gap @ w1.mT


def two_layers_tangent(weights: Arrays, data: Arrays) -> Array:
    w1, w2 = weights
    n = w1.size + w2.size
    d1, d2 = np.split(np.eye(n), [w1.size], axis=1)
    d1, d2 = d1.reshape(n, *w1.shape), d2.reshape(n, *w2.shape)
    gap, moved = data[0] - w2 @ w1, d2 @ w1 + w2 @ d1
    first, second = d2.mT @ gap - w2.T @ moved, gap @ d1.mT - moved @ w1.T
    return np.concatenate([first.reshape(n, -1), second.reshape(n, -1)], axis=1).T


def maps(weights: Arrays, data: Arrays) -> Arrays:
    return (weights[1] @ weights[0],)


def losses(weights: Arrays, data: Arrays) -> Arrays:
    return (((data[0] - weights[1] @ weights[0]) ** 2).sum((-2, -1)) / 2,)


def numbers(weights: Arrays, data: Arrays) -> Arrays:
    """Loss, mode strengths and trace of the tangent kernel (whitened inputs)."""
    (w1, w2), (target, u, v) = weights, data
    product = w2 @ w1
    outputs, inputs = target.shape
    kernel = inputs * (w2 * w2).sum((-2, -1)) + outputs * (w1 * w1).sum((-2, -1))
    modes = ((product @ v) * u).sum(-2)
    return ((target - product) ** 2).sum((-2, -1)) / 2, modes, kernel


NAMES = {maps: ("map",), losses: ("loss",), numbers: ("loss", "modes", "ntk_trace")}


def linear(
    name: str,
    sizes: tuple[int, int, int],
    lam: float,
    spectrum: Array,
    times: Array,
    asked: Callable[[Arrays, Arrays], Arrays],
    target: float | None,
    *,
    scale: float | None = None,
    **compared,
) -> Task:
    """A random lambda-balanced start and a random target of the given singular values."""
    rng = np.random.default_rng(0)
    inputs, hidden, outputs = sizes
    start = balanced_start(sizes, lam, scale or 0.2 / math.sqrt(hidden), rng)
    u, v = frame(outputs, len(spectrum), rng), frame(inputs, len(spectrum), rng)
    cross = u * spectrum @ v.T
    flow = Flow(start, (cross, u, v), times, two_layers, asked, two_layers_tangent)

    def ours() -> Arrays:
        solution = lw.solve(lw.Linear(*start, cross), times, "exact")
        return tuple(solution[quantity] for quantity in NAMES[asked])

    def reference(at: Array) -> Arrays:
        states = balanced(*start, cross, lam, at)
        return tuple(map(np.stack, zip(*(asked(s, flow.data) for s in states), strict=True)))

    return Task(f"{name}, lambda = {lam:g}", flow, ours, reference, target, **compared)


def spread(modes: int) -> Array:
    return np.linspace(3.0, 0.5, modes)


def grid(count: int) -> Array:
    return np.linspace(0.0, 12.0, count)


def few_outputs() -> Iterator[Task]:
    for lam in (0.0, -0.5):
        for what, asked, count, target in (
            ("loss, modes, NTK trace at 1000 times", numbers, 1000, 20.0),
            ("maps at 50 times", maps, 50, 50.0),
            ("maps at 1000 times", maps, 1000, 4.0),
        ):
            sizes = (784, 200, 10)
            yield linear(f"784-200-10: {what}", sizes, lam, spread(10), grid(count), asked, target)


def low_rank() -> Iterator[Task]:
    for what, asked, target in (("loss", losses, 15.0), ("maps", maps, 5.0)):
        name = f"256-256-256, target of rank 10: {what} at 1000 times"
        yield linear(name, (256,) * 3, 0.0, spread(10), grid(1000), asked, target)


def square(d: int, target: float, lam: float = 0.0, **compared) -> Task:
    name = f"dense d = {d}: maps at 1000 times"
    return linear(name, (d,) * 3, lam, spread(d), grid(1000), maps, target, **compared)


def dense() -> Iterator[Task]:
    yield square(64, 1.5)
    yield square(64, 1.5, -0.5)
    yield square(256, 2.0)
    yield square(512, 2.0)


def late() -> Iterator[Task]:
    name, at = "dense d = 256: map at t = 12 alone", np.array([12.0])
    yield linear(name, (256,) * 3, 0.0, spread(256), at, maps, 15.0)


def small() -> Iterator[Task]:
    for lam in (0.0, -0.5):
        yield square(10, 1.0, lam, against=(tsit5,), beside=(dop853, dopri8))


# --- decoupled modes ----------------------------------------------------------------------------


def pairs(weights: Arrays, data: Arrays) -> Arrays:
    a, b = weights
    gap = data[0] - a * b
    return gap * b, gap * a


def products(weights: Arrays, data: Arrays) -> Arrays:
    return (weights[0] * weights[1],)


def diagonal(name: str, start: Arrays, target: Array, times: Array, aim, **compared) -> Task:
    flow = Flow(start, (target,), times, pairs, products)

    def ours() -> Arrays:
        return (lw.solve(lw.Diagonal(target, *start), times, "exact")["map"],)

    return Task(name, flow, ours, lambda at: (pair(*start, target, at),), aim, **compared)


def stiff() -> Iterator[Task]:
    times = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 49)])
    name, spectrum = "stiff, d = 6, spectrum 10 .. 1e-3, t to 1e4: maps", np.geomspace(10, 1e-3, 6)
    compared = {"against": (dop853,), "beside": (lsoda, bdf)}
    yield linear(name, (6,) * 3, 0.0, spectrum, times, maps, 300.0, scale=0.05, **compared)
    target = np.arange(1, 201) ** -1.5
    start = np.full(200, 1e-2), np.full(200, 1e-2)
    times = np.linspace(0.0, 2e4, 200)
    name = "stiff, 200 modes k^-1.5, until the slowest is learned: map"
    yield diagonal(name, start, target, times, None, against=(dop853,))


def pair_law() -> Iterator[Task]:
    rng = np.random.default_rng(0)
    target, times = rng.uniform(0.5, 3.0, 1000), grid(1000)
    start = rng.uniform(0.01, 0.3, 1000), rng.uniform(0.01, 0.3, 1000)
    name = "pair law, 1000 modes at 1000 times"
    yield diagonal(name, start, target, times, None)
    yield diagonal(f"{name}: bare exponentials", start, target, times, 1 / 7, against=(bare_exp,))


def bare_exp(flow: Flow) -> Run:
    """One exponential a point, in place: a yardstick, which answers nothing."""
    exponents = -2 * flow.data[0] * flow.times[:, None]
    into = np.empty_like(exponents)

    def run(rtol: float) -> Arrays:
        np.exp(exponents, out=into)
        return ()

    return run


def power(w: Array, n: int) -> Array:
    """Return w^n by squaring: numpy's own power is slow."""
    result = w if n % 2 else None
    while n := n // 2:
        w = w * w
        if n % 2:
            result = w if result is None else result * w
    return result


def depth_law() -> Iterator[Task]:
    for modes, count in ((300, 300), (2000, 500)):
        for depth in (3, 10):
            yield layers(modes, depth, grid(count))


def layers(modes: int, depth: int, times: Array) -> Task:
    """Modes of `depth` equal layers, all started at the product 0.01."""
    target, weight = np.linspace(0.5, 3.0, modes), np.full(modes, 0.01 ** (1 / depth))

    def velocity(weights: Arrays, data: Arrays) -> Arrays:
        lower = power(weights[0], depth - 1)
        return (lower * (data[0] - lower * weights[0]),)

    def tangent(weights: Arrays, data: Arrays) -> Array:
        lower = power(weights[0], depth - 2)
        product = lower * weights[0] * weights[0]
        return (lower * ((depth - 1) * data[0] - (2 * depth - 1) * product))[None]

    def product(weights: Arrays, data: Arrays) -> Arrays:
        return (power(weights[0], depth),)

    def ours() -> Arrays:
        return (lw.solve(lw.Deep(target, weight, depth), times, "exact")["map"],)

    name = f"depth law, L = {depth}: {modes} modes at {len(times)} times"
    flow = Flow((weight,), (target,), times, velocity, product, tangent)
    against = (dop853, tsit5, dopri8, lsoda)
    return Task(
        name, flow, ours, lambda at: (deep(target, weight, depth, at),), 2.5, against=against
    )


GROUPS: dict[str, Callable[[], Iterator[Task]]] = {
    "few-outputs": few_outputs,
    "low-rank": low_rank,
    "dense": dense,
    "late": late,
    "stiff": stiff,
    "depth": depth_law,
    "pair": pair_law,
    "small": small,
}


# --- measuring ----------------------------------------------------------------------------------


def race(task: Task, rng: np.random.Generator) -> dict[str, object]:
    """Find the tolerance of every competitor, then let ours and the fastest take turns."""
    times = task.flow.times
    few = rng.choice(len(times), min(CHECKED, len(times)), replace=False)
    checked = np.union1d(few, [len(times) - 1])
    truth = task.reference(times[checked])
    trials = [trial(c, task.flow, checked, truth) for c in (*task.against, *task.beside)]
    reaching = [t for t in trials[: len(task.against)] if t.run is not None]
    if not reaching:
        raise RuntimeError(f"{task.name}: no competitor reaches {THEIRS:g}")
    best = min(reaching, key=lambda t: t.tried[-1][2])
    first, result = cpu(task.ours)
    our_error = error(tuple(q[checked] for q in result), truth)
    del result
    ours, theirs = take_turns(task.ours, best.run)
    ratio = theirs / ours
    return {
        "task": task.name,
        "our_ms": short(1e3 * ours),
        "our_first_ms": short(1e3 * first),
        "our_error": short(our_error),
        "competitor": best.name,
        "its_tolerance": best.tried[-1][0],
        "its_error": short(best.tried[-1][1]),
        "its_ms": short(1e3 * theirs),
        "ratio": short(ratio),
        "target": short(task.target),
        "met": None if task.target is None else ratio >= task.target and our_error <= OURS,
        "trials": {t.name: t.record() for t in trials},
    }


def take_turns(*runs: Callable[[], Arrays]) -> tuple[float, ...]:
    """Return the median CPU seconds of each; in its turn a short one runs again and again."""
    taken: list[list[float]] = [[] for _ in runs]
    began = time.process_time()
    for done in range(MOST):
        if done >= FEWEST and time.process_time() - began > SECONDS:
            break
        for run, seconds in zip(runs, taken, strict=True):
            until = time.process_time() + TURN
            seconds.append(cpu(run)[0])
            while time.process_time() < until:
                seconds.append(cpu(run)[0])
    return tuple(map(statistics.median, taken))


def line(row: dict[str, object]) -> str:
    def cell(key: str, form: str, width: int) -> str:
        return " " * width if row[key] is None else format(row[key], f"{width}{form}")

    met = {None: "", True: "yes", False: "NO"}[row["met"]]
    return (
        f"{row['task']:<66} {cell('our_ms', '.3g', 8)} {cell('our_error', '.0e', 6)}  "
        f"{row['competitor']:<8} {cell('its_tolerance', '.0e', 6)} {cell('its_error', '.0e', 6)} "
        f"{cell('its_ms', '.3g', 8)} {cell('ratio', '.3g', 6)} {cell('target', '.3g', 6)}  {met}"
    )


HEADER = (
    f"{'task':<66} {'ours ms':>8} {'error':>6}  {'best':<8} {'rtol':>6} {'error':>6} {'ms':>8} "
    f"{'ratio':>6} {'target':>6}  met"
)


def main(names: Sequence[str]) -> None:
    unknown = set(names) - set(GROUPS)
    if unknown:
        sys.exit(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if not ONE_THREAD.items() <= os.environ.items():  # read when numpy and jax are loaded
        if hasattr(os, "sched_setaffinity"):  # jax counts the cores it may use
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    print(HEADER)
    for name in names or GROUPS:
        rows = []
        for task in GROUPS[name]():
            rows.append(race(task, np.random.default_rng(1)))
            print(line(rows[-1]), flush=True)
        record[name] = {"rows": rows, "versions": versions("scipy", "jax", "diffrax")}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
