import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import exp, expm1, hypot, mp, mpf
from scipy.integrate import solve_ivp

from layerwise.theory.laws import pair

from . import oracles

TIMES = np.array([0.0, 1e-9, 1e-3, 0.03, 0.2, 1.0, 4.0, 20.0, 60.0, 300.0, 1e4, 1e8, 1e12])
ROUNDING = 2e-15
FLOOR = 1e-90  # what has fallen by e^300 is not followed further
KINDS = (
    "plain",
    "no target",
    "no target, balanced",
    "small target",
    "balanced",
    "above",
    "heavy",
    "saddle",
    "near the saddle",
    "first layer zero",
    "zero",
    "tiny",
    "tiny and unequal",
    "unequal",
)


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_pair(kind, rng):
    """Return a, b, target, rate."""
    target = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-2, 2)
    a, b = 10 ** rng.uniform(-3, 1, 2) * rng.standard_normal(2)
    match kind:
        case "no target":
            target = 0.0
        case "no target, balanced":
            target, b = 0.0, rng.choice([-1.0, 1.0]) * a
        case "small target":
            target *= 1e-8
        case "balanced":
            b = a
        case "above":
            a = b = 1e3 * a
        case "heavy":
            a, b = 1e3 * a, 1e3 * b
        case "saddle":
            b = -np.sign(target) * a
        case "near the saddle":
            b = -np.sign(target) * a * (1 + 10 ** rng.uniform(-12, -3))
        case "first layer zero":
            a = 0.0
        case "zero":
            a = b = 0.0
        case "tiny":
            a, b = 1e-12 * rng.standard_normal(2)
        case "tiny and unequal" | "unequal":
            light = 10 ** (rng.uniform(-12, -3) if "tiny" in kind else rng.uniform(-3, 3))
            heavy = rng.choice([-1.0, 1.0]) * np.sqrt(light**2 + 10 ** rng.uniform(0, 6))
            a, b = (light, heavy) if rng.random() < 0.5 else (heavy, light)
    return a, b, target, 10 ** rng.uniform(-1, 1)


def random_pairs(kind, count):
    rng = np.random.default_rng([KINDS.index(kind), 7])
    return np.array([random_pair(kind, rng) for _ in range(count)]).T


def in_many_digits(a, b, target, rate, t):
    """Return u and S - u, in the eigenvector form."""
    with mp.workdps(150):
        a, b, S, s = (mpf(float(x)) for x in (a, b, target, rate))
        half = (b * b - a * a) / 2
        w = hypot(S, half)
        va, vb = (S, w + half) if half >= 0 else (w - half, S)
        norm = hypot(va, vb)
        va, vb = (va / norm, vb / norm) if norm else (mpf(1), mpf(0))
        plus, minus = va * a + vb * b, vb * a - va * b
        states = []
        for time in t:
            x = 2 * w * s * mpf(float(time))
            fade, spread = exp(-x), -expm1(-x) / (2 * w) if w else s * mpf(float(time))
            radicand = fade * (1 + minus**2 * spread) + plus**2 * spread
            over = (va * plus + vb * fade * minus) * (vb * plus - va * fade * minus)
            states.append((float(over / radicand), float((S - a * b) * fade / radicand)))
        return np.array(states).T


def allowed(a, b, target, rate, t):
    """Return how many roundings the exponent brings, and what is lost where u crosses 0."""
    exponent = 2 * np.hypot(target, (b - a) * (b + a) / 2) * rate * t
    crossing = min(abs(a * b), abs(target)) if a * b * target < 0 else 0.0
    return ROUNDING * (1 + exponent), crossing


