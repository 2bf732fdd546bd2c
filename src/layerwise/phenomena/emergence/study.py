"""What the report shows of emergence: the panels, the tables and the sentence above them."""

from __future__ import annotations

import math

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim, seen, whole
from layerwise.phenomena.emergence.claims import CLAIMS, HIDDEN
from layerwise.phenomena.emergence.experiment import Emergence
from layerwise.phenomena.emergence.results import Results
from layerwise.phenomena.emergence.twin import PUBLISHED_DIVISOR, linear_twin, trace, twin
from layerwise.phenomena.panel import Curve, Panel, Table, component, points, setting
from layerwise.theory import scaling
from layerwise.trace import Provenance, Trace

__all__ = ["study"]

STEPS = "optimiser steps"
STRENGTH = "skill strength R/S"
TWIN_POINTS = 300


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    return Study(
        name="emergence",
        title="Emergence",
        summary=_summary(results, {claim.id: claim for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            _skills(results),
            _loss(results),
            _hidden(results),
            _times(results),
            _published(results),
            _rising(results),
            _data(results),
            _widths(results),
            _exponent(results),
        ),
        claims=claims,
        runs=tuple(results.runs.values()),
        tables=(_exponents(results),),
    )


def _summary(results: Results, claims: dict[str, Claim]) -> str:
    halves = np.median(results.crossings(results.plan.staged), axis=0)
    times, same = (
        claims[f"emergence.{name}"] for name in ("times.calibrated", "exponent.not-evidence")
    )
    return (
        f"{len(halves)} skills of a two-layer ReLU network switch on one after another, at steps "
        f"{', '.join(whole(half) for half in halves)} (medians over seeds), the frequent ones "
        "first. An exactly solved product of two layers per skill predicts these times from one "
        f"number read off single-skill networks ({times.verdict}; root mean square deviation "
        f"{times.measured:.0%}). The exponent with which the loss falls is no evidence of layers: "
        f"a linear model of the skills has the same ({same.verdict}). What tells the two apart is "
        "how abrupt single skills are."
    )


def _skills(results: Results) -> Panel:
    staged = results.plan.staged
    steps = _grid(results, staged)
    model = trace(twin(staged, float(np.mean(results.divisors))), steps)
    curves = _by_skill(results, staged, staged.n_skills, model)
    return Panel(
        "Skills switch on one after another",
        "Strength of each skill in a two-layer ReLU network, median and range over seeds. Dashed: "
        "exact sigmoids; their one rate divisor was read off networks with a single skill.",
        curves,
        STEPS,
        STRENGTH,
        x_range=(max(10.0, steps[0]), float(steps[-1])),
        y_range=(-0.05, 1.1),
    )


def _published(results: Results) -> Panel:
    run, shown = results.plan.published, results.plan.published_skills
    steps = _grid(results, run)
    return Panel(
        "Nothing fitted: the published constant",
        f"Three bits a skill, width {run.width}, and the published rate divisor 22: the first "
        f"{shown} of {run.n_skills} skills."
        if shown < run.n_skills
        else f"Three bits a skill, width {run.width}, and the published rate divisor 22.",
        _by_skill(results, run, shown, trace(twin(run, PUBLISHED_DIVISOR), steps)),
        STEPS,
        STRENGTH,
        x_range=(max(30.0, steps[0]), float(steps[-1])),
        y_range=(-0.05, 1.1),
    )


def _by_skill(results: Results, run: Emergence, skills: int, model: Trace) -> tuple[Curve, ...]:
    labels = [f"skill {k + 1}" for k in range(skills)]
    traces = results.traces(run)
    return (
        *(Curve(label, component(traces, "strength", k), "strength")
          for k, label in enumerate(labels)),
        *(Curve(label, component((model,), "strength", k), "strength", theory=True)
          for k, label in enumerate(labels)),
    )  # fmt: skip


def _loss(results: Results) -> Panel:
    staged = results.plan.staged
    steps = _grid(results, staged)
    model = twin(staged, float(np.mean(results.divisors)))
    least = min(float(np.min(one["loss"])) for one in results.traces(staged))
    return Panel(
        "The loss: stages that a sum hides",
        "Every skill takes its share of the loss with it when it emerges. Beside the network stand "
        "the exact model of two layers, and the linear model of the same skills, without layers: "
        "no plateau, no stages.",
        (
            Curve("network", results.traces(staged), "loss"),
            Curve("network: two layers, exact", (trace(model, steps),), "loss", theory=True),
            Curve("linear model, exact", (trace(linear_twin(staged), steps),), "loss", True),
        ),
        STEPS,
        "loss, half the mean squared error",
        log_y=True,
        x_range=(max(3.0, steps[0]), float(steps[-1])),
        y_range=(least / 3, 2 * float(np.max(results.traces(staged)[0]["loss"]))),
    )


def _hidden(results: Results) -> Panel:
    staged = results.plan.staged
    last = 1.6 * float(np.median(results.crossings(staged)[:, 0]))
    if not math.isfinite(last):
        last = float(staged.steps)
    steps = np.linspace(1.0, last, TWIN_POINTS)
    model = trace(twin(staged, float(np.mean(results.divisors))), steps)
    shares = tuple(
        Trace(one.clock, {"loss": one["loss"] / one["loss"][0]}, one.provenance)
        for one in results.traces(staged)
    )
    return Panel(
        "Hidden progress",
        "The first skill grows exponentially (a straight line here) from the start, while the loss "
        f"still looks flat. The claim is read where R_1/S is between {HIDDEN[0]:g} and "
        f"{HIDDEN[1]:g}; below lies the noise of the held-out samples.",
        (
            Curve("skill 1", component(results.traces(staged), "strength", 0), "strength"),
            Curve("loss / loss at the start", shares, "loss"),
            Curve("skill 1", component((model,), "strength", 0), "strength", theory=True),
        ),
        STEPS,
        "R_1/S, and share of the loss",
        log_x=False,
        log_y=True,
        x_range=(0.0, last),
        y_range=(1e-6, 2.0),
    )


def _times(results: Results) -> Panel:
    staged = results.plan.staged
    ranks = np.arange(1.0, staged.n_skills + 1)
    model = twin(staged, float(np.mean(results.divisors)))
    linear = linear_twin(staged)
    return Panel(
        "When skills emerge",
        "Half time of each skill, beside the exact model with its one calibrated number. The "
        "linear model has the same slope, on a clock of its own.",
        (
            points("network", ranks, results.crossings(staged)),
            Curve("network", (setting(ranks, model.half_times(ranks), "theory"),), "value", True),
            Curve(
                "linear model, exact",
                (setting(ranks, linear.half_times(ranks), "theory"),), "value", True,
            ),
        ),
        "rank of the skill",
        "half time in steps",
        log_y=True,
    )  # fmt: skip


def _rising(results: Results) -> Panel:
    curves = []
    for label, run in (
        ("equal targets", results.plan.staged),
        (f"targets ~ rank^{-results.plan.rising.target_exponent:g}", results.plan.rising),
    ):
        ranks = np.arange(1.0, run.n_skills + 1)
        model = twin(run, float(np.mean(results.divisors)))
        predicted = setting(ranks, model.half_times(ranks), "theory")
        curves += [
            points(label, ranks, results.crossings(run)),
            Curve(label, (predicted,), "value", theory=True),
        ]
    return Panel(
        "Where layers change the exponent",
        "Targets that grow with rank make the rare skills faster (rate P_k S_k), which no linear "
        "model does (rate P_k): here the slopes differ. Dashed: exact.",
        tuple(curves),
        "rank of the skill",
        "half time in steps",
        log_y=True,
    )


def _data(results: Results) -> Panel:
    sizes, single = results.plan.data_sizes, results.plan.single_data
    of = np.array([one.data_size for one in single], dtype=float)
    half = float(np.median(results.half_data(single)))
    curves = [points("one skill alone", of, results.curve(single)[:, :, 0])]
    for k, share in enumerate(sizes[0].task.frequencies):
        counts = share * np.array([one.data_size for one in sizes])
        curves.append(points(f"skill {k + 1} of {sizes[0].n_skills}",
            counts, results.curve(sizes)[:, :, k]))  # fmt: skip
    if math.isfinite(half):
        counts = np.geomspace(of[0], of[-1], 100)
        for label, strength in (
            ("projection n/D_c", scaling.linear(1.0, counts, 2 * half)),
            ("published 1 - sqrt(1 - n/D_c)", scaling.square_root(1.0, counts, half / 0.75)),
        ):
            curves.append(Curve(label, (setting(counts, strength, "theory"),), "value", True))
    return Panel(
        "Limited data",
        "Strength after fitting a fixed data set, over the number n = D P_k of its samples that "
        "ask for the skill. Dashed: the two forms of the extended model, each with D_c such that "
        "a single skill is half learned where it is.",
        tuple(curves),
        "samples of the skill, D P_k",
        STRENGTH,
        y_range=(-0.05, 1.1),
    )


def _widths(results: Results) -> Panel:
    run = results.plan.widths
    widths = np.asarray(run.widths, dtype=float)
    per_skill = float(np.median(results.per_skill))
    curves = []
    for k in range(run.n_skills):
        label = f"skill {k + 1}"
        strengths = np.array([one["strength"][:, k] for one in results.traces(run)])
        curves.append(points(label, widths, strengths))
        if math.isfinite(per_skill):
            fine = np.linspace(widths[0], widths[-1], 100)
            predicted = scaling.parameter_shares(k + 1, fine, per_skill)
            curves.append(Curve(label, (setting(fine, predicted, "theory"),), "value", True))
    return Panel(
        "Limited width",
        f"Mean strength of {run.nets} tiny networks over their width. Dashed: the ramp that fills "
        f"one skill after another with N_c = {per_skill:.2g} neurons, as single-skill networks "
        "need.",
        tuple(curves),
        "width in neurons",
        STRENGTH,
        log_x=False,
        y_range=(-0.05, 1.1),
    )


def _exponent(results: Results) -> Panel:
    run, linear = results.plan.scaling[-1], results.plan.linear[-1]
    curves = []
    for label, one in (("network", run), ("linear model", linear)):
        completed = tuple(
            Trace(t.clock, {"loss": scaling.completed(linear_twin(one), t["loss"])}, t.provenance)
            for t in results.traces(one)
        )
        curves.append(Curve(f"{label}, completed", completed, "loss"))
        fits = results.exponents(one)
        first, last = np.median(fits.windows, axis=0)
        if np.isfinite(first) and np.isfinite(last):
            window = np.geomspace(first, last, 20)
            middle = math.sqrt(first * last)
            anchor = np.median([np.interp(middle, t.clock, t["loss"]) for t in completed])
            line = anchor * (window / middle) ** fits.theory
            origin = Provenance("theory", STEPS)
            curves.append(Curve(
                f"{label}, slope {fits.theory:.3f}",
                (Trace(window, {"loss": line}, origin),), "loss", theory=True,
            ))  # fmt: skip
    curves.append(Curve("network, raw", results.traces(run), "loss"))
    return Panel(
        "The exponent is no evidence of layers",
        f"Loss of {run.n_skills} skills (linear: {linear.n_skills}) plus that of the skills never "
        "asked for. Dashed, over the "
        "window of the fit: the predicted power of time, the same with and without layers. The raw "
        "loss bends down where the list of skills ends.",
        tuple(curves),
        STEPS,
        "loss, half the mean squared error",
        log_y=True,
        x_range=(10.0, float(run.steps)),
    )


def _exponents(results: Results) -> Table:
    rows = []
    for label, runs in (("network", results.plan.scaling), ("linear", results.plan.linear)):
        for one in runs:
            fit = results.exponents(one)
            first, last = np.median(fit.windows, axis=0)
            window = f"{first:.0f} to {last:.0f}" if math.isfinite(first) else "–"
            rows.append((
                f"{label}, alpha {fit.alpha:g}", seen(fit.raw), seen(fit.completed),
                f"{fit.theory:.3f}", window,
            ))  # fmt: skip
    return Table(
        "Exponents of the loss over time",
        "Means over seeds with their 95 % interval. Completed: the loss of the skills never asked "
        "for is added before the fit. Window: steps of the completed fit, median over seeds.",
        ("Run", "Raw slope", "Completed slope", "Predicted", "Window"),
        tuple(rows),
    )


def _settings(results: Results) -> dict[str, str]:
    staged = results.plan.staged
    return staged.settings("draw", "data_size") | {
        "seeds": f"0 to {results.seeds - 1}",
        "optimizer": "SGD, mean squared error without the factor 1/2",
        "calibrated": f"rate divisor {seen(results.divisors)}, on "
        f"{len(results.plan.calibrations)} single-skill networks a seed (published: 22 for three "
        "bits)",
        "three-bit run": f"width {results.plan.published.width}, "
        f"{results.plan.published.steps} steps",
        "scaling run": f"{results.plan.scaling[0].n_skills} skills, "
        f"{results.plan.scaling[0].steps} steps",
        "widths": f"Adam, learning rate {results.plan.widths.learning_rate:g}, a tenth of it after "
        f"70 % of {results.plan.widths.steps} steps, {results.plan.widths.nets} networks a width",
    }


def _grid(results: Results, run: Emergence) -> np.ndarray:
    last = max(float(one.clock[-1]) for one in results.traces(run))
    return np.geomspace(1.0, last, TWIN_POINTS)
