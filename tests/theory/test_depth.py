import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from layerwise.theory.laws import depth as law
from layerwise.theory.laws.incomplete_beta import beta

from . import depth_oracles as oracles

ONE = np.ones(())
EPS = np.finfo(float).eps
DEPTHS = [1, 1.5, 2, 2.0001, 3, 4, 5, 10, 50, 1e4, math.inf]
EACH_DEPTH = pytest.mark.parametrize("depth", DEPTHS)


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def exponent(depth):
    return 1 - 2 / depth


def pace(target, depth, rate=1.0):
    """Return the rate at which the target is approached."""
    layers = depth if math.isfinite(depth) else 1
    return rate * layers * abs(target) ** (1 + exponent(depth))


def escape(start, target, depth):
    """Return the clock time of the plateau, (S/u0)^m/m: the condition number of what follows."""
    m = exponent(depth)
    return (target / start) ** m / m if m > 0.01 and 0 < start < target else 0.0


def times(start, target, depth, rate):
    """Return times before, during and long after the motion."""
    if target == 0:
        return np.array([0, 1e-3, 1.0, 30.0, 1e12])
    late = escape(start, target, depth)
    clock = [0, 1e-3, 0.1, 1.0, 20.0, 0.5 * late, max(late - 1, 0), late + 0.3, late + 3, late + 12]
    return np.unique([*(np.array(clock) / pace(target, depth, rate)), 1e12])


def agrees(found, expected, tolerance, scale=1.0):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    bound = tolerance * np.maximum(scale, np.abs(expected))
    assert np.all(np.abs(found - expected) <= bound), np.max(np.abs(found - expected) / bound)


STARTS = [
    *((1.0, 10.0**-k) for k in (12, 6, 3)),
    *((0.3, 0.3 * z) for z in (0.3, 0.6, 0.99, 1.7, 50.0)),
    *((-1.5, u) for u in (1e-6, 0.1, 4.0)),
    (0.0, 0.3),
]


# depth 1 crosses 0 towards a negative target, where the oracle's variable ends
@pytest.mark.parametrize(
    ("depth", "target", "start"),
    [(depth, *case) for depth in DEPTHS for case in STARTS if depth > 1 or case[0] >= 0],
)
def test_the_product_agrees_with_many_digits(depth, target, start):
    rate = 0.7
    t = times(start, target, depth, rate)
    u, error = law.product(ONE * start, ONE * target, depth, ONE * rate, t)
    expected, left = oracles.product(start, target, depth, rate, t)
    tolerance = 1e-14 + 4 * EPS * escape(start, target, depth)
    agrees(u, expected, tolerance)
    # the error keeps its digits however small it is
    agrees(error, left, 10 * tolerance + 4 * EPS * np.log(1 / np.maximum(np.abs(left), 1e-300)), 0)


@pytest.mark.parametrize(
    ("weight", "target", "depth"),
    [
        (0.1, 1.0, 400),  # a product of 1e-400
        (10.0, 1.0, 400),
        (0.999, 1.0, 400),
        (0.1, 1.0, 2.1),
        (1e-150, 1.0, 2.1),
        (1e-200, 1.0, 2.001),
        (1e-100, -1.0, 4),
        (0.9, -1.0, 400),
        (10.0, -1.0, 100),
        (1.5, 1e-100, 10),
        (1.5, 1e-120, 2.5),
        (0.3, 1e100, 3),
        (1.1, 0.0, 400),
        (1e-3, 0.0, 1.5),
        (0.3, -1.0, 1.7),
        (1e5, -1.0, 1.7),
        (0.2, -1.0, 1.0001),
        (2.0, 1e-3, 1.0001),
        (0.9, 1.0, 1e4),
    ],
)
def test_weights_agree_with_many_digits(weight, target, depth):
    t = np.array([0.0, 1e-8, 1e-3, 0.1, 1.0, 1e3, 1e12])
    found = law.weights(ONE * weight, ONE * target, depth, ONE, t)
    agrees(found, oracles.weights(weight, target, depth, 1.0, t), 2e-13, scale=0)


def motion(weight, target, depth, rate, t):
    """Return w at the times t, by an independent solver."""
    solution = solve_ivp(
        lambda _, w: (
            rate
            * np.sign(w) ** (depth - 1)
            * np.abs(w) ** (depth - 1)
            * (target - np.sign(w) ** depth * np.abs(w) ** depth)
        ),
        (0, t[-1]),
        [weight],
        method="DOP853",
        t_eval=t,
        rtol=3e-14,
        atol=1e-18 * abs(weight),
    )
    return solution.y[0]


