"""What the report shows of grokking: the panels, the settings and the sentence above them."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Verdict, whole
from layerwise.phenomena.grokking.claims import AT_PAPER_SIZE, CLAIMS, REMEDIES
from layerwise.phenomena.grokking.experiment import Grokking, twin
from layerwise.phenomena.grokking.published import EPOCHS, PUBLISHED, at_epochs
from layerwise.phenomena.grokking.results import Results
from layerwise.phenomena.panel import Curve, Panel, Table, points, setting
from layerwise.trace import Trace

__all__ = ["study"]

STEPS = "optimiser steps"
TWIN_POINTS = 150


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    default = results.plan.default
    published = results.size == "paper" and results.plan.data == "mnist"
    asked = CLAIMS + AT_PAPER_SIZE if published else CLAIMS
    claims = tuple(claim(results) for claim in asked)
    variants = {"Default: large initial weights": default} | {
        f"Remedy: {REMEDIES[name].lower()}": run for name, run in results.plan.remedies.items()
    }
    # one range for all, so that a missing delay is seen as missing
    longest = max(trace.clock[-1] for trace in results.traces(results.plan.default))
    steps = (1.0, float(longest))
    panels = [_variant(results, title, run, steps) for title, run in variants.items()]
    panels += [_no_decay(results, steps), _decays(results), _scales(results)]
    return Study(
        name="grokking",
        title="Grokking",
        summary=_summary(results, {claim.id: claim.verdict for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=tuple(panels),
        claims=claims,
        stand_in=results.plan.data == "digits",
        runs=tuple(results.runs.values()),
        tables=(_published(results),) if published else (),
    )


def _summary(results: Results, verdicts: dict[str, Verdict]) -> str:
    default = results.plan.default
    fit, late = (np.median(f(default)) for f in (results.fit_steps, results.general_steps))
    when = f"only after {late:.0f}" if np.isfinite(late) else f"not within {default.steps}"
    times = [np.median(results.general_steps(run)) for run in results.plan.remedies.values()]
    settled = [verdicts[f"grokking.remedy.{name}"] for name in REMEDIES]
    counts = ", ".join(
        f"{settled.count(verdict)} {verdict}" for verdict in Verdict if verdict in settled
    )
    return (
        f"The network fits its {default.train_size} training images after {fit:.0f} steps and "
        f"generalises {when}. Each of four ways to lower the weight-to-target ratio brings that "
        f"forward, to steps {min(times):.0f} to {max(times):.0f} (below an eighth of the delay: "
        f"{counts}). In the exact model beside it decay is the clock that ends the delay: weights "
        "shrink as exp(-decay t) until they have come down to the target's size."
    )


def _variant(results: Results, title: str, run: Grokking, steps: tuple[float, float]) -> Panel:
    traces = results.traces(run)
    curves = [
        Curve("train", traces, "train_accuracy"),
        Curve("test", traces, "test_accuracy"),
    ]
    twins = _twins(results, run, steps)
    if twins:
        curves += [
            Curve("train", twins, "fit", theory=True),
            Curve("test", twins, "alignment", theory=True),
        ]
    fit, late = (np.median(f(run)) for f in (results.fit_steps, results.general_steps))
    caption = (
        f"Fitted (train accuracy 0.99) at step {whole(fit)}, general (test accuracy "
        f"{run.general}) at step {whole(late)}; medians over seeds."
    )
    if twins:
        caption += (
            " Dashed: the exactly solved 1-h-1 network, its fit Theta/S and its alignment "
            "Theta/Sigma."
        )
    return Panel(
        title, caption, tuple(curves), STEPS, "accuracy", x_range=steps, y_range=(0.0, 1.02)
    )


def _twins(results: Results, run: Grokking, steps: tuple[float, float]) -> tuple[Trace, ...]:
    """Return the exact twin of the median seed, or nothing where it cannot be calibrated."""
    fit = float(np.median(results.fit_steps(run)))
    clocks = sorted(results.clocks, key=lambda clock: clock.critical)
    excess = clocks[len(clocks) // 2].excess(run, results.plan.scales[0])
    if run.optimizer != "adamw" or not np.isfinite(fit) or not np.isfinite(excess):
        return ()
    return (twin(run, excess, fit, np.geomspace(*steps, TWIN_POINTS)),)


def _no_decay(results: Results, steps: tuple[float, float]) -> Panel:
    run = results.plan.no_decay
    traces = results.traces(run)
    best = np.median([np.max(trace["test_accuracy"]) for trace in traces])
    return Panel(
        "Control: no decay",
        "Without decay the exact model never moves again once it has fitted. The networks: test "
        f"accuracy {np.median(results.at_fit(run)):.2f} at the fit, at best {best:.2f} in "
        f"{run.steps} steps; medians over seeds.",
        (Curve("train", traces, "train_accuracy"), Curve("test", traces, "test_accuracy")),
        STEPS,
        "accuracy",
        x_range=steps,
        y_range=(0.0, 1.02),
    )


def _decays(results: Results) -> Panel:
    runs = results.plan.decays
    rates = np.array([run.weight_decay for run in runs])
    measured = np.array([results.decay_times(run) for run in runs])
    predicted = np.full(len(rates), np.mean(measured[-1]))
    clock = f"{runs[0].late} x lr x decay"
    return Panel(
        "The clock: decay",
        "The delay, counted in decay times, is the same for every decay. Dashed: the value at the "
        "largest decay.",
        (
            points(clock, rates, measured.T),
            Curve(clock, (setting(rates, predicted),), "value", theory=True),
        ),
        "weight decay",
        clock,
        y_range=(0.0, 1.4),
    )


def _scales(results: Results) -> Panel:
    runs = results.plan.scales
    scales = np.array([run.weight_scale for run in runs])
    measured = np.array([results.decay_times(run) for run in runs])
    anchor = np.mean(measured) - np.mean(np.log(scales))
    clock = f"{runs[0].late} x lr x decay"
    return Panel(
        "The clock: initial scale",
        "The delay grows with the logarithm of the initial scale. Dashed: slope 1, the decay clock "
        "of the exact model, through the mean of the points.",
        (
            points(clock, scales, measured.T),
            Curve(clock, (setting(scales, anchor + np.log(scales)),), "value", True),
        ),
        "initial weight scale",
        clock,
    )


def _published(results: Results) -> Table:
    """List the published accuracies with ours beside them."""
    rows = []
    runs = {"default": results.plan.default, **results.plan.remedies}
    for name, run in runs.items():
        ours = np.median(at_epochs(results, run), axis=0)
        printed = ("–" if value is None else f"{value:.3f}" for value in PUBLISHED[name])
        cells = zip(printed, ours, strict=True)
        rows.append((name, *(f"{theirs} / {value:.3f}" for theirs, value in cells)))
    return Table(
        "Figure 8, published and here",
        "Test accuracy at the epochs of the published figure (one run a panel, read off the "
        "graphics) / here, median over seeds. An epoch is measured before its updates.",
        ("Panel", *(f"epoch {epoch}" for epoch in EPOCHS)),
        tuple(rows),
    )


def _settings(results: Results) -> dict[str, str]:
    default = results.plan.default
    rates = ", ".join(f"{run.weight_decay:g}" for run in results.plan.decays)
    scales = ", ".join(f"{run.weight_scale:g}" for run in results.plan.scales)
    return default.settings() | {
        "seeds": f"0 to {results.seeds - 1}",
        "decays of the clock": rates,
        "initial scales of the clock (decay 1)": scales,
        "calibrated": "critical initial scale and slope, on the runs of different initial scale",
    }
