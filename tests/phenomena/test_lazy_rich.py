import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.phenomena.base import Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.lazy_rich import (
    CLAIMS,
    BalancedMap,
    Convolution,
    Dial,
    Funnel,
    Limits,
    LinearUpstream,
    Results,
    TwoNumber,
    plan,
)
from layerwise.phenomena.lazy_rich.dial import twin
from layerwise.phenomena.lazy_rich.linear import exact_limits
from layerwise.phenomena.lazy_rich.twin import exact_funnel, exact_map, lazy_map
from layerwise.trace import Provenance, Trace

IDS = sorted(
    f"lazy-rich.{name}"
    for name in (
        "map.balanced", "map.unbalanced", "map.funnel", "two-number", "limits", "linear-upstream",
        "dial", "cnn.activation", "cnn.filters", "cnn.features", "cnn.kernel", "cnn.accuracy",
    )
)  # fmt: skip
ORIGIN = Provenance("network", "steps", data="made up")


def followed(one):
    """A world in which every network does what theory says."""
    match one:
        case BalancedMap():
            return Trace(one.axes[0], {"distance": exact_map(one)["distance"]}, ORIGIN)
        case Funnel():
            clock = np.array([0.0, one.early, one.end])
            return Trace(clock, {"distance": exact_funnel(one, clock)["distance"]}, ORIGIN)
        case Limits():
            clock = np.linspace(0, 15, 60)
            return Trace(clock, dict(exact_limits(one, clock).series), ORIGIN)
        case TwoNumber():
            return two_number(one, [h**-0.5 for h in one.widths])
        case LinearUpstream():
            return upstream(one, relu=0.05)
        case Dial():
            clock = np.linspace(0, 60, 200)
            exact = twin(one, clock)
            late = twin(one, clock / (1 + 0.1 * one.k)) if one.k else exact
            lost = {"off_diagonal": one.k * np.ones(200), "diagonal": np.zeros(200)}
            return Trace(clock, {**late.series, **lost}, ORIGIN)
        case Convolution():
            return convolution(one, {0.1: 1.0, 1.0: 0.4, 10.0: 0.0}[one.a])
    distance = np.clip(lazy_map(one)["distance"], 0, 0.5)
    return Trace(one.axes[0], {"distance": distance}, ORIGIN)


def still(one):
    """A world in which no kernel turns, whatever the start."""
    match one:
        case TwoNumber():
            return two_number(one, [1.0] * len(one.widths))
        case Limits():
            clock = np.linspace(0, 15, 60)
            shape = (60, len(one.ratios), 3)
            gaps = {name: np.ones(shape) for name in ("from_exponential", "from_sigmoid")}
            return Trace(clock, gaps, ORIGIN)
        case LinearUpstream():
            return upstream(one, relu=1e-8)
        case Dial():
            exact = twin(one, np.linspace(0, 60, 200))
            hasty = twin(one, 3 * exact.clock)
            lost = dict.fromkeys(("off_diagonal", "diagonal"), np.ones(200))
            return Trace(exact.clock, {**hasty.series, **lost}, ORIGIN)
        case Convolution():
            return convolution(one, 0.0)
        case Funnel():
            clock = np.array([0.0, one.early, one.end])
            return Trace(clock, {"distance": np.zeros((3, one.points))}, ORIGIN)
    distance = np.zeros((one.points, one.points))
    distance[:, 0] = 0.1  # rich where theory says lazy
    return Trace(one.axes[0], {"distance": distance}, ORIGIN)


def two_number(one, errors):
    shape = (5, len(one.widths), len(one.sizes), len(one.shares))
    error = np.ones(shape) * np.array(errors)[:, None, None] * (1 + 0.01 * one.seed)
    names = ("unlearned", "moved_first", "moved_second")
    return Trace(np.arange(5.0), {"map_error": error} | dict.fromkeys(names, error), ORIGIN)


