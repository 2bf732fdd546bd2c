import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import (
    balance_defect,
    balance_level,
    drift,
    imbalance,
    layer_imbalance,
    log_norm_ratio,
    neuron_imbalance,
    pair_imbalance,
)

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
SEEDS = st.integers(0, 2**32 - 1)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def layers(seed, lead=(), h=4, i=3, o=2):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((*lead, h, i)), rng.standard_normal((*lead, o, h))


def by_definition(w1, w2):
    h = w1.shape[0]
    matrix = np.zeros((h, h))
    for j in range(h):
        for k in range(h):
            out = sum(w2[o, j] * w2[o, k] for o in range(w2.shape[0]))
            into = sum(w1[j, i] * w1[k, i] for i in range(w1.shape[1]))
            matrix[j, k] = out - into
    return matrix


@LIBRARIES
def test_imbalance_is_its_definition(xp):
    w1, w2 = layers(0)
    found = imbalance(*in_library(xp, w1, w2))
    np.testing.assert_allclose(np.from_dlpack(found), by_definition(w1, w2), rtol=1e-13)


def test_imbalance_treats_leading_axes_apart():
    w1, w2 = layers(1, lead=(2, 3))
    found = imbalance(w1, w2)
    assert found.shape == (2, 3, 4, 4)
    for k in np.ndindex(2, 3):
        np.testing.assert_allclose(found[k], by_definition(w1[k], w2[k]), rtol=1e-12, atol=1e-14)


def test_imbalance_broadcasts_leading_axes():
    w1, w2 = layers(2, lead=(5,))
    found = imbalance(w1, w2[0])
    np.testing.assert_array_equal(found[3], imbalance(w1[3], w2[0]))


@given(SEEDS)
def test_imbalance_is_symmetric_and_hidden_rotations_keep_its_eigenvalues(seed):
    w1, w2 = layers(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    before, after = imbalance(w1, w2), imbalance(turn @ w1, w2 @ turn.T)
    np.testing.assert_array_equal(before, before.T)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(after), np.linalg.eigvalsh(before), rtol=1e-10, atol=1e-12
    )


@given(SEEDS)
def test_imbalance_does_not_see_input_and_output_rotations(seed):
    w1, w2 = layers(seed)
    rng = np.random.default_rng(seed)
    into, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    out, _ = np.linalg.qr(rng.standard_normal((2, 2)))
    np.testing.assert_allclose(imbalance(w1 @ into, out @ w2), imbalance(w1, w2), atol=1e-12)


def test_imbalance_is_positive_where_the_later_layer_is_larger():
    w1, w2 = layers(3)
    assert np.all(np.linalg.eigvalsh(imbalance(0 * w1, w2)) >= -1e-14)
    assert np.all(np.linalg.eigvalsh(imbalance(w1, 0 * w2)) <= 1e-14)


@pytest.mark.parametrize(("first", "second"), [((3, 4), (2, 4)), ((3,), (2, 3)), ((3, 4), (3,))])
def test_imbalance_names_both_shapes_that_do_not_fit(first, second):
    with pytest.raises(ValueError, match="must share h") as error:
        imbalance(np.ones(first), np.ones(second))
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


@LIBRARIES
def test_pair_imbalance_is_its_definition(xp):
    a, b = np.array([1.0, -2.0, 0.0]), np.array([3.0, 2.0, 0.5])
    found = np.from_dlpack(pair_imbalance(*in_library(xp, a, b)))
    np.testing.assert_array_equal(found, [8.0, 0.0, 0.25])


def test_pair_imbalance_keeps_the_digits_of_nearly_equal_weights():
    a = 1e6
    b = np.nextafter(a, np.inf)
    assert pair_imbalance(a, b) == (b - a) * 2e6
    assert b * b - a * a != (b - a) * 2e6


def test_pair_imbalance_broadcasts():
    assert pair_imbalance(np.ones((4, 1)), np.ones(3)).shape == (4, 3)


