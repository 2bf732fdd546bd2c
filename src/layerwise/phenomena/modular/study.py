"""What the report shows of modular arithmetic: panels, tables of all remedies, and the sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim, whole
from layerwise.phenomena.modular.claims import CLAIMS, CUT
from layerwise.phenomena.modular.experiment import EitherModular
from layerwise.phenomena.modular.results import ON_PLATEAU, Results
from layerwise.phenomena.panel import Curve, Panel, Table, points
from layerwise.trace import Trace

__all__ = ["study"]

STEPS = "optimiser steps"
CURVES = {
    "train": "train_accuracy",
    "test": "test_accuracy",
    "test, mirror seen": "mirror_accuracy",
    "test, mirror not seen": "other_accuracy",
    "Fourier concentration": "concentration",
}


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    square, former = results.plan.quadratic, results.plan.transformer
    return Study(
        name="modular",
        title="Grokking of modular arithmetic",
        summary=_summary(results, {claim.id: claim for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            _accuracies(results, "Quadratic network", square["base"]),
            _accuracies(results, "Quadratic network, output x1/10", square["output x0.1"]),
            _accuracies(results, "Transformer", former["base"]),
            _accuracies(results, "Transformer, output x1/5", former["output x0.2"]),
            _accuracies(results, "Transformer, squared error, output x1/10", former[ON_PLATEAU]),
            _delays(results),
        ),
        claims=claims,
        runs=tuple(results.runs.values()),
        tables=(
            _table(results, "quadratic network", square),
            _table(results, "one-layer transformer", former),
        ),
    )


def _summary(results: Results, claims: Mapping[str, Claim]) -> str:
    square, former = results.plan.quadratic, results.plan.transformer
    delays = [
        _number(results.delays(square[name]), "never", ".3g") for name in ("base", "output x0.1")
    ]
    general = [_when(results, former[name]) for name in ("base", "output x0.2")]
    mirror, other = (
        _share(results.on_plateau(former[ON_PLATEAU], name)) for name in ("mirror", "other")
    )
    published = claims["modular.transformer.remedies"].verdict
    return (
        "Networks memorise half of a table of arithmetic and know the other half only later. The "
        "published remedy, a smaller output, ends this on images. Here it brings the delay "
        f"t95/t_fit of a quadratic network from {delays[0]} to {delays[1]}, and a transformer, "
        f"general {general[0]}, is so {general[1]} with a fifth of its output (that "
        f"the remedy removes the delay: {published}). It first gets to know the pairs (a, b) whose "
        f"mirror (b, a) it was trained on; with squared error and a tenth of its output it stops "
        f"there, at {mirror} of these and {other} of the others."
    )


def _accuracies(results: Results, title: str, one: EitherModular) -> Panel:
    traces = _held(results.traces(one))
    fit, late = (_median(f(one)) for f in (results.fit_steps, results.general_steps))
    return Panel(
        title,
        f"{one.task().formula}. Fitted (train accuracy 0.99) at step {whole(fit)}, general (test "
        f"accuracy 0.95) at step {whole(late)}; medians over seeds. The test pairs (a, b) are "
        "those whose mirror (b, a) is a training pair, and the others. Fourier concentration: "
        "share of the strongest frequency in the weights that a neuron has for the tokens. A seed "
        "that has learned the table is held at its last values.",
        tuple(Curve(label, traces, name) for label, name in CURVES.items()),
        STEPS,
        "accuracy, concentration",
        x_range=(1.0, float(one.steps)),
        y_range=(0.0, 1.02),
    )


def _delays(results: Results) -> Panel:
    """Draw the delay over the output scale, for both networks."""
    curves, missing = [], []
    for label, runs in (
        ("quadratic network", results.plan.quadratic),
        ("transformer", results.plan.transformer),
    ):
        chosen = sorted(
            (one for name, one in runs.items() if name == "base" or name.startswith("output x")),
            key=lambda one: one.output_scale,
        )
        scales = np.array([one.output_scale for one in chosen])
        delays = np.array([results.delays(one) for one in chosen])
        curves.append(points(label, scales, delays.T))
        missing += [
            f"{label} x{scale:g} ({never} of {results.seeds} seeds)"
            for scale, never in zip(scales, (~np.isfinite(delays)).sum(axis=1), strict=True)
            if never
        ]
    return Panel(
        "The delay over the output scale",
        f"t95/t_fit against the factor on the output; on images output x1/10 leaves less than "
        f"{CUT[0]:g}. No point for what did not generalise within its steps: "
        f"{', '.join(missing) or 'none'}.",
        tuple(curves),
        "output scale",
        "t95 / t_fit",
        log_y=any(np.isfinite(trace["value"]).any() for curve in curves for trace in curve.traces),
    )


def _table(results: Results, title: str, runs: Mapping[str, EitherModular]) -> Table:
    rows = []
    for name, one in runs.items():
        traces = results.traces(one)
        halves = (_number(results.half_steps(one, part), "never") for part in ("mirror", "other"))
        last = (
            _number(np.array([trace[f"{part}_accuracy"][-1] for trace in traces]), "", ".2f")
            for part in ("test", "mirror", "other")
        )
        end = np.array([trace.clock[-1] for trace in traces])
        rows.append((
            name,
            _steps(results.fit_steps(one)),
            _steps(results.general_steps(one)),
            _number(results.delays(one), "never", ".3g"),
            _number(results.at_fit(one), "", ".2f"),
            " / ".join(halves),
            f"{' / '.join(last)} at {_number(end, '')}",
        ))  # fmt: skip
    base = runs["base"]
    kind = getattr(base, "loss", "mse")
    loss = {"ce": "cross-entropy", "mse": "mean squared error"}[kind]
    return Table(
        f"Every remedy and control: {title}",
        f"{base.task().formula}, {base.fraction:.0%} of the pairs, {loss}, AdamW, learning rate "
        f"{base.learning_rate:g}, decoupled decay {base.weight_decay:g}, the full batch, but for "
        "what the row names. Medians over seeds (least to greatest). Mirror: the test pairs (a, b) "
        "whose mirror (b, a) is a training pair.",
        (
            "Setting",
            "t_fit",
            "t95",
            "t95/t_fit",
            "Test accuracy at t_fit",
            "Half right: mirror / other",
            "Last test accuracy: all / mirror / other",
        ),
        tuple(rows),
    )


def _settings(results: Results) -> dict[str, str]:
    square, former = (runs["base"] for runs in (results.plan.quadratic, results.plan.transformer))
    named = {"quadratic network": square, "transformer": former}
    return {"seeds": f"0 to {results.seeds - 1}"} | {
        f"{net}: {field}": value for net, one in named.items()
        for field, value in one.settings().items()
    }  # fmt: skip


def _held(traces: tuple[Trace, ...]) -> tuple[Trace, ...]:
    """Return the traces up to the end of the longest; a run ends once all is learned."""
    end = max(trace.clock[-1] for trace in traces)
    return tuple(
        trace
        if trace.clock[-1] == end
        else Trace(
            np.append(trace.clock, end),
            {name: np.append(trace[name], trace[name][-1]) for name in trace},
            trace.provenance,
        )
        for trace in traces
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _share(values: np.ndarray) -> str:
    middle = _median(values)
    return f"{middle:.0%}" if math.isfinite(middle) else "none yet"


def _when(results: Results, one: EitherModular) -> str:
    step = _median(results.general_steps(one))
    return f"at step {step:.0f}" if math.isfinite(step) else f"not within {one.steps} steps"


def _number(values: np.ndarray, never: str, form: str = ".0f") -> str:
    """Write the median; `never` where it is infinite, a dash where it is not known."""
    middle = _median(values)
    if math.isnan(middle):
        return "–"
    return f"{middle:{form}}" if math.isfinite(middle) else never


def _steps(values: np.ndarray) -> str:
    """Write the median step with the least and greatest, or how many seeds came there."""
    reached = np.isfinite(values)
    if not reached.all():
        return f"{reached.sum()} of {len(values)} seeds"
    return f"{_median(values):.0f} ({values.min():.0f} to {values.max():.0f})"
