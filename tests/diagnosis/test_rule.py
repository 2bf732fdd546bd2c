"""The lines behind a forecast, and how they are put together."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from layerwise.diagnosis.forecast import CALIBRATED
from layerwise.diagnosis.rule import Line, Look, Reading, Rule

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(3, 40), st.floats(-3, 3))
def test_a_line_and_its_interval_are_those_of_the_normal_equations(seed, n, at):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = 1.0 - 2.0 * x + rng.standard_normal(n)
    X = np.column_stack([np.ones(n), x])
    inverse = np.linalg.inv(X.T @ X)
    b = inverse @ X.T @ y
    error = math.sqrt(np.sum((y - X @ b) ** 2) / (n - 2))
    row = np.array([1.0, at])
    line = Line.fitted(x, y)
    assert [line.intercept, line.slope] == pytest.approx(b, rel=1e-6, abs=1e-6)
    assert line.error == pytest.approx(error, rel=1e-6, abs=1e-9)
    for distance in (0.0, 2.0):
        half = stats.t.ppf(0.95, n - 2) * error * math.sqrt(1 + distance + row @ inverse @ row)
        value, low, high = line.at(at, distance)
        assert value == pytest.approx(row @ b, rel=1e-6, abs=1e-6)
        assert [value - low, high - value] == pytest.approx([half, half], rel=1e-5, abs=1e-6)


def test_nine_of_ten_new_points_lie_in_the_interval():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        x = rng.uniform(0, 1, 9)
        y = x + 0.1 * rng.standard_normal(9)
        _, low, high = Line.fitted(x[:8], y[:8]).at(x[8])
        inside += low <= y[8] <= high
    assert inside / 2000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ([0.0, 1.0], [0.0, 1.0], "three or more finite points"),
        ([0.0, 1.0, 2.0], [0.0, 1.0, math.inf], "three or more finite points"),
        ([0.0, 1.0, 2.0], [0.0, 1.0], "three or more finite points"),
        ([2.0, 2.0, 2.0], [0.0, 1.0, 2.0], r"different x, got 2.0"),
    ],
)
def test_points_without_a_line_are_refused(x, y, said):
    with pytest.raises(ValueError, match=said):
        Line.fitted(x, y)


def made_up(n=12, seed=0):
    """Return runs of a world in which the rule holds exactly, with a little noise."""
    rng = np.random.default_rng(seed)
    runs = []
    for k in range(n):
        slow = Reading(0.5 + 0.1 * k, 0.2, 1e-3, 0.5)
        look = Look(100.0 + k, gap=0.02 * (k + 1), left=0.03 * (k + 1))
        left = 1.2 * look.left + 1e-4 * rng.standard_normal()
        runs.append((slow, look, look.step + left / slow.rate))
        fast = Reading(0.0, 0.1 + 0.02 * k, 1e-3, 0.5)
        noise = math.exp(1e-4 * rng.standard_normal())
        runs.append((fast, None, 0.4 * fast.weight / 1e-3 * noise))
    return runs


def test_calibration_finds_the_lines_of_a_made_up_world():
    runs = made_up()
    rule = Rule.calibrated(*zip(*runs, strict=True))
    assert [rule.early.intercept, rule.early.slope] == pytest.approx([0, 1.2], abs=1e-3)
    assert [rule.trace.intercept, rule.trace.slope] == pytest.approx([0, 1.8], abs=1e-3)
    assert [rule.learning.intercept, rule.learning.slope] == pytest.approx(
        [math.log(0.4), 1], abs=1e-3
    )
    slow = [(reading.shrink, reading.rate * step) for reading, look, step in runs if look]
    slope, intercept = np.polyfit(*zip(*slow, strict=True), 1)
    assert [rule.before.intercept, rule.before.slope] == pytest.approx([intercept, slope])
    assert {line.runs for line in (rule.before, rule.early, rule.trace, rule.learning)} == {12}
    for reading, look, step in runs:
        value, low, high = rule.steps(reading, look)
        assert value == pytest.approx(step, rel=2e-3)
        assert low <= value <= high
        if look:
            assert rule.steps_after(look, reading.rate)[0] == pytest.approx(step, rel=2e-3)


READING = Reading(0.9, 0.35, 1e-3, 0.5)


@given(st.floats(0.1, 2.0), st.floats(1e-4, 1e-2), st.floats(0.05, 0.5), st.floats(1.01, 5.0))
def test_decay_hastens_and_shrink_delays(shrink, lr, weight, factor):
    reading = Reading(shrink, weight, lr, 0.5)
    steps = CALIBRATED.steps(reading)
    assert steps[1] <= steps[0] <= steps[2]
    sooner = CALIBRATED.steps(replace(reading, weight_decay=0.5 * factor))
    later = CALIBRATED.steps(replace(reading, shrink=shrink * factor))
    assert sooner[0] <= steps[0] <= later[0]
    half = CALIBRATED.steps(replace(reading, learning_rate=lr / 2))
    assert half == pytest.approx([2 * step for step in steps])


def test_the_delay_is_counted_in_decay_times():
    value = CALIBRATED.steps(READING)[0]
    other = CALIBRATED.steps(replace(READING, weight_decay=0.25))[0]
    assert other == pytest.approx(2 * value)


def test_without_a_delay_decay_does_not_matter():
    fast = Reading(0.0, 0.1, 1e-3, 0.0)
    assert CALIBRATED.steps(fast) == CALIBRATED.steps(replace(fast, weight_decay=1.0))


def test_distance_widens_and_what_was_seen_narrows():
    def width(reading):
        _, low, high = CALIBRATED.steps(reading)
        return high - low

    assert width(replace(READING, distance=3.0)) == pytest.approx(2 * width(READING), rel=0.05)
    _, low, high = CALIBRATED.steps(READING, Look(300.0, gap=0.4, left=0.5))
    assert high - low < width(READING)


def test_nothing_is_reached_before_the_last_look():
    look = Look(3000.0, gap=0.0, left=0.0)
    for value, low, high in (CALIBRATED.steps(READING, look), CALIBRATED.steps_after(look, 5e-4)):
        assert low == 3000.0
        assert 3000.0 <= value <= high
