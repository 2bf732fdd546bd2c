import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import assume, given
from hypothesis import strategies as st

import layerwise as lw
from layerwise.measures import gain, gamma_plus, magnitude, product, weight_to_target

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
MEASURES = [product, magnitude, weight_to_target, gamma_plus, gain]
OF_WEIGHTS = {product, magnitude}

weights = st.lists(
    st.tuples(*2 * [st.floats(-10, 10).map(lambda x: round(x, 6))]), min_size=1, max_size=6
).map(lambda pairs: np.array(pairs).T)
targets = st.floats(0.01, 100).flatmap(lambda x: st.sampled_from([x, -x]))
factors = st.floats(0.1, 10)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(np.asarray(x).tolist(), dtype=getattr(xp, dtype)) for x in arrays]


def network(seed, lead=()):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, *lead, 5))
    return a, b, rng.standard_normal(lead), rng.uniform(0.5, 3.0, lead)


def by_definition(a, b, S, Z):
    theta = sum(x * y for x, y in zip(a, b, strict=True)) / Z
    sigma = sum(x**2 + y**2 for x, y in zip(a, b, strict=True)) / (2 * Z)
    growth = (S + np.sqrt(sigma**2 - theta**2 + S**2)) / (sigma + theta)
    return {
        product: theta,
        magnitude: sigma,
        weight_to_target: sigma / abs(S),
        gamma_plus: growth,
        gain: np.sqrt(growth),
    }


def evaluate(measure, a, b, S, Z):
    return measure(a, b, Z) if measure in OF_WEIGHTS else measure(a, b, S, Z)


@LIBRARIES
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("seed", range(5))
def test_each_is_its_definition(xp, measure, seed):
    a, b, S, Z = network(seed)
    found = evaluate(measure, *in_library(xp, a, b, S, Z))
    assert float(found) == pytest.approx(by_definition(a, b, S, Z)[measure], rel=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_leading_axes_are_independent_networks(measure):
    a, b, S, Z = network(7, lead=(2, 3))
    found = evaluate(measure, a, b, S, Z)
    assert found.shape == (2, 3)
    for k in np.ndindex(2, 3):
        assert found[k] == pytest.approx(by_definition(a[k], b[k], S[k], Z[k])[measure], rel=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_target_serves_many_networks(measure):
    a, b, _, _ = network(8, lead=(4,))
    found = evaluate(measure, a, b, 0.5, 2.0)
    assert found[2] == evaluate(measure, a[2], b[2], 0.5, 2.0)


@given(weights, targets, factors)
def test_the_ratio_follows_the_four_remedies(ab, S, k):
    a, b = ab
    ratio = weight_to_target(a, b, S)
    assert float(weight_to_target(k * a, k * b, S)) == pytest.approx(k**2 * ratio, rel=1e-12)
    assert float(weight_to_target(a, b, k * S)) == pytest.approx(ratio / k, rel=1e-12)
    assert float(weight_to_target(a, b, S, scale=1 / k)) == pytest.approx(k * ratio, rel=1e-12)
    # input x k with the same labels: the coefficient of y = S x becomes S/k
    assert float(weight_to_target(a, b, S / k)) == pytest.approx(k * ratio, rel=1e-12)


@given(weights, targets, factors)
def test_the_growth_depends_on_weights_relative_to_the_target_alone(ab, S, k):
    a, b = ab
    assume(np.sum((a + b) ** 2) > 0)
    growth = gamma_plus(a, b, S)
    assert float(gamma_plus(k * a, k * b, k**2 * S)) == pytest.approx(growth, rel=1e-9)
    assert float(gamma_plus(a, b, S / k, scale=k)) == pytest.approx(growth, rel=1e-9)


@given(weights, targets)
def test_hidden_permutations_and_rotations_change_nothing(ab, S):
    a, b = ab
    assume(np.sum((a + b) ** 2) > 1e-6)
    turn, _ = np.linalg.qr(np.random.default_rng(len(a)).standard_normal(2 * (len(a),)))
    for measure in (weight_to_target, gamma_plus, gain):
        value = measure(a, b, S)
        assert float(measure(a[::-1], b[::-1], S)) == pytest.approx(value, rel=1e-12)
        assert float(measure(turn @ a, turn @ b, S)) == pytest.approx(value, rel=1e-6)


@given(weights, targets)
def test_growth_and_shrinkage_change_places_with_the_sign(ab, S):
    a, b = ab
    assume(min(np.sum((a + b) ** 2), np.sum((a - b) ** 2)) > 0)
    mirrored = gamma_plus(a, -b, -S)
    assert float(gamma_plus(a, b, S) * mirrored) == pytest.approx(1.0, rel=1e-12)


@given(weights, targets)
def test_growth_is_at_least_target_over_size(ab, S):
    a, b = ab
    assume(min(np.sum((a + b) ** 2), np.sum((a - b) ** 2)) > 0)
    ratio = weight_to_target(a, b, S)
    growth = gamma_plus(a, b, S)
    assert float(growth if S > 0 else 1 / growth) >= (1 - 1e-12) / ratio


@given(weights, targets)
def test_growth_exceeds_one_just_where_the_target_exceeds_the_start(ab, S):
    a, b = ab
    start = product(a, b)
    assume(np.sum((a + b) ** 2) > 0)
    assume(abs(S - start) > 1e-6 * (1 + np.sum(a**2 + b**2)))
    assert (gamma_plus(a, b, S) > 1) == (start < S)


def test_growth_is_of_squares_and_gain_of_amplitudes():
    a, b, S, Z = network(11)
    end = lw.solve(lw.Scalar(S, a, b, Z), [1e3]).weights()
    first, second = (layer[0] for layer in end)
    squares, amplitudes = gamma_plus(a, b, S, Z), gain(a, b, S, Z)
    assert amplitudes**2 == pytest.approx(squares, rel=1e-15)
    np.testing.assert_allclose((first + second) / (a + b), amplitudes, rtol=1e-12)
    np.testing.assert_allclose(((first - second) / (a - b)) ** 2, 1 / squares, rtol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.001, 44.721), (0.01, 14.142), (0.1, 4.4777), (1, 1.5538), (10, 1.0512), (100, 1.0050)],
)
def test_gain_of_a_start_that_maps_to_zero(ratio, expected):
    a, b = np.sqrt(ratio) * np.array([[1.0, 1.0], [1.0, -1.0]])
    found = float(gain(a, b, target=2.0))
    assert found == pytest.approx(np.exp(np.arcsinh(1 / ratio) / 2), rel=1e-13)
    assert found == pytest.approx(expected, abs=6e-4)


