"""Depth and tickets: claims judged on made-up traces, masks, and trainings that are resumed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layerwise.phenomena.base import Run
from layerwise.phenomena.claim import Verdict
from layerwise.phenomena.depth import CLAIMS, Depth, Results, Ticket, plan
from layerwise.phenomena.depth.experiment import _largest, _shuffled
from layerwise.trace import Provenance, Trace

IDS = [
    "depth.log-2",
    "depth.slope-3",
    "depth.slope-4",
    "depth.width",
    "ticket.fresh-init",
    "ticket.magnitude",
    "ticket.random",
]
WIDTHS = {2: 130.0, 3: 85.0, 4: 55.0}
TABLE = {"dense": 300.0, "magnitude": 100.0, "random": math.inf, "fresh": 110.0}


def sigmoid(clock, half, width):
    return 1 / (1 + np.exp(np.clip((half - clock) * math.log(81) / width, -60, 60)))


def as_theory(one):
    noise = 1 + 0.01 * one.seed
    if isinstance(one, Ticket):
        clock = np.arange(0, one.steps + 1, one.every, dtype=float)
        halves = {name: TABLE[name.split()[0]] for name in one.trainings}
        halves |= {"random 1": 200.0}
        ranks = np.arange(1, one.n_skills + 1)
        return clock, {
            name: sigmoid(clock[:, None], noise * half * ranks, 50.0)
            if math.isfinite(half)
            else np.zeros((len(clock), one.n_skills))
            for name, half in halves.items()
        }
    clock = np.arange(0, 20_000, one.every, dtype=float)
    wait = {
        2: 140 - 60 * math.log(one.scale),
        3: 80 / one.scale,
        4: 40 / one.scale**2,
    }
    strength = sigmoid(clock, noise * wait[one.layers], WIDTHS[one.layers])
    return clock, {"strength": strength}


def other_laws(one):
    """Return a world in which two layers wait a power, and deeper ones a logarithm."""
    if isinstance(one, Ticket):
        clock, series = as_theory(one)
        swapped = {"magnitude": "random", "random": "magnitude"}
        return clock, {
            name: series[f"{swapped[kind[0]]} {kind[1]}" if (kind := name.split())[0] in swapped
                         else "random 3" if name == "fresh" else name]
            for name in series
        }  # fmt: skip
    clock = np.arange(0, 20_000, one.every, dtype=float)
    noise = 1 + 0.01 * one.seed
    half = noise * (80 / one.scale**0.5 if one.layers == 2 else 200 - 60 * math.log(one.scale))
    return clock, {"strength": sigmoid(clock, half, half / one.scale**0.1)}


def results(world, size="laptop", seeds=3):
    chosen = plan(size)
    runs = []
    for one in chosen.experiments(seeds):
        clock, series = world(one)
        origin = Provenance("network", "steps", one.config(), one.seed, "made up")
        runs.append(Run(one, Trace(clock, series, origin), Path("nowhere")))
    return Results.of(chosen, size, seeds, runs)


def verdicts(found):
    return {claim.id: claim.verdict for claim in (claim(found) for claim in CLAIMS)}


def test_all_claims_are_there_with_their_ids():
    judged = [claim(results(as_theory)) for claim in CLAIMS]
    assert sorted(claim.id for claim in judged) == IDS
    assert {claim.phenomenon for claim in judged} == {"depth"}


def test_a_world_that_follows_the_theory_supports_every_claim():
    assert set(verdicts(results(as_theory)).values()) == {Verdict.SUPPORTED}


def test_a_world_of_other_laws_refutes_them():
    found = verdicts(results(other_laws))
    assert {name for name, verdict in found.items() if verdict != Verdict.REFUTED} == {
        "ticket.fresh-init",  # nothing is learned under that mask: there is no ratio
        "ticket.magnitude",
    }
    assert found["ticket.magnitude"] == Verdict.UNDECIDED


def test_the_report_says_what_was_measured_even_where_nothing_was_learned():
    shown = plan("laptop").study("laptop", 3, results(other_laws).runs.values())
    rows = {(row[0], row[1]): row[2:] for row in shown.tables[0].rows}
    assert rows["largest weights, rewound", "6.4%"] == ("0 of 3 seeds",) * 3
    shown = plan("laptop").study("laptop", 3, results(as_theory).runs.values())
    rows = {(row[0], row[1]): row[2:] for row in shown.tables[0].rows}
    assert rows["largest weights, rewound", "6.4%"][0] == "101 (100 to 103)"


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_the_runs_of_a_plan_are_told_apart_by_name_and_key(size):
    runs = plan(size).experiments(2)
    assert len({one.key for one in runs}) == len(runs)
    assert len({f"{one.name} {one.seed}" for one in runs}) == len(runs)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        plan("papier")


def test_the_largest_weights_are_kept_inside_the_mask():
    weight = torch.tensor([[3.0, -9.0, 1.0], [0.5, -2.0, 4.0]])
    first = _largest(weight, torch.ones(2, 3), 0.5)
    assert first.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert _largest(-100 * (1 - first) + weight, first, 1 / 3).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_random_mask_has_as_many_ones_as_the_one_it_controls():
    mask = (torch.rand(30, 20, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    shuffled = _shuffled(mask, [0, 1])
    assert shuffled.sum() == mask.sum()
    assert not torch.equal(shuffled, mask)
    assert torch.equal(shuffled, _shuffled(mask, [0, 1]))
    assert not torch.equal(shuffled, _shuffled(mask, [1, 1]))


SHORT = Ticket(n_skills=2, width=30, batch=64, steps=100, every=20, samples=50, rounds=2)


def test_a_ticket_interrupted_in_its_table_goes_on_bit_for_bit(tmp_path):
    whole = SHORT.measure(tmp_path / "whole", "cpu", lambda step: None)
    assert set(whole) == set(SHORT.trainings)

    def interrupt(step: int) -> None:
        if step == 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SHORT.measure(tmp_path / "part", "cpu", interrupt)
    begun = []
    assert SHORT.measure(tmp_path / "part", "cpu", begun.append) == whole
    assert min(begun) == 250
    assert [path.name for path in tmp_path.glob("*-training")] == []


def test_what_a_mask_forbids_stays_at_zero_and_shares_are_those_of_the_rounds():
    assert [round(SHORT.kept(name), 3) for name in SHORT.trainings] == [
        1.0, 0.4, 0.4, 0.16, 0.16, 0.16,
    ]  # fmt: skip


def test_a_deep_training_is_the_same_twice_and_ends_once_learned(tmp_path):
    one = Depth(layers=2, scale=0.3, n_bits=6, width=64, steps=1500)
    first = one.measure(tmp_path / "a", "cpu", lambda step: None)
    assert first == one.measure(tmp_path / "b", "cpu", lambda step: None)
    assert first["strength"][-1] > 0.95
    assert first.clock[-1] < 1500
    assert np.all(np.diff(first.clock) == one.every)
    assert dict(first.provenance.config) == one.config()
    other = replace(one, seed=1).measure(tmp_path / "c", "cpu", lambda step: None)
    assert first != other


def test_bad_settings_are_refused_before_any_work():
    with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
        Depth(layers=0)
    with pytest.raises(ValueError, match="scale must be positive"):
        Depth(scale=0.0)