@pytest.mark.parametrize("seed", range(40))
def test_weights_agree_with_an_independent_solver(seed):
    rng = np.random.default_rng(seed)
    depth = rng.choice([1, 2, 3, 4, 5, 7, 8, rng.uniform(2, 6)])
    weight = rng.uniform(0.3, 1.3)
    target, rate = rng.uniform(-1.5, 1.5), rng.uniform(0.3, 3)
    if depth == int(depth):  # of both signs, odd and even
        weight *= rng.choice([-1, 1])
    t = np.linspace(0, 8, 9)
    found = law.weights(ONE * weight, ONE * target, float(depth), ONE * rate, t)
    agrees(found, motion(weight, target, int(depth) if depth % 1 == 0 else depth, rate, t), 2e-12)


def test_product_and_weights_are_one_law():
    rng = np.random.default_rng(1)
    w, S, t = rng.uniform(0.2, 1.4, 50), rng.uniform(-2, 2, 50), np.linspace(0, 5, 11)
    for depth in (1, 1.5, 2, 3, 4.5, 30):
        weights = law.weights(w, S, depth, ONE, t)
        power = weights**depth if depth != 1 else weights
        u, error = law.product(w**depth, S, depth, ONE, t)
        agrees(power, u, 1e-13)
        agrees(S - u, error, 1e-14, scale=2.0)


@EACH_DEPTH
def test_many_points_and_few_give_the_same(depth):
    rng = np.random.default_rng(2)
    S = np.concatenate([np.ones(150), -np.ones(50), np.zeros(5)]) * rng.uniform(0.3, 3, 205)
    u0 = 10 ** rng.choice([rng.uniform(-3, 0.3, 205), rng.uniform(-40, -3, 205)], axis=0)
    t = np.concatenate([np.linspace(0, 10, 60), np.geomspace(11, 1e9, 40)])
    u, error = law.product(u0, S, depth, ONE, t)  # 20500 points: by the table
    for k in range(0, 205, 8):
        few, left = law.product(u0[k], S[k], depth, ONE, t)  # 100 points: by Newton
        tolerance = 1e-13 + 4 * EPS * escape(u0[k], S[k], depth)
        agrees(u[:, k], few, tolerance, 1e-300)
        agrees(error[:, k], left, tolerance + EPS * pace(S[k], depth) * t, 1e-300)


def test_more_modes_than_a_block_holds():
    S, t = np.linspace(0.5, 2, 40_000), np.array([0.0, 1.0, 5.0])
    u, _ = law.product(0.1 * ONE, S, 3, ONE, t)
    for k in (0, 16383, 16384, 39_999):
        agrees(u[:, k], law.product(0.1 * ONE, S[k], 3, ONE, t)[0], 1e-14)


@pytest.mark.parametrize(
    ("p", "r"),
    [
        *((p, 0.0) for p in (-1.0, -0.6, -0.5, -1e-4, 0.3, 2.0)),
        *((1 + m, -m) for m in (-1 + 1e-9, -0.3, 1e-9, 0.5, 0.6, 1.0)),
    ],
)
def test_a_clock_is_read_back(p, r):
    clock = beta(p, r)
    y = np.concatenate([np.linspace(-60, 60, 2001), np.linspace(-1, 1, 500), [-1e4, 1e4]])
    w, _ = clock.position(y)
    assert np.all(np.diff(w[:2001]) > 0)
    assert np.all(np.abs(clock.inverse(w, w) - y) < 8e-15 * np.maximum(1, np.abs(y)))


@EACH_DEPTH
@pytest.mark.parametrize(
    ("start", "target", "levels"),
    [
        (1e-9, 1.0, (1e-8, 0.5, 1 - 1e-9)),
        (0.1, 2.0, (0.1 + 1e-9, 0.3, 1.0, 1.9)),
        (1.5, 2.0, (1.6, 1.99)),
        (40.0, 2.0, (39.0, 5.0, 2.1)),
        (2.0, -1.0, (1.5, 0.5, 1e-3)),
        (0.3, -1.0, (0.2, 1e-3)),
    ],
)
def test_times_agree_with_a_quadrature(start, target, levels, depth):
    error = target - np.array(levels)
    found = law.time_to(ONE * start, ONE * target, depth, ONE * 0.7, error)
    expected = [oracles.time_to(start, target, depth, 0.7, e) for e in error]
    near = EPS * np.abs((target - start) / (levels - ONE * start))  # what was moved, in rounding
    agrees(found, expected, 1e-13 + 4 * near, scale=0)


