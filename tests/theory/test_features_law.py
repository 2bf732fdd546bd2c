import warnings

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.laws.features import layers, margin, margin_time

EXACT = 1e-12
TIMES = np.array([0.0, 1e-9, 1e-3, 1.0, 30.0, 500.0, 1e4, 1e8, 1e30, 1e100])
STARTS = np.array([1e-12, 1e-3, 0.37, 1.0, 5.0, 39.0, 300.0, 699.0, 1e3])
SIZES = [(2, 1), (3, 7), (10, 5000), (10**6, 2)]
LOST = 1e-290  # what is below has lost digits to underflow


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# cross-entropy


def integral(x, C):
    return mp.ei(x) + (C - 1) * mp.log(abs(x))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("C", "n"), SIZES)
def test_the_exact_margin_lies_within_twelve_digits(sign, C, n):
    found = margin(sign * STARTS, C, n, TIMES[:, None])
    with mp.workdps(50):
        first = [integral(mp.mpf(float(x)), C) for x in sign * STARTS]
        for t, row in zip(TIMES, found, strict=True):
            for x, before in zip(row, first, strict=True):
                goal = before + sign * 2 * mp.mpf(float(t)) / mp.sqrt(n)
                size = max(mp.mpf(abs(float(x))), mp.mpf(LOST))
                assert integral(sign * size * (1 + EXACT), C) > goal
                if size > LOST:
                    assert integral(sign * size * (1 - EXACT), C) < goal
    np.testing.assert_array_equal(found[0], sign * STARTS)


@pytest.mark.parametrize(("C", "n"), [(3, 7), (10**6, 2)])
@pytest.mark.parametrize(
    ("start", "level"),
    [
        (1e-12, 1e-9),
        (1e-12, 41.5),
        (1e-3, 0.2),
        (0.3, 0.9),
        (0.3, 2.0),
        (3.0, 3.0 + 1e-9),
        (3.0, 4.1),
        (30.0, 690.0),
        (250.0, 250.5),
        (-5.0, -5.0 + 1e-9),
        (-5.0, -4.2),
        (-3.0, -1e-3),
        (-1e3, -1e-9),
    ],
)
def test_times_are_those_of_the_equation_of_motion(start, level, C, n):
    with mp.workdps(30):
        sign = int(np.sign(start))
        ends = [mp.log(abs(mp.mpf(x))) for x in (start, level)]
        steps = mp.linspace(*ends, 2 + int(2 * abs(ends[1] - ends[0])))
        way = mp.quad(lambda y: mp.exp(sign * mp.exp(y)) + C - 1, steps)
        expected = float(mp.sqrt(n) / 2 * abs(way))
    np.testing.assert_allclose(margin_time(start, level, C, n), expected, rtol=1e-13)


def test_levels_that_are_never_reached():
    found = margin_time([2.0, 2.0, 2.0, 0.0, -2.0, -2.0, -2.0], [1, -1, 701, 1, -3, 0, 1], 3, 2)
    assert np.all(np.isinf(found))
    np.testing.assert_array_equal(margin_time([2.0, 0.0, -2.0, 800.0], [2, 0, -2, 800], 3, 2), 0)


# the last one nears a saddle, which rounding would leave later
@pytest.mark.parametrize(("start", "end"), [(0.02, 300.0), (2.0, 300.0), (-3.0, 20.0)])
def test_the_symmetric_network(start, end):
    C, n, dim = 4, 3, 5
    simplex = simplex_of(C, dim)
    labels = np.repeat(np.arange(C), n)
    Y = np.eye(C)[:, labels]

    def slope(_, state):
        W, H = state[: C * dim].reshape(C, dim), state[C * dim :].reshape(dim, -1)
        raised = np.exp(W @ H)
        error = (Y - raised / raised.sum(axis=0)) / (C * n)
        return np.concatenate([(error @ H.T).ravel(), (W.T @ error).ravel()])

    def state(x):
        a, b = layers(x, C, n)
        return np.concatenate([(a * simplex).ravel(), (b * simplex.T[:, labels]).ravel()])

    t = np.append(0, np.geomspace(0.5, end, 5))
    flow = solve_ivp(slope, (0, end), state(start), "DOP853", t, rtol=3e-14, atol=1e-16)
    expected = [state(x) for x in margin(start, C, n, t)]
    np.testing.assert_allclose(flow.y.T, expected, rtol=0, atol=1e-9)


