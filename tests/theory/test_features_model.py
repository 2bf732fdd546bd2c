import json
import warnings

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.laws import features_deep as deep
from layerwise.theory.laws.features_modes import mode_starts, strength, time_to
from layerwise.theory.laws.features_optimum import label_modes, optimal_margin

TIMES = np.array([0.0, 1.0, 7.0, 20.0, 60.0, 120.0, 400.0])


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# oracles: the loss of the definition, its gradient, and what they lead to


def pieces(state, features):
    C, d, N = features.n_classes, features.dim, features.n_samples
    H, W = state[: d * N].reshape(d, N), state[d * N : d * N + C * d].reshape(C, d)
    return W, H, state[d * N + C * d :] if features.bias else np.zeros(C)


def objective(state, features):
    """Return loss with decay, and its gradient."""
    W, H, b = pieces(state, features)
    labels = np.repeat(np.arange(len(W)), features.counts)
    Y, z, N = np.eye(len(W))[:, labels], W @ H + b[:, None], len(labels)
    lw_, lh = features.decay
    if features.loss == "mse":
        value, slope = np.sum((z - Y) ** 2) / (2 * N), (z - Y) / N
    else:
        value = np.sum(logsumexp(z, axis=0) - z[labels, range(N)]) / N
        slope = (softmax(z, axis=0) - Y) / N
    value += lw_ / 2 * np.sum(W**2) + lh / 2 * np.sum(H**2)
    parts = [(W.T @ slope + lh * H).ravel(), (slope @ H.T + lw_ * W).ravel()]
    if features.bias:
        parts.append(slope.sum(axis=1))
    return value, np.concatenate(parts)


