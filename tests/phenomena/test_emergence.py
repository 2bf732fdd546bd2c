"""Emergence: the plan, the exact twins, claims judged on made-up traces, and short trainings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.phenomena.base import Experiment, Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.emergence import (
    CLAIMS,
    Emergence,
    LinearSkills,
    Plan,
    Results,
    Widths,
    plan,
)
from layerwise.phenomena.emergence.twin import divisor, linear_twin, start, trace, twin
from layerwise.theory import scaling
from layerwise.trace import Provenance, Trace
from layerwise.train import log_grid

IDS = [
    "emergence.data",
    "emergence.exponent.completed",
    "emergence.exponent.differs",
    "emergence.exponent.not-evidence",
    "emergence.hidden-progress",
    "emergence.order",
    "emergence.parameters",
    "emergence.stages",
    "emergence.times.calibrated",
    "emergence.times.published",
]
SKILL_COUNT = 100  # samples at which a made-up skill is half learned
PER_SKILL = 4.0


def as_theory(one: Experiment) -> Trace:
    """Return the trace of a world that follows the exact models."""
    if isinstance(one, Widths):
        ranks, widths = np.arange(1, one.n_skills + 1), np.array(one.widths)[:, None]
        strengths = scaling.parameter_shares(ranks, widths, PER_SKILL)
        return made(one, one.widths, {"strength": strengths})
    if isinstance(one, LinearSkills):
        return trace(linear_twin(one), grid(one.steps))
    if one.data_size:
        counts = one.data_size * one.task.frequencies / (2 * SKILL_COUNT)
        final = np.minimum(counts, 1.0)
        return made(one, [0, 1], {"strength": np.stack([0 * final, final])})
    slowness = (22.0 if one.skill_bits == 3 else 6.6) * (1 + 0.02 * one.seed)
    return trace(twin(one, slowness), grid(one.steps))


def all_at_once(one: Experiment) -> Trace:
    """Return the trace of a world in which no skill comes before another, or the rare one does."""
    if isinstance(one, Widths):
        return made(one, one.widths, {"strength": as_theory(one)["strength"][:, ::-1]})
    if isinstance(one, LinearSkills):
        return as_theory(one)
    if one.data_size:
        final = np.full(one.n_skills, float(one.data_size >= 200))
        return made(one, [0, 1], {"strength": np.stack([0 * final, final])})
    steps = grid(one.steps)
    late = 30.0 * (1 + np.arange(one.n_skills)[::-1] / 100)
    strengths = 1 / (1 + np.exp(np.clip((late - steps[:, None]) / 3, -50, 50)))
    loss = 12.5 * (1 - strengths[:, 0]) ** 2 + 1e-6
    return made(one, steps, {"strength": strengths, "loss": loss})


def made(one: Experiment, clock, series) -> Trace:
    return Trace(clock, series, Provenance("network", "steps", one.config(), data="made up"))


def grid(steps: int) -> np.ndarray:
    return np.asarray(log_grid(steps, 400), dtype=float)


def results(world, size="laptop", seeds=3) -> Results:
    chosen = plan(size)
    runs = []
    for one in chosen.experiments(seeds):
        found = world(one)
        provenance = replace(found.provenance, data="made up")
        runs.append(Run(one, Trace(found.clock, found.series, provenance), Path("nowhere")))
    return Results.of(chosen, size, seeds, runs)


@pytest.fixture(scope="module")
def theory() -> Results:
    return results(as_theory)


def verdicts(found: Results) -> dict[str, Verdict]:
    return {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}


def test_all_claims_are_there_with_their_ids(theory):
    judged = [claim(theory) for claim in CLAIMS]
    assert sorted(claim.id for claim in judged) == IDS
    assert {claim.phenomenon for claim in judged} == {"emergence"}
    assert {claim.data for claim in judged} == {"made up"}


def test_a_world_that_follows_the_theory_supports_every_claim(theory):
    assert set(verdicts(theory).values()) == {Verdict.SUPPORTED}


def test_a_world_without_stages_refutes_what_rests_on_them():
    found = verdicts(results(all_at_once))
    refuted = {name for name, verdict in found.items() if verdict == Verdict.REFUTED}
    assert refuted >= {
        "emergence.order",
        "emergence.times.calibrated",
        "emergence.times.published",
        "emergence.stages",
        "emergence.data",
        "emergence.exponent.differs",
        "emergence.parameters",
    }
    assert found["emergence.exponent.not-evidence"] == Verdict.SUPPORTED


def test_two_seeds_decide_nothing():
    assert set(verdicts(results(as_theory, seeds=2)).values()) == {Verdict.UNDECIDED}


def test_the_calibration_finds_the_divisor_it_was_made_with(theory):
    assert theory.divisors == pytest.approx(6.6 * np.array([1.0, 1.02, 1.04]), rel=2e-3)


def test_the_twin_is_the_published_sigmoid():
    run = Emergence(skill_bits=3, width=1000)
    model = twin(run, 22.0)
    t = np.array([0.0, 500.0, 5000.0, 20_000.0])
    c = run.target / start(run) - 1
    rates = 4 * run.learning_rate * run.target * run.task.frequencies / 22
    wanted = 1 / (1 + c * np.exp(-rates * t[:, None]))
    assert trace(model, t)["strength"] == pytest.approx(wanted, rel=1e-9)
    assert math.log(c) == pytest.approx(12.10, abs=0.005)
    assert model.half_times(model.ranks) == pytest.approx([1123, 3404, 6513, 10319, 14747], abs=1)


def test_divisor_inverts_the_half_time_of_the_twin():
    single = Emergence(n_skills=1)
    half = float(twin(single, 6.6).half_times(1))
    assert divisor(single, half) == pytest.approx(6.6)


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    chosen = plan(size)
    runs = chosen.experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)
    assert isinstance(chosen, Plan)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="did you mean 'laptop'"):
        plan("labtop")


SHORT = Emergence(n_skills=2, width=20, batch=32, steps=60, points=8, samples=50)


@pytest.mark.parametrize(
    "one",
    [
        SHORT,
        replace(SHORT, data_size=40),
        LinearSkills(n_skills=3, batch=32, steps=60, points=8),
        Widths(n_skills=2, widths=(1, 3), nets=2, steps=60, batch=32, samples=50),
    ],
)
def test_a_training_is_the_same_twice_and_names_what_it_was(one, tmp_path):
    steps = []
    first = one.measure(tmp_path / "a", "cpu", steps.append)
    again = one.measure(tmp_path / "b", "cpu", lambda step: None)
    assert first == again
    assert steps[-1] == 60
    assert dict(first.provenance.config) == one.config()
    assert first.provenance.data == "sparse parity (generated)"
    skills = 3 if isinstance(one, LinearSkills) else 2
    assert first["strength"].shape[1] == skills
    other = replace(one, seed=1).measure(tmp_path / "c", "cpu", print_nothing)
    assert not np.array_equal(first["strength"], other["strength"])


def print_nothing(step: int) -> None:
    pass


def test_strength_and_loss_are_those_of_their_definition(tmp_path):
    import torch

    from layerwise.networks import TwoLayer

    found = SHORT.measure(tmp_path / "a", "cpu", print_nothing)
    task = SHORT.task
    net = TwoLayer(task.inputs, 20, std=0.01, seed=0)
    x, y = task.evaluation(50, 0)
    with torch.no_grad():
        f = net(torch.from_numpy(x)).numpy().astype(float)[:, 0].reshape(2, 50)
    y = y.reshape(2, 50).astype(float)
    strength = [
        np.mean((a - a.mean()) * (b - b.mean())) / b.var() for a, b in zip(f, y, strict=True)
    ]
    assert found["strength"][0] == pytest.approx(strength, rel=1e-5, abs=1e-9)
    loss = np.sum(task.frequencies * np.mean((f - y) ** 2, axis=1)) / 2
    assert found["loss"][0] == pytest.approx(loss, rel=1e-6)


def test_one_skill_alone_ends_once_it_is_learned(tmp_path):
    single = Emergence(n_skills=1, n_bits=8, width=100, batch=250, steps=1500, points=60)
    found = single.measure(tmp_path / "a", "cpu", print_nothing)
    assert found["strength"][-1, 0] > 0.95
    assert found.clock[-1] < 1500


def test_what_is_no_task_is_refused_before_any_work():
    with pytest.raises(ValueError, match="more skill bits than there are"):
        Emergence(n_skills=20, skill_bits=3)
    with pytest.raises(ValueError, match="alpha must be positive"):
        Emergence(alpha=0.0)
    with pytest.raises(ValueError, match="data_size must be 0"):
        Emergence(data_size=-1)
