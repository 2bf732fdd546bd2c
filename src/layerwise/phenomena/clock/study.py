"""What the report shows of the clock: the panels, the table of times and the sentence above."""

from __future__ import annotations

import math

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.clock.claims import CLAIMS
from layerwise.phenomena.clock.experiment import TIME, ScalarClock
from layerwise.phenomena.clock.results import Results
from layerwise.phenomena.panel import Curve, Panel, Table, points, setting
from layerwise.theory import solve
from layerwise.theory.clock import crossings, fit_time, rich_time
from layerwise.trace import Provenance, Trace

__all__ = ["study"]

EARLIEST = 0.1  # time from which on errors of linear networks are drawn
FIRST = 1e-3  # and 1-h-1 networks
ERRORS = 3e-3, 1e3


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    return Study(
        name="clock",
        title="The clock of grokking",
        summary=_summary(results),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            _errors(results),
            _unseen(results),
            _delays(results),
            _alignment(results),
            _imbalance(results),
            _times(results),
        ),
        claims=claims,
        runs=tuple(results.runs.values()),
        tables=(_table(results),),
    )


def _summary(results: Results) -> str:
    decay, runs = next(iter(results.plan.linear.items()))
    small, large = runs[0], runs[-1]
    times = {one: (np.median(results.fits(one)), np.median(results.generals(one)))
             for one in (small, large)}  # fmt: skip
    return (
        "Why does the delay of grokking end, and when? In two models that can be solved it is "
        "weight decay that ends it. A linear network on fewer samples than inputs, decay "
        f"{decay:g}, started at scale {large.scale:g}, fits at time {_time(times[large][0])} and "
        f"generalises at {_time(times[large][1])}; started at {small.scale:g}, at "
        f"{_time(times[small][0])} and {_time(times[small][1])}. The delay grows as "
        "ln(scale)/decay, since what the start put where no gradient reaches only decays. That is "
        "the shrinking of a nuisance, and by itself shows no learning of features (Levi et al., "
        "arXiv 2310.16441). Their side of grokking is the 1-h-1 network: fitted at once, it turns "
        "from lazy to rich, its weights aligned, when decay has brought their size down to the "
        "target's."
    )


def _errors(results: Results) -> Panel:
    decay, runs = next(iter(results.plan.linear.items()))
    shown = runs[-3:]
    traces = {one: _together(results.traces(one)) for one in shown}
    largest = shown[-1]
    last = float(traces[largest][0].clock[-1])
    curves = [Curve(f"test, scale {one.scale:g}", traces[one], "excess") for one in shown]
    train = Curve(f"train, scale {largest.scale:g}", traces[largest], "train_error")
    return Panel(
        "A linear network groks on command",
        f"Squared errors, decay {decay:g}; test error above what no training removes. The larger "
        "the start, the later it generalises; all fit at once. Median and range over seeds.",
        (*curves, train),
        TIME,
        "squared error",
        log_y=True,
        x_range=(EARLIEST, last),
        y_range=ERRORS,
    )


def _together(traces: tuple[Trace, ...]) -> tuple[Trace, ...]:
    """Return the traces up to where the first of them ends."""
    end = min(trace.clock[-1] for trace in traces)
    kept = []
    for trace in traces:
        inside = trace.clock <= end
        series = {name: trace[name][inside] for name in trace}
        kept.append(Trace(trace.clock[inside], series, trace.provenance))
    return tuple(kept)


def _unseen(results: Results) -> Panel:
    curves, last = [], 0.0
    for decay, runs in results.plan.linear.items():
        traces = results.traces(runs[-1])
        last = max(last, *(float(trace.clock[-1]) for trace in traces))
        t = traces[0].clock
        exact = Trace(t, {"unseen": np.exp(-decay * t)}, Provenance("theory", TIME))
        curves += [
            Curve(f"decay {decay:g}", traces, "unseen"),
            Curve(f"decay {decay:g}", (exact,), "unseen", theory=True),
        ]
    return Panel(
        "What no gradient reaches only decays",
        "Size of the first layer outside the span of the training inputs, relative to its start. "
        "Dashed: e^(-decay t), exact for the flow; descent follows (1 - lr decay)^steps to "
        f"{results.off_law():.0e}.",
        tuple(curves),
        TIME,
        "size / size at the start",
        log_x=False,
        log_y=True,
        x_range=(0.0, last),
    )


def _delays(results: Results) -> Panel:
    curves = []
    for decay in results.plan.linear:
        scales, delays = results.scales(decay), decay * results.delays(decay)
        fine = np.geomspace(1.0, scales[-1], 20)
        line = np.mean(delays[:, -1]) + np.log(fine / scales[-1])
        curves += [
            points(f"decay {decay:g}", scales, delays),
            Curve(f"decay {decay:g}", (setting(fine, line, "theory"),), "value", theory=True),
        ]
    return Panel(
        "The delay counts e-folds of the start",
        "Delay of the linear network in decay times, over the scale of its start. Dashed: slope 1 "
        "in ln(scale), through the largest. Small starts have no delay to speak of.",
        tuple(curves),
        "scale of the start",
        "decay x (t_test - t_train)",
    )