def simplex_of(C, dim):
    """Return C unit vectors, as rows, of cosines -1/(C-1) in a random subspace."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, C)))[0]
    return np.sqrt(C / (C - 1)) * (np.eye(C) - 1 / C) @ basis.T


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.sampled_from([1, -1]), st.floats(-12, 2)).map(lambda x: x[0] * 10 ** x[1]),
    st.integers(2, 1000),
    st.integers(1, 1000),
    st.floats(-6, 6).map(lambda x: 10**x),
    st.floats(-6, 6).map(lambda x: 10**x),
)
def test_time_runs_on_and_back(start, C, n, first, second):
    there = margin(start, C, n, first)
    both = margin(start, C, n, first + second)
    course = np.array([start, there, both])
    assert np.all(course * start >= 0)
    assert np.all(np.diff(course) >= -1e-13 * np.abs(course[:2]))
    if abs(both) > LOST:
        np.testing.assert_allclose(margin(there, C, n, second), both, rtol=1e-12)
        rounding = 1e-13 * (np.exp(both) + C - 1) * np.sqrt(n)  # of the margin, as time
        time = margin_time(start, both, C, n)
        np.testing.assert_allclose(time, first + second, rtol=1e-12, atol=rounding)


def test_nothing_moves_without_a_margin():
    np.testing.assert_array_equal(margin([0.0, 0.0], 3, [1, 5], TIMES[:, None]), 0.0)


def test_small_margins_grow_as_under_squared_error_and_large_ones_as_the_logarithm():
    C, n = 10, 4
    t = np.array([0.1, 1.0, 30.0])
    grown = margin(1e-9, C, n, t) / 1e-9
    np.testing.assert_allclose(grown, np.exp(2 * t / (C * np.sqrt(n))), rtol=1e-7)
    late = margin(1e-9, C, n, [1e40, 1e80, 1e100])
    np.testing.assert_allclose(np.diff(late), np.log([1e40, 1e20]), rtol=0.01)


@pytest.mark.parametrize("x", [3.0, 1e-300, 0.0, -3.0])
def test_layers_are_balanced_and_make_the_margin(x):
    C, n = 4, 9
    a, b = layers(x, C, n)
    np.testing.assert_allclose([a * b * C / (C - 1), a], [x, 3 * abs(b)], rtol=1e-15)


# squared error: a Linear


def as_linear(H, W, counts, decay=0.0):
    Y = labels_of(counts)
    N = Y.shape[1]
    return lw.Linear(w1=H, w2=W, cross=Y / N, input_cov=np.eye(N) / N, decay=decay)


def labels_of(counts):
    return np.repeat(np.eye(len(counts)), counts, axis=1)


def feature_flow(H, W, counts, decay, t):
    """Return W H (T, C, N) by integrating the gradient of the feature model's loss."""
    Y = labels_of(counts)
    (dim, N), C = H.shape, len(W)

    def slope(_, state):
        W, H = state[: C * dim].reshape(C, dim), state[C * dim :].reshape(dim, N)
        error = (Y - W @ H) / N
        return np.concatenate(
            [(error @ H.T - decay * W).ravel(), (W.T @ error - decay * H).ravel()]
        )

    state = np.concatenate([W.ravel(), H.ravel()])
    flow = solve_ivp(slope, (0, t[-1]), state, "DOP853", t, rtol=3e-14, atol=1e-17).y.T
    W, H = flow[:, : C * dim].reshape(-1, C, dim), flow[:, C * dim :].reshape(-1, dim, N)
    return W @ H


def modes_at_start(z, counts, dim):
    """Return H and W that give every class's mode the strength z by equal layers."""
    inside = np.linalg.qr(np.random.default_rng(1).standard_normal((dim, len(counts))))[0]
    Y = labels_of(counts)
    return inside @ (np.sqrt(z / counts)[:, None] * Y), np.sqrt(z)[:, None] * inside.T


@pytest.mark.parametrize(
    ("counts", "lam", "decay", "law"),
    [
        ([3, 3, 3], 0.0, 0.0, "balanced"),
        ([5, 2, 1], 0.0, 0.0, "balanced"),
        ([5, 2, 1], 0.4, 0.0, "balanced"),
        ([5, 2, 1], -0.4, 0.0, "balanced"),
        ([5, 2, 1], 0.0, 0.15, "balanced with decay"),
    ],
)
def test_features_under_squared_error_are_a_linear_network(counts, lam, decay, law):
    dim, N = 4, sum(counts)
    rank = None if lam < 0 else 3
    H, W = starts.balanced((N, dim, 3), lam, 0.2, rank=rank, seed=3)
    t = np.array([0.0, 1.0, 6.0, 20.0, 80.0])
    sol = lw.solve(as_linear(H, W, counts, decay), t)
    assert sol.law == law
    expected = feature_flow(H, W, counts, decay, t)
    np.testing.assert_allclose(sol["map"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("decay", "law"), [(0.0, "modes"), (0.04, "modes with decay"), (0.3, "modes with decay")]
)
def test_aligned_classes_are_sigmoids_after_a_soft_threshold(decay, law):
    counts = np.array([6, 3, 1])
    N, z = counts.sum(), np.array([1e-3, 2e-2, 1e-2])
    H, W = modes_at_start(z, counts, dim=5)
    t = np.array([0.0, 1.0, 5.0, 20.0, 100.0, 1000.0])
    sol = lw.solve(as_linear(H, W, counts, decay), t)
    assert sol.law == law
    s = np.sqrt(counts) - N * decay
    fade = np.exp(-2 * s * t[:, None] / N)
    expected = z * s / (z + (s - z) * fade)
    np.testing.assert_allclose(sol["modes"], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sol["modes"][-1], np.maximum(s, 0), rtol=0, atol=1e-12)
    flow = feature_flow(H, W, counts, decay, t[:-1])
    np.testing.assert_allclose(sol["map"][:-1], flow, rtol=0, atol=1e-9)