@LIBRARIES
def test_drift_is_its_definition(xp):
    values = np.array([[3.0, -8.0], [3.0, -8.4], [2.0, -8.0]])
    worst = max(abs(values[t, k] - values[0, k]) for t in range(3) for k in range(2))
    assert float(drift(*in_library(xp, values))) == pytest.approx(worst / 8.0)


def test_drift_of_small_quantities_is_absolute():
    assert float(drift([[0.0], [1e-3]])) == 1e-3
    assert float(drift([[5.0, 2.0]])) == 0.0


@pytest.mark.parametrize("empty", [np.zeros((0, 2)), np.array(1.0)])
def test_drift_needs_a_time_axis(empty):
    with pytest.raises(ValueError, match="at least one time"):
        drift(empty)


def neurons_by_definition(w1, w2, b1=None):
    found = []
    for j in range(len(w1)):
        out = sum(v**2 for o in range(len(w2)) for v in np.ravel(w2[o, j]))
        into = sum(v**2 for v in np.ravel(w1[j]))
        found.append(out - into - (0 if b1 is None else b1[j] ** 2))
    return found


@LIBRARIES
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((4, 3), (2, 4)),
        ((4, 3, 5, 5), (2, 4, 3, 3)),
        ((4, 3, 3, 3), (2, 4, 9)),
        ((4, 3), (2, 4, 3, 3)),
        ((1, 1), (1, 1)),
    ],
)
def test_neuron_imbalance_is_its_definition(xp, first, second, biased):
    rng = np.random.default_rng(0)
    w1, w2, b1 = (rng.standard_normal(shape) for shape in (first, second, first[:1]))
    given = (w1, w2, b1) if biased else (w1, w2)
    found = np.from_dlpack(neuron_imbalance(*in_library(xp, *given)))
    np.testing.assert_allclose(found, neurons_by_definition(*given), rtol=0, atol=1e-12)


@given(SEEDS)
def test_neurons_have_the_diagonal_of_the_matrix_and_the_layers_its_trace(seed):
    w1, w2 = layers(seed)
    matrix = imbalance(w1, w2)
    np.testing.assert_allclose(neuron_imbalance(w1, w2), np.diag(matrix), rtol=0, atol=1e-12)
    assert layer_imbalance(w1, w2) == pytest.approx(np.trace(matrix), abs=1e-12)


@given(SEEDS)
def test_neurons_are_blind_to_rotations_outside_and_follow_their_order(seed):
    w1, w2 = layers(seed)
    rng = np.random.default_rng(seed)
    into, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    order, found = rng.permutation(4), neuron_imbalance(w1, w2)
    np.testing.assert_allclose(neuron_imbalance(w1 @ into, w2), found, rtol=0, atol=1e-12)
    np.testing.assert_allclose(neuron_imbalance(w1[order], w2[:, order]), found[order], rtol=1e-12)
    np.testing.assert_allclose(neuron_imbalance(3 * w1, 3 * w2), 9 * found, rtol=1e-10, atol=1e-12)


def test_relu_training_conserves_the_neurons_and_not_the_rest_of_the_matrix():
    drifts = {}
    for rate in (0.02, 0.01):
        generator = torch.Generator().manual_seed(0)
        draw = {"dtype": torch.float64, "generator": generator}
        x, y = torch.randn(30, 3, **draw), torch.randn(30, 2, **draw)
        w1, b1, w2 = torch.randn(5, 3, **draw), torch.randn(5, **draw), torch.randn(2, 5, **draw)
        given = [w.requires_grad_() for w in (w1, w2, b1)]
        start = [w.detach().clone() for w in given]
        for _ in range(round(2 / rate)):
            error = torch.relu(x @ w1.T + b1) @ w2.T - y
            grads = torch.autograd.grad(error.square().sum() / 60, given)
            with torch.no_grad():
                for w, grad in zip(given, grads, strict=True):
                    w -= rate * grad
        now = [w.detach() for w in given]
        neurons = neuron_imbalance(*now) - neuron_imbalance(*start)
        matrix = imbalance(torch.cat([now[0], now[2][:, None]], 1), now[1])
        matrix -= imbalance(torch.cat([start[0], start[2][:, None]], 1), start[1])
        off = matrix - torch.diag(torch.diag(matrix))
        drifts[rate] = (neurons.abs().max().item(), off.abs().max().item())
    (coarse, off_coarse), (fine, off_fine) = drifts.values()
    assert 1.8 < coarse / fine < 2.2
    assert 0.9 < off_coarse / off_fine < 1.1
    assert off_fine > 20 * fine


