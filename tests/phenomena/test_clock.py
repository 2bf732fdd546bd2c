"""The clock: claims judged on made-up traces, the two trainings against their exact laws."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.measures import crossing_time
from layerwise.phenomena.base import Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.clock import CLAIMS, LinearGrokking, Results, ScalarClock, plan
from layerwise.phenomena.clock.experiment import FIT, GENERAL
from layerwise.show.figures import draw
from layerwise.theory import clock, solve
from layerwise.trace import Provenance, Trace


def sigmoid(t, middle, width):
    return 1 / (1 + np.exp(np.clip((middle - t) / width, -60, 60)))


def as_theory(one, *, delay=1.0, unseen=1.0):
    """Return the series of a world in which the clock holds, or is off by a factor."""
    noise = 1 + 0.005 * one.seed
    t = np.linspace(0, 8 / one.decay, 6001)
    if isinstance(one, ScalarClock):
        model = one.network
        rich, lag = clock.rich_time(model), 0.5 * float(clock.rich_time(model).error)
        fit = noise * float(clock.fit_time(model, one.level).value)
        late = delay * (float(rich.value) - lag)
        t = np.unique(np.concatenate([[0.0], np.geomspace(fit / 3, t[-1], 6000)]))
        return t, {
            "fit": 1 - np.exp(-np.log(1 / one.level) * t / fit),
            "error": np.exp(-np.log(1 / one.level) * t / fit),
            "alignment": np.sqrt(2) * sigmoid(t, late, 1.0),
            "imbalance": one.ratio * np.exp(-2 * one.decay * t),
        }
    wait = 1.0 + delay * noise * max(math.log(5 * one.scale), 0.0) / one.decay
    size = 2.0
    faded = np.exp(-one.decay * t)
    return t, {
        "train_error": size * (1 - sigmoid(t, 1.0, 0.05) * (1 - FIT / 2)),
        "excess": size * (1 - sigmoid(t, wait, 0.05) * (1 - GENERAL / 2)),
        "test_error": size * (1 - sigmoid(t, wait, 0.05)) + 0.4,
        "unseen": faded**unseen,
        "unseen_descent": faded,
        "unseen_flow": faded,
    }


def results(world, size="laptop", seeds=3):
    chosen = plan(size)
    runs = []
    for one in chosen.experiments(seeds):
        t, series = world(one)
        origin = Provenance("network", "time", one.config(), one.seed, "made up")
        runs.append(Run(one, Trace(t, series, origin), Path("nowhere")))
    return Results.of(chosen, size, seeds, runs)


def verdicts(found):
    return {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}


@pytest.fixture(scope="module")
def as_it_should():
    return results(as_theory)


def test_a_world_that_follows_the_theory_supports_both_claims(as_it_should):
    found = verdicts(as_it_should)
    assert found == dict.fromkeys(("clock.rich-time", "clock.linear-demo"), Verdict.SUPPORTED)
    growths = as_it_should.growths(0.02)
    np.testing.assert_allclose(growths[0, 1:], 1.0, atol=1e-3)
    np.testing.assert_allclose(growths[:, -1], 1.0, atol=0.05)


def test_a_world_of_other_clocks_refutes_them():
    found = verdicts(results(lambda one: as_theory(one, delay=1.4)))
    assert set(found.values()) == {Verdict.REFUTED}


def test_weights_that_do_not_keep_to_their_law_refute_the_demo():
    found = verdicts(results(lambda one: as_theory(one, unseen=1.001)))
    assert found["clock.linear-demo"] == Verdict.REFUTED
    assert found["clock.rich-time"] == Verdict.SUPPORTED


def test_fewer_than_three_seeds_decide_nothing():
    assert set(verdicts(results(as_theory, seeds=2)).values()) == {Verdict.UNDECIDED}


def test_networks_that_never_generalise_decide_nothing_and_break_nothing():
    def stuck(one):
        t, series = as_theory(one)
        if isinstance(one, LinearGrokking):
            series["excess"] = np.ones(len(t))
        return t, series

    found = results(stuck)
    assert verdicts(found)["clock.linear-demo"] == Verdict.UNDECIDED
    assert "(not reached)" in found.plan.study("laptop", 3, found.runs.values()).summary


def test_the_report_says_where_the_demo_ends_and_draws_every_panel(as_it_should):
    shown = as_it_should.plan.study("laptop", 3, as_it_should.runs.values())
    assert "Levi et al." in shown.summary
    assert "no learning of features" in shown.summary
    for panel in shown.panels:
        assert draw(panel).axes
    (table,) = shown.tables
    assert {len(row) for row in table.rows} == {len(table.header)}
    assert table.rows[-1][4].startswith("58.")


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    runs = plan(size).experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="did you mean 'smoke'"):
        plan("smok")


# --- the trainings -----------------------------------------------------------------------------

SMALL = LinearGrokking(scale=2.0, decay=0.1, inputs=12, samples=8, width=10, points=60)


def by_samples(one, steps):
    """Return b, A and the inputs after so many steps, written out sample by sample."""
    rng = np.random.default_rng(one.seed)
    x = rng.standard_normal((one.samples, one.inputs))
    A = rng.normal(0.0, one.scale / math.sqrt(one.inputs), (one.width, one.inputs))
    b = rng.normal(0.0, one.scale / math.sqrt(one.width), one.width)
    for _ in range(steps):
        slopes = one.decay * A, one.decay * b
        for row in x:
            off = (b @ (A @ row) - row[0] + row[1]) / len(x)
            slopes = slopes[0] + off * np.outer(b, row), slopes[1] + off * (A @ row)
        A, b = A - one.learning_rate * slopes[0], b - one.learning_rate * slopes[1]
    return b, A, x


def test_the_linear_network_is_trained_as_its_samples_say(tmp_path):
    one = replace(SMALL, steps=40)
    trace = one.measure(tmp_path / "x", "cpu", lambda step: None)
    b, A, x = by_samples(one, 40)
    assert trace.clock[-1] == pytest.approx(40 * one.learning_rate)
    w = A.T @ b
    train = np.mean((x @ w - x[:, 0] + x[:, 1]) ** 2)
    test = np.sum((w - one.teacher) ** 2)
    assert trace["train_error"][-1] == pytest.approx(train, rel=1e-9)
    assert trace["test_error"][-1] == pytest.approx(test, rel=1e-9)
    seen = np.linalg.pinv(x) @ x
    own = np.sum((one.teacher - seen @ one.teacher) ** 2)
    assert trace["excess"][-1] == pytest.approx(test - own, rel=1e-9)
    start = by_samples(one, 0)[1]
    shares = np.linalg.norm(A - A @ seen) / np.linalg.norm(start - start @ seen)
    assert trace["unseen"][-1] == pytest.approx(shares, rel=1e-9)


def test_the_unseen_part_keeps_to_its_law_and_the_run_ends_when_it_has_generalised(tmp_path):
    trace = SMALL.measure(tmp_path / "x", "cpu", lambda step: None)
    np.testing.assert_allclose(trace["unseen"], trace["unseen_descent"], rtol=1e-12)
    np.testing.assert_allclose(trace["unseen"], trace["unseen_flow"], rtol=1e-2)
    assert trace["excess"][-1] < GENERAL * 2
    fitted = float(crossing_time(trace.clock, trace["train_error"], FIT * 2))
    general = float(crossing_time(trace.clock, trace["excess"], GENERAL * 2))
    assert fitted < general < trace.clock[-1] < 2 * general


def test_a_larger_start_is_general_later_by_its_logarithm_over_decay(tmp_path):
    one = LinearGrokking(decay=0.2, scale=8.0, inputs=12, samples=8, width=10, points=2000)
    ends = []
    for scale in (8.0, 16.0):
        trace = replace(one, scale=scale).measure(tmp_path / "x", "cpu", lambda step: None)
        ends.append(float(crossing_time(trace.clock, trace["excess"], GENERAL * 2)))
    assert ends[1] - ends[0] == pytest.approx(math.log(2) / 0.2, rel=0.1)


def test_the_learning_rate_stays_below_the_edge_of_stability():
    for scale in (0.1, 1.0, 5.0):
        one = LinearGrokking(scale=scale, seed=3)
        b, A, x = by_samples(one, 0)
        curvature = np.linalg.eigvalsh(x.T @ x / len(x))[-1] * (b @ b + np.linalg.norm(A, 2) ** 2)
        assert one.learning_rate * curvature < 1.2 * one.step < 2


@pytest.mark.parametrize("target", [1.0, 0.3])
def test_the_scalar_network_follows_the_exact_law(tmp_path, target):
    one = ScalarClock(ratio=5.0, decay=0.1 * target, target=target, learning_rate=1e-3)
    trace = one.measure(tmp_path / "x", "cpu", lambda step: None)
    model = one.network
    assert float(model.number("weight_to_target")) == pytest.approx(5.0)
    exact = solve(model, trace.clock)
    np.testing.assert_allclose(trace["fit"] * target, exact["map"], atol=3e-3 * target)
    np.testing.assert_allclose(trace["alignment"], exact["alignment"], atol=1e-3)
    fading = one.ratio * target * np.exp(-2 * one.decay * trace.clock)
    np.testing.assert_allclose(trace["imbalance"], fading, rtol=1e-3)
    rich = float(crossing_time(trace.clock, trace["alignment"], math.sqrt(0.5)))
    assert rich == pytest.approx(float(clock.crossings(model).rich), rel=2e-3)
    assert trace.clock[-1] > rich


def test_a_training_is_the_same_twice_and_another_for_another_seed(tmp_path):
    for one in (replace(SMALL, steps=30), ScalarClock(steps=30)):
        first = one.measure(tmp_path / "a", "cpu", lambda step: None)
        assert first == one.measure(tmp_path / "b", "cpu", lambda step: None)
        assert first != replace(one, seed=1).measure(tmp_path / "c", "cpu", lambda step: None)
        assert dict(first.provenance.config) == one.config()


def test_work_counts_the_steps_and_brief_is_short(tmp_path):
    for one in (SMALL, ScalarClock(ratio=3.0, decay=0.2)):
        ticks = []
        one.measure(tmp_path / "x", "cpu", ticks.append)
        assert 0.3 < len(ticks) / one.work() < 3
        ticks.clear()
        one.brief().measure(tmp_path / "y", "cpu", ticks.append)
        assert 20 < len(ticks) < 100
    assert ScalarClock(decay=50.0, steps=70).work() == 70  # a target that does not last


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearGrokking(samples=40), "fewer than the inputs, got 40 samples of 40 inputs"),
        (lambda: LinearGrokking(scale=0.0), "scale must be positive and finite, got 0.0"),
        (lambda: LinearGrokking(decay=math.nan), "decay must be positive and finite, got nan"),
        (lambda: LinearGrokking(step=2.0), "step must be below 2, where descent diverges, got 2.0"),
        (lambda: LinearGrokking(width=0), "width must be at least 1, got 0"),
        (lambda: ScalarClock(ratio=-1.0), "ratio must be positive and finite, got -1.0"),
        (lambda: ScalarClock(width=1), "width must be at least 2, for b orthogonal to a, got 1"),
        (lambda: ScalarClock(level=1.0), "level must lie between 0 and 1, got 1.0"),
        (lambda: ScalarClock(ratio=1000.0), "learning_rate 0.001 is too large for a start of"),
        (lambda: ScalarClock(points=0), "points must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused_before_any_work(make, message):
    with pytest.raises(ValueError, match=message):
        make()
