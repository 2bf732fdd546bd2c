"""Forecasts: their calibration and record, what they refuse, and which way they move."""

import csv
import math
from dataclasses import astuple, fields, replace
from pathlib import Path

import numpy as np
import pytest

from layerwise.diagnosis import NotPredicted, Start, forecast, forecast_trace, remedies, remedy
from layerwise.diagnosis.forecast import CALIBRATED, read
from layerwise.diagnosis.rule import Look, Reading, Rule
from layerwise.trace import Provenance, Trace

RECORD = Path(__file__).parents[2] / "records" / "forecast"


def blobs(n=200, dim=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return (rng.standard_normal((n, dim)) + 4 * np.eye(3, dim)[labels]) / 4, labels


def drawn(scale=6.0, **changes):
    return Start.drawn((20, 100, 100, 3), scale, *blobs(), **{"weight_decay": 0.5} | changes)


def run(steps, test, train=1.0):
    series = {"train_accuracy": np.full(len(steps), train), "test_accuracy": np.array(test)}
    return Trace(np.array(steps), series, Provenance("probe", "optimiser steps"))


def number(text):
    return None if text == "" else float(text)


def rows(name):
    with (RECORD / name).open(newline="") as file:
        return list(csv.DictReader(file))


def reading(row):
    """Return what theory read off the start and the look at the fit of a recorded run."""
    read, look = (
        [number(row[f"{prefix}{field.name}"]) for field in fields(kind)]
        for kind, prefix in ((Reading, ""), (Look, "look_"))
    )
    return Reading(*read), Look(*look) if None not in look else None


def test_the_constants_are_those_of_the_calibration_runs():
    used = [r for r in rows("calibration.csv") if not r["refused"] and r["time"] != "inf"]
    readings, looks = zip(*map(reading, used), strict=True)
    rule = Rule.calibrated(readings, looks, [float(r["time"]) for r in used])
    for found, stated in zip(astuple(rule), astuple(CALIBRATED), strict=True):
        assert stated == pytest.approx(found, rel=1e-4)


LEVEL = 0.9


def test_a_forecast_says_what_it_rests_on():
    start = drawn()
    told = forecast(start, LEVEL)
    assert told.delayed
    assert told.low < told.time < told.high
    shrinks, accuracies = start.curve(LEVEL)
    assert accuracies[-2] < LEVEL <= accuracies[-1]
    assert shrinks[-2] < read(start, LEVEL)[0].shrink <= shrinks[-1]
    assert "shrunk the weights to" in told.notes[0]
    assert [note.split(" (")[0] for note in told.notes[1:]] == [
        "interval widened for width 100",
        "interval widened for depth 3",
        "interval widened for images 200",
    ]
    expected = math.log(2) ** 2 + math.log(4 / 3) ** 2 + math.log(5) ** 2
    assert read(start, LEVEL)[0].distance == pytest.approx(expected)


def test_the_largest_weights_set_the_learning_time():
    assert read(drawn(6.0), LEVEL)[0].weight == pytest.approx(6 / math.sqrt(20), rel=0.1)
    fast = forecast(drawn(1.0), LEVEL)
    assert not fast.delayed
    assert fast.notes[0] == "no delay: the level is reached as fast as AdamW learns"


def test_more_decay_is_sooner_and_larger_weights_are_later():
    times = [forecast(drawn(weight_decay=decay), LEVEL).time for decay in (0.1, 0.3, 1.0)]
    assert times[0] > times[1] > times[2]
    times = [forecast(drawn(scale), LEVEL).time for scale in (1.0, 4.0, 6.0, 9.0)]
    assert times == sorted(times)
    assert times[0] < times[-1] / 3


def test_a_higher_level_is_later():
    times = [forecast(drawn(), level).time for level in (0.6, 0.7, 0.8, 0.9)]
    assert times == sorted(times)


def test_every_remedy_brings_the_end_of_the_delay_forward_and_its_opposite_puts_it_off():
    start = drawn()
    now = forecast(start, LEVEL).time
    better, worse = (remedies(start, factor, LEVEL) for factor in (1.5, 1 / 1.5))
    assert list(better) == ["weight", "target", "input", "output", "decay"]
    for name in ("weight", "target", "output", "decay"):
        assert better[name].time < now < worse[name].time, name
    assert better["target"].time == pytest.approx(better["output"].time, rel=1e-9)
    assert better["decay"].time == pytest.approx(now / 1.5)


@pytest.mark.parametrize("name", ["weight", "target", "input", "output", "decay"])
def test_a_remedy_multiplies_one_thing(name):
    start = drawn()
    changed = remedy(start, name, 2.0)
    field = {"weight": "weights", "input": "inputs", "decay": "weight_decay"}.get(
        name, f"{name}_scale"
    )
    for one in fields(Start):
        factor = 2.0 if one.name == field else 1.0
        before, after = getattr(start, one.name), getattr(changed, one.name)
        if isinstance(before, tuple):
            assert len(before) == len(after) > 0
        else:
            before, after = (before,), (after,)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old if factor == 1 else factor * old, new)


