"""Claims, intervals, verdicts, and how one run is carried out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layerwise.phenomena.base import Experiment, run
from layerwise.phenomena.claim import Claim, Verdict, interval, judge
from layerwise.trace import Provenance, Trace

numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9)


@given(numbers)
def test_the_interval_is_students(values):
    mean, low, high = interval(values)
    spread = np.std(values, ddof=1)
    wanted = stats.t.ppf(0.975, len(values) - 1) * spread / math.sqrt(len(values))
    assert mean == pytest.approx(np.mean(values), abs=1e-6)
    assert (high - low) / 2 == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_the_interval_covers_the_mean_19_times_of_20():
    rng = np.random.default_rng(0)
    ends = [interval(sample.tolist())[1:] for sample in rng.normal(size=(4000, 3))]
    covered = np.mean([low <= 0 <= high for low, high in ends])
    assert abs(covered - 0.95) < 0.012


def test_the_log_interval_is_that_of_the_logarithm():
    values = [1.0, 10.0, 100.0]
    mean, low, high = interval(values, log=True)
    assert mean == pytest.approx(10.0)
    assert math.log(high / mean) == pytest.approx(math.log(mean / low))


@pytest.mark.parametrize("values", [[1.0, math.inf, 2.0], [math.nan, 1.0, 2.0]])
def test_a_seed_without_a_value_leaves_no_interval(values):
    mean, low, high = interval(values)
    assert math.isnan(mean)
    assert (low, high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (9, 12, 3, Verdict.SUPPORTED),
        (7, 12, 3, Verdict.UNDECIDED),
        (2, 7, 3, Verdict.REFUTED),
        (9, 12, 2, Verdict.UNDECIDED),
        (-math.inf, math.inf, 3, Verdict.UNDECIDED),
        (math.nan, 12, 3, Verdict.UNDECIDED),
        (8, 8, 3, Verdict.SUPPORTED),
    ],
)
def test_verdicts(low, high, seeds, verdict):
    assert judge(low, high, (8, math.inf), seeds) == verdict


def test_a_claim_is_plain_json_without_infinities():
    claim = Claim(
        "a.b", "a", "s", "src", None, math.nan, (-math.inf, 2.0), 3, "d", "smoke",
        Verdict.UNDECIDED,
    )  # fmt: skip
    plain = json.loads(json.dumps(claim.as_json(), allow_nan=False))
    assert plain["interval"] == [None, 2.0]
    assert plain["measured"] is None
    assert plain["verdict"] == "undecided"
    assert list(plain) == [
        "id",
        "phenomenon",
        "statement",
        "source",
        "predicted",
        "measured",
        "interval",
        "seeds",
        "data",
        "size",
        "verdict",  # in this order
    ]


@dataclass(frozen=True)
class Toy(Experiment):
    level: float = 1.0

    @property
    def name(self):
        return "toy"

    def work(self):
        return 1

    def brief(self):
        return self

    def measure(self, checkpoint, device, tick):
        if not checkpoint.exists():
            checkpoint.write_text("half")
            raise KeyboardInterrupt
        tick(1)
        return Trace([0, 1], {"x": [0.0, self.level]}, Provenance("network", "steps"))


def test_a_run_is_interrupted_resumed_and_then_only_read(tmp_path):
    toy, out = Toy(level=2.0), tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt):
        run(toy, out)
    assert [path.name for path in out.iterdir()] == [f"{toy.key}.checkpoint"]
    done = run(toy, out)
    assert [path.name for path in out.iterdir()] == [toy.key]
    ticks = []
    again = run(toy, out, tick=ticks.append)
    assert again.trace == done.trace
    assert ticks == []


def test_the_key_changes_with_every_field():
    keys = {Toy().key, Toy(seed=1).key, Toy(level=2.0).key}
    assert len(keys) == 3
    assert Toy().key == Toy(seed=0, level=1.0).key
