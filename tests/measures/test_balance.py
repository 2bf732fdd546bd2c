import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import drift, imbalance, pair_imbalance

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


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    w1, w2 = in_library(xp, *layers(4), dtype=dtype)
    for found in (imbalance(w1, w2), pair_imbalance(w1, w1), pair_imbalance(w1, 2), drift(w1)):
        assert array_namespace(found) is array_namespace(w1)
        assert found.dtype == w1.dtype
        assert found.device == w1.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((2, 2), device=elsewhere)
    for found in (imbalance(w, w), pair_imbalance(w, 2.0), drift(w)):
        assert found.device == elsewhere


def test_integers_become_floats_and_complex_numbers_are_refused():
    assert imbalance(np.eye(2, dtype=int), 2 * np.eye(2, dtype=int)).dtype == np.float64
    assert pair_imbalance(torch.tensor([1]), torch.tensor([2])).dtype == torch.float64
    assert pair_imbalance(torch.tensor([1]), torch.ones(1)).dtype == torch.float32
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        imbalance(np.eye(2) * 1j, np.eye(2))
