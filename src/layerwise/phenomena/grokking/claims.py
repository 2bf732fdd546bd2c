"""The claims about grokking: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, decide, seen, weigh
from layerwise.phenomena.grokking.experiment import Grokking
from layerwise.phenomena.grokking.published import EPOCHS, PUBLISHED, at_epochs, within
from layerwise.phenomena.grokking.results import Results

__all__ = ["AT_PAPER_SIZE", "CLAIMS"]

AGREES = 0.1  # rms difference of accuracies between two runs of figure 8
LONG = 2000.0  # epochs of a published run

FIGURE_8 = "arXiv 2502.21009, figure 8"
CLOCK = "decay clock of the exactly solved 1-h-1 network (C = C0 exp(-2 decay t))"
DICTIONARY = "weight-to-target dictionary of the layerwise linear model (arXiv 2502.21009)"

REMEDIES = {
    "weight": "Initial weights x1/5",
    "target": "Target x10",
    "input": "Input x1/100",
    "output": "Output x1/10",
}


def delay(results: Results) -> Claim:
    """The default fits its data long before it generalises."""
    default = results.plan.default
    clock = results.predicted_decay_times(default)
    rate = default.learning_rate * default.weight_decay
    fit, last = results.fit_steps(default), _last(results, default)
    at_fit = results.at_fit(default)
    predicted = _mean(clock / rate / fit) if rate else None
    # a run that never generalised did not do so before its last step: a lower bound of the delay
    claim = weigh(
        results,
        "grokking.delay",
        "With large initial weights the network fits its training images while test accuracy is "
        f"below 0.5, and reaches test accuracy {default.general} late: {default.late}/t_fit above "
        "8. Test accuracy "
        f"at t_fit: {seen(at_fit)}.",
        f"{FIGURE_8}a; predicted by the {CLOCK}",
        predicted,
        np.minimum(results.general_steps(default), last) / fit,
        accept=(8.0, math.inf),
        log=True,
    )
    memorised = decide(results, at_fit, (-math.inf, 0.5))
    return replace(claim, verdict=Verdict.worst(claim.verdict, memorised))


def remedy(results: Results, name: str) -> Claim:
    """One change of scale removes the delay."""
    default, changed = results.plan.default, results.plan.remedies[name]
    last = _last(results, default)
    times = results.predicted_decay_times(changed) / results.predicted_decay_times(default)
    return weigh(
        results,
        f"grokking.remedy.{name}",
        f"{REMEDIES[name]} removes the delay: {default.late} is below an eighth of the default's. "
        "Predicted: "
        "the share of the delay that the clock leaves.",
        f"{FIGURE_8}; predicted by the {CLOCK}, fitted on the initial scales alone",
        _mean(times),
        results.general_steps(changed) / np.minimum(results.general_steps(default), last),
        accept=(0.0, 1 / 8),
        log=True,
    )


def order(results: Results) -> Claim:
    """Delays come in the order of the weight-to-target ratio."""
    runs = (results.plan.default, *results.plan.remedies.values())
    pairs = [
        (high, low)
        for high, low in itertools.permutations(runs, 2)
        if high.ratio > low.ratio * (1 + 1e-9)
    ]
    delays = {run: results.delays(run) for run in runs}
    agree = [delays[high] > delays[low] for high, low in pairs]
    known = np.all([np.isfinite(delays[run]) for run in runs], axis=0)
    return weigh(
        results,
        "grokking.order",
        f"The order of the delay ratios {runs[0].late}/t_fit follows the weight-to-target ratio: "
        f"share of the {len(pairs)} pairs of unequal ratio in the predicted order, above 0.75.",
        DICTIONARY,
        1.0,
        np.where(known, np.mean(agree, axis=0), math.nan),
        accept=(0.75, math.inf),
    )


def target_equals_output(results: Results) -> Claim:
    """Under decoupled decay the two remedies are the same run."""
    gaps = []
    for one, other in zip(*map(results.traces, results.plan.symmetric), strict=True):
        shared = min(len(one), len(other))
        gaps.append(max(
            float(np.max(np.abs(one[name][:shared] - other[name][:shared])))
            for name in ("train_accuracy", "test_accuracy")
        ))  # fmt: skip
    return weigh(
        results,
        "grokking.target-equals-output",
        "Target x10 and output x1/10 are the same run under AdamW, step for step: largest "
        "difference of train or test accuracy at any logged step, at most 0.002.",
        "scale symmetry of the loss, exact for Adam with decoupled decay up to its eps",
        0.0,
        np.array(gaps),
        accept=(-math.inf, 0.002),
    )


def clock_decay(results: Results) -> Claim:
    """The delay is counted in decay times."""
    decays = results.plan.decays
    times = np.array([results.decay_times(run) for run in decays])
    each = "; ".join(
        f"decay {run.weight_decay:g}: {seen(row)}" for run, row in zip(decays, times, strict=True)
    )
    calibrated = [run for run in decays if run in results.plan.scales]
    predicted = _mean(results.decay_times(calibrated[0])) if calibrated else None
    claim = weigh(
        results,
        "grokking.clock.decay",
        f"{decays[0].late} x lr x decay is one constant for all decays: its mean over the decays, "
        "and its mean over seeds at each decay, lie within 0.75 to 1.05. Predicted: the value at "
        f"decay 1. At {each}.",
        CLOCK,
        predicted,
        np.mean(times, axis=0),
        accept=(0.75, 1.05),
    )
    inside = all(0.75 <= mean <= 1.05 for mean in np.mean(times, axis=1))
    settled = Verdict.SUPPORTED if inside else Verdict.UNDECIDED
    return replace(claim, verdict=Verdict.worst(claim.verdict, settled))


def clock_scale(results: Results) -> Claim:
    """The delay grows like the logarithm of the initial scale."""
    scales = ", ".join(f"{run.weight_scale:g}" for run in results.plan.scales)
    late = results.plan.default.late
    return weigh(
        results,
        "grokking.clock.scale",
        f"{late} grows like ln(initial scale) over scales {scales} (decay 1): least-squares slope "
        f"of {late} x lr x decay against ln(scale), within a factor 1.5 of the theory's 1.",
        CLOCK,
        1.0,
        np.array([clock.slope for clock in results.clocks]),
        accept=(1 / 1.5, 1.5),
    )


def no_decay(results: Results) -> Claim:
    """Without decay there is no clock, and no late generalisation."""
    run = results.plan.no_decay
    best = [float(np.max(trace["test_accuracy"])) for trace in results.traces(run)]
    return weigh(
        results,
        "grokking.no-decay",
        f"Without decay the delay does not end within {run.steps} steps: the best test accuracy "
        f"stays below {run.general}. Predicted: that at t_fit, as the scalar model has no late "
        "phase.",
        "exact 1-h-1 law without decay (its imbalance is conserved)",
        _mean(results.at_fit(run)),
        np.array(best),
        accept=(-math.inf, run.general),
    )


def figure8(results: Results) -> Claim:
    """The published picture comes out again at the published settings."""
    plan = results.plan
    runs = {"default": plan.default, **plan.remedies}
    squares = []
    for name, run in runs.items():
        printed = np.array([math.nan if value is None else value for value in PUBLISHED[name]])
        squares.append((at_epochs(results, run) - printed) ** 2)
    off = np.sqrt(np.nanmean(np.concatenate(squares, axis=1), axis=1))
    remedied = [within(results, run, 0.8) for run in plan.remedies.values()]
    default = within(results, plan.default, 0.8)
    claim = weigh(
        results,
        "grokking.figure8",
        "At the published settings test accuracies at epochs "
        f"{', '.join(map(str, EPOCHS))} of all five panels are those of figure 8: root mean square "
        f"difference below {AGREES:g}; every remedy reaches 0.8 within 20 epochs (last "
        f"{seen(np.max(remedied, axis=0))}), the default after more than 100 ({seen(default)}).",
        f"{FIGURE_8}, one run a panel, read off the figure",
        0.0,
        off,
        accept=(0.0, AGREES),
    )
    parts = [claim.verdict]
    for values, accept in ((np.max(remedied, axis=0), (0.0, 20.0)), (default, (100.0, LONG))):
        parts.append(decide(results, values, accept))
    return replace(claim, verdict=Verdict.worst(*parts))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    delay,
    partial(remedy, name="weight"),
    partial(remedy, name="target"),
    partial(remedy, name="input"),
    partial(remedy, name="output"),
    order,
    target_equals_output,
    clock_decay,
    clock_scale,
    no_decay,
)
AT_PAPER_SIZE = (figure8,)  # where the settings are the published ones


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None


def _last(results: Results, experiment: Grokking) -> np.ndarray:
    return np.array([float(trace.clock[-1]) for trace in results.traces(experiment)])