@LIBRARIES
def test_edge_cases(xp):
    a = [[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    b = [[-1.0, -2.0], [0.0, 0.0], [-1.0, -2.0], [1.0, 2.0], [1.0, 2.0]]
    S = [3.0, 3.0, -5.0, -5.0, 0.0]
    growth = gamma_plus(*in_library(xp, a, b, S))
    # on the saddle; zero weights; opposed to S < 0; decaying to the saddle; S = 0, balanced
    np.testing.assert_array_equal(np.from_dlpack(growth), [np.inf, 1.0, 1.0, 0.0, 0.0])
    ratio = weight_to_target(*in_library(xp, a, b, S))
    np.testing.assert_array_equal(np.from_dlpack(ratio), [5 / 3, 0.0, 1.0, 1.0, np.inf])


def test_no_digits_are_lost_when_the_target_is_negative_and_the_weights_small():
    # (S + sqrt(S^2 + C^2))/(2 U) would be 0 here in float64
    a, b = np.array([1e-9]), np.array([0.0])
    assert float(gamma_plus(a, b, -1.0)) == pytest.approx(1e-18 / 4, rel=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_input_is_refused(measure):
    with pytest.raises(ValueError, match=r"hidden units.*\(3,\) and \(2,\)"):
        evaluate(measure, np.ones(3), np.ones(2), 1.0, 1.0)
    with pytest.raises(ValueError, match="hidden units"):
        evaluate(measure, np.ones(()), np.ones(()), 1.0, 1.0)
    for scale in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="Z must be positive"):
            evaluate(measure, np.ones(2), np.ones(2), 1.0, scale)
    with pytest.raises(TypeError, match="real numbers"):
        evaluate(measure, 1j * np.ones(2), np.ones(2), 1.0, 1.0)


@LIBRARIES
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, measure, dtype):
    a, b, S, Z = in_library(xp, *network(3, lead=(2,)), dtype=dtype)
    for found in (evaluate(measure, a, b, S, Z), evaluate(measure, a, b, 0.5, 2)):
        assert array_namespace(found) is array_namespace(a)
        assert found.dtype == a.dtype
        assert found.device == a.device


@pytest.mark.parametrize("measure", MEASURES)
def test_the_device_of_the_inputs_is_kept(measure):
    elsewhere = array_api_strict.Device("device1")
    a = array_api_strict.ones((3, 2), device=elsewhere)
    assert evaluate(measure, a, a, 0.5, 2.0).device == elsewhere


@pytest.mark.parametrize("measure", [weight_to_target, gamma_plus, gain])
def test_lists_and_numbers_join_the_library_of_the_others(measure):
    found = measure([1.0, 2.0], [2.0, 1.0], torch.tensor(0.5))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float32
    found = measure(torch.ones(2), torch.ones(2), np.float64(0.5), np.float64(2.0))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float32
    assert measure([1.0, 2.0], [2.0, 1.0], np.float32(0.5), 2).dtype == np.float32