@settings(max_examples=150, deadline=None)
@given(
    depth=st.one_of(st.floats(1, 60), st.sampled_from(DEPTHS)),
    start=st.floats(-5, 1).map(lambda k: 10**k),
    target=st.floats(-2, 2).filter(lambda s: abs(s) > 1e-3),
    share=st.floats(0.05, 0.95),
)
def test_a_level_is_reached_at_its_time(depth, start, target, share):
    first = target - start
    left = first * share if target > 0 else first + (target - first) * share
    if left == 0 or abs(first) < 1e-6:
        return
    t = law.time_to(ONE * start, ONE * target, depth, ONE, ONE * left)
    assert 0 < t < np.inf
    _, error = law.product(ONE * start, ONE * target, depth, ONE, np.array([t]))
    agrees(error[0], left, 1e-13 + 8 * EPS * escape(start, target, depth), scale=1 + start)


@settings(max_examples=200, deadline=None)
@given(
    depth=st.one_of(st.floats(1, 60), st.sampled_from(DEPTHS)),
    start=st.floats(-4, 1).map(lambda k: 10**k),
    target=st.one_of(st.floats(-2, 2), st.just(0.0)),
    t=st.tuples(st.floats(-3, 3), st.floats(-3, 3)).map(lambda k: [10 ** k[0], 10 ** k[1]]),
)
def test_a_restart_changes_nothing(depth, start, target, t):
    first, second = t
    u, _ = law.product(ONE * start, ONE * target, depth, ONE, np.array([first]))
    again, _ = law.product(u[0], ONE * target, depth, ONE, np.array([second]))
    through, _ = law.product(ONE * start, ONE * target, depth, ONE, np.array([first + second]))
    agrees(again, through, 1e-13 + 16 * EPS * escape(start, target, depth))


@settings(max_examples=50, deadline=None)
@given(
    depth=st.floats(1.01, 20),
    start=st.floats(0.01, 3),
    target=st.floats(-2, 2),
    scale=st.floats(0.1, 10),
)
def test_units_of_time_and_of_the_product_drop_out(depth, start, target, scale):
    t = np.array([0.1, 1.0, 10.0])
    u, error = law.product(ONE * start, ONE * target, depth, ONE, t)
    faster = scale ** (1 + exponent(depth))
    again, left = law.product(
        ONE * start * scale, ONE * target * scale, depth, ONE / faster / 3, 3 * t
    )
    tolerance = 1e-13 + 16 * EPS * escape(start, target, depth)
    agrees(again / scale, u, tolerance)
    agrees(left / scale, error, tolerance)


@pytest.mark.parametrize("whole", [1, 2, 4])
@pytest.mark.parametrize("target", [1.0, -1.0, 0.0])
def test_depth_enters_continuously(whole, target):
    start, t = np.array([1e-3, 0.1, 0.5, 3.0]), np.linspace(0, 1.5, 16)
    at, error = law.product(start, ONE * target, whole, ONE, t)
    alive = at > 1e-6 if whole == 1 else np.full(at.shape, True)  # depth 1 crosses 0
    for depth in (whole + 1e-10, *((whole - 1e-10,) if whole > 1 else ())):
        near, left = law.product(start, ONE * target, depth, ONE, t)
        np.testing.assert_allclose(near[alive], at[alive], rtol=0, atol=1e-8)
        np.testing.assert_allclose(left[alive], error[alive], rtol=0, atol=1e-8)


def test_infinite_depth_is_the_limit_on_its_own_clock():
    start, t = np.array([1e-3, 0.1, 0.5, 3.0]), np.geomspace(0.1, 100, 10)
    for target in (1.0, -1.0, 0.0):
        limit, _ = law.product(start, ONE * target, math.inf, ONE, t)
        near, _ = law.product(start, ONE * target, 1e12, ONE, t / 1e12)
        np.testing.assert_allclose(near, limit, rtol=0, atol=1e-8)


def test_a_vanishing_target_is_no_target():
    start, t = np.array([1e-3, 0.1, 3.0]), np.array([0.0, 0.5, 20.0])
    for depth in (1, 1.5, 2, 3, 30, math.inf):
        none, _ = law.product(start, 0 * ONE, depth, ONE, t)
        for target in (1e-10, -1e-10, 1e-100, -1e-100, 5e-324, -5e-324):
            near, _ = law.product(start, ONE * target, depth, ONE, t)
            np.testing.assert_allclose(near, none, rtol=0, atol=1e-8)