def minimum(features, seed=0):
    """Return the least loss that was found and the weights: descent, then Newton's method."""
    first = np.random.default_rng(seed).standard_normal(features.start.size) * 0.5
    options = {"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-9, "ftol": 0.0, "maxcor": 30}
    state = minimize(objective, first, (features,), "L-BFGS-B", jac=True, options=options).x
    for _ in range(4):
        slope = objective(state, features)[1]
        state = state + np.linalg.lstsq(features.jacobian(state), slope, rcond=1e-9)[0]
    value, slope = objective(state, features)
    assert np.max(np.abs(slope)) < 1e-12
    return value, *pieces(state, features)


def flowed(features, t):
    flow = solve_ivp(
        lambda _, state: -objective(state, features)[1],
        (0, t[-1]),
        features.start,
        "DOP853",
        t,
        rtol=3e-14,
        atol=1e-17,
    )
    return flow.y.T


# optimum


@pytest.mark.parametrize(
    ("features", "size", "loss"),
    [
        (lw.Features(5, 12, 5, "mse", (5e-3, 2e-3)), 2.070890, None),
        (lw.Features(5, 12, 5, "mse", (5e-3, 2e-3), bias=True), 1.656712, None),
        (lw.Features(5, 12, 5, "ce", (5e-3, 2e-3)), 7.833226, 0.24063745),
    ],
)
def test_known_numbers(features, size, loss):
    best = features.optimum()
    np.testing.assert_allclose(best.weight_norms**2, size, rtol=0, atol=5e-7)
    np.testing.assert_allclose(best.centred_cosines[~np.eye(5, dtype=bool)], -0.25, atol=1e-14)
    if loss is not None:
        assert best.loss == pytest.approx(loss, abs=5e-9)


@pytest.mark.parametrize(
    "features",
    [
        lw.Features(4, 5, 5, "mse", (5e-3, 2e-2)),
        lw.Features(4, 5, 4, "mse", (0.04, 0.1)),
        lw.Features(4, 5, 4, "mse", (5e-3, 2e-2), bias=True),
        lw.Features(4, 5, 3, "mse", (0.04, 0.1), bias=True),
        lw.Features(4, 5, 4, "ce", (5e-3, 2e-2)),
        lw.Features(4, 5, 4, "ce", (0.04, 0.1), bias=True),
        lw.Features(2, 3, 1, "ce", (0.01, 0.03)),
        lw.Features(3, [8, 3, 1], 3, "mse", (0.03, 0.01)),
        lw.Features(3, [8, 3, 1], 4, "mse", (0.1, 0.1)),
        lw.Features(3, [8, 3, 1], 4, "mse", (0.03, 0.01), bias=True),
        lw.Features(4, [9, 4, 2, 1], 4, "mse", (0.05, 0.08), bias=True),
        lw.Features(3, 2, 3, "ce", (0.2, 0.3)),
        lw.Features(3, 2, 3, "mse", (0.2, 0.3)),
    ],
    ids=str,
)
def test_optimum_is_the_minimum(features):
    best, (value, W, H, b) = features.optimum(), minimum(features)
    labels = features.labels
    assert value == pytest.approx(best.loss, abs=1e-12)
    norms = np.linalg.norm(W, axis=1), np.linalg.norm(H, axis=0)
    np.testing.assert_allclose(norms[0], best.weight_norms, atol=1e-8)
    np.testing.assert_allclose(norms[1], best.feature_norms[labels], atol=1e-8)
    singular = np.linalg.svd(W @ H, compute_uv=False)[: len(best.modes)]
    np.testing.assert_allclose(singular, np.sort(best.modes)[::-1], atol=1e-8)
    assert best.rank == np.count_nonzero(features.learned) == np.count_nonzero(singular > 1e-6)
    if features.loss == "mse":  # of cross-entropy only up to a constant
        np.testing.assert_allclose(b, best.bias, atol=1e-8)
    if best.rank == len(best.modes):
        z = W @ H + b[:, None]
        true = z[labels, np.arange(len(labels))]
        z[labels, np.arange(len(labels))] = -np.inf
        np.testing.assert_allclose(true - z.max(axis=0), best.margins[labels], atol=1e-8)
        assert lw.measures.nc1(H.T, labels) < 1e-14
        assert lw.measures.nc3(H.T, labels, W) == pytest.approx(best.nc3, abs=1e-8)
        means = np.array([H[:, labels == c].mean(axis=1) for c in range(len(W))])
        for found, rows in ((best.cosines, means), (best.centred_cosines, means - means.mean(0))):
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            np.testing.assert_allclose(unit @ unit.T, found, atol=1e-8)


@pytest.mark.parametrize("C", [2, 5, 10])
def test_geometry_of_equal_classes(C):
    off = ~np.eye(C, dtype=bool)
    raw = lw.Features(C, 7, C, decay=(1e-3, 1e-2)).optimum()
    assert raw.nc3 == pytest.approx(2 - 2 * np.sqrt((C - 1) / C), abs=1e-14)
    np.testing.assert_allclose(raw.cosines[off], 0, atol=1e-15)
    np.testing.assert_allclose(raw.centred_cosines[off], -1 / (C - 1), atol=1e-14)
    for features in (
        lw.Features(C, 7, C - 1, decay=(1e-3, 1e-2), bias=True),
        lw.Features(C, 7, C - 1, "ce", (1e-3, 1e-2)),
    ):
        best = features.optimum()
        assert best.nc3 == pytest.approx(0, abs=1e-14)
        np.testing.assert_allclose(best.cosines[off], -1 / (C - 1), atol=1e-13)
        assert best.rank == C - 1


@pytest.mark.parametrize(("loss", "bias"), [("mse", False), ("mse", True), ("ce", False)])
def test_nothing_is_learned_from_the_threshold_on(loss, bias):
    C, n = 4, 9
    edge = 1 / (C * np.sqrt(n))
    for share, rank in ((1 - 1e-6, C - (bias or loss == "ce")), (1 + 1e-6, 0)):
        decay = (2 * share * edge, share * edge / 2)
        features = lw.Features(C, n, C, loss, decay, bias)
        np.testing.assert_allclose(features.threshold, edge, rtol=1e-14)
        assert features.optimum().rank == np.count_nonzero(features.learned) == rank
    chance = {"ce": np.log(C), "mse": (1 - 1 / C if bias else 1) / 2}
    assert features.optimum().loss == pytest.approx(chance[loss], rel=1e-14)
    assert np.isnan(features.optimum().nc3)


def test_minority_classes_vanish_first():
    counts = np.array([40, 20, 10, 5, 2])
    features = lw.Features(5, counts, 5, decay=(0.03, 0.03))
    np.testing.assert_array_equal(features.learned, np.sqrt(counts) > 77 * 0.03)
    np.testing.assert_array_equal(features.learned, [True, True, True, False, False])
    best = features.optimum()
    assert np.all(np.isnan(best.cosines[3:]))
    np.testing.assert_allclose(best.margins[:3], best.modes[:3] / np.sqrt(counts[:3]))


@pytest.mark.parametrize("decay", [1e-100, 1e-9, 1e-3, 0.0249])
def test_margin_of_the_optimum(decay):
    C, n = 10, 16
    x = float(optimal_margin(C, n, decay))
    with mp.workdps(50):
        c = mp.mpf(decay)
        q = (C - 1) * mp.sqrt(n) * c
        assert x == pytest.approx(float(mp.log((C - 1) * (1 - q) / q)), rel=1e-13)


def test_without_decay_the_optimum_is_where_small_starts_end():
    features = lw.Features(3, [6, 3, 1], 4, start=1e-6)
    best, sol = features.optimum(), lw.solve(features, [0.0, 1e4])
    for name, value in (("weight_norms", best.weight_norms), ("feature_norms", best.feature_norms)):
        np.testing.assert_allclose(sol[name][-1], value, rtol=1e-13)
    assert best.loss == 0


# flow


SOLVED = [
    (lw.Features(3, [6, 3, 1], 4), "modes"),
    (lw.Features(3, [6, 3, 1], 3, decay=(0.05, 0.05), start=[1e-3, 0.2, 3.0]), "modes with decay"),
    (lw.Features(3, 4, 3, decay=(0.3, 0.3), start=0.1), "modes with decay"),  # nothing learned
    (lw.Features(3, [6, 3, 1], 4, decay=(0.02, 0.02), bias=True, start=0.01), "modes with decay"),
    (lw.Features(4, 3, 3, bias=True, start=[0.01, 0.02, 0.5]), "modes"),
    (lw.Features(4, 3, 5, "ce", start=0.01), "margin"),
    (lw.Features(4, 3, 3, "ce", bias=True, start=3.0), "margin"),
    (lw.Features(2, 5, 1, "ce", start=1e-4), "margin"),
]


@pytest.mark.parametrize(("features", "law"), SOLVED, ids=str)
def test_laws_are_the_flow(features, law):
    sol = lw.solve(features, TIMES, method="exact")
    assert sol.law == law
    assert sol.residual() < 1e-13
    assert sol.drift() < 1e-12
    assert sol.rise() < 1e-15
    states = flowed(features, TIMES)
    np.testing.assert_allclose(sol.state, states, rtol=0, atol=1e-10)
    for name in features.quantities:
        there = sol["weight_norms"].min(axis=1) > 1e-3  # what has vanished has no direction
        found, expected = sol[name][there], features.quantity(name, states)[there]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)
    values = [objective(state, features)[0] for state in states]
    np.testing.assert_allclose(sol["objective"], values, rtol=0, atol=1e-11)


