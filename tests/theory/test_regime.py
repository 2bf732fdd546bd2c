"""Lazy or rich: the number against its definition, and the words at their limits."""

import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.regime import Regime, regime


@pytest.mark.parametrize(
    ("weight", "word"),
    [
        (np.sqrt(3) + 1e-9, "lazy"),
        (np.sqrt(3) - 1e-9, "between"),
        (np.sqrt(1 / 3) + 1e-9, "between"),
        (np.sqrt(1 / 3) - 1e-9, "rich"),
        (1e-6, "rich"),
        (1e3, "lazy"),
    ],
)
def test_the_word_changes_at_a_ratio_of_3_and_of_a_third(weight, word):
    found = regime(lw.Diagonal(1.0, weight, weight))
    assert found.word == word
    assert found.ratio == pytest.approx(weight**2)
    assert str(found) == f"{word} (weight-to-target ratio {weight**2:.3g})"


def test_weights_that_start_at_nothing_learned_grow_as_the_words_say():
    for ratio, least, most in ((3.0, 1.0, 1.2), (1 / 3, 2.45, 10.0)):
        size = np.sqrt(ratio)
        net = lw.Scalar(1.0, a=[size, size], b=[size, -size], scale=2.0)
        assert net.quantity("map", net.start[None])[0] == pytest.approx(0, abs=1e-15)
        assert regime(net).ratio == pytest.approx(ratio)
        end = lw.solve(net, 1e6)
        grown = np.max(np.abs((end.state[0][0] + end.state[0][2]) / (2 * size)))
        assert least < grown < most


def test_scalar_networks_have_the_ratio_of_their_magnitude():
    net = lw.Scalar([2.0, -0.5], [[1.0, 2.0], [0.1, 0.1]], [[0.5, -1.0], [0.2, 0.0]], scale=3.0)
    found = regime(net)
    by_hand = [6.25 / 6 / 2.0, 0.06 / 6 / 0.5]
    np.testing.assert_allclose(found.by_mode, by_hand)
    assert found.ratio == pytest.approx(by_hand[0])  # of the larger target
    np.testing.assert_allclose(found.by_mode, net.number("weight_to_target"))


def test_pairs_have_half_their_kernel_over_their_target():
    found = regime(lw.Diagonal([0.5, -4.0], a=[1.0, 2.0], b=[3.0, 1.0]))
    np.testing.assert_allclose(found.by_mode, [10.0, 5 / 8])
    assert (found.word, found.ratio) == ("between", 5 / 8)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_deep_networks_have_the_kernel_at_the_start_over_that_at_the_end(depth):
    deep = lw.Deep([1.5, 0.2], weight=0.6, depth=depth)
    states = np.stack([deep.start, np.array([[1.5], [0.2]]) ** (1 / depth)])
    first, last = deep.quantity("kernel", states)
    np.testing.assert_allclose(regime(deep).by_mode, first / last, rtol=1e-12)


@pytest.mark.parametrize("rates", [(1.0, 1.0), (4.0, 0.5)])
@pytest.mark.parametrize("shape", [(4, 3, 2), (2, 3, 4), (3, 5, 3)])
def test_linear_networks_have_it_for_every_mode(shape, rates):
    rng = np.random.default_rng(90)
    i, h, o = shape
    w1, w2, cross = (rng.standard_normal(s) for s in ((h, i), (o, h), (o, i)))
    root = rng.standard_normal((i, i))
    cov = root @ root.T + np.eye(i)
    found = regime(lw.Linear(w1, w2, cross, cov, rates=rates))
    u, s, vt = np.linalg.svd(cross @ np.linalg.inv(cov))
    share = np.sqrt(rates[1] / rates[0])
    for k in range(min(i, o)):
        kernel = share * np.sum((w1 @ vt[k]) ** 2) + np.sum((u[:, k] @ w2) ** 2) / share
        assert found.by_mode[k] == pytest.approx(kernel / (2 * s[k]))
    assert found.ratio == found.by_mode[0]


def test_an_aligned_linear_network_has_the_ratios_of_its_pairs():
    a, b, s = np.array([0.3, 2.0]), np.array([0.1, -1.0]), np.array([2.0, 0.5])
    linear = lw.Linear(*starts.aligned(np.diag(s), a, b), np.diag(s))
    np.testing.assert_allclose(
        regime(linear).by_mode, regime(lw.Diagonal(s, a, b)).by_mode, rtol=1e-12
    )


def test_without_a_target_every_start_is_lazy():
    for model in (
        lw.Diagonal(0.0, 0.1, 0.1),
        lw.Scalar(0.0, [0.1], [0.1]),
        lw.Deep(0.0, 0.1, 3),
        lw.Linear([[0.1]], [[0.1]], [[0.0]]),
    ):
        assert (regime(model).word, regime(model).ratio) == ("lazy", np.inf)
    one = regime(lw.Diagonal([0.0, 1.0], 0.1, 0.1))
    assert (one.word, one.by_mode[0]) == ("rich", np.inf)


def test_a_solution_tells_the_regime_of_its_model():
    model = lw.Diagonal(1.0, 0.1, 0.1)
    told = lw.solve(model, 1.0).regime()
    assert isinstance(told, Regime)
    assert (told.word, told.ratio) == (regime(model).word, regime(model).ratio)


def test_a_shallow_model_has_none():
    with pytest.raises(TypeError, match="Shallow has no lazy or rich regime"):
        regime(lw.Shallow(1.0))