def test_elementary_cases():
    t = np.linspace(0, 3, 7)
    u0, S = 0.2, 1.5
    u, error = law.product(ONE * u0, ONE * S, 2, ONE, t)
    fade = np.exp(-2 * S * t)
    agrees(u, u0 * S / (u0 + (S - u0) * fade), 1e-15)
    agrees(error, S * (S - u0) * fade / (u0 + (S - u0) * fade), 1e-14, scale=0)
    agrees(law.product(ONE * u0, 0 * ONE, 2, ONE, t)[0], u0 / (1 + 2 * u0 * t), 1e-15)
    agrees(law.weights(ONE * 0.5, 0 * ONE, 3, ONE, t), (0.5**-4 + 4 * t) ** -0.25, 1e-15)
    agrees(law.weights(-ONE, ONE * 2, 1, ONE, t), 2 - 3 * np.exp(-t), 1e-15)  # it crosses 0


def test_the_start_is_returned_as_it_is():
    w = np.array([0.1, 0.7, 3.3])
    for depth in (1, 1.7, 2, 3, 400):
        np.testing.assert_array_equal(law.weights(w, ONE, depth, ONE, np.zeros(1))[0], w)
        np.testing.assert_array_equal(law.product(w, ONE, depth, ONE, np.zeros(1))[0][0], w)


def test_what_stands_still():
    t = np.array([0.0, 1.0, 1e12])
    cases = {"at 0": (0.0, 1.0, 1.0), "at the target": (2.0, 2.0, 1.0), "no input": (0.5, 1.0, 0.0)}
    for start, target, rate in cases.values():
        for depth in (1.5, 2, 3, math.inf):
            u, error = law.product(ONE * start, ONE * target, depth, ONE * rate, t)
            np.testing.assert_array_equal(u, start)
            np.testing.assert_array_equal(error, target - start)
    for depth in (1.5, 2, 3):
        still = law.weights(np.array([0.0, 0.0, 0.5]), np.array([1, -1, 0.5**depth]), depth, ONE, t)
        np.testing.assert_array_equal(still, np.broadcast_to([0.0, 0.0, 0.5], (3, 3)))
    agrees(law.weights(0 * ONE, ONE, 1, ONE, t), -np.expm1(-t), 1e-15)


def test_signs_of_the_weight_and_the_target():
    t = np.linspace(0, 6, 5)
    w = np.array([0.5, 0.8, 1.2])
    for S in (1.0, -1.0, 0.0):
        for depth in (1, 3, 7):  # odd: the mirror image
            mirrored = law.weights(-w, -ONE * S, depth, ONE, t)
            np.testing.assert_array_equal(mirrored, -law.weights(w, ONE * S, depth, ONE, t))
        for depth in (2, 4, 10):  # even: the product is positive all the same
            mirrored = law.weights(-w, ONE * S, depth, ONE, t)
            np.testing.assert_array_equal(mirrored, -law.weights(w, ONE * S, depth, ONE, t))
        for depth in (1.5, 2, 4, math.inf):
            u, error = law.product(w, ONE * S, depth, ONE, t)
            minus, left = law.product(-w, -ONE * S, depth, ONE, t)
            np.testing.assert_array_equal([minus, left], [-u, -error])


def test_an_even_depth_never_reaches_an_opposed_target():
    w = law.weights(ONE * 0.5, -ONE, 4, ONE, np.geomspace(0.1, 1e12, 50))
    assert np.all(np.diff(w) < 0)
    assert 0 < w[-1] < 1e-3


def test_below_depth_2_an_opposed_target_extinguishes_the_weight():
    w0, S, depth = 0.6, -0.8, 1.5
    when = oracles.extinction(w0, S, depth, 1.0)
    found = law.time_to(ONE * w0**depth, ONE * S, depth, ONE, ONE * S)
    assert float(found) == pytest.approx(when, rel=1e-13)
    t = when * np.array([0.5, 1 - 1e-6, 1 + 1e-6, 2.0, 1e12])
    w = law.weights(ONE * w0, ONE * S, depth, ONE, t)
    assert w[0] > w[1] > 0
    np.testing.assert_array_equal(w[2:], 0.0)