def test_quantities_are_the_measures():
    rng = np.random.default_rng(0)
    W, H, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 10)), rng.standard_normal(3)
    features = lw.Features(3, [6, 3, 1], 4, "ce", (0.1, 0.2), bias=True, start=(W, H, b))
    sol = lw.solve(features, [0.0])
    y, z = features.labels, W @ H + b[:, None]
    means = np.array([H[:, y == c].mean(axis=1) for c in range(3)])
    lead = [z[y[i], i] - max(z[c, i] for c in range(3) if c != y[i]) for i in range(10)]
    spectrum = np.linalg.svd(H - H.mean(axis=1, keepdims=True), compute_uv=False)
    expected = {
        "conserved": W.T @ W - H @ H.T,
        "equinorm": lw.measures.nc2(H.T, y, W).equinorm,
        "feature_norms": np.linalg.norm(means, axis=1),
        "loss": objective(features.start, features)[0] - 0.05 * (W**2).sum() - 0.1 * (H**2).sum(),
        "margin": [min(lead[:6]), min(lead[6:9]), lead[9]],
        "nc1": lw.measures.nc1(H.T, y),
        "nc2": lw.measures.nc2(H.T, y, W).angle,
        "nc3": lw.measures.nc3(H.T, y, W),
        "objective": objective(features.start, features)[0],
        "rank": lw.measures.rank_of_spectrum(spectrum),
        "weight_norms": np.linalg.norm(W, axis=1),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(sol[name][0], value, rtol=1e-12, err_msg=name)
    u, _, v = label_modes([6, 3, 1], centred=True)
    sums = np.stack([H[:, y == c].sum(axis=1) for c in range(3)], axis=1) / np.sqrt([6, 3, 1])
    np.testing.assert_allclose(sol["modes"][0], np.diag(u.T @ W @ sums @ v), rtol=1e-12)
    assert sorted([*expected, "modes"]) == list(features.quantities)
    for part, given_ in zip(sol.weights(0.0), (W, H, b), strict=True):
        np.testing.assert_array_equal(part, given_)


def balanced(C, dim, N, scale=0.3):
    H, W = starts.balanced((N, dim, C), 0.0, scale, seed=2)
    return W, H


@pytest.mark.parametrize(
    ("counts", "decay", "law"),
    [([4, 2, 1], 0.0, "balanced"), ([2, 2, 2], 0.04, "balanced with decay")],
)
def test_any_weights_under_squared_error_are_those_of_a_linear_network(counts, decay, law):
    start = balanced(3, 3, sum(counts))
    features = lw.Features(3, counts, 3, decay=(decay, decay), start=start)
    sol = lw.solve(features, TIMES[:5], method="exact")
    assert sol.law == law
    states = flowed(features, TIMES[:5])
    for name in ("modes", "nc1", "nc2", "nc3", "rank", "objective", "margin"):
        np.testing.assert_allclose(
            sol[name], features.quantity(name, states), rtol=0, atol=1e-9, err_msg=name
        )
    assert sol["nc1"][0] > 100 * sol["nc1"][-1] > 0


def test_a_bias_that_rests_leaves_the_linear_network():
    W, H = balanced(3, 3, 7)
    centring = np.eye(7) - 1 / 7
    size = {"n_classes": 3, "n_per_class": [4, 2, 1], "dim": 3, "bias": True}
    features = lw.Features(**size, start=(W, H @ centring))
    assert all(off <= allowed for _, off, allowed, _ in features.needed)
    t = TIMES[:4]
    expected = features.quantity("modes", flowed(features, t))
    np.testing.assert_allclose(lw.solve(features, t)["modes"], expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(features.linear.cross @ np.ones(7), 0, atol=1e-15)
    for moved in ((W, H), (W, H @ centring, [0.1, 0.2, 0.7])):
        with pytest.raises(lw.NotSolvable, match="bias at the class frequencies: fails"):
            lw.solve(lw.Features(**size, start=moved), t, method="exact")


@pytest.mark.parametrize(
    "features",
    [
        lw.Features(3, 4, 3, "mse", (0.02, 0.05), start=0.1),
        lw.Features(3, [6, 3, 2], 3, "mse", (0.05, 0.02), start=0.1),
        lw.Features(3, 4, 3, "ce", (0.02, 0.05), start=0.1),
        lw.Features(3, 4, 2, "ce", (0.03, 0.03), bias=True, start=0.1),
    ],
    ids=str,
)
def test_where_there_is_no_law_the_flow_ends_at_the_optimum(features):
    with pytest.raises(lw.NotSolvable, match=r"decay.*: fails"):
        lw.solve(features, [0.0, 1.0], method="exact")
    sol, best = lw.solve(features, [0.0, 30.0, 3000.0]), features.optimum()
    assert sol.method == "flow"
    np.testing.assert_allclose(sol["weight_norms"][-1], best.weight_norms, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sol["feature_norms"][-1], best.feature_norms, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sol["modes"][-1], best.modes, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sol["objective"][-1], best.loss, rtol=0, atol=1e-10)
    np.testing.assert_allclose(sol["margin"][-1], best.margins, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sol["nc3"][-1], best.nc3, rtol=0, atol=1e-8)


def test_unequal_classes_under_cross_entropy_are_a_flow():
    features = lw.Features(3, [4, 2, 1], 3, "ce", start=0.1)
    with pytest.raises(lw.NotSolvable, match="classes of one size: fails"):
        lw.solve(features, [0.0, 1.0], method="exact")
    for ask in (features.optimum, lambda: features.threshold, lambda: features.goals):
        with pytest.raises(lw.NotSolvable, match=r"classes of one size, got \[4, 2, 1\]"):
            ask()
    t = TIMES[:5]
    sol = lw.solve(features, t)
    assert sol.method == "flow"
    np.testing.assert_allclose(sol.state, flowed(features, t), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["mse", "ce"])
def test_jacobian(kind):
    rng = np.random.default_rng(3)
    start = rng.standard_normal((2, 3)), rng.standard_normal((3, 5)), rng.standard_normal(2)
    features = lw.Features(2, [3, 2], 3, kind, (0.1, 0.3), bias=True, start=start)
    state, h = features.start, 1e-5
    slopes = [
        (features.velocity(state + h * e) - features.velocity(state - h * e)) / (2 * h)
        for e in np.eye(len(state))
    ]
    np.testing.assert_allclose(features.jacobian(state), np.transpose(slopes), atol=1e-9)
    np.testing.assert_allclose(
        features.velocity(state), -objective(state, features)[1], rtol=0, atol=1e-14
    )


def test_many_samples_cost_nothing():
    features = lw.Features(10, 5000, 512, "ce", start=1e-3)
    sol = lw.solve(features, np.geomspace(1, 1e5, 50))
    np.testing.assert_allclose(sol["rank"], 9, rtol=1e-12)
    np.testing.assert_array_equal(sol["nc1"], 0)
    assert np.max(sol["nc2"]) < 1e-12
    assert np.max(sol["nc3"]) < 1e-12
    assert sol["conserved"].shape == (50, 512, 512)


# times


@given(
    st.floats(-12, 1),
    st.one_of(st.just(0.0), st.floats(-10, 10)),
    st.integers(1, 1000),
    st.floats(-6, 9),
)
@settings(deadline=None, max_examples=150)
def test_strength_is_exact(log_start, goal, n, log_time):
    start, t = 10**log_start, 10**log_time
    found = float(strength(start, goal, n, t))
    with mp.workdps(60):
        z, s, g = mp.mpf(start), mp.mpf(goal), 2 * mp.mpf(t) / n
        e = mp.exp(-s * g)
        fallen = -mp.expm1(-s * g) / s if goal else g
        expected = z / (e + z * fallen)
        assert abs(found - expected) <= 1e-12 * expected + mp.mpf(1e-300)


@given(st.floats(-9, 0), st.floats(0.1, 10), st.integers(1, 500), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=100)
def test_times_are_the_inverse(log_start, goal, n, share):
    start = goal * 10**log_start / 2
    t = float(time_to(start, goal, n, share * goal))
    assert float(strength(start, goal, n, t)) == pytest.approx(max(share * goal, start), rel=1e-9)


def test_levels_that_are_never_reached():
    np.testing.assert_array_equal(
        time_to([0.1, 0.1, 0.0, 3.0], [1.0, -1.0, 1.0, 1.0], 4, [1.0, 0.2, 0.5, 2.0]),
        [np.inf, np.inf, np.inf, 0.0],
    )


@pytest.mark.parametrize("features", [SOLVED[0][0], SOLVED[1][0], SOLVED[5][0], SOLVED[6][0]])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_learning_times(features, share):
    times = features.learning_times(share)
    np.testing.assert_array_equal(lw.solve(features, [0.0, 5.0]).emergence_times(share), times)
    sol = lw.solve(features, np.unique(np.append(0.0, times[np.isfinite(times)])))
    name, level = features.milestone(share)
    for k, time in enumerate(times):
        reached = sol[name][:, k][np.searchsorted(sol.t, min(time, sol.t[-1]))]
        first = sol[name][0, k]
        if np.isfinite(time):
            assert reached == pytest.approx(max(level[k], first), rel=1e-9)
        else:
            assert not features.learned[k]
    learned = features.learned_by([[0.0], [1e6]], share)
    assert learned.shape == (2, 1, len(times))
    np.testing.assert_array_equal(learned[1, 0], np.isfinite(times))
    np.testing.assert_array_equal(learned[0, 0], times == 0)


def test_large_classes_come_first_and_equal_ones_together():
    counts = np.array([40, 20, 10, 5, 2])
    times = lw.Features(5, counts, 5, start=1e-6).learning_times()
    logs = np.log(np.sqrt(counts) / 1e-6 - 1)
    np.testing.assert_allclose(times, 77 / (2 * np.sqrt(counts)) * logs, rtol=1e-13)
    assert np.all(np.diff(times) > 0)
    assert np.ptp(lw.Features(5, 12, 5, start=1e-6).learning_times()) == 0


def test_probability_is_the_milestone_of_cross_entropy():
    features = lw.Features(4, 3, 3, "ce", start=0.01)
    t = features.learning_times(0.9)[0]
    z = (lambda W, H: W @ H)(*lw.solve(features, [0.0, t]).weights(t))
    np.testing.assert_allclose(np.diag(softmax(z, axis=0)[:, ::3]), 0.9, rtol=1e-10)
    with pytest.raises(ValueError, match="above chance, 1/4"):
        features.learning_times(0.25)


def test_what_a_random_start_has_of_the_modes():
    rng = np.random.default_rng(1)
    C, n, d = 3, 5, 8
    W, H = 1e-4 * rng.standard_normal((C, d)), 1e-4 * rng.standard_normal((d, C * n))
    features = lw.Features(C, n, d, start=(W, H))
    first = mode_starts(W, H, features.labels)
    by_loop = [
        np.sum(((W[c] + H[:, features.labels == c].sum(axis=1) / np.sqrt(n)) / 2) ** 2)
        for c in range(C)
    ]
    np.testing.assert_allclose(first, by_loop, rtol=1e-13)
    t = np.linspace(0, 120, 25)
    modes = features.quantity("modes", flowed(features, t))
    predicted = lw.solve(lw.Features(C, n, d, start=first), t)["modes"]
    assert np.max(np.abs(modes - predicted)) < 0.05 * np.sqrt(n)
    aligned = lw.Features(C, n, d, start=[0.1, 0.2, 0.3])
    w, h = aligned.split(aligned.start)
    np.testing.assert_allclose(mode_starts(w, h, aligned.labels), [0.1, 0.2, 0.3], rtol=1e-14)


@pytest.mark.parametrize(
    ("w", "h", "labels", "said"),
    [
        (np.eye(2), np.eye(3), [0, 1, 1], "do not fit"),
        (np.eye(2), np.ones((2, 3)), [0, 1], "do not fit"),
        (np.eye(2), np.ones((2, 2)), [0, 2], "whole numbers"),
        (np.eye(2), np.ones((2, 2)), [0.0, 1.0], "whole numbers"),
        (np.eye(2), np.ones((2, 2)), [0, 0], "whole numbers"),
    ],
)
def test_bad_starts_of_modes(w, h, labels, said):
    with pytest.raises(ValueError, match=said):
        mode_starts(w, h, labels)


# more layers


def deep_oracle(L, decay, C, n):
    """Return the global minimum over z of the mode's loss, and the loss, by search at 40 digits."""
    with mp.workdps(40):
        s, N, power = mp.sqrt(n), n * C, mp.mpf(2) / L

        def loss(z):
            return (z - s) ** 2 / (2 * N) + mp.mpf(L) / 2 * mp.mpf(decay) * z**power

        def slope(z):
            return (z - s) / N + mp.mpf(decay) * z ** (power - 1)

        grid = [s * k / 400 for k in range(1, 401)]
        best = min(grid, key=loss)
        if loss(mp.mpf(0)) < loss(best):
            return 0.0, float(loss(mp.mpf(0)))
        z = mp.findroot(slope, (best - s / 400, best + s / 400), solver="anderson", tol=1e-60)
        return float(z), float(loss(z))


@pytest.mark.parametrize("L", [2, 2.5, 3, 4, 7])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99, 1.01, 2.0])
def test_deep_optimum(L, share):
    C, n = 4, 10
    decay = share * float(deep.critical_decay(L, C, n))
    z, loss = deep_oracle(L, decay, C, n)
    found = deep.optimum(L, decay, C, n)
    assert found == pytest.approx(z, abs=1e-12)
    assert deep.mode_loss(found, L, decay, C, n) == pytest.approx(loss, abs=1e-14)


