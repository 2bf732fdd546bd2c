import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import crossing_time, delay_ratio, first_reached, sharpness

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
CLOCK = np.array([0.0, 1.0, 4.0, 10.0, 30.0])
CURVES = np.array(
    [[0.1, 0.9, 0.0], [0.4, 0.7, np.nan], [0.3, 0.5, 0.6], [0.8, 0.2, 0.5], [0.9, 0.1, 1.0]]
)
curves = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=12)
levels = st.floats(-5, 5).map(lambda x: round(x, 2) + 0.0005)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def first_by_definition(clock, values, level):
    return next((t for t, value in zip(clock, values, strict=True) if value >= level), math.inf)


def crossing_by_definition(clock, values, level):
    for k in range(len(clock) - 1):
        low, high = sorted((values[k], values[k + 1]))
        if low <= level <= high:
            if values[k] == values[k + 1]:
                return clock[k]
            share = (level - values[k]) / (values[k + 1] - values[k])
            return clock[k] + share * (clock[k + 1] - clock[k])
    return math.inf


@LIBRARIES
@pytest.mark.parametrize("level", [-1.0, 0.1, 0.35, 0.5, 0.85, 1.0, 2.0])
@pytest.mark.parametrize(
    ("measure", "reference"),
    [(first_reached, first_by_definition), (crossing_time, crossing_by_definition)],
)
def test_each_is_its_definition(xp, measure, reference, level):
    found = np.from_dlpack(measure(*in_library(xp, CLOCK, CURVES), level))
    expected = [reference(CLOCK, CURVES[:, k], level) for k in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@given(curves, levels)
def test_both_agree_with_their_definitions_on_any_curve(values, level):
    clock = np.cumsum(np.arange(1.0, len(values) + 1))
    found = float(first_reached(clock, values, level))
    assert found == first_by_definition(clock, values, level)
    crossed = float(crossing_time(clock, values, level))
    assert crossed == pytest.approx(crossing_by_definition(clock, values, level), rel=1e-12)
    # a curve that starts below is crossed in the interval before it is seen to have reached
    if values[0] < level:
        assert crossed <= found
        assert math.isinf(crossed) == math.isinf(found)


@given(curves, levels)
def test_the_clock_has_no_zero_and_no_unit(values, level):
    clock = np.arange(1.0, len(values) + 1)
    for measure in (first_reached, crossing_time):
        moved = float(measure(10 * clock + 3, values, level))
        assert moved == pytest.approx(10 * float(measure(clock, values, level)) + 3, rel=1e-9)


def test_trailing_axes_are_curves_of_their_own():
    values = np.stack([CURVES, CURVES[::-1]], axis=-1)
    for measure in (first_reached, crossing_time):
        found = measure(CLOCK, values, 0.45)
        assert found.shape == (3, 2)
        assert found[1, 1] == measure(CLOCK, values[:, 1, 1], 0.45)


def test_a_single_logged_time():
    assert first_reached([2.0], [1.0], 0.5) == 2.0
    assert crossing_time([2.0], [1.0], 0.5) == math.inf


def test_delay_ratio():
    fitted = np.array([[0.1, 0.1, 1.0, 0.1], [1.0, 1.0, 1.0, 0.2]])
    generalised = np.array([[0.1, 0.1, 0.9, 0.9], [0.9, 0.2, 0.9, 0.9]])
    found = delay_ratio([1.0, 10.0], fitted, generalised, (0.99, 0.85))
    # at once; never; fitted from the first moment; never fitted
    np.testing.assert_array_equal(found, [1.0, math.inf, 1.0, math.nan])
    assert math.isnan(delay_ratio([0.0, 1.0], [1.0, 1.0], [0.0, 1.0], (0.99, 0.85)))


def test_sharpness_of_a_straight_line_a_step_and_a_sigmoid():
    t = np.linspace(0.0, 1.0, 11)
    assert sharpness(t, t, final=1.0) == pytest.approx(1.6)
    assert sharpness([0.0, 1.0, 1.0 + 1e-6], [0.0, 0.0, 1.0], 1.0) == pytest.approx(0.8e-6)
    # u = u0/(u0 + (1 - u0) e^{-2t}) from u0 = 1e-4, table of the depth-2 law
    t = np.linspace(0, 12, 20_001)
    sigmoid = 1 / (1 + (1e4 - 1) * np.exp(-2 * t))
    assert sharpness(t, sigmoid, final=1.0) == pytest.approx(0.477, abs=5e-4)


@LIBRARIES
def test_sharpness_is_unknown_where_a_level_is_not_crossed(xp):
    # never 90 %; never 50 %; above 10 % from the start; half of it at time 0
    values = np.array([[0.0, 0.0, 0.2, 0.5], [0.7, 0.3, 1.0, 1.0], [0.8, 0.4, 1.0, 1.0]])
    found = sharpness(*in_library(xp, CLOCK[:3], values), 1.0)
    assert np.all(np.isnan(np.from_dlpack(found)))


@pytest.mark.parametrize("measure", [first_reached, crossing_time, sharpness])
def test_bad_input_is_refused(measure):
    with pytest.raises(ValueError, match=r"do not fit: \(3,\) and \(2,\)"):
        measure([0.0, 1.0, 2.0], [0.0, 1.0], 0.5)
    with pytest.raises(ValueError, match="do not fit"):
        measure([], [], 0.5)
    with pytest.raises(ValueError, match="do not fit"):
        measure([[0.0]], [[1.0]], 0.5)
    for clock in ([0.0, 0.0], [1.0, 0.0], [0.0, math.nan]):
        with pytest.raises(ValueError, match="increase strictly"):
            measure(clock, [0.0, 1.0], 0.5)


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    clock, values = in_library(xp, CLOCK, CURVES, dtype=dtype)
    results = [
        first_reached(clock, values, 0.5),
        crossing_time(clock, values, 0.5),
        crossing_time(CLOCK.tolist(), values, 0.5),
        sharpness(clock, values, 1.0),
        delay_ratio(clock, values, values, (0.3, 0.5)),
    ]
    for found in results:
        assert array_namespace(found) is array_namespace(clock)
        assert found.dtype == clock.dtype
        assert found.device == clock.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    clock = array_api_strict.asarray([0.0, 1.0], device=elsewhere)
    for found in (first_reached(clock, clock, 0.5), crossing_time(clock, clock, 0.5)):
        assert found.device == elsewhere