def test_unknown_remedies_and_bad_factors_are_named():
    with pytest.raises(ValueError, match=r"unknown remedy 'wieght'; did you mean 'weight'\?"):
        remedy(drawn(), "wieght", 2.0)
    for factor in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"factor must be positive and finite, got {factor}"):
            remedy(drawn(), "weight", factor)


def test_without_decay_no_end_of_a_delay_is_predicted():
    start = drawn(weight_decay=0.0)
    with pytest.raises(NotPredicted, match=r"^no end of the delay is predicted: .*decay is 0"):
        forecast(start, LEVEL)
    assert not forecast(drawn(1.0, weight_decay=0.0), LEVEL).delayed  # there is no delay to end
    told = remedies(start, 6.0, LEVEL)
    assert told["weight"].time < math.inf
    assert told["decay"].time == math.inf
    assert "weight_decay is 0" in told["decay"].notes[0]


def test_a_level_that_theory_does_not_reach_is_refused_with_the_best():
    start = drawn()
    with pytest.raises(NotPredicted, match=r"reach accuracy 0\.\d+ at best .* the level 0.999"):
        forecast(start, 0.999)
    for level in (0.0, 1.0, 85.0, math.nan):
        with pytest.raises(ValueError, match=f"between 0 and 1, got {level}"):
            forecast(start, level)


def test_the_first_steps_move_the_forecast_and_narrow_it():
    start = drawn()
    before = forecast(start, LEVEL)
    accuracies = start.curve(LEVEL)[1]
    ahead, behind = (
        forecast(start, LEVEL, run([0, 50, 100], [0.3, 0.4, accuracies[k]])) for k in (3, 0)
    )
    assert ahead.time < behind.time
    assert behind.high - behind.low < before.high - before.low
    rate = start.learning_rate * start.weight_decay
    line = CALIBRATED.early
    left = read(start, LEVEL)[0].shrink - start.curve(LEVEL)[0][3]
    assert ahead.time == pytest.approx(100 + (line.intercept + line.slope * left) / rate)


def test_what_the_trace_has_reached_is_not_forecast():
    told = forecast(drawn(), LEVEL, run([0, 50, 120], [0.3, 0.4, 0.95]))
    assert (told.time, told.low, told.high) == (120, 120, 120)
    assert "has reached 0.9 at step 120" in told.notes[0]


def test_a_trace_without_a_fit_or_a_series_is_refused():
    with pytest.raises(NotPredicted, match=r"reach the fit.* step 50 with 0\.900 at best"):
        forecast(drawn(), LEVEL, run([0, 50], [0.3, 0.4], train=0.9))
    with pytest.raises(NotPredicted, match="train on, or forecast from the start"):
        forecast_trace(run([0, 50], [0.3, 0.4], train=0.9), 1e-3, 0.5)
    bare = Trace([0, 1], {"loss": [1.0, 0.5]}, Provenance("probe", "optimiser steps"))
    with pytest.raises(KeyError, match="test_accuracy"):
        forecast(drawn(), LEVEL, bare)
    with pytest.raises(KeyError, match="test_accuracy"):
        forecast_trace(bare, 1e-3, 0.5)


def test_the_settings_of_calibration_are_not_widened():
    x, labels = blobs(1000)
    start = Start.drawn((20, 200, 200, 200, 3), 1.0, x, labels)
    assert read(start, 0.5)[0].distance == 0
    assert len(forecast(start, 0.5).notes) == 1
    assert read(replace(start, learning_rate=2e-3), 0.5)[0].distance == pytest.approx(
        math.log(2) ** 2
    )


