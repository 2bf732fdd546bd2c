"""The map of many modes at many times, read from the table of u/S."""

import math
import warnings

import numpy as np
import pytest

from layerwise.theory.laws import depth as law
from layerwise.theory.laws import rise

from . import depth_oracles as oracles

ONE = np.ones(())
EPS = np.finfo(float).eps
DEPTHS = [2, 2.0001, 2.5, 3, 10, 50, math.inf]


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def escape(start, target, depth):
    """Return the clock time of the plateau and what relative rounding of it amounts to."""
    m = 1 - 2 / depth
    long = (target / start) ** m / m if m > 0.01 else math.log(target / start)
    return long, EPS * long


def pace(target, depth, rate=1.0):
    return rate * (depth if math.isfinite(depth) else 1) * target ** (2 - 2 / depth)


def by_table(start, target, depth, rate, t):
    """Return u (T,), computed for as many equal modes as make a table worth while."""
    copies = 1 + rise.BLOCK // len(t)
    u = law.strength(np.full(copies, start), ONE * target, depth, ONE * rate, t)
    assert np.all(u == u[:, :1])
    return u[:, 0]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("start", "target"), [(0.01, 1.0), (1e-6, 0.3), (0.9, 2.3), (0.4, 0.5), (1.999, 2.0)]
)
def test_every_stage_agrees_with_many_digits(start, target, depth):
    late, rounding = escape(start, target, depth)
    clock = late + np.concatenate([np.linspace(-70, 45, 400), -np.geomspace(70, 71 + late, 20)])
    t = np.unique(np.maximum(clock, 0.0)) / pace(target, depth, 0.7)
    picked = slice(1, None, 9)
    u = by_table(start, target, depth, 0.7, t)[picked]
    expected = np.array(oracles.product(start, target, depth, 0.7, t[picked])[0])
    off = np.abs(u - expected)
    assert np.max(off) <= (4e-15 + 4 * rounding) * target
    assert np.all(off <= (3e-14 + 8 * rounding) * expected)  # a small one keeps its digits


@pytest.mark.parametrize("depth", [3, 10, math.inf])
def test_a_plateau_too_long_for_the_clock_of_the_table(depth):
    late, _ = escape(1e-60, 1.0, depth)
    t = np.linspace(0, 0.9, 34) * late / pace(1.0, depth)
    u = by_table(1e-60, 1.0, depth, 1.0, t)
    expected = np.array(oracles.product(1e-60, 1.0, depth, 1.0, t)[0])
    np.testing.assert_allclose(u, expected, rtol=1e-12, atol=0)
    assert by_table(1e-60, 1.0, depth, 1.0, 1e9 * t)[-1] == 1.0


@pytest.mark.parametrize("start", [1e-20, 1e-21, 3e-22, 1e-23, 1e-40])
def test_an_escape_within_the_rounding_of_its_time_is_still_a_rise(start):
    late, _ = escape(start, 1.0, 10)
    t = late / pace(1.0, 10) * (1 + EPS * np.arange(-400, 400))
    u = by_table(start, 1.0, 10, 1.0, t)
    assert np.all(np.diff(u) >= 0)
    assert u[0] < 0.01
    assert u[-1] == 1.0


def modes(seed=0):
    """Return starts and targets (200) from all but learned to a plateau never left."""
    rng = np.random.default_rng(seed)
    target = 10 ** rng.uniform(-2, 1, 200)
    share = np.concatenate(
        [10 ** -rng.uniform(0, 5, 150), [1 - 1e-9], 10 ** -rng.uniform(5, 90, 49)]
    )
    return share * target, target


TIMES = np.concatenate([np.linspace(0, 10, 100), np.geomspace(10.5, 1e12, 60)])


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("rate", [1e-12, 1.0, 1e9])
def test_modes_unlike_each_other_give_what_each_gives_alone(depth, rate):
    start, target = modes()
    u = law.strength(start, target, depth, ONE * rate, TIMES)
    assert np.all(np.isfinite(u))
    for k in range(0, 200, 7):
        alone = law.strength(start[k], target[k], depth, ONE * rate, TIMES)  # by Newton
        tolerance = 3e-14 + 8 * escape(start[k], target[k], depth)[1]
        assert np.all(np.abs(u[:, k] - alone) <= min(tolerance, 1.0) * np.maximum(u[:, k], alone))


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_the_order_of_modes_and_times_does_not_matter(depth):
    rng = np.random.default_rng(1)
    target = np.linspace(0.5, 3, 300)
    t = np.linspace(0, 12, 100)
    u = law.strength(0.01 * ONE, target, depth, ONE, t)
    for order in (slice(None, None, -1), rng.permutation(300)):
        again = law.strength(0.01 * ONE, target[order], depth, ONE, t)
        np.testing.assert_allclose(again, u[:, order], rtol=2e-14, atol=0)
    order = rng.permutation(100)
    shuffled = law.strength(0.01 * ONE, target, depth, ONE, t[order])
    np.testing.assert_allclose(shuffled, u[order], rtol=1e-13, atol=0)


def test_kinds_of_motion_side_by_side():
    start = np.tile([0.1, 2.0, 0.1, -0.3, 0.0, 1.0], 50)
    target = np.tile([1.0, 1.0, -1.0, -1.0, 1.0, 1.0], 50)
    t = np.linspace(0, 9, 400)
    u = law.strength(start, target, 3, ONE, t)
    for k in range(6):
        alone = law.strength(start[k], target[k], 3, ONE, t)
        np.testing.assert_allclose(u[:, k::6], np.tile(alone[:, None], 50), rtol=2e-14, atol=0)


@pytest.mark.parametrize("depth", [2, 3, 10, math.inf])
def test_it_rises_to_the_target_and_not_beyond(depth):
    target = np.linspace(0.5, 3, 100)
    t = np.linspace(0, 60, 1000)
    u = law.strength(0.01 * ONE, target, depth, ONE, t)
    assert np.all(np.diff(u, axis=0) >= -4e-16 * target)
    assert np.all(u <= target * (1 + 2 * EPS))
    error = law.remainder(0.01 * ONE, target, depth, ONE, t)
    assert np.all(np.abs(u + error - target) <= 4e-15 * target)
    np.testing.assert_array_equal(u[0], 0.01)


def test_a_block_of_times_in_which_all_is_learned():
    target = np.linspace(0.5, 3, 200)
    t = np.concatenate([np.zeros(50), np.full(50, 1e12)])
    u = law.strength(0.01 * ONE, target, 3, ONE, t)
    np.testing.assert_array_equal(u[:50], 0.01)
    np.testing.assert_array_equal(u[50:], np.broadcast_to(target, (50, 200)))
