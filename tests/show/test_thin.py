from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.phenomena.panel import Curve
from layerwise.show.thin import thinned
from layerwise.trace import Provenance, Trace


def trace(values, clock=None):
    clock = np.arange(len(values)) if clock is None else clock
    return Trace(clock, {"y": np.asarray(values, dtype=float)}, Provenance("probe", "steps"))


def by_definition(steps, values, most, log):
    """Of each part of the axis median, least and greatest value, and median step."""
    parts = {}
    for step, value in zip(steps, values, strict=True):
        place = (step - steps[0]) / (steps[1] - steps[0])
        end = (steps[-1] - steps[0]) / (steps[1] - steps[0])
        if log:
            place, end = np.log1p(place), np.log1p(end)
        parts.setdefault(min(int(most * place / end), most - 1), []).append((value, step))
    found = [
        [of(value for value, _ in part) for part in parts.values()] for of in (median, min, max)
    ]
    return found, [median(step for _, step in part) for part in parts.values()]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=12, max_size=60),
    st.integers(2, 10),
    st.booleans(),
)
def test_parts_are_those_of_the_definition(values, most, log):
    steps = np.cumsum(1 + np.arange(len(values)) % 3)
    curve = thinned(Curve("a", (trace(values, steps),), "y"), most, log=log)
    expected, at = by_definition(steps, values, most, log)
    for part, found in zip(curve.traces, expected, strict=True):
        np.testing.assert_array_equal(part["y"], found)
        np.testing.assert_array_equal(part.clock, at)
        assert len(part) <= most
    assert min(curve.traces[1]["y"]) == min(values)
    assert max(curve.traces[2]["y"]) == max(values)


def test_few_looks_stay_as_they_are_and_several_traces_give_medians_only():
    few = Curve("a", (trace([1, 2, 3]),), "y")
    assert thinned(few, 3) == few
    both = thinned(Curve("a", (trace(range(10)), trace(np.ones(10))), "y"), 2)
    assert [one["y"].tolist() for one in both.traces] == [[2.0, 7.0], [1.0, 1.0]]


@pytest.mark.parametrize("log", [False, True])
def test_a_long_run_is_drawn_with_few_points_that_lie_on_it(log):
    steps = np.arange(20_000) * 50
    (middle, *_) = thinned(Curve("a", (trace(steps, steps),), "y"), 150, log=log).traces
    assert 50 < len(middle) <= 150
    np.testing.assert_array_equal(middle["y"], middle.clock)
    assert middle.clock[0] <= steps[-1] / 150
    assert middle.clock[-1] >= 0.9 * steps[-1]
