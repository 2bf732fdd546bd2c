"""When a map reaches a level: inverse laws against the solution that they invert."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.times import time_to

TARGETS = st.sampled_from([-3.0, -1.0, 0.4, 2.0])
SIZES = st.sampled_from([1e-6, 1e-3, 0.1, 0.7])
SHARES = st.floats(0.05, 0.999)


def reached(model, times):
    """Return the map of each model of a batch at a time of its own."""
    flat = times.ravel()
    maps = lw.solve(model, np.unique(flat))["map"]
    places = np.searchsorted(np.unique(flat), flat)
    each = maps.reshape(len(maps), -1)
    return each[places, np.arange(each.shape[1]) if each.shape[1] > 1 else 0].reshape(times.shape)


@settings(max_examples=60, deadline=None)
@given(TARGETS, SIZES, SHARES, st.floats(0.2, 3))
def test_the_solution_is_at_the_level_when_it_says(target, size, share, rate):
    for model in (
        lw.Shallow(target, theta=size * target, rate=rate),
        lw.Diagonal(target, a=size, b=-2 * size if target < 0 else 2 * size, rate=rate),
        lw.Deep(target, weight=size, depth=3, rate=rate)
        if target > 0
        else lw.Deep(target, layers=[size, -size, size], rate=rate),
        lw.Scalar(target, [size, 0.3 * size], [size * np.sign(target), 0.0], 1.5, rate),
    ):
        start = model.quantity("map", model.start[None])[0]
        level = start + share * (target - start)
        time = time_to(model, level=level)
        found = lw.solve(model, time)["map"][0]
        assert found == pytest.approx(level, rel=1e-9, abs=1e-12), model
        np.testing.assert_allclose(time_to(model, error=target - level), time, rtol=1e-6)


def test_a_level_for_every_mode_and_for_every_model_of_a_batch():
    diagonal = lw.Diagonal([2.0, -1.0, 0.5], 0.1, [0.1, -0.1, 0.2])
    times = time_to(diagonal, level=[1.0, -0.9, 0.1])
    np.testing.assert_allclose(reached(diagonal, times), [1.0, -0.9, 0.1], rtol=1e-11)
    scalar = lw.Scalar([1.0, 2.0], [[0.1, 0.2]], [[0.2, 0.1]])
    times = time_to(scalar, level=0.5)
    np.testing.assert_allclose(reached(scalar, times), [0.5, 0.5], rtol=1e-11)
    deep = lw.Deep([1.0, 2.0, 1.0], 0.5, [2, 3, 3.5])
    times = time_to(deep, error=1e-3)
    np.testing.assert_allclose(reached(deep, times), [0.999, 1.999, 0.999], rtol=1e-11)


def test_the_error_keeps_the_digits_of_what_is_nearly_learned():
    model = lw.Diagonal(1.0, 0.1, 0.1)
    times = np.array([float(time_to(model, error=left)) for left in (1e-6, 1e-12, 1e-14)])
    found = lw.solve(model, times)["error"]
    np.testing.assert_allclose(found, [1e-6, 1e-12, 1e-14], rtol=1e-6)
    # a factor of ten takes as long as any other: the end is exponential
    assert times[2] - times[1] == pytest.approx(np.log(100) / 2, rel=1e-9)


def test_what_is_never_reached_takes_for_ever():
    assert time_to(lw.Diagonal(1.0, 0.1, 0.1), level=1.5) == np.inf
    assert time_to(lw.Diagonal(1.0, 0.1, 0.1), level=-0.5) == np.inf
    assert time_to(lw.Diagonal(1.0, 0.1, 0.1), error=0.0) == np.inf
    assert time_to(lw.Diagonal(1.0, 0.0, 0.0), level=0.5) == np.inf
    assert time_to(lw.Diagonal(1.0, 0.1, 0.1), level=0.01) == 0
    assert time_to(lw.Shallow(1.0), level=2.0) == np.inf


@pytest.mark.parametrize("given", [{}, {"level": 0.5, "error": 0.5}])
def test_one_of_level_and_error_is_needed(given):
    with pytest.raises(ValueError, match="time_to takes either level= or error="):
        time_to(lw.Diagonal(1.0, 0.1, 0.1), **given)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_level_that_is_not_finite_is_refused(bad):
    for name in ("level", "error"):
        with pytest.raises(ValueError, match="the level to reach must be finite"):
            time_to(lw.Diagonal(1.0, 0.1, 0.1), **{name: bad})


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lw.Linear(np.eye(2), np.eye(2), np.eye(2)), "Linear; solve it and ask emergence_times"),
        (lw.Scalar(1.0, 0.1, 0.1, decay=0.1), "Scalar with decay; solve it"),
        (lw.Deep(1.0, layers=[0.1, 0.2, 0.3]), "Deep of unequal layers"),
    ],
)
def test_without_an_inverse_law_it_says_what_to_do(model, said):
    with pytest.raises(lw.NotSolvable, match=f"no inverse law for {said}"):
        time_to(model, level=0.5)


# --- on solutions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        lw.Shallow([2.0, -1.0]),
        lw.Diagonal([2.0, -1.0], 0.1, [0.1, -0.2]),
        lw.Deep([2.0, 1.0], 0.4, 3),
        lw.Scalar([2.0, -1.0], [[0.1, 0.2]], [[0.1, 0.3]]),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_emergence_times_of_a_solution_are_those_of_the_inverse_law(model, share):
    times = lw.solve(model, [0.0, 1.0]).emergence_times(share)
    np.testing.assert_array_equal(times, time_to(model, level=share * model.target))


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (lw.Scalar([2.0, -1.0], [[0.1, 0.2]], [[0.1, 0.3]], decay=0.01), "auto"),
        (lw.Deep([2.0, 1.0], layers=[0.4, 0.5, 0.6]), "auto"),
        (lw.Linear(0.1 * np.eye(2), 0.2 * np.eye(2), np.diag([2.0, 1.0])), "auto"),
        (lw.Linear(0.1 * np.eye(2), 0.2 * np.eye(2), np.diag([2.0, 1.0])), "flow"),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_emergence_times_without_an_inverse_law_are_crossings(model, method, share):
    solution = lw.solve(model, np.linspace(0, 12, 7), method)
    times = solution.emergence_times(share)
    name = "modes" if isinstance(model, lw.Linear) else "map"
    goals = model.regression.modes[1] if name == "modes" else model.target
    for k in np.ndindex(times.shape):
        assert 0 < times[k] < 12
        found = solution.evaluate(name, times[k])[0][k]
        assert found == pytest.approx(share * goals[k], rel=1e-8)
        before = solution.evaluate(name, 0.99 * times[k])[0][k]
        assert abs(before) < abs(share * goals[k])


def test_modes_that_are_not_reached_by_the_last_time_take_for_ever():
    rng = np.random.default_rng(95)
    cross = rng.standard_normal((3, 3))
    short = lw.solve(lw.Linear(*starts.balanced((3, 3, 3), 0.0, 1e-4), cross), [0.0, 1.0])
    np.testing.assert_array_equal(short.emergence_times(), np.inf)
    missed = lw.solve(lw.Linear(*starts.singular(cross, 0.1), cross), [0.0, 1e5])
    assert np.isinf(missed.emergence_times()[-1])
    assert np.all(np.isfinite(missed.emergence_times()[:-1]))


def test_modes_that_are_there_at_the_first_time_take_none():
    model = lw.Linear(np.eye(2), np.eye(2), np.diag([1.2, 1.1]))
    np.testing.assert_array_equal(lw.solve(model, [0.0, 1.0]).emergence_times(), 0.0)


def test_modes_that_the_target_does_not_have_never_emerge():
    rng = np.random.default_rng(96)
    cross = np.outer(rng.standard_normal(3), rng.standard_normal(4))
    solution = lw.solve(lw.Linear(*starts.balanced((4, 3, 3), 0.5, 0.3), cross), [0.0, 1.0, 50.0])
    assert np.isfinite(solution["emergence_times"][0])
    np.testing.assert_array_equal(solution["emergence_times"][1:], np.inf)