@pytest.mark.parametrize(
    ("first", "second", "bias", "message"),
    [
        ((3, 4), (2, 4), None, "must share h"),
        ((3, 4), (3,), None, "must share h"),
        ((), (3, 3), None, "must share h"),
        ((3, 4), (2, 3), (4,), r"b1 must have shape \(3,\)"),
        ((3, 4), (2, 3), (), r"b1 must have shape \(3,\)"),
    ],
)
def test_neuron_imbalance_names_the_shapes_that_do_not_fit(first, second, bias, message):
    b1 = None if bias is None else np.ones(bias)
    with pytest.raises(ValueError, match=message) as error:
        neuron_imbalance(np.ones(first), np.ones(second), b1)
    assert str(first) in str(error.value)
    assert str(second if bias is None else bias) in str(error.value)


@LIBRARIES
def test_layer_imbalance_and_log_norm_ratio_are_their_definitions(xp):
    rng = np.random.default_rng(5)
    w1, w2 = rng.standard_normal((4, 3, 5, 5)), rng.standard_normal((2, 7))
    squares = [sum(v**2 for v in w.ravel()) for w in (w1, w2)]
    given = in_library(xp, w1, w2)
    assert float(layer_imbalance(*given)) == pytest.approx(squares[1] - squares[0], rel=1e-12)
    wanted = math.log(squares[1] / squares[0]) / 2
    assert float(log_norm_ratio(*given)) == pytest.approx(wanted, rel=1e-12)


@given(SEEDS, st.sampled_from([1e-200, 1e-30, 3.0, 1e200]))
def test_log_norm_ratio_is_blind_to_a_common_factor_and_changes_sign_with_the_order(seed, factor):
    w1, w2 = layers(seed)
    found = log_norm_ratio(w1, w2)
    assert log_norm_ratio(factor * w1, factor * w2) == pytest.approx(found, abs=1e-12)
    assert log_norm_ratio(w2, w1) == -found
    assert log_norm_ratio(w1, factor * w1) == pytest.approx(math.log(factor), abs=1e-12)


@LIBRARIES
def test_log_norm_ratio_of_zero_and_unknown_layers(xp):
    arrays = np.zeros((2, 2)), np.eye(2), np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]])
    zero, one, unknown, infinite = in_library(xp, *arrays)
    assert float(log_norm_ratio(zero, one)) == math.inf
    assert float(log_norm_ratio(one, zero)) == -math.inf
    pairs = (zero, zero), (unknown, one), (one, unknown), (unknown, zero), (infinite, zero)
    for first, second in pairs:
        assert math.isnan(float(log_norm_ratio(first, second)))


def level_by_definition(w1, w2):
    D = by_definition(w1, w2)
    h = len(D)
    lam = sum(D[j, j] for j in range(h)) / h
    rest = sum((D[j, k] - (j == k) * lam) ** 2 for j in range(h) for k in range(h))
    whole = sum(D[j, k] ** 2 for j in range(h) for k in range(h))
    return lam, math.sqrt(rest / h), math.sqrt(rest / whole)


@LIBRARIES
def test_level_and_defect_are_their_definitions(xp):
    w1, w2 = layers(6)
    lam, spread, defect = level_by_definition(w1, w2)
    given = in_library(xp, w1, w2)
    assert float(balance_level(*given).lam) == pytest.approx(lam, rel=1e-12)
    assert float(balance_level(*given).spread) == pytest.approx(spread, rel=1e-12)
    assert float(balance_defect(*given)) == pytest.approx(defect, rel=1e-12)
    eigenvalues = np.linalg.eigvalsh(imbalance(w1, w2))
    assert eigenvalues.mean() == pytest.approx(lam)
    assert eigenvalues.std() == pytest.approx(spread)