def test_the_trace_alone_tells_by_what_its_accuracy_lacks():
    trace, line = run([0, 100, 200], [0.1, 0.3, 0.35]), CALIBRATED.trace
    told = forecast_trace(trace, 1e-3, 0.5)
    assert told.time == pytest.approx(200 + (line.intercept + line.slope * 0.5) / 5e-4)
    assert told.low < told.time < told.high
    assert told.notes == ("from the test accuracy 0.350 at step 200 alone",)
    assert forecast_trace(trace, 1e-3, 1.0).time < told.time
    assert forecast_trace(trace, 1e-3, 0.5, level=0.7).time < told.time
    assert forecast_trace(trace, 1e-3, 0.5, level=0.3).time == 100
    assert forecast_trace(trace, 1e-3, 0.0, level=0.3).time == 100


def test_steps_that_were_not_measured_are_passed_over():
    whole, holed = run([0, 100], [0.1, 0.3]), run([0, 100, 200], [0.1, 0.3, math.nan])
    assert forecast_trace(holed, 1e-3, 0.5) == forecast_trace(whole, 1e-3, 0.5)
    with pytest.raises(NotPredicted, match="no test accuracy, NaN at every step"):
        forecast_trace(run([0, 100], [math.nan, math.nan]), 1e-3, 0.5)


def test_the_trace_alone_refuses_what_it_cannot_tell():
    trace = run([0, 100, 200], [0.1, 0.3, 0.35])
    with pytest.raises(NotPredicted, match=r"^no end of the delay is predicted: .* 0\.350 at step"):
        forecast_trace(trace, 1e-3, 0.0)
    for settings in ((0.0, 0.5), (math.inf, 0.5), (1e-3, -0.1), (1e-3, math.nan)):
        with pytest.raises(ValueError, match=f"got {settings[0]} and {settings[1]}"):
            forecast_trace(trace, *settings)
    with pytest.raises(ValueError, match="between 0 and 1, got 85"):
        forecast_trace(trace, 1e-3, 0.5, level=85)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_other_optimizers_are_refused(optimizer):
    said = f"no forecast under optimizer '{optimizer}'.*decoupled decay.*'adamw' alone"
    with pytest.raises(NotPredicted, match=said):
        forecast(drawn(optimizer=optimizer), LEVEL)
    with pytest.raises(NotPredicted, match=said):
        forecast_trace(run([0, 1], [0.1, 0.3]), 1e-3, 0.5, optimizer=optimizer)


def test_the_record_is_that_of_the_rule_on_runs_it_has_not_seen():
    held_out = rows("heldout.csv")
    calibration = {(r["run_seed"], r["run_weight_scale"]) for r in rows("calibration.csv")}
    assert not calibration & {(r["run_seed"], r["run_weight_scale"]) for r in held_out}
    assert not [r for r in held_out if r["refused"] or r["time"] == "inf"]
    for row in held_out:
        start, look = reading(row)
        told = {"before": CALIBRATED.steps(start)}
        if look:
            told["early"] = CALIBRATED.steps(start, look)
            told["trace"] = CALIBRATED.steps_after(look, start.rate)
        for name, (value, low, high) in told.items():
            stated = [float(row[f"{name}{end}"]) for end in ("", "_low", "_high")]
            assert stated == pytest.approx([value, low, high], rel=1e-3)
            assert float(row[f"{name}_error"]) == pytest.approx(
                abs(value / float(row["time"]) - 1), abs=2e-3
            )
            assert row[f"{name}_covered"] == str(low <= float(row["time"]) <= high)


@pytest.mark.parametrize(
    ("name", "runs", "error", "covered"),
    [("before", 53, 0.0585, 52), ("early", 38, 0.0388, 34), ("trace", 38, 0.0505, 36)],
)
def test_the_record_has_the_stated_errors_and_coverage(name, runs, error, covered):
    told = [r for r in rows("heldout.csv") if r["family"] != "other level" and r[name]]
    assert len(told) == runs
    assert np.median([float(r[f"{name}_error"]) for r in told]) == pytest.approx(error, abs=5e-4)
    assert sum(r[f"{name}_covered"] == "True" for r in told) == covered
    assert error < 0.25
    assert covered / runs >= 0.8
