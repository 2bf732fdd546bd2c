"""Modular arithmetic: claims judged on made-up traces, and short trainings looked at closely."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layerwise.networks import Quadratic, Transformer
from layerwise.phenomena.base import Run, run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.modular import (
    CLAIMS,
    QuadraticModular,
    Results,
    TransformerModular,
    plan,
)
from layerwise.phenomena.modular.results import PLATEAU
from layerwise.show.figures import draw
from layerwise.trace import Provenance, Trace

IDS = [
    "modular.quadratic.delay",
    "modular.quadratic.output",
    "modular.transformer.delay",
    "modular.transformer.remedies",
    "modular.transformer.mirror",
    "modular.transformer.plateau",
]
NEVER = math.inf
SMALL = QuadraticModular(modulus=11, fraction=0.8, width=48, steps=400, points=30)
TINY = TransformerModular(modulus=7, width=8, heads=2, hidden=16, steps=30, points=8)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def as_found(one):
    """Return (t_fit, t95, mirror and other accuracy between them) as the notes have them."""
    noise = 1 + 0.01 * one.seed
    if isinstance(one, QuadraticModular):
        late = {1.0: 500, 0.1: 150}.get(one.output_scale, 600)
        return 20 * noise, late * noise**2, 0.1, 0.1
    if one.loss == "mse":
        return 300 * noise, NEVER, 1.0, 0.03
    return 120 * noise, NEVER if one.output_scale < 0.5 else 1100 * noise**2, 0.5, 0.02


def as_published(one):
    """Return a world in which the remedies remove the delay, and mirrors come last."""
    fit = 100 * (1 + 0.01 * one.seed)
    return fit, fit * (1.2 if one.output_scale < 1 else 10.0), 0.3, 0.6


def made_up(one, world):
    fit, late, mirror, other = world(one)
    steps = np.arange(one.steps + 1, dtype=float)
    general, between = steps >= late, (steps >= fit) & (steps < late)
    series = {
        "train_accuracy": np.where(steps >= fit, 1.0, 0.2),
        "mirror_accuracy": np.where(general, 1.0, mirror * between),
        "other_accuracy": np.where(general, 1.0, other * between),
        "concentration": np.where(general, 0.9, 0.3),
    }
    series["test_accuracy"] = (series["mirror_accuracy"] + series["other_accuracy"]) / 2
    origin = Provenance("network", "steps", one.config(), one.seed, one.task().formula)
    return Run(one, Trace(steps, series, origin), Path("nowhere"))


def results(world, size="laptop", seeds=3):
    chosen = plan(size)
    runs = [made_up(one, world) for one in chosen.experiments(seeds)]
    return Results.of(chosen, size, seeds, runs)


def verdicts(found):
    return {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}


def test_all_claims_are_there_with_their_ids():
    judged = [claim(results(as_found)) for claim in CLAIMS]
    assert [claim.id for claim in judged] == IDS
    assert {claim.phenomenon for claim in judged} == {"modular"}
    assert all(
        claim.data == f"a + b mod {23 if 'quadratic' in claim.id else 47}" for claim in judged
    )
    assert results(as_found).data == "a + b mod 23, random table mod 23, a + b mod 47"


def test_a_world_like_that_of_the_notes_refutes_the_removal_alone():
    expected = dict.fromkeys(IDS, Verdict.SUPPORTED)
    assert verdicts(results(as_found)) == expected | {
        "modular.transformer.remedies": Verdict.REFUTED
    }


def test_a_world_as_published_supports_the_removal():
    found = verdicts(results(as_published))
    assert found["modular.transformer.remedies"] == Verdict.SUPPORTED
    assert found["modular.transformer.mirror"] == Verdict.REFUTED
    assert found["modular.transformer.plateau"] == Verdict.REFUTED  # all is known there
    assert found["modular.transformer.delay"] == Verdict.SUPPORTED  # 0.45 is below 0.5
    assert found["modular.quadratic.output"] == Verdict.REFUTED  # removed, where it says cut


@pytest.mark.parametrize("size", ["laptop", "paper"])
def test_two_seeds_decide_nothing(size):
    assert set(verdicts(results(as_found, size, seeds=2)).values()) == {Verdict.UNDECIDED}


def test_a_mirror_that_is_known_is_not_enough_where_the_others_are_known_too():
    def both(one):
        fit, late, mirror, other = as_found(one)
        return fit, late, mirror, other + 0.3

    assert verdicts(results(both))["modular.transformer.plateau"] == Verdict.REFUTED


def test_a_memory_that_knows_the_test_set_is_no_delay():
    def early(one):
        return *as_found(one)[:2], 1.0, 0.5

    assert verdicts(results(early))["modular.transformer.delay"] == Verdict.REFUTED


def test_what_never_generalised_is_judged_by_a_lower_bound_or_not_at_all():
    def unfinished(one):
        fit = 100.0 if one.seed else 700.0
        return fit, NEVER, 0.5, 0.1

    found = results(unfinished)
    one = found.plan.transformer["output x0.2"]
    assert found.delays(one).tolist() == [math.inf] * 3
    np.testing.assert_array_equal(found.delays_at_least(one, 2.0), [math.nan, 12.0, 12.0])
    np.testing.assert_array_equal(found.delays_at_least(one, 20.0), [math.nan] * 3)
    assert verdicts(found)["modular.transformer.remedies"] == Verdict.UNDECIDED


def test_without_mirrors_there_is_no_step_at_which_half_of_them_are_known():
    found = results(as_found)
    one = found.plan.quadratic["unordered pairs"]
    for made in found.runs.values():
        if made.experiment.split_by == "unordered":
            series = {name: made.trace[name] for name in made.trace}
            series["mirror_accuracy"] = np.full(len(made.trace), np.nan)
            trace = Trace(made.trace.clock, series, made.trace.provenance)
            object.__setattr__(made, "trace", trace)
    assert np.isnan(found.half_steps(one, "mirror")).all()
    assert np.isfinite(found.half_steps(one, "other")).all()
    assert found.half_steps(found.plan.transformer["base"], "mirror").tolist() == [120, 122, 123]


def test_a_world_where_nothing_is_fitted_decides_nothing():
    nothing = results(lambda one: (NEVER, NEVER, 0.0, 0.0))
    assert set(verdicts(nothing).values()) == {Verdict.UNDECIDED}
    one = nothing.plan.transformer["squared error, output x0.1"]
    assert np.isnan(nothing.on_plateau(one, "mirror")).all()
    assert np.isnan(nothing.delays(one)).all()


def test_accuracies_on_the_plateau_are_those_of_its_step():
    found = results(as_found)
    one = found.plan.transformer["squared error, output x0.1"]
    assert one.steps >= PLATEAU
    assert found.on_plateau(one, "mirror").tolist() == [1.0] * 3
    assert found.on_plateau(one, "other").tolist() == [0.03] * 3
    assert found.at(one, "train_accuracy", np.array([299.5, 300.0, 310.0])).tolist() == [
        0.2,
        0.2,
        1,
    ]


@pytest.mark.parametrize("world", [as_found, lambda one: (NEVER, NEVER, 0.0, 0.0)])
def test_the_report_shows_every_setting_even_where_nothing_was_learned(world):
    chosen = plan("paper")
    shown = chosen.study("paper", 3, results(world, "paper").runs.values())
    for table, runs in zip(shown.tables, (chosen.quadratic, chosen.transformer), strict=True):
        assert [row[0] for row in table.rows] == list(runs)
        assert {len(row) for row in table.rows} == {len(table.header)}
    for panel in shown.panels:
        draw(panel)


def test_the_panel_of_delays_says_what_has_no_point():
    found = results(as_found)
    panel = found.plan.study("laptop", 3, found.runs.values()).panels[-1]
    assert "no point for" in panel.caption.lower()
    assert "transformer x0.2 (3 of 3 seeds)." in panel.caption


def test_a_run_that_has_ended_is_held_in_its_panel():
    found = results(as_found)
    one = found.plan.transformer["base"]
    key = replace(one, seed=2).key
    short = found.runs[key].trace
    until = short.clock <= 1200
    cut = Trace(short.clock[until], {n: short[n][until] for n in short}, short.provenance)
    runs = [replace(r, trace=cut) if k == key else r for k, r in found.runs.items()]
    panel = found.plan.study("laptop", 3, runs).panels[2]
    held = panel.curves[0].traces[2]
    assert held.clock[-2:].tolist() == [1200, 1500]
    assert held["test_accuracy"][-2:].tolist() == [1.0, 1.0]


def test_the_table_says_how_many_seeds_got_there():
    rows = {row[0]: row for row in results(as_found).plan.study(
        "laptop", 3, results(as_found).runs.values()).tables[1].rows}  # fmt: skip
    assert rows["base"][1:4] == ("122 (120 to 123)", "1123 (1100 to 1145)", "9.2")
    assert rows["output x0.2"][1:4] == ("122 (120 to 123)", "0 of 3 seeds", "never")


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    runs = plan(size).experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)
    assert all("/" not in one.key for one in runs)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="did you mean 'laptop'"):
        plan("labtop")


@pytest.mark.parametrize("one", [SMALL, TINY, replace(TINY, loss="mse", operation="/")])
def test_a_training_is_repeated_exactly_and_goes_on_where_it_was_interrupted(one, tmp_path):
    one = replace(one, steps=30)
    first = run(one, tmp_path / "a").trace

    def interrupt(step):
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path / "b", tick=interrupt)
    ticks = []
    assert run(one, tmp_path / "b", tick=ticks.append).trace == first
    assert ticks == list(range(17, 31))
    other = run(replace(one, seed=1), tmp_path / "a").trace
    assert other["concentration"][0] != first["concentration"][0]
    assert first.provenance.data == f"{one.task().formula} (generated)"


@pytest.mark.parametrize("one", [SMALL, TINY])
def test_accuracies_of_the_parts_add_up_to_that_of_all(one, tmp_path):
    trace = run(one, tmp_path).trace
    share = one.task().split(one.seed).mirrored.mean()
    whole = share * trace["mirror_accuracy"] + (1 - share) * trace["other_accuracy"]
    np.testing.assert_allclose(whole, trace["test_accuracy"], rtol=1e-12)


def test_what_is_seen_at_the_start_is_that_of_the_network_itself(tmp_path):
    trace = run(SMALL, tmp_path).trace
    net = Quadratic(22, 48, 11, seed=0).requires_grad_(False)
    parts = SMALL.task().split(0)
    right = []
    for (a, b), label in zip(parts.test, parts.test_labels, strict=True):
        x = torch.zeros(22)
        x[a] = x[11 + b] = 1.0
        hidden = [float(row @ x) ** 2 for row in net.weight]
        outputs = [
            sum(v * h for v, h in zip(row, hidden, strict=True)) for row in net.readout.tolist()
        ]
        right.append(max(range(11), key=outputs.__getitem__) == label)
    assert trace["test_accuracy"][0] == pytest.approx(np.mean(right))
    power = np.abs(np.fft.rfft(net.weight.double().reshape(96, 11))[:, 1:]) ** 2
    concentration = power.max(axis=1).sum() / power.sum()
    assert trace["concentration"][0] == pytest.approx(concentration, rel=1e-4)


def test_what_the_units_of_the_transformer_see_goes_through_all_heads(tmp_path):
    one = replace(TINY, operation="*")
    trace = run(one, tmp_path).trace
    net = Transformer(7, 2, 7, width=8, heads=2, hidden=16, seed=0).double()
    seen = torch.zeros(16, 7, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        value = net.tokens.weight @ net.value.weight[head].T
        seen += net.mlp_in.weight @ net.output.weight[:, head] @ value.T
    powers_of_three = [1, 3, 2, 6, 4, 5]
    power = np.abs(np.fft.rfft(seen.detach()[:, powers_of_three])[:, 1:]) ** 2
    power[:, -1] /= 2
    concentration = power.max(axis=1).sum() / power.sum()
    assert trace["concentration"][0] == pytest.approx(concentration, rel=1e-4)


def test_a_small_table_is_learned_with_its_waves_and_training_ends_there(tmp_path):
    trace = run(SMALL, tmp_path).trace
    assert trace.clock[-1] < SMALL.steps
    assert trace["test_accuracy"][-1] >= 0.99
    assert trace["train_accuracy"][-1] >= 0.99
    assert trace["concentration"][-1] > 0.55 > 0.5 > trace["concentration"][0]


def test_without_a_mirror_in_training_there_is_no_such_accuracy(tmp_path):
    trace = run(replace(SMALL, split_by="unordered", steps=5), tmp_path).trace
    assert np.isnan(trace["mirror_accuracy"]).all()
    np.testing.assert_array_equal(trace["other_accuracy"], trace["test_accuracy"])


def test_target_and_output_are_one_remedy_under_decoupled_decay(tmp_path):
    # float32 and Adam's eps tell them apart in the end
    short = replace(SMALL, steps=12, points=12)
    target, output = (
        run(replace(short, **{name: scale}), tmp_path).trace
        for name, scale in (("target_scale", 10.0), ("output_scale", 0.1))
    )
    np.testing.assert_allclose(target["concentration"], output["concentration"], rtol=1e-3)
    default = run(short, tmp_path).trace
    assert abs(default["concentration"][-1] / output["concentration"][-1] - 1) > 1e-3


@pytest.mark.parametrize("one", [SMALL, TINY, plan("paper").transformer["output x3"]])
def test_settings_come_back_from_their_record(one):
    assert type(one)(**json.loads(json.dumps(one.config()))) == one
    assert one.key.startswith(one.name)
    assert one.work() == one.steps


@pytest.mark.parametrize("one", [replace(SMALL, output_scale=0.1), replace(TINY, loss="mse")])
def test_what_takes_the_same_time_is_timed_once_and_shortly(one, tmp_path):
    brief, ticks = one.brief(), []
    assert brief == replace(one, output_scale=1.0, weight_decay=2.0, steps=7).brief()
    assert brief != replace(one, width=2 * one.width).brief()
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1)) == list(range(21))


@pytest.mark.parametrize("kind", [QuadraticModular, TransformerModular])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modulus": 4}, "modulus must be at least 5 to have waves, got 4"),
        ({"operation": "/", "modulus": 9}, "division needs a prime modulus, got 9 = 3 x 3"),
        ({"fraction": 1.0}, "are 529|are 2209"),
        ({"weight_scale": 0.0}, "weight_scale must be positive and finite, got 0.0"),
        ({"output_scale": math.inf}, "output_scale must be positive and finite, got inf"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused_before_any_work(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_bad_settings_of_one_network_are_refused():
    with pytest.raises(ValueError, match=r"target_scale must be positive and finite, got -1\.0"):
        QuadraticModular(target_scale=-1.0)
    with pytest.raises(ValueError, match="embedding_scale must be positive and finite, got nan"):
        TransformerModular(embedding_scale=math.nan)
    with pytest.raises(ValueError, match="loss must be ce or mse, got 'hinge'"):
        TransformerModular(loss="hinge")
