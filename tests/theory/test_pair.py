import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import layerwise as lw
from layerwise.measures import drift, gain, gamma_plus

from . import oracles

EXACT = 1e-10
TIMES = np.array([0.0, 1e-9, 1e-3, 0.03, 0.2, 1.0, 4.0, 20.0, 300.0, 1e4, 1e8])
KINDS = (
    "plain",
    "no target",
    "balanced",
    "saddle",
    "near the saddle",
    "first layer zero",
    "one weight zero",
    "zero",
    "tiny",
    "unequal",
)


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_start(kind, rng, h):
    """Return target, a, b of shape (h,)."""
    target = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-2, 2)
    a, b = 10 ** rng.uniform(-3, 1, (2, 1)) * rng.standard_normal((2, h))
    match kind:
        case "no target":
            target = 0.0
        case "balanced":
            b = a.copy()
        case "saddle":
            b = -np.sign(target) * a
        case "near the saddle":
            b = -np.sign(target) * a * (1 + 10 ** rng.uniform(-12, -3))
        case "first layer zero":
            a = np.zeros(h)
        case "one weight zero":
            a[0] = 0.0
        case "zero":
            a, b = np.zeros((2, h))
        case "tiny":
            a, b = 1e-12 * rng.standard_normal((2, h))
        case "unequal":
            # |lam| of up to 1e6, over one pair
            light, lam = 10 ** rng.uniform(-3, 3), 10 ** rng.uniform(0, 6)
            heavy = rng.choice([-1.0, 1.0]) * np.sqrt(light**2 + lam)
            a[0], b[0] = (light, heavy) if rng.random() < 0.5 else (heavy, light)
    return target, a, b


def random_pair(kind, seed):
    rng = np.random.default_rng([KINDS.index(kind), seed])
    target, a, b = random_start(kind, rng, 1)
    return lw.Diagonal(target, a[0], b[0], rate=10 ** rng.uniform(-1, 1))


def random_network(kind, seed):
    rng = np.random.default_rng([KINDS.index(kind), seed])
    h = int(rng.integers(1, 30))
    target, a, b = random_start(kind, rng, h)
    scale = rng.choice([1.0, np.sqrt(h), h])
    return lw.Scalar(target, a, b, scale=scale, rate=10 ** rng.uniform(-1, 1))


def reference(model, t, **options):
    if isinstance(model, lw.Diagonal):
        a, b, u = oracles.pair(model.a, model.b, model.target, model.rate, t)
        return a[:, 0], b[:, 0], u
    return oracles.one_h_one(model.a, model.b, model.target, model.scale, model.rate, t, **options)


def largest(*layers):
    return max(1.0, *(np.max(np.abs(layer[end])) for layer in layers for end in (0, -1)))


def errors(solution, expected):
    """Return the errors of the weights and of the map, relative to at least 1."""
    *layers, u = expected
    found = solution.weights()
    of_weights = max(np.max(np.abs(x - y)) for x, y in zip(found, layers, strict=True))
    of_map = np.abs(solution["map"] - u) / np.maximum(1, np.abs(u))
    return of_weights / largest(*layers), np.max(of_map)


@pytest.mark.parametrize("seed", range(11))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("problem", [random_pair, random_network])
def test_weights_and_map_agree_with_many_digits(problem, kind, seed):
    model = problem(kind, seed)
    solution = lw.solve(model, TIMES, method="exact")
    of_weights, of_map = errors(solution, reference(model, TIMES))
    assert of_weights < EXACT
    assert of_map < EXACT


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("problem", [random_pair, random_network])
def test_weights_agree_with_an_independent_solver(problem, seed):
    model = problem("plain", seed)
    t = np.linspace(0, 20 / model.fastest(), 7)
    start = model.start.ravel()
    numeric = solve_ivp(
        lambda time, state: model.velocity(state.reshape(model.start.shape)).ravel(),
        (0, t[-1]),
        start,
        method="DOP853",
        t_eval=t,
        rtol=3e-14,
        atol=1e-16 * np.max(np.abs(start)),
    )
    state = lw.solve(model, t, method="exact").state.reshape(len(t), -1)
    scale = max(1.0, np.max(np.abs(state)))
    np.testing.assert_allclose(state, numeric.y.T, rtol=0, atol=1e-11 * scale)