@pytest.mark.parametrize("L", [2.01, 3, 4, 10, 1000])
def test_jump(L):
    C, n = 4, 10
    edge, s = float(deep.critical_decay(L, C, n)), np.sqrt(n)
    below, above = deep.optimum(L, edge * (1 - 1e-9), C, n), deep.optimum(L, edge, C, n)
    assert above == 0
    assert below / s == pytest.approx(float(deep.jump(L)), abs=1e-7)
    with mp.workdps(40):
        z, c = mp.sqrt(n) * (mp.mpf(L) - 2) / (mp.mpf(L) - 1), mp.mpf(edge)
        there = (z - mp.sqrt(n)) ** 2 / (2 * C * n) + mp.mpf(L) / 2 * c * z ** (2 / mp.mpf(L))
        assert abs(there - mp.mpf(1) / (2 * C)) < 1e-17 * (100 + L)
    last = float(deep.largest_decay(L, C, n))
    assert last >= edge
    assert deep.branch(L, last * (1 - 1e-10), C, n) / s == pytest.approx(
        float(deep.jump(L)) / 2, abs=1e-4
    )
    assert np.isnan(deep.branch(L, last * (1 + 1e-9), C, n))


def test_known_jumps_and_two_layers():
    np.testing.assert_allclose(deep.critical_decay([3, 4], 4, 10), [0.0461, 0.0383], atol=5e-5)
    for decay in (0.0, 0.01, 0.07, 0.08):
        features = lw.Features(4, 10, 4, decay=(decay, decay))
        np.testing.assert_allclose(
            features.optimum().modes, deep.optimum(2, decay, 4, 10), rtol=0, atol=1e-14
        )
    with pytest.raises(ValueError, match="depth must be at least 2"):
        deep.optimum(1.9, 0.1, 4, 10)
    with pytest.raises(ValueError, match="decay must be finite"):
        deep.branch(3, -0.1, 4, 10)


