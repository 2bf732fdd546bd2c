"""Every row of the decision table for two-layer networks, against independent answers."""

import warnings

import numpy as np
import pytest

import layerwise as lw

from . import linear_oracles as oracles
from .linear_problems import narrow_and_wide, problems

EXACT = 1e-9  # relative to the largest entry of the map, or to 1
AGREED = 1e-11
FOR_EVER = 1e12
PROBLEMS = list(problems())
SOLVED = [problem for problem in PROBLEMS if problem.law is not None]
FOLLOWED = [problem for problem in SOLVED if not problem.stiff]
SPLIT = ("modes", "1-h-1")  # laws that give every mode by itself


def named(choice):
    return pytest.mark.parametrize("problem", choice, ids=[problem.name for problem in choice])


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def asked(problem):
    return problem.w1, problem.w2, problem.cross


def solved(problem, t, method="auto"):
    return lw.solve(lw.Linear(*asked(problem), **problem.training), t, method)


def followed(problem):
    """Return the weights by the order-8 solver."""
    return oracles.integrate(*asked(problem), problem.t, **problem.training)


def expected(problem):
    if problem.law is None or problem.mixed:
        return squares(*followed(problem))
    if problem.law in SPLIT:
        return squares(*oracles.modes(*asked(problem), problem.t, **problem.training))
    return oracles.grams(*asked(problem), problem.t, **problem.training)


def squares(w1, w2):
    return w2 @ w1, np.swapaxes(w1, 1, 2) @ w1, w2 @ np.swapaxes(w2, 1, 2)


def given(solution):
    return tuple(solution[name] for name in ("map", "gram_in", "gram_out"))


def error(found, wanted):
    """Return the largest difference, relative to the largest entry of the first, or to 1."""
    size = max(1.0, float(np.max(np.abs(wanted[0]))))
    assert all(p.shape == q.shape for p, q in zip(found, wanted, strict=True))
    return max(float(np.max(np.abs(p - q))) for p, q in zip(found, wanted, strict=True)) / size


def test_the_problems_cover_the_table():
    assert len({problem.name for problem in PROBLEMS}) == len(PROBLEMS)
    assert {problem.law for problem in PROBLEMS} == {
        "1-h-1",
        "modes",
        "neuron",
        "balanced",
        "balanced with decay",
        "two-valued",
        None,
    }
    sizes = {problem.cross.shape + problem.w1.shape[:1] for problem in PROBLEMS}
    assert {size for shape in sizes for size in shape} >= set(range(1, 9))


@named([problem for problem in FOLLOWED if not problem.mixed][::8])
def test_the_oracles_agree_with_each_other(problem):
    assert error(expected(problem), squares(*followed(problem))) < AGREED


@named(PROBLEMS)
def test_map_and_grams(problem):
    solution = solved(problem, problem.t)
    assert (solution.law is None) == (problem.law is None)
    assert solution.method == ("flow" if problem.law is None else "exact")
    assert error(given(solution), expected(problem)) < EXACT


@named([problem for problem in SOLVED if problem.settled and not problem.mixed])
def test_where_it_ends(problem):
    end = solved(problem, [0.0, FOR_EVER])
    if problem.law in SPLIT:
        if problem.decay:
            pytest.skip("the oracle's Bessel functions do not reach that far")
        times = [0.0, FOR_EVER]
        wanted = [
            part[-1] for part in squares(*oracles.modes(*asked(problem), times, **problem.training))
        ]
    else:
        wanted = oracles.limit(*asked(problem), **problem.training)
        if wanted is None:
            pytest.skip("rounding decides which of several equal modes is learned")
    assert error([part[-1] for part in given(end)], wanted) < EXACT


@named([p for p in [*PROBLEMS[::20], *narrow_and_wide()] if not p.stiff])
def test_weights(problem):
    found, wanted = solved(problem, problem.t).weights(problem.t), followed(problem)
    assert error(found, wanted) < EXACT


@named([problem for problem in PROBLEMS if problem.law is None][::5])
def test_an_exact_answer_is_refused_where_there_is_none(problem):
    with pytest.raises(lw.NotSolvable, match=r"imbalance|inputs|decay"):
        solved(problem, problem.t, "exact")
