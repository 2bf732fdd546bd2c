"""What the report shows of depth: the panels, the ticket's table and the sentence above them."""

from __future__ import annotations

import math

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim
from layerwise.phenomena.depth.claims import CLAIMS
from layerwise.phenomena.depth.results import Results
from layerwise.phenomena.panel import Curve, Panel, Table, points, setting
from layerwise.theory import Deep, Shallow, solve, time_to
from layerwise.trace import Provenance, Trace

__all__ = ["study"]

STRENGTH = "strength R/S"
EXACT_START = 0.1  # value of every layer at the start of the exact curves
EXACT = 0.02, 3.0  # half times over which they are drawn


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    return Study(
        name="depth",
        title="Depth",
        summary=_summary(results, {claim.id: claim for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            _exact(),
            _networks(results),
            _half_times(results),
            _sharpness(results),
            _ticket(results),
        ),
        claims=claims,
        runs=tuple(results.runs.values()),
        tables=(_table(results),),
    )


def _summary(results: Results, claims: dict[str, Claim]) -> str:
    three, four = (claims[f"depth.slope-{layers}"] for layers in (3, 4))
    random, fresh = (claims[f"ticket.{name}"] for name in ("random", "fresh-init"))
    return (
        "One skill in ReLU networks: the smaller the initial scale s, the longer the wait, as "
        f"ln(1/s) for two layers, s^{three.measured:.2f} for three (predicted s^-1) and "
        f"s^{four.measured:.2f} for four (s^-2), while the jump itself takes as long from any "
        "start: depth turns the sigmoid into a step. Of the lottery ticket the mask counts more "
        f"than its initial values: a random mask of the same size learns {random.measured:.2g} of "
        f"{results.plan.ticket.n_skills} skills, a new draw of the weights under the same mask "
        f"takes {fresh.measured:.2f} times as long as the rewound ticket."
    )


def _exact() -> Panel:
    """Draw the product of L equal layers, each over its own half time."""
    curves = []
    for layers in (1, 2, 3, 4):
        weight = EXACT_START
        model = Shallow(1.0, weight) if layers == 1 else Deep(1.0, weight, layers)
        half = float(time_to(model, error=0.5))
        shares = np.geomspace(*EXACT, 400)
        trace = Trace(
            shares, {"strength": solve(model, half * shares)["map"]}, Provenance("theory", "time")
        )
        label = "1 layer (linear)" if layers == 1 else f"{layers} layers"
        curves.append(Curve(label, (trace,), "strength", theory=True))
    return Panel(
        "Exact: deeper products jump",
        f"Products of L layers, each of them {EXACT_START:g} at the start, over the time in units "
        "of their own half time. The linear model has no plateau at all.",
        tuple(curves),
        "time / half time",
        STRENGTH,
        y_range=(-0.02, 1.05),
    )


def _networks(results: Results) -> Panel:
    """Draw the networks of each depth from one scale, over their own half time."""
    curves = []
    common = set.intersection(*(set(results.scales(layers)) for layers in results.plan.depths))
    scale = max(common)
    for layers, runs in results.plan.depths.items():
        run = next(one for one in runs if one.scale == scale)
        halves = results.half_times(layers)[:, runs.index(run)]
        traces = tuple(
            Trace(one.clock[1:] / half, {"strength": one["strength"][1:]}, one.provenance)
            for one, half in zip(results.traces(run), halves, strict=True)
            if math.isfinite(half)
        )
        curves.append(Curve(f"{layers} layers", traces, "strength"))
    return Panel(
        "Networks: deeper ones jump",
        f"The same in ReLU networks on the parity of two bits, all from {scale:g} of He's start; "
        "median and range over seeds.",
        tuple(curves),
        "steps / half time",
        STRENGTH,
        x_range=EXACT,
        y_range=(-0.05, 1.05),
    )


def _half_times(results: Results) -> Panel:
    curves = []
    for layers in results.plan.depths:
        scales, halves = results.scales(layers), results.half_times(layers)
        fine = np.geomspace(scales.min(), scales.max(), 60)
        logs, mean = np.log(scales), np.mean(halves, axis=0)
        if layers == 2:
            predicted = np.polyval(np.polyfit(logs, mean, 1), np.log(fine))
        else:
            anchor = np.mean(np.log(mean) + (layers - 2) * logs)
            predicted = np.exp(anchor - (layers - 2) * np.log(fine))
        label = f"{layers} layers"
        curves += [
            points(label, scales, halves),
            Curve(label, (setting(fine, predicted, "theory"),), "value", theory=True),
        ]
    return Panel(
        "How long the wait is",
        "Half time over the initial scale s. Dashed: the predicted laws through the points, a line "
        "in ln(1/s) for two layers, s^-1 for three and s^-2 for four.",
        tuple(curves),
        "initial scale s (1 = He)",
        "half time in steps",
        log_y=True,
    )


def _sharpness(results: Results) -> Panel:
    curves = []
    for layers in results.plan.depths:
        scales = results.scales(layers)
        sharp = results.widths(layers) / results.half_times(layers)
        label = f"{layers} layers"
        curves.append(points(label, scales, sharp))
        if layers > 2:
            fine = np.geomspace(scales.min(), scales.max(), 60)
            anchor = np.mean(np.log(np.mean(sharp, axis=0)) - (layers - 2) * np.log(scales))
            predicted = np.exp(anchor + (layers - 2) * np.log(fine))
            curves.append(Curve(label, (setting(fine, predicted, "theory"),), "value", True))
    return Panel(
        "How sharp the jump is",
        "Time from strength 0.1 to 0.9 over the half time; small is step-like, 3.2 is the linear "
        "model from any start. Dashed: predicted, s and s^2; two layers sharpen like 1/ln(1/s).",
        tuple(curves),
        "initial scale s (1 = He)",
        "width / half time",
        log_y=True,
    )


def _ticket(results: Results) -> Panel:
    ticket = results.plan.ticket
    kept = f"{ticket.kept('fresh'):.1%}"
    shown = {
        "dense": "dense",
        f"magnitude {ticket.rounds}": f"largest {kept}, rewound",
        "fresh": f"largest {kept}, new draw",
        f"random {ticket.rounds}": f"random {kept}",
    }
    curves = []
    for name, label in shown.items():
        traces = tuple(
            Trace(one.clock, {"strength": _mean_strength(one[name])}, one.provenance)
            for one in results.traces(ticket)
        )
        curves.append(Curve(label, traces, "strength"))
    return Panel(
        "Lottery tickets",
        f"Mean strength of {ticket.n_skills} skills when the first layer keeps only some of its "
        "weights: those that training made largest, from their own start or from a new draw, or as "
        "many random ones.",
        tuple(curves),
        "optimiser steps",
        "mean strength R/S",
        x_range=(10.0, float(ticket.steps)),
        y_range=(-0.05, 1.1),
    )


def _mean_strength(strengths: np.ndarray) -> np.ndarray:
    """Return the mean over skills; a training that has ended has learned them all."""
    means = strengths.mean(axis=1)
    ended = np.isnan(means)
    means[ended] = means[~ended][-1]
    return means


def _table(results: Results) -> Table:
    ticket = results.plan.ticket
    names = {
        "dense": "dense network",
        "magnitude": "largest weights, rewound",
        "random": "random mask, rewound",
        "fresh": "largest weights, new draw",
    }
    rows = []
    for name, halves in results.tickets().items():
        times = tuple(
            f"{np.mean(column):.0f} ({column.min():.0f} to {column.max():.0f})"
            if np.all(np.isfinite(column))
            else f"{np.isfinite(column).sum()} of {len(column)} seeds"
            for column in halves.T
        )
        rows.append((names[name.split()[0]], f"{ticket.kept(name):.1%}", *times))
    return Table(
        "The lottery ticket, every training",
        "Half time of each skill in steps: mean (least to greatest over seeds), or in how many "
        f"seeds the skill is half learned within {ticket.steps} steps. The rewound ticket and the "
        "new draw under the same mask differ by their initial values alone.",
        ("Training", "Kept", *(f"Skill {k + 1}" for k in range(ticket.n_skills))),
        tuple(rows),
    )


def _settings(results: Results) -> dict[str, str]:
    one = next(iter(results.plan.depths.values()))[0]
    ticket = results.plan.ticket
    scales = {
        f"initial scales, {layers} layers": ", ".join(f"{s:g}" for s in results.scales(layers))
        for layers in results.plan.depths
    }
    return scales | {
        "skill": f"parity of {one.skill_bits} of {one.n_bits} bits",
        "networks": f"ReLU, width {one.width}, He start times s, biases from 0",
        "training": f"SGD, learning rate {one.learning_rate:g}, batch {one.batch} fresh samples, "
        "mean squared error without the factor 1/2",
        "ticket": f"{ticket.n_skills} skills of {ticket.skill_bits} bits, width {ticket.width}, "
        f"learning rate {ticket.learning_rate:g}, batch {ticket.batch}, {ticket.rounds} rounds "
        f"that keep {ticket.keep:.0%} of the first layer each",
        "seeds": f"0 to {results.seeds - 1}",
    }