@pytest.mark.parametrize("depth", [3, 4])
def test_deep_weights_reach_the_loss(depth):
    C, n, d = 3, 4, 4
    Y = np.repeat(np.eye(C), n, axis=1)
    N, decay = C * n, 0.6 * float(deep.critical_decay(depth, C, n))
    shapes = [(d, N)] + [(d, d)] * (depth - 2) + [(C, d)]
    ends = np.cumsum([0] + [a * b for a, b in shapes])

    def loss(x):
        layers = [x[i:j].reshape(s) for i, j, s in zip(ends, ends[1:], shapes, strict=False)]
        outputs = [np.eye(N)]
        for layer in layers:
            outputs.append(layer @ outputs[-1])
        back = (outputs[-1] - Y) / N
        slopes = []
        for layer, below in zip(layers[::-1], outputs[-2::-1], strict=True):
            slopes.append(back @ below.T + decay * layer)
            back = layer.T @ back
        value = np.sum((outputs[-1] - Y) ** 2) / (2 * N) + decay / 2 * np.sum(x**2)
        return value, np.concatenate([slope.ravel() for slope in slopes[::-1]])

    first = 0.8 * np.concatenate([np.eye(*s).ravel() for s in shapes[1:]])
    first = np.concatenate([0.8 * (np.eye(d, C) @ Y).ravel() / np.sqrt(n), first])
    first += 0.05 * np.random.default_rng(0).standard_normal(len(first))
    options = {"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-10, "ftol": 0.0}
    reached = minimize(loss, first, method="L-BFGS-B", jac=True, options=options).fun
    z = deep.optimum(depth, decay, C, n)
    assert reached == pytest.approx(C * float(deep.mode_loss(z, depth, decay, C, n)), abs=1e-11)


# what is refused


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"n_classes": 1}, ValueError, "n_classes must be at least 2, got 1"),
        ({"n_classes": 3.0}, TypeError, "n_classes must be a whole number"),
        ({"n_classes": True}, TypeError, "n_classes must be a whole number"),
        ({"n_per_class": 0}, ValueError, "n_per_class must be at least 1, got 0"),
        ({"n_per_class": [3, 0, 1]}, ValueError, "n_per_class must be at least 1, got 0"),
        ({"n_per_class": [3, 1]}, ValueError, r"one number or 3.*got shape \(2,\)"),
        ({"n_per_class": 2.5}, TypeError, "n_per_class must be a whole number"),
        ({"dim": 2}, ValueError, "orthogonal class means of 3 classes needs dim >= 3, got dim = 2"),
        ({"dim": 1, "loss": "ce"}, ValueError, "the simplex of 3 classes needs dim >= 2"),
        ({"dim": 1, "bias": True}, ValueError, "needs dim >= 2"),
        ({"loss": "mae"}, ValueError, "unknown loss 'mae'; did you mean 'mse'"),
        ({"decay": 0.1}, TypeError, "two numbers"),
        ({"decay": (0.1, -0.1)}, ValueError, "not negative"),
        ({"decay": (0.1, np.nan)}, ValueError, "finite"),
        ({"bias": "yes"}, TypeError, "True or False"),
        ({"start": 0.0}, ValueError, "positive and finite, got 0"),
        ({"start": [0.1, -1.0, 0.1]}, ValueError, "positive and finite, got -1"),
        ({"start": [0.1, 0.1]}, ValueError, "one strength or 3"),
        ({"start": "small"}, ValueError, "one strength or 3"),
        ({"start": [0.1, 0.2], "loss": "ce"}, ValueError, "start alike"),
        ({"start": (np.eye(3), np.ones((3, 5)))}, ValueError, r"\(3, 3\) and \(3, 6\)"),
        ({"start": (np.eye(3), np.full((3, 6), np.nan))}, ValueError, "H must be finite"),
        ({"start": (np.eye(3), np.ones((3, 6)), np.ones(3))}, ValueError, "needs bias=True"),
    ],
)
def test_bad_input(change, error, said):
    size = {"n_classes": 3, "n_per_class": 2, "dim": 3}
    with pytest.raises(error, match=said):
        lw.Features(**size | change)