def test_level_and_defect_treat_leading_axes_apart():
    w1, w2 = layers(7, lead=(2, 3))
    lam, spread = balance_level(w1, w2)
    defect = balance_defect(w1, w2)
    assert lam.shape == spread.shape == defect.shape == (2, 3)
    for k in np.ndindex(2, 3):
        wanted = level_by_definition(w1[k], w2[k])
        assert (lam[k], spread[k], defect[k]) == pytest.approx(wanted, rel=1e-12)


@given(SEEDS, st.floats(0.01, 4), st.booleans())
def test_layers_of_one_eigenvalue_have_it_and_no_defect(seed, lam, mirrored):
    rng = np.random.default_rng(seed)
    w1, (side, _) = rng.standard_normal((3, 4)), np.linalg.qr(rng.standard_normal((5, 3)))
    values, vectors = np.linalg.eigh(w1 @ w1.T + lam * np.eye(3))
    w2 = side @ (np.sqrt(values)[:, None] * vectors.T)
    if mirrored:
        w1, w2, lam = w2.T, w1.T, -lam
    found = balance_level(w1, w2)
    assert found.lam == pytest.approx(lam, abs=1e-12)
    assert found.spread < 1e-13
    assert balance_defect(w1, w2) < 1e-10


@given(SEEDS)
def test_the_defect_is_blind_to_scale_and_hidden_rotations_and_at_most_one(seed):
    w1, w2 = layers(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    found = balance_defect(w1, w2)
    assert 0 <= found <= 1
    assert balance_defect(turn @ w1, w2 @ turn.T) == pytest.approx(found, rel=1e-10)
    assert balance_defect(1e-6 * w1, 1e-6 * w2) == pytest.approx(found, rel=1e-10)


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_that_is_zero_to_rounding_has_no_defect(xp, dtype):
    for seed in range(20):
        w1, _ = layers(seed, h=3, i=30)
        turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((30, 30)))
        given = in_library(xp, w1, turn @ w1.T, dtype=dtype)
        assert float(balance_defect(*given)) == 0.0
    (zero,) = in_library(xp, np.zeros((2, 2)), dtype=dtype)
    assert float(balance_defect(zero, zero)) == 0.0


def test_a_defect_of_what_is_not_known_is_not_known():
    assert math.isnan(balance_defect([[np.nan, 1.0]], [[1.0]]))


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    w1, w2 = in_library(xp, *layers(4), dtype=dtype)
    found_ones = (
        imbalance(w1, w2), pair_imbalance(w1, w1), pair_imbalance(w1, 2), drift(w1),
        neuron_imbalance(w1, w2), neuron_imbalance(w1, w2, w1[:, 0]), layer_imbalance(w1, w2),
        log_norm_ratio(w1, w2), *balance_level(w1, w2), balance_defect(w1, w2),
    )  # fmt: skip
    for found in found_ones:
        assert array_namespace(found) is array_namespace(w1)
        assert found.dtype == w1.dtype
        assert found.device == w1.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((2, 2), device=elsewhere)
    found_ones = (
        imbalance(w, w), pair_imbalance(w, 2.0), drift(w), neuron_imbalance(w, w, w[0, :]),
        layer_imbalance(w, w), log_norm_ratio(w, w), *balance_level(w, w), balance_defect(w, w),
    )  # fmt: skip
    for found in found_ones:
        assert found.device == elsewhere


def test_integers_become_floats_and_complex_numbers_are_refused():
    assert imbalance(np.eye(2, dtype=int), 2 * np.eye(2, dtype=int)).dtype == np.float64
    assert pair_imbalance(torch.tensor([1]), torch.tensor([2])).dtype == torch.float64
    assert pair_imbalance(torch.tensor([1]), torch.ones(1)).dtype == torch.float32
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        imbalance(np.eye(2) * 1j, np.eye(2))
