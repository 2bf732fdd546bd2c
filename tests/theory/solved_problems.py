"""Two-layer networks of every law, solved: what the tests of `Solution` share."""

import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import starts

from . import linear_problems as rows

EXACT = 1e-9  # relative to max(1, size)
ROUNDING = 1e-12
GRAM_LAWS = ("balanced", "balanced with decay", "two-valued")


def chosen():
    """Yield problems of every law that the flow can follow to all its digits."""
    for row, picked in (
        (rows.balanced, (0, 1, 5, 13, 17)),
        (rows.narrow_and_wide, (0, 4, 7, 10)),
        (rows.covariances, (0, 5, 8, 10, 12, 14)),
        (rows.layer_rates, (1, 2, 5)),
        (rows.decayed, (0, 5, 8, 16)),
        (rows.two_valued, (0, 1, 5, 9)),
        (rows.neurons, (0, 1, 2, 7)),
        (rows.aligned, (0, 2, 6, 11, 12, 20)),
        (rows.one_h_one, (1, 6, 15)),
    ):
        found = list(row())
        yield from (found[index] for index in picked)


PROBLEMS = list(chosen())
EACH = pytest.mark.parametrize("problem", PROBLEMS, ids=[problem.name for problem in PROBLEMS])
SOME = pytest.mark.parametrize(
    "problem", PROBLEMS[::3], ids=[problem.name for problem in PROBLEMS[::3]]
)


def model_of(problem):
    return lw.Linear(problem.w1, problem.w2, problem.cross, **problem.training)


def solved(problem, method="exact"):
    return lw.solve(model_of(problem), problem.t, method)


def off(found, wanted):
    """Return the largest difference, relative to max(1, |wanted|)."""
    assert found.shape == wanted.shape
    return float(np.max(np.abs(found - wanted) / np.maximum(1, np.abs(wanted)), initial=0.0))


def dense(law, shape=(14, 12, 13), last=8.0, count=1000):
    """Return a solution on many equal steps: that of a balanced network is interpolated."""
    rng = np.random.default_rng([40, *shape])
    i, _, o = shape
    cross = rng.standard_normal((o, i)) / np.sqrt(max(i, o))
    if law == "two-valued":
        w1, w2 = starts.two_valued((2, 6, 3), 1.0, 0.5, seed=rng)
        cross = cross[:3, :2]
    else:
        lam = {"balanced": 0.0, "mirrored": 0.4, "decayed": 0.0, "unmirrored": -0.4}[law]
        w1, w2 = starts.balanced(shape, lam, 0.1, rank=min(shape), seed=rng)
    model = lw.Linear(w1, w2, cross, decay=0.02 if law == "decayed" else 0.0)
    return lw.solve(model, np.linspace(0, last, count), "exact")
