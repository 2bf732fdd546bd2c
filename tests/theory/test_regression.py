"""What a linear network is trained on, against least squares on data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.theory.regression import Regression

SEEDS = st.integers(0, 2**32)


def data(seed, n=30, i=4, o=3, seen=None):
    """Return inputs that vary in `seen` directions, and targets, and the regression on them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, seen or i)) @ rng.standard_normal((seen or i, i))
    y = rng.standard_normal((n, o))
    return x, y, Regression("Linear", y.T @ x / n, x.T @ x / n)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 5))
def test_the_best_map_is_that_of_least_squares(seed, seen, o):
    x, y, target = data(seed, seen=seen, o=o)
    best = np.linalg.lstsq(x, y, rcond=1e-9)[0].T
    np.testing.assert_allclose(target.best, best, atol=1e-7 * max(1, np.max(np.abs(best))))
    left = target.cross - target.best @ target.input_cov
    assert np.max(np.abs(left)) < 1e-10 * max(1, np.max(np.abs(target.cross)))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 4))
def test_the_loss_is_what_least_squares_leaves_out(seed, seen):
    x, y, target = data(seed, seen=seen)
    maps = np.random.default_rng(seed).standard_normal((2, 3, 3, 4))

    def mean(W):
        return np.mean(np.sum((y - x @ W.T) ** 2, axis=1)) / 2

    for k in np.ndindex(2, 3):
        wanted = mean(maps[k]) - mean(target.best)
        assert target.loss(maps)[k] == pytest.approx(wanted, rel=1e-8, abs=1e-10)
        np.testing.assert_allclose(
            target.error(maps)[k], (y - x @ maps[k].T).T @ x / len(x), atol=1e-10
        )
    assert target.loss(target.best) == 0


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 5))
def test_the_modes_are_a_thin_decomposition_of_the_best_map(seed, i, o):
    _, _, target = data(seed, i=i, o=o)
    u, s, v = target.modes
    k = min(i, o)
    assert (u.shape, s.shape, v.shape) == ((o, k), (k,), (i, k))
    assert np.all(np.diff(s) <= 0)
    np.testing.assert_allclose(u * s @ v.T, target.best, atol=1e-12 * max(1, s[0]))
    np.testing.assert_allclose(u.T @ u, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(v.T @ v, np.eye(k), atol=1e-13)
    np.testing.assert_allclose(target.strengths(target.best), s, atol=1e-12 * max(1, s[0]))
    maps = np.random.default_rng(seed).standard_normal((2, o, i))
    for t in range(2):
        for j in range(k):
            wanted = u[:, j] @ maps[t] @ v[:, j]
            assert target.strengths(maps)[t, j] == pytest.approx(wanted, abs=1e-12)


def test_whitened_inputs_are_the_identity():
    cross = np.random.default_rng(70).standard_normal((3, 4))
    white, given = Regression("Linear", cross, None), Regression("Linear", cross, np.eye(4))
    maps = np.random.default_rng(71).standard_normal((2, 3, 4))
    np.testing.assert_array_equal(white.best, cross)
    np.testing.assert_allclose(given.best, cross, atol=1e-14)
    np.testing.assert_allclose(white.loss(maps), given.loss(maps), rtol=1e-13)
    np.testing.assert_allclose(white.error(maps), given.error(maps), rtol=1e-13)
    assert white.extent == (1.0, 1.0, 4.0)
    assert given.extent == pytest.approx((1.0, 1.0, 4.0))
    np.testing.assert_array_equal(white.variances[0], np.ones(4))


def test_the_extent_leaves_out_inputs_without_variance():
    turn = np.linalg.qr(np.random.default_rng(72).standard_normal((4, 4)))[0]
    cov = turn @ np.diag([0.0, 0.3, 2.0, 5.0]) @ turn.T
    target = Regression("Linear", np.ones((2, 4)) @ cov, cov)
    assert target.extent == pytest.approx((0.3, 5.0, 7.3), rel=1e-12)
    # what W does to inputs that never come has no effect on the loss, and W* has none of it
    blind = turn[:, :1] @ turn[:, :1].T
    np.testing.assert_allclose(target.best @ blind, 0, atol=1e-12)
    maps = np.random.default_rng(73).standard_normal((2, 4))
    assert target.loss(maps + 9 * maps @ blind) == pytest.approx(target.loss(maps), rel=1e-10)


def test_no_variance_at_all_is_no_target():
    target = Regression("Linear", np.zeros((2, 3)), np.zeros((3, 3)))
    np.testing.assert_array_equal(target.best, np.zeros((2, 3)))
    assert target.extent == (0.0, 0.0, 0.0)
    assert target.loss(np.ones((2, 3))) == 0
    with pytest.raises(ValueError, match=r"Linear: cross .* up to 1 on inputs .* no variance"):
        Regression("Linear", np.ones((2, 3)), np.zeros((3, 3)))


def test_messages_carry_the_name_of_the_model():
    with pytest.raises(ValueError, match=r"^Deep one: input_cov \(i, i\) does not fit cross"):
        Regression("Deep one", np.ones((2, 3)), np.eye(2))