@pytest.mark.parametrize(
    ("start", "target", "depth", "level", "expected"),
    [
        (0.5, 1.0, 3, 0.5, 0.0),  # the start's own level
        (0.5, 1.0, 3, 0.4, np.inf),  # behind the start
        (0.5, 1.0, 3, 1.0, np.inf),  # approached only
        (0.5, 1.0, 3, 1.1, np.inf),
        (2.0, 1.0, 3, 1.0, np.inf),
        (1.0, 1.0, 3, 1.0, 0.0),
        (1.0, 1.0, 3, 0.9, np.inf),
        (0.0, 1.0, 3, 0.5, np.inf),
        (0.0, 1.0, 1, 0.5, np.log(2)),
        (0.5, -1.0, 2, 0.0, np.inf),
        (0.5, -1.0, 3, -0.5, np.inf),
        (0.5, -1.0, 1, -0.5, np.log(3)),
        (0.5, 0.0, 2, 0.25, 1.0),
        (0.5, 0.0, 4, 0.25, (0.25**-1.5 - 0.5**-1.5) / 6),
        (0.5, 0.0, 3, 0.0, np.inf),
        (0.5, 0.0, 3, -0.1, np.inf),
        (-0.5, -1.0, 2, -0.75, np.log(3) / 2),
        (0.25, 1.0, 2, 0.5, np.log(3) / 2),
        (3.0, 1.0, 2, 1.5, np.log(2) / 2),
        (0.25, 1.0, math.inf, 0.5, np.log(3) + 2),
        (0.25, 1.0, 4, 0.5, 0.5 * (math.atanh(0.5**0.5) - 2**0.5 - math.atanh(0.5) + 2)),
    ],
)
def test_time_to_a_level(start, target, depth, level, expected):
    found = law.time_to(ONE * start, ONE * target, depth, ONE, ONE * (target - level))
    assert float(found) == pytest.approx(expected, rel=1e-14)


def test_time_to_without_input_is_infinite():
    found = law.time_to(0.5 * ONE, ONE, 3, 0 * ONE, np.array([0.5, 0.1]))
    np.testing.assert_array_equal(found, [0.0, np.inf])


def test_shapes_broadcast():
    start, target, t = np.full((4, 1), 0.1), np.array([1.0, -1.0, 0.0]), np.linspace(0, 2, 5)
    for depth in (1, 2, 3.5):
        u, error = law.product(start, target, depth, ONE, t)
        assert u.shape == error.shape == (5, 4, 3)
        assert law.weights(start, target, depth, ONE, t).shape == (5, 4, 3)
        assert law.time_to(start, target, depth, ONE, ONE * 0.3).shape == (4, 3)
        assert law.weights(ONE, ONE, depth, ONE, t).shape == (5,)
        assert law.weights(ONE, ONE, depth, np.ones(2), t).shape == (5, 2)
        alone, _ = law.product(start[2, 0], target[1], depth, ONE, t)
        np.testing.assert_array_equal(u[:, 2, 1], alone)


def rise(start, depth):
    """Return (t90 - t10)/t50 of a mode with target 1."""
    one = ONE * start
    half = law.time_to(one, ONE, depth, ONE, ONE * 0.5)
    return float(law.time_to(ONE * 0.1, ONE, depth, ONE, ONE * 0.1) / half)


def test_how_abrupt_learning_is_at_each_depth():
    same_weight = [rise(0.1**depth, depth) for depth in (2, 3, 4, 6)]
    np.testing.assert_allclose(same_weight, [0.96, 0.22, 0.036, 6e-4], rtol=0.04)
    same_product = [rise(1e-4, depth) for depth in (2, 3, 4, 5, 6)]
    np.testing.assert_allclose(same_product, [0.477, 0.0971, 0.0362, 0.0193, 0.0125], rtol=3e-3)
    assert rise(1e-4, 1) == pytest.approx(3.2, rel=0.01)


def test_the_time_between_levels_is_no_difference_of_long_times():
    start = ONE * 1e-24  # depth 8 from 1e-3
    at = law.time_to(start, ONE, 8, ONE, np.array([0.9, 0.1]))
    assert at[1] - at[0] == 0
    between = float(law.time_to(ONE * 0.1, ONE, 8, ONE, ONE * 0.1))
    assert between == pytest.approx(oracles.time_to(0.1, 1.0, 8, 1.0, 0.1), rel=1e-14)


def test_the_plateau_of_a_small_start():
    for depth in (3, 4, 7):
        found = law.time_to(ONE * 1e-3**depth, ONE, depth, ONE, ONE * 0.5)
        assert float(found) == pytest.approx(1e3 ** (depth - 2) / (depth - 2), rel=5e-3)


def test_the_oracles_agree_with_each_other():
    for depth in (1.5, 2, 3, 10, math.inf):
        for start, target, left in ((0.01, 1.0, 0.3), (3.0, 1.0, -0.2), (2.0, -1.0, -1.3)):
            t = oracles.time_to(start, target, depth, 1.0, left)
            _, error = oracles.product(start, target, depth, 1.0, [t])
            condition = 1 + escape(start, target, depth)
            assert error[0] == pytest.approx(left, rel=4 * EPS * condition)
