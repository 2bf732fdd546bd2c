import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import exp, log, mp, mpf

from layerwise.theory.laws import shallow as law

EPS = np.finfo(float).eps
SMALLEST = np.finfo(float).smallest_subnormal
NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e9]))


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def many_digits(theta, target, rate, t):
    with mp.workdps(50):
        theta, target = mpf(float(theta)), mpf(float(target))
        return [target - (target - theta) * exp(-mpf(float(rate)) * mpf(float(x))) for x in t]


def off(found, expected):
    return np.array([abs(float(mpf(float(f)) - e)) for f, e in zip(found, expected, strict=True)])


@pytest.mark.parametrize("target", [1.0, 1e-6, -0.3, 0.0, 1e12])
@pytest.mark.parametrize("theta", [0.0, 1e-9, 0.7, 3.0, 1e8, -1e8, 1e12])
def test_weights_agree_with_many_digits(theta, target):
    rate = 0.7
    t = np.concatenate([[0.0], np.geomspace(1e-12, 1e3, 60), [1e12]])
    found = law.weights(np.array(theta), np.array(target), np.array(rate), t)
    expected = many_digits(theta, target, rate, t)
    # what is left of the start, with the rounding of its exponent, and what came from the target
    fade = np.exp(-rate * t)
    scale = np.abs(theta) * fade * (1 + rate * t) + np.abs(target) * np.minimum(1.0, rate * t)
    assert np.all(off(found, expected) <= 4 * EPS * scale)


def test_a_late_weight_keeps_the_digits_of_a_small_target():
    found = law.weights(np.array(1e8), np.array(1e-3), np.array(1.0), np.array([60.0, 100.0]))
    np.testing.assert_allclose(found, 1e-3 + 1e8 * np.exp([-60.0, -100.0]), rtol=2 * EPS)


def test_what_stands_still():
    t = np.array([0.0, 0.3, 0.7, 40.0, 1e12])
    theta, rate = np.array([0.1, 3.3, -7.7]), np.array([1.0, 2.0, 0.3])
    still = np.broadcast_to(theta, (5, 3))
    np.testing.assert_array_equal(law.weights(theta, theta, rate, t[:, None]), still)
    np.testing.assert_array_equal(law.weights(theta, 1 + theta, 0 * rate, t[:, None]), still)


@pytest.mark.parametrize("moved", [1e-16, 1e-12, 1e-6, 0.01, 0.49, 0.5, 0.51, 0.9, 1 - 1e-9])
@pytest.mark.parametrize(("theta", "target"), [(0.0, 1.0), (0.0, -3.0), (2.0, 0.0), (-1.5, 0.5)])
def test_times_agree_with_many_digits(theta, target, moved):
    first = target - theta
    left = first * (1 - moved)
    with mp.workdps(50):
        expected = float(-log(mpf(left) / mpf(first)) / mpf(0.7))
    found = law.time_to(np.array(theta), np.array(target), np.array(0.7), np.array(left))
    assert float(found) == pytest.approx(expected, rel=4 * EPS, abs=0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (2.0, 0.0),  # the start's own level
        (1.0, np.log(2)),
        (2e-300, 300 * np.log(10)),
        (0.0, np.inf),  # approached only
        (-1.0, np.inf),
        (2.5, np.inf),  # behind the start
    ],
)
def test_time_to_a_level(error, expected):
    found = law.time_to(np.array(1.0), np.array(3.0), np.array(1.0), np.array(error))
    assert float(found) == pytest.approx(expected, rel=4 * EPS)


def test_time_to_where_nothing_moves():
    zero, one = np.zeros(()), np.ones(())
    for error in (1.0, 0.5):
        found = law.time_to(zero, one, zero, np.array(error))
        assert found == (0.0 if error == 1.0 else np.inf)
        assert law.time_to(one, one, one, np.array(error)) == np.inf
    assert law.time_to(one, one, one, zero) == 0.0


@settings(max_examples=200, deadline=None)
@given(theta=NUMBERS, target=NUMBERS, share=st.floats(1e-9, 1 - 1e-9), rate=st.floats(0.01, 100))
def test_a_level_is_reached_at_its_time(theta, target, share, rate):
    first = target - theta
    left = first * share
    if abs(first) < 1e-6 * max(1.0, abs(target)):
        return
    t = law.time_to(np.array(theta), np.array(target), np.array(rate), np.array(left))
    assert 0 < t < np.inf
    reached = law.weights(np.array(theta), np.array(target), np.array(rate), t)
    assert abs(target - reached - left) <= 1e-14 * (abs(theta) + abs(target))


@settings(max_examples=200, deadline=None)
@given(
    theta=NUMBERS, target=NUMBERS, rate=st.floats(0.01, 100), t=st.tuples(*[st.floats(0, 50)] * 2)
)
@example(theta=0.0, target=6.7e-314, rate=1.0, t=(1.0, 1.0))
def test_a_restart_changes_nothing(theta, target, rate, t):
    arrays = np.array(target), np.array(rate)
    half = law.weights(np.array(theta), *arrays, np.array(t[0]))
    again = law.weights(half, *arrays, np.array(t[1]))
    through = law.weights(np.array(theta), *arrays, np.array(sum(t)))
    fade = np.exp(-rate * sum(t)) * (1 + rate * sum(t))
    # denormal numbers are rounded by a fixed amount, whatever their size
    rounding = 8 * EPS * (abs(target) + abs(target - theta) * fade) + 8 * SMALLEST
    assert abs(again - through) <= rounding
