"""Grokking: the plan, the clock, the exact twin, and claims judged on made-up traces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.measures import crossing_time
from layerwise.phenomena.base import Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.grokking import CLAIMS, Results, plan, study
from layerwise.phenomena.grokking.experiment import Clock, Grokking, twin
from layerwise.phenomena.grokking.published import EPOCHS, PUBLISHED
from layerwise.theory import Scalar, solve, time_to
from layerwise.theory.laws.decay import rich_time
from layerwise.trace import Provenance, Trace

IDS = [
    f"grokking.{name}"
    for name in (
        *(f"remedy.{change}" for change in ("weight", "target", "input", "output")),
        "clock.decay",
        "clock.scale",
        "delay",
        "no-decay",
        "order",
        "target-equals-output",
    )
]


def made_up(experiment: Grokking, law) -> Run:
    """Return a run whose accuracies cross their levels exactly when `law` says."""
    fit, general = law(experiment)
    steps = np.unique(np.rint(np.geomspace(1, 20_000, 600)))
    train = np.where(steps >= fit, 1.0, 0.2)
    test = np.where(steps >= general, 0.9, 0.3)
    series = {"train_accuracy": train, "test_accuracy": test}
    provenance = Provenance("network", "optimiser steps", experiment.config(), data="made up")
    return Run(experiment, Trace(steps, series, provenance), Path("nowhere"))


def results(law, size="laptop", seeds=3):
    chosen = plan(size, "mnist")
    runs = [made_up(experiment, law) for experiment in chosen.experiments(seeds)]
    return Results.of(chosen, size, seeds, runs)


def as_published(experiment):
    """Return what theory says: a decay clock above a critical ratio, no delay below."""
    rate = experiment.learning_rate * experiment.weight_decay
    wait = Clock(1.0, 2.0).decay_time(experiment, replace(experiment, input_scale=1.0,
        output_scale=1.0, target_scale=3.0)) / rate if rate else math.inf  # fmt: skip
    return 200 * (1 + 0.02 * experiment.seed), max(wait, 150.0 / experiment.ratio**-0.1)


def test_all_ten_claims_are_there_with_their_ids():
    judged = [claim(results(as_published)) for claim in CLAIMS]
    assert sorted(claim.id for claim in judged) == sorted(IDS)
    assert all(claim.phenomenon == "grokking" for claim in judged)


def test_the_claims_say_what_else_they_rest_on():
    statements = {claim.id: claim.statement for claim in study(results(as_published)).claims}
    assert "Test accuracy at t_fit: 0.3 [0.3, 0.3]." in statements["grokking.delay"]
    for decay in ("0.3", "0.6", "1"):
        assert f"decay {decay}: 0.9" in statements["grokking.clock.decay"]


def test_a_world_that_follows_the_theory_supports_what_it_should():
    verdicts = {claim.id: claim.verdict for claim in study(results(as_published)).claims}
    for name in ("delay", "remedy.weight", "remedy.input", "target-equals-output", "no-decay"):
        assert verdicts[f"grokking.{name}"] == Verdict.SUPPORTED, name
    assert verdicts["grokking.clock.scale"] == Verdict.SUPPORTED


def test_a_world_without_grokking_refutes_the_delay_and_the_remedies():
    verdicts = {
        claim.id: claim.verdict
        for claim in study(results(lambda one: (200, 210 + one.seed))).claims
    }
    for name in ("delay", "remedy.weight", "remedy.target", "clock.scale", "no-decay"):
        assert verdicts[f"grokking.{name}"] == Verdict.REFUTED, name


def test_a_run_that_never_generalises_decides_nothing_and_breaks_nothing():
    shown = study(results(lambda one: (200, math.inf)))
    verdicts = {claim.id: claim.verdict for claim in shown.claims}
    assert verdicts["grokking.delay"] == Verdict.SUPPORTED  # 20 000 steps are a lower bound
    assert verdicts["grokking.remedy.weight"] == Verdict.UNDECIDED
    assert verdicts["grokking.clock.scale"] == Verdict.UNDECIDED
    assert "not within" in shown.summary


def test_fewer_than_three_seeds_decide_nothing():
    verdicts = {claim.verdict for claim in study(results(as_published, seeds=2)).claims}
    assert verdicts == {Verdict.UNDECIDED}


def test_an_unstable_symmetry_is_refuted():
    def law(one):
        return (200, 2000 if one.target_scale == 30.0 else 400)

    verdicts = {claim.id: claim.verdict for claim in study(results(law)).claims}
    assert verdicts["grokking.target-equals-output"] == Verdict.REFUTED


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_plans_hold_the_five_variants_and_run_nothing_twice(size):
    chosen = plan(size, "mnist")
    assert list(chosen.remedies) == ["weight", "target", "input", "output"]
    ratio = {name: run.ratio / chosen.default.ratio for name, run in chosen.remedies.items()}
    assert ratio == pytest.approx({"weight": 5.0**-4, "target": 0.1, "input": 0.01, "output": 0.1})
    keys = [experiment.key for experiment in chosen.experiments(3)]
    assert len(keys) == len(set(keys))
    assert chosen.no_decay.weight_decay == 0


def test_the_paper_size_is_the_published_setting():
    default = plan("paper", "mnist").default
    assert (default.width, default.depth, default.train_size, default.test_size) == (
        512, 4, 1000, 10_000,
    )  # fmt: skip
    assert (default.optimizer, default.learning_rate, default.weight_decay) == ("adam", 1e-3, 1e-4)
    assert (default.batch, default.steps, default.tail) == (128, 16_000, 0)


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_plans_on_the_stand_in_ask_for_no_more_digits_than_there_are(size):
    for experiment in plan(size, "digits").experiments(1):
        assert (experiment.train_size, experiment.test_size) == (200, 797)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="unknown size 'huge'; Known: laptop, paper, smoke"):
        plan("huge", "mnist")


def test_the_clock_is_recovered_from_its_own_times():
    truth = Clock(slope=1.3, critical=2.6)
    scales = [3.5, 5.0, 7.0, 10.0]
    times = [1.3 * math.log(scale / 2.6) for scale in scales]
    found = Clock.fitted(scales, times)
    assert (found.slope, found.critical) == pytest.approx((truth.slope, truth.critical))
    default = Grokking()
    assert found.decay_time(default, default) == pytest.approx(1.3 * math.log(5 / 2.6))
    assert found.decay_time(replace(default, weight_scale=1.0), default) == 0
    tenth = found.decay_time(replace(default, target_scale=30.0), default)
    assert tenth == pytest.approx(1.3 * math.log(5 / 2.6 / 10**0.25))


def test_a_clock_that_cannot_be_fitted_says_nothing():
    lost = Clock.fitted([3.5, 5.0], [0.4, math.inf])
    assert math.isnan(lost.decay_time(Grokking(), Grokking()))
    coupled = replace(Grokking(), optimizer="adam")
    assert math.isnan(Clock(1.3, 2.6).decay_time(coupled, Grokking()))


def test_the_twin_fits_when_told_and_becomes_rich_by_the_decay_clock():
    run, excess = Grokking(weight_decay=0.03), 200.0
    steps = np.geomspace(1, 100_000, 4000)
    trace = twin(run, excess, fit_step=220.0, steps=steps)
    config = trace.provenance.config
    held_back = 1 - config["decay"] / config["rate"]  # what decay leaves of the target
    undecayed = Scalar(1.0, config["a"], config["b"], rate=config["rate"])
    assert time_to(undecayed, error=0.01) == pytest.approx(220 * run.learning_rate)
    rich = crossing_time(steps, trace["alignment"], math.sqrt(0.5))
    size = excess ** (2 / run.depth)
    wanted = rich_time(size / held_back, decay=run.weight_decay) / run.learning_rate
    assert rich == pytest.approx(wanted, rel=0.01)


def test_the_twin_is_the_solution_of_its_model():
    steps = np.array([10.0, 100.0, 1000.0])
    trace = twin(Grokking(), 50.0, fit_step=220.0, steps=steps)
    config = dict(trace.provenance.config)
    fields = {name: config[name] for name in ("target", "a", "b", "scale", "rate", "decay")}
    flow = solve(Scalar(**fields), 1e-3 * steps, method="flow")
    np.testing.assert_allclose(trace["fit"], flow["map"], atol=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_scale": math.nan}, "weight_scale must be positive and finite, got nan"),
        ({"output_scale": 0.0}, "output_scale must be positive and finite, got 0.0"),
        ({"depth": 0}, "depth and width must be positive, got 0"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Grokking(**fields)


def printed(off=0.0):
    """Return the paper's runs with the printed accuracies, but for `off`."""
    chosen = plan("paper", "mnist")
    names = {run: name for name, run in {"default": chosen.default, **chosen.remedies}.items()}
    runs = []
    for experiment in chosen.experiments(3):
        made = made_up(experiment, as_published)
        name = names.get(replace(experiment, seed=0))
        if name:
            known = [(e, a) for e, a in zip(EPOCHS, PUBLISHED[name], strict=True) if a]
            clock = 8.0 * (np.array([epoch for epoch, _ in known]) - 1)
            test = np.array([accuracy for _, accuracy in known]) + off
            series = {"train_accuracy": 1.0 * (clock > 0), "test_accuracy": test}
            trace = Trace(clock, series, made.trace.provenance)
            made = Run(experiment, trace, Path("nowhere"))
        runs.append(made)
    return Results.of(chosen, "paper", 3, runs)


