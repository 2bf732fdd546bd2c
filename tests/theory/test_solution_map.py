"""The map of a solution: written where it is wanted, refused where the memory does not suffice."""

import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import solution as module
from layerwise.theory import starts

from .solved_problems import EACH, PROBLEMS, ROUNDING, dense, off, solved

# --- writing the map -------------------------------------------------------------------------


@EACH
def test_the_map_is_written_where_it_is_wanted(problem):
    solution = solved(problem)
    place = np.full((len(problem.t), *problem.cross.shape), np.nan)
    assert solution.evaluate("map", out=place) is place
    assert off(place, solution["map"]) < ROUNDING
    part = np.full((2, *problem.cross.shape), np.nan)
    assert solution.evaluate("map", problem.t[1:3], out=part) is part
    assert off(part, solution["map"][1:3]) < ROUNDING


@pytest.mark.parametrize("method", ["flow", "descent"])
def test_the_map_of_a_numerical_solution_is_written_too(method):
    problem = PROBLEMS[1]
    solution = solved(problem, method)
    place = np.full((len(solution.t), *problem.cross.shape), np.nan)
    assert solution.evaluate("map", out=place) is place
    np.testing.assert_allclose(place, solution["map"], rtol=1e-12)


@pytest.mark.parametrize("law", ["balanced", "mirrored", "decayed"])
def test_an_interpolated_map_is_written_where_it_is_wanted(law):
    solution = dense(law)
    place = np.full(solution["map"].shape, np.nan)
    assert solution.evaluate("map", out=place) is place
    np.testing.assert_array_equal(place, solution["map"])


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.empty((5, 3, 2)), r"got float64 \(5, 3, 2\)"),
        (np.empty((6, 2, 3)), r"got float64 \(6, 2, 3\)"),
        (np.empty((6, 3, 2), dtype=np.float32), r"got float32 \(6, 3, 2\)"),
        (np.empty((6, 2, 3)).transpose(0, 2, 1), r"got float64 \(6, 3, 2\)"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(out, said):
    solution = lw.solve(lw.Linear(np.ones((1, 2)), np.ones((3, 1)), np.ones((3, 2))), np.arange(6))
    wanted = r"out must be a contiguous float64 array of shape \(6, 3, 2\), "
    with pytest.raises(ValueError, match=wanted + said):
        solution.evaluate("map", out=out)


def test_only_the_map_of_a_linear_is_written():
    with pytest.raises(ValueError, match="out= is for the 'map' of a Linear, not for 'loss'"):
        solved(PROBLEMS[0]).evaluate("loss", out=np.empty(6))
    pairs = lw.solve(lw.Diagonal(1.0, 0.1, 0.1), [0.0, 1.0])
    with pytest.raises(ValueError, match="out= is for the 'map' of a Linear"):
        pairs.evaluate("map", out=np.empty((2, 1)))


# --- memory of the machine -------------------------------------------------------------------


def test_more_than_the_memory_is_refused_with_what_it_would_take(monkeypatch):
    rng = np.random.default_rng(43)
    w1, w2 = starts.balanced((50, 3, 40), 0.0, 0.1, seed=rng)
    solution = lw.solve(lw.Linear(w1, w2, rng.standard_normal((40, 50))), np.linspace(0, 1, 100))
    size = 100 * 50 * 40 * 8  # of the map
    monkeypatch.setattr(module, "_memory", lambda: size / 0.8 + 1)
    assert solution.evaluate("map").nbytes == size
    monkeypatch.setattr(module, "_memory", lambda: size / 0.8 - 1)
    said = r"'map' at 100 times takes 0.0 GB, this machine has 0.0 GB; ask for .*'modes'.*out="
    with pytest.raises(MemoryError, match=said):
        solution["map"]
    with pytest.raises(MemoryError, match="'gram_in'"):
        solution["gram_in"]
    assert solution["gram_out"].shape == (100, 40, 40)
    assert solution["loss"].shape == (100,)
    assert solution["modes"].shape == (100, 40)


def test_the_estimate_is_in_gigabytes_and_made_before_anything_is_allocated():
    model = lw.Linear(np.ones((1, 200)), np.ones((200, 1)), np.zeros((200, 200)))
    solution = lw.solve(model, np.linspace(0, 1, 10_000_000))
    with pytest.raises(MemoryError, match=r"'map' at 10000000 times takes 3200.0 GB"):
        solution["map"]


def test_a_place_of_its_own_needs_no_further_memory(monkeypatch):
    solution = solved(PROBLEMS[0])
    wanted = solution.evaluate("map")
    monkeypatch.setattr(module, "_memory", lambda: 1.0)
    place = np.empty_like(wanted)
    np.testing.assert_array_equal(solution.evaluate("map", out=place), wanted)


def test_a_system_that_does_not_say_its_memory_has_enough(monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(module.os, "sysconf", unknown)
    assert module._memory() == np.inf
