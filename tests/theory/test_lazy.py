import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from layerwise.theory.laws import lazy

TIMES = np.array([0.0, 0.1, 0.5, 2.0, 6.0])
SIZES = [(1, 1, 1), (3, 2, 4), (2, 5, 3), (4, 1, 3), (3, 6, 1), (5, 3, 5), (2, 2, 6), (6, 7, 2)]


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_network(i, h, o, seed=0):
    rng = np.random.default_rng([i, h, o, seed])
    return rng.standard_normal((h, i)), rng.standard_normal((o, h)), rng.standard_normal((o, i))


def solved(slope, start, t):
    """Return the solution of a matrix equation at the times t, by a tight explicit solver."""
    options = {"method": "DOP853", "t_eval": t, "rtol": 3e-14, "atol": 1e-16}
    flat = solve_ivp(
        lambda _, x: slope(x.reshape(start.shape)).ravel(), (0, t[-1]), start.ravel(), **options
    )
    return flat.y.T.reshape(len(t), *start.shape)


def frozen(w1, w2, cross, t):
    A, B = w2 @ w2.T, w1.T @ w1
    return solved(lambda W: A @ (cross - W) + (cross - W) @ B, w2 @ w1, t)


def true_flow(w1, w2, cross, t):
    i = w1.shape[1]

    def slope(Q):
        first, second = Q[:i].T, Q[i:]
        error = cross - second @ first
        return np.concatenate([error.T @ second, error @ first.T])

    states = solved(slope, np.concatenate([w1.T, w2]), t)
    return states[:, i:] @ np.swapaxes(states[:, :i], 1, 2)


@pytest.mark.parametrize("size", SIZES)
def test_it_solves_the_linearised_flow(size):
    start = random_network(*size)
    expected = frozen(*start, TIMES)
    assert np.max(np.abs(lazy.linearised(*start, TIMES) - expected)) < 1e-12


@pytest.mark.parametrize("silent", ["w1", "w2", "both"])
def test_layers_that_are_zero_leave_the_rest_to_the_other(silent):
    w1, w2, cross = random_network(3, 2, 4)
    w1, w2 = (0 * w1 if silent != "w2" else w1), (0 * w2 if silent != "w1" else w2)
    found = lazy.linearised(w1, w2, cross, TIMES)
    assert np.max(np.abs(found - frozen(w1, w2, cross, TIMES))) < 1e-12
    assert np.any(found) == (silent != "both")


def test_it_starts_at_the_map_and_ends_on_what_the_start_sees():
    w1, w2, cross = random_network(5, 2, 4)
    found = lazy.linearised(w1, w2, cross, np.array([0.0, 1e12]))
    np.testing.assert_array_equal(found[0], w2 @ w1)
    # the error that is left lies outside of what either layer spans
    outside_out = np.eye(4) - w2 @ np.linalg.pinv(w2)
    outside_in = np.eye(5) - np.linalg.pinv(w1) @ w1
    expected = cross - outside_out @ (cross - w2 @ w1) @ outside_in
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=1e-13)


def test_an_early_change_keeps_its_digits():
    w1, w2, cross = random_network(3, 2, 4)
    error = cross - w2 @ w1
    t = np.array([1e-9])
    expected = t * (w2 @ w2.T @ error + error @ w1.T @ w1)
    moved = lazy.linearised(w1, w2, w2 @ w1 + 1e9 * error, t)[0] - w2 @ w1
    np.testing.assert_allclose(moved, 1e9 * expected, rtol=1e-7)


def test_many_inputs():
    w1, w2, cross = random_network(784, 3, 2)
    t = np.array([0.0, 1e-4, 1e-3])
    found = lazy.linearised(w1, w2, cross, t)
    assert np.max(np.abs(found - frozen(w1, w2, cross, t))) < 1e-11


def balanced(lam):
    """Return a start of imbalance lam with the map that all of them share, and a target."""
    rng = np.random.default_rng(5)
    u, v, turn = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(3))
    s = np.array([0.5, 0.3, 0.1])
    b = np.sqrt((lam + np.hypot(lam, 2 * s)) / 2)
    cross = rng.standard_normal((3, 3))
    return turn @ np.diag(s / b) @ v.T, u @ np.diag(b) @ turn.T, cross / np.linalg.norm(cross, 2)


def wide(c):
    """Return a start with imbalances c and -c and without a map, and a target."""
    w1, w2 = (np.sqrt(c) * np.eye(6)[:, part] for part in (slice(0, 3), slice(3, 6)))
    return w1, w2.T, balanced(1.0)[2]


@pytest.mark.parametrize("start", [balanced, wide])
def test_the_error_of_the_approximation_falls_with_the_square_of_the_imbalance(start):
    gaps = []
    for lam in (10.0, 100.0, 1000.0):
        t = np.linspace(0, 6 / lam, 30)
        network = start(lam)
        gaps.append(np.max(np.abs(lazy.linearised(*network, t) - true_flow(*network, t))))
    assert 1e-4 < gaps[0] < 0.1
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.3)
    assert gaps[1] / gaps[2] == pytest.approx(100, rel=0.05)


def test_it_is_no_approximation_of_a_rich_network():
    w1, w2, cross = balanced(0.0)
    t = np.linspace(0, 20, 40)
    gap = lazy.linearised(w1, w2, cross, t) - true_flow(w1, w2, cross, t)
    assert np.max(np.abs(gap)) > 0.1