def upstream(one, relu):
    turned = np.array([1e-7, relu * (1 + 0.1 * one.seed)])[:, None] * np.ones(len(one.factors))
    falling = np.linspace(1, 0.1, 10)[:, None, None] * np.ones(turned.shape)
    series = {"loss": falling, "distance_centred": turned * np.ones((10, 1, 1))}
    return Trace(np.arange(10), series | {"features": falling}, ORIGIN)


def convolution(one, moved):
    noise, ones = moved * (1 + 0.02 * one.seed), np.ones(4)
    series = {
        "sign_distance": 0.4 * noise * np.ones((4, 3)),
        "motion": noise * np.ones((4, 4)),
        "filters": np.random.default_rng(one.seed).standard_normal((4, 16, 1, 5, 5)),
        "imbalance": 1 + 1e-3 * np.arange(4.0),
        "test_accuracy": (0.9 + 0.1 * (one.a == 1.0) * noise) * ones,
    }
    names = ("filter_energy", "filter_roughness", "filter_participation", "feature_distance")
    series |= dict.fromkeys(names, 0.3 * noise * ones)
    names = ("kernel_distance", "kernel_distance_plain")
    series |= dict.fromkeys(names, (0.1 * noise + 1e-4) * ones) | {"train_loss": ones}
    return Trace(np.array([0, 1, 10, 100]), series, ORIGIN)


def tiny():
    """A plan whose exact companions are cheap."""
    whole = plan("smoke", "digits")
    return replace(
        whole,
        balanced=replace(whole.balanced, points=7),
        unbalanced=replace(whole.unbalanced, points=7),
        two_number=replace(whole.two_number, widths=(64, 256)),
        dials=(whole.dials[0], whole.dials[-1]),
        funnel=replace(whole.funnel, end=4000.0),
        antifunnel=replace(whole.antifunnel, end=4000.0),
    )


def results(world, seeds=3):
    chosen = tiny()
    runs = [Run(one, world(one), Path("nowhere")) for one in chosen.experiments(seeds)]
    return Results.of(chosen, "laptop", seeds, runs)


def test_a_world_that_follows_the_theory_supports_every_claim():
    found = results(followed)
    judged = [claim(found) for claim in CLAIMS]
    assert sorted(claim.id for claim in judged) == IDS
    assert {claim.phenomenon for claim in judged} == {"lazy-rich"}
    assert {claim.id for claim in judged if claim.verdict != Verdict.SUPPORTED} == set()
    shown = found.plan.study("laptop", 3, found.runs.values())
    assert len({panel.title for panel in shown.panels}) == len(shown.panels)
    assert "supported" in shown.summary


def test_a_world_that_stands_still_refutes_every_claim():
    found = results(still)
    verdicts = {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}
    # exactly equal accuracies say nothing of their order, and no kernel is 0/0 times another
    unclear = {"lazy-rich.cnn.accuracy"}
    assert {name for name, v in verdicts.items() if v != Verdict.REFUTED} <= unclear


@pytest.mark.parametrize("world", [followed, still])
def test_the_report_can_show_every_world(world):
    from layerwise.show.figures import draw

    found = results(world, seeds=1)
    for panel in found.plan.study("laptop", 1, found.runs.values()).panels:
        draw(panel)


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    chosen = plan(size, "digits")
    runs = chosen.experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)
    assert 0.0 in chosen.balanced.axes[1]
    assert chosen.antifunnel.inputs < chosen.antifunnel.outputs


def test_an_unknown_size_is_named():
    with pytest.raises(ValueError, match="laptop"):
        plan("latop", "digits")


def test_the_two_kinds_of_points_count_the_same():
    found = results(followed)
    distance = np.stack([trace["distance"] for trace in found.traces(found.plan.balanced)])
    assert np.allclose(found.map(found.plan.balanced), np.log10(distance + 1e-6))
    assert math.isclose(found.exact[1, 2, 3], distance[1, 2, 3])
