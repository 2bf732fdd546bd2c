"""Neural collapse: the exact twins, the picture of the simplex, claims judged on made-up traces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.phenomena.base import Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.collapse import CLAIMS, Collapse, LinearFeatures, Results, plan
from layerwise.phenomena.collapse.study import folded
from layerwise.phenomena.collapse.twin import trace, twin
from layerwise.trace import Provenance, Trace

IDS = [
    "collapse.decay-budget",
    "collapse.linear-modes",
    "collapse.minority",
    "collapse.nc1",
    "collapse.nc2",
    "collapse.nc3",
    "collapse.nc4",
    "collapse.random-labels",
    "collapse.rank",
    "collapse.simplex",
    "collapse.small-start",
]
C = 10


def collapsing(one):
    """Return the trace of a world that collapses where theory says, and there alone."""
    if isinstance(one, LinearFeatures):
        return free(one, sum(one.decay))
    last = 0.3 if one.weight_decay == 0 else 0.01
    return network(one, last)


def standing_still(one):
    """Return a world in which nothing collapses, and every class comes at once."""
    if isinstance(one, LinearFeatures):
        t = np.linspace(0, 100, 50)
        strength = np.repeat(1 / (1 + np.exp((30 - t) / 3))[:, None], len(one.n_per_class), axis=1)
        return Trace(t, {"strength": strength, "nc1": 1 + 0 * t, "nc3": 1 + 0 * t,
                         "nc3_centred": 1 + 0 * t}, Provenance("network", "time"))  # fmt: skip
    return network(one, 0.5)


def free(one, decay):
    t = np.linspace(0, one.learning_rate * one.steps, 200)
    exact = trace(one, t)["strength"] if not decay else np.repeat(limits(one)[None], 200, axis=0)
    nc1 = min(one.start, 1.0) ** 4
    series = {"strength": exact, "nc1": np.full(200, nc1), "nc3": np.full(200, 0.2),
              "nc3_centred": np.full(200, nc1)}  # fmt: skip
    return Trace(t, series, Provenance("network", "time"))


def limits(one):
    return twin(one).optimum().modes / np.sqrt(one.n_per_class)


def network(one, last):
    clock = np.array([0, 1, 10, 30, one.epochs])
    falling = np.geomspace(1.0, last, 5)
    noise = 1 + 0.01 * one.seed
    gram = np.repeat((np.eye(C) - 1 / C)[None], 5, axis=0)
    spectrum = np.r_[np.ones(C - 1), last * np.ones(6)][None] * np.ones((5, 1))
    test = 0.1 if one.shuffled_labels else 0.99
    series = dict.fromkeys(("nc1", "equinorm", "angle", "nc3"), noise * falling)
    series |= {
        "nc4": np.r_[0.9, 0.1, 0.01, 0.0, 0.0 if last < 0.1 else 0.3],
        "train_accuracy": np.r_[0.1, 0.5, 0.9, 1.0, 1.0],
        "test_accuracy": np.r_[0.1, 0.5, test, test, test],
        "top_energy": 1 - last * np.ones(5) / 5,
        "decay_budget": one.weight_decay * np.arange(5.0),
        "spectrum": spectrum,
        "means_gram": gram,
    }
    return Trace(clock, series, Provenance("network", "epochs"))


def results(world, size="laptop", seeds=3):
    chosen = plan(size, "digits")
    runs = []
    for one in chosen.experiments(seeds):
        found = world(one)
        origin = replace(found.provenance, data="made up")
        runs.append(Run(one, Trace(found.clock, found.series, origin), Path("nowhere")))
    return Results.of(chosen, size, seeds, runs)


def verdicts(found):
    return {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}


def test_all_claims_are_there_with_their_ids():
    judged = [claim(results(collapsing)) for claim in CLAIMS]
    assert sorted(claim.id for claim in judged) == IDS
    assert {claim.phenomenon for claim in judged} == {"collapse"}


def test_a_world_that_follows_the_theory_supports_every_claim():
    assert set(verdicts(results(collapsing)).values()) == {Verdict.SUPPORTED}


def test_a_world_that_stands_still_refutes_every_claim():
    assert set(verdicts(results(standing_still)).values()) == {Verdict.REFUTED}


@pytest.mark.parametrize("world", [collapsing, standing_still])
def test_the_report_can_show_every_world(world):
    from layerwise.show.figures import draw

    found = results(world)
    shown = found.plan.study("laptop", 3, found.runs.values())
    for panel in shown.panels:
        draw(panel)
    assert len({panel.title for panel in shown.panels}) == len(shown.panels)


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    runs = plan(size, "digits").experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)


def test_the_exact_modes_are_sigmoids_of_the_published_rate():
    one = LinearFeatures(n_per_class=(40, 10), dim=5, start=1e-3, seed=2)
    W, H = one.layers()
    start = np.array([
        np.sum(((W[c] + H[:, one.labels == c].sum(1) / math.sqrt(n)) / 2) ** 2)
        for c, n in enumerate(one.n_per_class)
    ])  # fmt: skip
    s, t = np.sqrt(one.n_per_class), np.array([0.0, 50.0, 100.0])
    wanted = 1 / (1 + (s / start - 1) * np.exp(-2 * s * t[:, None] / 50))
    assert trace(one, t)["strength"] == pytest.approx(wanted, rel=1e-9)
    assert twin(one).learning_times(0.5) == pytest.approx(
        50 * np.log(s / start - 1) / (2 * s), rel=1e-9
    )


def test_limits_are_those_of_the_optimum():
    one = LinearFeatures(n_per_class=(40, 20, 10, 5, 2), decay=(2.7 / 77, 2.7 / 77))
    s = np.sqrt([40, 20, 10])
    assert limits(one)[:3] == pytest.approx((s - 2.7) / s)
    assert limits(one)[3:].tolist() == [0, 0]


def test_a_perfect_simplex_is_drawn_as_a_regular_polygon():
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((20, C)))[0]
    means = (np.eye(C) - 1 / C) @ turned.T * 3.7
    x, y = folded(means @ means.T)
    assert np.hypot(x, y) == pytest.approx(1.0)
    angles = np.sort(np.arctan2(y, x))
    assert np.diff(angles) == pytest.approx(2 * math.pi / C)


def test_collapse_experiments_name_their_data():
    assert Collapse(data="mnist").name == "collapse-mnist-width8-decay0.005"
    assert "shuffled" in Collapse(shuffled_labels=True).name