@pytest.mark.parametrize(
    ("loss", "decay", "said"),
    [
        ("ce", (0.0, 0.0), "margins grow for ever"),
        ("ce", (0.1, 0.0), "without"),
        ("mse", (0.0, 0.1), "without"),
    ],
)
def test_no_optimum(loss, decay, said):
    with pytest.raises(lw.NotSolvable, match=said):
        lw.Features(3, 2, 3, loss, decay).optimum()


def test_no_law_of_the_modes():
    W, H = balanced(3, 3, 6)
    for features, said in (
        (lw.Features(3, 2, 3, decay=(0.1, 0.2)), "equal decay"),
        (lw.Features(3, 2, 3, "ce", decay=(0.1, 0.1)), "no decay"),
        (lw.Features(3, 2, 3, start=(W, H)), "a start given by their strengths"),
        (lw.Features(3, 2, 3, "ce", start=(W, H)), "a start on the simplex"),
    ):
        for ask in (lambda f=features: f.strengths(1.0), features.learning_times):
            with pytest.raises(lw.NotSolvable, match=said):
                ask()
    with pytest.raises(ValueError, match="share must lie between"):
        lw.Features(3, 2, 3).learning_times(1.0)
    with pytest.raises(KeyError, match="did you mean 'margin'"):
        lw.solve(lw.Features(3, 2, 3), [1.0])["margins"]


def test_emergence_from_any_weights():
    features = lw.Features(3, [4, 2, 1], 3, start=balanced(3, 3, 7))
    sol = lw.solve(features, np.linspace(0, 60, 13))
    times = sol.emergence_times()
    for k, time in enumerate(times):
        reached = sol.evaluate("modes", [0.0, time])[1, k]
        assert reached == pytest.approx(features.goals[k] / 2, abs=1e-9)


@pytest.mark.parametrize("start", [0.1, balanced(3, 4, 6)], ids=["modes", "weights"])
def test_a_trace_says_what_was_solved(start):
    sol = lw.solve(lw.Features(3, 2, 4, start=start), [0.0, 1.0, 2.0])
    trace = sol.trace("modes", "nc3")
    config = json.loads(json.dumps(dict(trace.provenance.config)))
    assert config["model"] == "Features"
    kept = config["start"]
    again = lw.Features(
        3, config["n_per_class"], config["dim"], start=kept[:2] if start != 0.1 else kept
    )
    np.testing.assert_array_equal(again.start, sol.model.start)


def test_nothing_can_be_changed():
    features = lw.Features(3, 2, 4)
    for array in (features.counts, features.initial):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