@pytest.mark.parametrize(
    ("off", "verdict"), [(0.0, Verdict.SUPPORTED), (0.04, Verdict.SUPPORTED), (0.2, "refuted")]
)
def test_the_published_figure_is_judged_at_its_epochs(off, verdict):
    shown = study(printed(off))
    (claim,) = (claim for claim in shown.claims if claim.id == "grokking.figure8")
    assert claim.measured == pytest.approx(off, abs=1e-12)
    assert claim.verdict == verdict
    (table,) = shown.tables
    assert table.rows[0][1] == f"0.126 / {0.126 + off:.3f}"
    assert table.rows[1][7].startswith("– / ")


def test_only_the_published_settings_are_compared_with_the_published_figure():
    shown = study(results(as_published))
    assert "grokking.figure8" not in {claim.id for claim in shown.claims}
    assert shown.tables == ()


def test_fashion_counts_as_general_at_a_level_within_reach():
    chosen = plan("laptop", "fashion-mnist")
    assert (chosen.default.general, chosen.default.late) == (0.75, "t75")
    assert (plan("laptop", "mnist").default.general, Grokking().late) == (0.85, "t85")
    runs = [made_up(one, as_published) for one in chosen.experiments(3)]
    shown = study(Results.of(chosen, "laptop", 3, runs))
    delay = next(claim for claim in shown.claims if claim.id == "grokking.delay")
    assert "reaches test accuracy 0.75 late: t75/t_fit above 8" in delay.statement