def _alignment(results: Results) -> Panel:
    runs = results.plan.scalar
    shown = (runs[0], runs[-1])
    curves, last = [], 0.0
    for one in shown:
        traces = results.traces(one)
        last = max(last, *(float(trace.clock[-1]) for trace in traces))
        for name, label in (("fit", "fit"), ("alignment", "alignment")):
            text = f"{label}, ratio {one.ratio:g}"
            curves += [
                Curve(text, traces, name),
                Curve(text, (_exact(results, one),), name, theory=True),
            ]
    return Panel(
        "1-h-1: fitted early, rich late",
        f"Fit Theta/S and alignment Theta/Sigma, decay {shown[0].decay:g}, from weights {{}} and "
        "{} times the target. Dashed: the exact law for the first seed.".format(
            *(f"{one.ratio:g}" for one in shown)
        ),
        tuple(curves),
        TIME,
        "Theta/S and Theta/Sigma",
        x_range=(FIRST, last),
        y_range=(-0.05, 1.05),
    )


def _exact(results: Results, one: ScalarClock) -> Trace:
    clock = results.traces(one)[0].clock[1:]
    times = np.geomspace(min(FIRST, clock[0]), clock[-1], 200)
    solution = solve(results.networks(one)[0], times)
    series = {"fit": solution["map"] / one.target, "alignment": solution["alignment"]}
    return Trace(times, series, Provenance("theory", TIME, {"law": solution.law}))


def _imbalance(results: Results) -> Panel:
    curves, last = [], 0.0
    for one in results.plan.scalar:
        traces = results.traces(one)
        last = max(last, *(float(trace.clock[-1]) for trace in traces))
        t = np.linspace(0.0, float(traces[0].clock[-1]), 50)
        start = float(np.median([trace["imbalance"][0] for trace in traces]))
        exact = {"imbalance": start * np.exp(-2 * one.decay * t)}
        curves += [
            Curve(f"ratio {one.ratio:g}", traces, "imbalance"),
            Curve(f"ratio {one.ratio:g}", (Trace(t, exact, Provenance("theory", TIME)),),
                  "imbalance", theory=True),
        ]  # fmt: skip
    one = results.plan.scalar[0]
    return Panel(
        "1-h-1: the clock itself",
        "C, with C^2 = Sigma^2 - Theta^2, falls as e^(-2 decay t) whatever is learned meanwhile; "
        f"the network is rich once C is below the target, {one.target:g}.",
        tuple(curves),
        TIME,
        "C",
        log_x=False,
        log_y=True,
        x_range=(0.0, last),
    )


def _times(results: Results) -> Panel:
    runs = results.plan.scalar
    ratios = np.array([one.ratio for one in runs])
    fits = np.stack([results.scalar_fits(one) for one in runs], axis=1)
    late = np.stack([results.scalar_rich(one) for one in runs], axis=1)
    fit = [np.mean([fit_time(n, one.level).value for n in results.networks(one)]) for one in runs]
    rich = [np.mean([rich_time(n).value for n in results.networks(one)]) for one in runs]
    return Panel(
        "1-h-1: two clocks part",
        f"When the 1-h-1 network fits (error below {runs[0].level:.0%}) and when it becomes rich. "
        "Dashed: Z ln(1/level)/(2 s Sigma0) and ln(C0/(S - decay Z/s))/(2 decay), mean over seeds.",
        (
            points("rich", ratios, late),
            Curve("rich", (setting(ratios, np.array(rich), "theory"),), "value", theory=True),
            points("fit", ratios, fits),
            Curve("fit", (setting(ratios, np.array(fit), "theory"),), "value", theory=True),
        ),
        "weight-to-target ratio of the start",
        "time",
        log_y=True,
    )


def _table(results: Results) -> Table:
    rows = []
    for one in results.plan.scalar:
        network = results.networks(one)[0]
        fit, rich = fit_time(network, one.level), rich_time(network)
        exact = crossings(network, one.level)
        rows.append((
            f"{one.ratio:g}",
            _stated(fit.value, fit.error), f"{float(exact.fit):.4g}",
            f"{results.scalar_fits(one)[0]:.4g}",
            _stated(rich.value, rich.error), f"{float(exact.rich):.4g}",
            f"{results.scalar_rich(one)[0]:.4g}",
        ))  # fmt: skip
    return Table(
        "The two clocks of the 1-h-1 network",
        "First seed: closed formula with the error that it states, exact crossing of the law, and "
        "the network trained by descent. Decay may hold a network near the level of the fit; the "
        "formula then states no error.",
        ("Ratio", "Fit, formula", "exact", "measured", "Rich, formula", "exact", "measured"),
        tuple(rows),
    )


def _stated(value: np.ndarray, error: np.ndarray) -> str:
    return f"{float(value):.4g}" + f" ± {float(error):.2g}" * bool(np.isfinite(error))


def _time(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "(not reached)"


def _settings(results: Results) -> dict[str, str]:
    decays = ", ".join(f"{decay:g}" for decay in results.plan.linear)
    runs = next(iter(results.plan.linear.values()))
    linear, scalar = runs[0], results.plan.scalar[0]
    return {
        "linear network": f"{linear.inputs} inputs, {linear.samples} samples, width "
        f"{linear.width}, teacher (1, -1, 0, ...)",
        "initial scales": ", ".join(f"{one.scale:g}" for one in runs),
        "decays": decays,
        "fitted, general": "train error below 1 %, test error within 10 % of |w|^2 of what no "
        "training removes",
        "1-h-1 network": f"width {scalar.width}, {scalar.samples} samples, decay "
        f"{scalar.decay:g}, weight-to-target ratios "
        + ", ".join(f"{one.ratio:g}" for one in results.plan.scalar),
        "training": "full-batch gradient descent, float64, learning rate "
        f"{linear.step:g} over the largest curvature (linear), {scalar.learning_rate:g} (1-h-1)",
        "seeds": f"0 to {results.seeds - 1}",
    }