def test_the_oracles_agree_with_each_other():
    for kind in KINDS:
        model = random_pair(kind, 99)
        a, b, u = reference(model, TIMES)
        first, second, theta = oracles.one_h_one(
            [model.a], [model.b], model.target, 1.0, model.rate, TIMES
        )
        np.testing.assert_allclose(first[:, 0], a, rtol=1e-14, atol=1e-30)
        np.testing.assert_allclose(second[:, 0], b, rtol=1e-14, atol=1e-30)
        np.testing.assert_allclose(theta, u, rtol=1e-14, atol=1e-30)


def test_the_printed_exponent_of_theorem_3_fails():
    model = lw.Scalar(target=2.0, a=[0.1, -0.2, 0.4], b=[0.3, 0.2, -0.1], scale=2.0, rate=1.0)
    t = np.linspace(0, 10, 21)
    solution = lw.solve(model, t)
    assert max(errors(solution, reference(model, t))) < 1e-14
    assert min(errors(solution, reference(model, t, printed=True))) > 0.1
    assert solution.residual() < 1e-13


@pytest.mark.parametrize("kind", ["plain", "no target", "first layer zero", "tiny", "unequal"])
@pytest.mark.parametrize("seed", range(3))
def test_gamma_plus_is_the_growth_over_all_of_training(kind, seed):
    model = random_network(kind, seed)
    a, b = (layer[0] for layer in lw.solve(model, [1e8]).weights())
    numbers = (model.a, model.b, model.target, model.scale)
    grown = np.sum((a + b) ** 2) / np.sum((model.a + model.b) ** 2)
    shrunk = np.sum((a - b) ** 2) / np.sum((model.a - model.b) ** 2)
    assert grown == pytest.approx(float(gamma_plus(*numbers)), rel=1e-9)
    assert shrunk == pytest.approx(1 / float(gamma_plus(*numbers)), rel=1e-9)
    np.testing.assert_allclose(
        a + b, gain(*numbers) * (model.a + model.b), rtol=1e-9, atol=1e-15 * largest([a], [b])
    )


@pytest.mark.parametrize("seed", range(11))
@pytest.mark.parametrize("problem", [random_pair, random_network])
def test_the_imbalance_is_conserved(problem, seed):
    solution = lw.solve(problem("plain", seed), TIMES)
    assert drift(solution["conserved"]) < 1e-12