@pytest.mark.parametrize("kind", KINDS)
def test_product_and_error_agree_with_many_digits(kind):
    pairs = random_pairs(kind, 40)
    found, left = pair.product(*pairs, TIMES), pair.error(*pairs, TIMES)
    for k, one in enumerate(pairs.T):
        roundings, crossing = allowed(*one, TIMES)
        u, missing = in_many_digits(*one, TIMES)
        off = np.abs(found[:, k] - u)
        assert np.all(off <= roundings * (np.abs(u) + crossing) + FLOOR)
        assert np.all(off <= 5e-14 * np.maximum(1, np.abs(u)))
        assert np.all(np.abs(left[:, k] - missing) <= roundings * np.abs(missing) + FLOOR)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_product_of_the_weights(kind):
    a, b, target, rate = random_pairs(kind, 40)
    first, second = pair.weights(a[:, None], b[:, None], target, np.ones(()), rate, TIMES)
    u = (first * second)[..., 0]
    np.testing.assert_allclose(
        pair.product(a, b, target, rate, TIMES) / np.maximum(1, np.abs(u)),
        u / np.maximum(1, np.abs(u)),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("kind", ["plain", "no target", "small target", "balanced"])
def test_product_agrees_with_an_independent_solver(kind):
    a, b, target, rate = random_pairs(kind, 3)
    for k in range(3):
        speed = rate[k] * (a[k] ** 2 + b[k] ** 2 + abs(target[k]))
        t = np.linspace(0, 12 / speed, 9)

        def slope(_, state, k=k):
            push = rate[k] * (target[k] - state[0] * state[1])
            return push * state[1], push * state[0]

        options = {"method": "DOP853", "t_eval": t, "rtol": 3e-14, "atol": 1e-20}
        numeric = solve_ivp(slope, (0, t[-1]), (a[k], b[k]), **options).y
        found = pair.product(a[k], b[k], target[k], rate[k], t)
        np.testing.assert_allclose(found, numeric[0] * numeric[1], rtol=1e-11, atol=1e-13)


def test_a_start_of_1e_12_keeps_its_digits_on_the_plateau():
    t = np.array([1.0, 10.0, 25.0, 27.0, 28.0, 30.0])
    start = 1e-12 * np.ones(1)
    found = pair.product(start, start, np.ones(1), np.ones(1), t)[:, 0]
    with mp.workdps(60):
        u0 = mpf(1e-12) ** 2
        expected = [float(u0 / (u0 + (1 - u0) * exp(-2 * mpf(time)))) for time in t]
    np.testing.assert_allclose(found, expected, rtol=2e-14)
    assert found[0] < 1e-22
    assert 0.1 < found[3] < 0.9


def test_the_loss_keeps_its_digits_at_the_end_of_training():
    a, one = np.array([0.1]), np.ones(1)
    t = np.array([20.0, 50.0, 100.0])
    expected = 99 * np.exp(-2 * t)  # (S - u_0)/u_0 e^{-2 S t}
    np.testing.assert_allclose(pair.error(a, a, one, one, t)[:, 0], expected, rtol=1e-13)
    # which a difference cannot give
    differences = 1 - pair.product(a, a, one, one, t)[:, 0]
    assert np.all(np.abs(differences[1:] - expected[1:]) > 0.1 * expected[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_and_the_end(kind):
    a, b, target, rate = random_pairs(kind, 40)
    np.testing.assert_array_equal(pair.product(a, b, target, rate, TIMES)[0], a * b)
    np.testing.assert_array_equal(pair.error(a, b, target, rate, TIMES)[0], target - a * b)
    frozen = pair.product(a, b, target, 0 * rate, TIMES)
    np.testing.assert_array_equal(frozen, np.broadcast_to(a * b, frozen.shape))
    late = np.array([1e12])
    end, left = (law(a, b, target, rate, late)[0] for law in (pair.product, pair.error))
    stays = a + np.where(target < 0, -b, b) == 0
    assert np.all(stays) or kind not in ("saddle", "zero")
    np.testing.assert_allclose(end, np.where(stays, 0, target), rtol=1e-15, atol=1e-11)
    np.testing.assert_allclose(left, np.where(stays, target, 0), rtol=1e-15, atol=1e-11)


@pytest.mark.parametrize(
    ("modes", "times"), [(1, 40_000), (7, 5_000), (1_000, 40), (17_000, 3), (40_000, 1)]
)
def test_blocks_change_nothing(modes, times):
    rng = np.random.default_rng(modes)
    a, b, target = rng.standard_normal((3, modes))
    rate = rng.uniform(0.1, 2, modes)
    t = rng.permutation(np.linspace(0, 9, times))
    found = pair.product(a, b, target, rate, t)
    assert found.shape == (times, modes)
    for _ in range(30):
        row, k = rng.integers(times), rng.integers(modes)
        alone = pair.product(a[k], b[k], target[k], rate[k], t[row : row + 1])
        assert alone.shape == (1,)
        assert found[row, k] == pytest.approx(alone[0], rel=1e-13, abs=1e-14)


def test_shapes_broadcast():
    a, target = np.array([[0.1], [0.2]]), np.array([1.0, 2.0, -3.0])
    found = pair.product(a, np.array(0.3), target, np.array(1.0), TIMES)
    assert found.shape == (len(TIMES), 2, 3)
    alone = pair.product(a[1, 0], np.array(0.3), target[2], np.array(1.0), TIMES)
    np.testing.assert_allclose(found[:, 1, 2], alone, rtol=1e-14)
    assert pair.product(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), TIMES).shape == (13, 0)


# --- symmetries ------------------------------------------------------------------------------

weight = st.floats(-3, 3).map(lambda x: round(x, 4))
pairs = st.tuples(weight, weight, st.floats(-4, 4).map(lambda x: round(x, 4))).map(np.array)


@given(pairs)
def test_the_layers_may_change_places_and_signs(one):
    a, b, target = one
    rate = np.ones(())
    u = pair.product(a, b, target, rate, TIMES)
    np.testing.assert_array_equal(pair.product(-a, -b, target, rate, TIMES), u)
    np.testing.assert_allclose(pair.product(a, -b, -target, rate, TIMES), -u, rtol=1e-13)
    np.testing.assert_allclose(pair.product(b, a, target, rate, TIMES), u, rtol=1e-13, atol=1e-14)


@given(pairs)
def test_map_and_error_add_up_to_the_target(one):
    a, b, target = one
    rate = np.ones(())
    u, left = pair.product(a, b, target, rate, TIMES), pair.error(a, b, target, rate, TIMES)
    np.testing.assert_allclose(u + left, target, rtol=0, atol=4e-14)
    shrinking = np.abs(left)
    assert np.all(np.diff(shrinking) <= 1e-14 * shrinking[:-1])


@given(pairs, st.floats(0, 3), st.floats(0.01, 3))
def test_a_flow_restarted_goes_on(one, t1, t2):
    a, b, target = one
    rate = np.ones(())
    first, second = pair.weights(a[None], b[None], target, rate, rate, np.array([t1]))
    restarted = pair.product(first[0], second[0], target, rate, np.array([t2]))
    whole = pair.product(a, b, target, rate, np.array([t1 + t2]))
    # on its way past a saddle the flow multiplies the last digits of the restart
    growth = np.exp(2 * abs(target) * t2)
    np.testing.assert_allclose(restarted[0], whole, rtol=0, atol=1e-13 * max(1.0, growth))


def test_the_oracle_agrees_with_the_other_one():
    for kind in KINDS:
        a, b, target, rate = random_pairs(kind, 1)[:, 0]
        _, _, u = oracles.pair(a, b, target, rate, TIMES)
        expected = in_many_digits(a, b, target, rate, TIMES)[0]
        np.testing.assert_allclose(expected, u, rtol=1e-14, atol=1e-70)