@pytest.mark.parametrize("target", [2.0, -2.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_exact_saddle_is_reached_and_never_left(target, sign):
    opposed = lw.Scalar(target, a=[sign, 0.5], b=[-sign * np.sign(target), -0.5 * np.sign(target)])
    end = lw.solve(opposed, [1e2, 1e8])
    np.testing.assert_allclose(end["map"], 0.0, atol=1e-80)
    assert np.all(lw.solve(opposed, [0.0, 1.0, 3.0])["error"] * np.sign(target) > 0)


def test_zero_weights_stay_zero():
    solution = lw.solve(lw.Scalar(1.0, a=np.zeros(3), b=np.zeros(3)), TIMES)
    assert not np.any(solution.state)


def test_without_input_nothing_moves():
    solution = lw.solve(lw.Diagonal([1.0, -2.0], a=0.5, b=[2.0, 1.0], rate=0.0), TIMES)
    np.testing.assert_array_equal(solution.state, np.broadcast_to(solution.state[0], (11, 2, 2)))


def test_the_start_is_returned_bit_by_bit():
    for kind in KINDS:
        model = random_network(kind, 5)
        np.testing.assert_array_equal(lw.solve(model, 0.0).state[0], model.start)


@pytest.mark.parametrize(
    ("a", "b", "target", "formula"),
    [
        (0.1, 0.1, 2.0, lambda t: 0.02 / (0.01 + 1.99 * np.exp(-4 * t))),
        (3.0, 3.0, 2.0, lambda t: 18 / (9 - 7 * np.exp(-4 * t))),
        (0.5, 0.5, 0.0, lambda t: 0.25 / (1 + 0.5 * t)),
        (1.0, 1.0, -2.0, lambda t: 2 / (3 * np.exp(4 * t) - 1)),
    ],
    ids=["sigmoid", "from above", "no target", "to the saddle"],
)
def test_textbook_cases(a, b, target, formula):
    t = np.linspace(0, 5, 11)
    found = lw.solve(lw.Diagonal(target, a, b), t)["map"]
    np.testing.assert_allclose(found, formula(t), rtol=1e-13)


@pytest.mark.parametrize(("lam", "gap"), [(10, 2e-3), (100, 2e-5), (1000, 2e-7)])
def test_large_imbalance_is_lazy_with_a_gap_of_order_its_inverse_square(lam, gap):
    b2 = (lam + np.sqrt(lam**2 + 4 * 0.1**2)) / 2
    t = np.linspace(0, 5 / lam, 50)
    solution = lw.solve(lw.Diagonal(1.0, a=0.1 / np.sqrt(b2), b=np.sqrt(b2)), t)
    lazy = 1 - 0.9 * np.exp(-lam * t)
    assert np.max(np.abs(solution["map"] - lazy)) == pytest.approx(gap, rel=0.5)


# --- symmetries ------------------------------------------------------------------------------


@st.composite
def networks(draw):
    weights = st.floats(-3, 3).map(lambda x: round(x, 4))
    h = draw(st.integers(1, 4))
    a, b = (draw(st.lists(weights, min_size=h, max_size=h)) for _ in range(2))
    target = draw(st.floats(-4, 4).map(lambda x: round(x, 4)))
    return lw.Scalar(
        target, a, b, scale=draw(st.floats(0.5, 3)), rate=draw(st.sampled_from([0.5, 1.0, 2.0]))
    )


def with_weights(model, a, b, target=None):
    target = model.target if target is None else target
    return lw.Scalar(target, a, b, model.scale, model.rate)


@settings(deadline=None)
@given(networks(), st.floats(0, 3), st.floats(0.01, 3))
def test_a_flow_restarted_from_its_weights_goes_on(model, t1, t2):
    there = lw.solve(model, t1)
    a, b = (layer[0] for layer in there.weights())
    # on its way past a saddle the flow multiplies the last digit of the start
    assume(np.min(there["magnitude"]) > 1e-2)
    restarted = lw.solve(with_weights(model, a, b), t2).state
    np.testing.assert_allclose(restarted, lw.solve(model, t1 + t2).state, rtol=0, atol=1e-10)


@given(networks())
def test_sign_symmetry(model):
    mirrored = with_weights(model, model.a, -model.b, -model.target)
    a, b = lw.solve(model, TIMES).weights()
    first, second = lw.solve(mirrored, TIMES).weights()
    np.testing.assert_allclose(first, a, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(second, -b, rtol=1e-14, atol=1e-14)


@given(networks(), st.randoms(use_true_random=False))
def test_hidden_units_may_change_places(model, random):
    order = list(range(model.a.shape[-1]))
    random.shuffle(order)
    permuted = lw.solve(with_weights(model, model.a[order], model.b[order]), [0.1, 1.0])
    plain = lw.solve(model, [0.1, 1.0])
    np.testing.assert_allclose(permuted["map"], plain["map"], rtol=1e-12, atol=1e-13)
    for one, other in zip(permuted.weights(), plain.weights(), strict=True):
        np.testing.assert_allclose(one, other[:, order], rtol=1e-11, atol=1e-13)


@given(networks(), st.floats(0.1, 10))
def test_only_ratios_matter(model, k):
    scaled = lw.Scalar(k**2 * model.target, k * model.a, k * model.b, model.scale, model.rate)
    found = lw.solve(scaled, np.array([0.1, 1.0]) / k**2)["map"]
    np.testing.assert_allclose(
        found / k**2, lw.solve(model, [0.1, 1.0])["map"], rtol=1e-10, atol=1e-12
    )


# --- times -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-9, 1e-14])
@pytest.mark.parametrize("kind", ["plain", "no target", "near the saddle", "unequal", "tiny"])
@pytest.mark.parametrize("seed", range(4))
def test_time_to_agrees_with_quadrature(kind, seed, share):
    model = random_network(kind, seed)
    theta = float(lw.solve(model, 0.0)["map"][0])
    error = share * (float(model.target) - theta)
    numbers = (model.a, model.b, model.target, model.scale, model.rate)
    expected = oracles.time_to(*numbers, error)
    assert float(lw.time_to(model, error=error)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-6])
@pytest.mark.parametrize("kind", ["plain", "no target", "first layer zero", "unequal", "tiny"])
@pytest.mark.parametrize("problem", [random_pair, random_network])
def test_solving_at_time_to_gives_the_level(problem, kind, share):
    model = problem(kind, 21)
    start = float(lw.solve(model, 0.0)["map"][0])
    level = float(model.target) - share * (float(model.target) - start)
    reached = lw.solve(model, lw.time_to(model, level=level))["map"][0]
    assert abs(reached - level) < EXACT * max(1.0, abs(level))


def test_the_time_within_an_error_keeps_every_digit_of_it():
    model = lw.Scalar(target=3.0, a=[0.1, 0.2], b=[0.3, -0.1], scale=2.0)
    t12, t14 = (float(lw.time_to(model, error=error)) for error in (1e-12, 1e-14))
    # near its target the error falls by e^{-2 R t/Z}
    R = np.hypot(3.0, np.sqrt(np.prod([np.sum((model.a + k * model.b) ** 2) for k in (1, -1)])) / 4)
    assert t14 - t12 == pytest.approx(np.log(100) / R, rel=1e-9)
    assert abs(lw.solve(model, t14)["error"][0]) < 1e-13


@pytest.mark.parametrize(
    ("model", "level", "expected"),
    [
        (lw.Diagonal(2.0, 0.1, 0.1), 2.5, np.inf),  # beyond the target
        (lw.Diagonal(2.0, 0.1, 0.1), 2.0, np.inf),  # the target itself
        (lw.Diagonal(2.0, 0.1, 0.1), 0.0, np.inf),  # on the other side of the start
        (lw.Diagonal(2.0, 1.0, 1.0), 1.0, 0.0),  # the start
        (lw.Diagonal(2.0, 2.0, 2.0), 3.0, np.log(1.5) / 4),
        (lw.Diagonal(2.0, 0.0, 0.0), 1.0, np.inf),  # never leaves 0
        (lw.Diagonal(2.0, 1.0, -1.0), -0.5, np.log(5 / 3) / 4),  # along the saddle's manifold
        (lw.Diagonal(2.0, 1.0, -1.0), 0.5, np.inf),  # past the saddle
        (lw.Diagonal(-2.0, 1.0, 1.0), 0.5, np.log(5 / 3) / 4),
        (lw.Diagonal(-2.0, 1.0, 1.0), 0.0, np.inf),
        (lw.Diagonal(-2.0, 0.1, -0.1), -1.0, np.log(199.0) / 4),
        (lw.Diagonal(0.0, 1.0, 1.0), 0.25, 1.5),  # u0/(1 + 2 u0 t)
        (lw.Diagonal(0.0, 1.0, -1.0), -0.25, 1.5),
        (lw.Diagonal(0.0, 1.0, 1.0), -0.25, np.inf),
        (lw.Diagonal(2.0, 0.1, 0.1, rate=0.0), 1.0, np.inf),  # no input
    ],
)
def test_time_to_a_level(model, level, expected):
    assert float(lw.time_to(model, level=level)) == pytest.approx(expected, rel=1e-12)


def test_time_to_broadcasts_over_modes_and_levels():
    model = lw.Diagonal([3.0, 1.0], a=0.01, b=0.02)
    levels = np.array([[0.5, 0.5], [2.0, 0.9]])
    found = lw.time_to(model, level=levels)
    assert found.shape == (2, 2)
    for row, mode in np.ndindex(2, 2):
        alone = lw.Diagonal(model.target[mode], 0.01, 0.02)
        assert found[row, mode] == lw.time_to(alone, level=levels[row, mode])


def test_time_to_of_the_shallow_model():
    model = lw.Shallow([2.0, -1.0, 1.0], theta=[0.0, 1.0, 0.0], rate=[1.0, 2.0, 0.0])
    found = lw.time_to(model, level=[1.0, 0.0, 0.5])
    np.testing.assert_allclose(found, [np.log(2), np.log(2) / 2, np.inf], rtol=1e-14)
    np.testing.assert_array_equal(lw.time_to(model, error=[3.0, 1.0, 1.0]), [np.inf, np.inf, 0.0])


def test_time_to_refuses_what_it_cannot_answer():
    model = lw.Diagonal(1.0, 0.1, 0.1)
    with pytest.raises(ValueError, match="either level= or error="):
        lw.time_to(model)
    with pytest.raises(ValueError, match="either level= or error="):
        lw.time_to(model, level=0.5, error=0.5)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite"):
            lw.time_to(model, level=bad)
    with pytest.raises(lw.NotSolvable, match=r"Scalar with decay; .*crossing_time"):
        lw.time_to(lw.Scalar(1.0, 0.1, 0.1, decay=0.1), level=0.5)
