import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import filter_energy, filter_participation, filter_roughness

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
SEEDS = st.integers(0, 2**32 - 1)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def filters(seed, shape=(6, 2, 3, 4)):
    return np.random.default_rng(seed).standard_normal(shape)


def patches(seed, shape=(50, 2, 3, 4), mean=3.0):
    rng = np.random.default_rng(seed)
    d = math.prod(shape[1:])
    stretched = rng.standard_normal((shape[0], d)) * np.geomspace(1, 9, d)
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return (mean + stretched @ turn).reshape(shape)


def energy_by_definition(W, X, top):
    W, X = W.reshape(len(W), -1), X.reshape(len(X), -1)
    X = X - sum(X) / len(X)
    directions = np.linalg.svd(X)[2]  # rows, the largest first
    inside = sum(
        (w @ v) ** 2 for w in W for v in directions[: math.ceil(top * directions.shape[0])]
    )
    return inside / sum(v**2 for v in W.ravel())


@LIBRARIES
@pytest.mark.parametrize("top", [0.25, 0.3, 1 / 24, 1.0])
def test_filter_energy_is_its_definition(xp, top):
    W, X = filters(0), patches(1)
    found = float(filter_energy(*in_library(xp, W, X), top=top))
    assert found == pytest.approx(energy_by_definition(W, X, top), rel=1e-10)


def test_the_top_quarter_is_the_default_and_rounded_up():
    W, X = filters(2, (4, 1, 5, 5)), patches(3, (80, 1, 5, 5))
    assert filter_energy(W, X) == filter_energy(W, X, top=7 / 25) != filter_energy(W, X, top=6 / 25)


@given(SEEDS, st.sampled_from([1e-200, 1e-9, 7.0, 1e200]))
def test_filter_energy_is_blind_to_scales_means_order_and_the_basis(seed, factor):
    W, X = filters(seed, (3, 6)), patches(seed, (20, 6))
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    mix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    found = filter_energy(W, X)
    assert 0 <= found <= 1 + 1e-12
    alike = [(factor * W, X), (W, 7 * X), (W, X + rng.standard_normal(6)), (mix @ W, X)]
    for w, x in [*alike, (W[::-1], X[rng.permutation(20)]), (W @ turn, X @ turn)]:
        assert filter_energy(w, x) == pytest.approx(found, rel=1e-8)
    assert filter_energy(W, X, top=1.0) == pytest.approx(1, rel=1e-12)


def test_filters_taken_from_the_data_hold_more_than_random_ones():
    X = patches(4, (400, 24), mean=0.0)
    assert filter_energy(X[:50], X) > 0.6
    shares = [filter_energy(filters(seed, (50, 24)), X) for seed in range(20)]
    assert np.mean(shares) == pytest.approx(6 / 24, abs=0.01)


@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 4), (9, 5)), ((3, 2, 2), (9, 4)), ((3,), (9, 1)), ((0, 4), (9, 4)), ((3, 4), (1, 4))],
)
def test_patches_that_do_not_fit_are_named(first, second):
    with pytest.raises(ValueError, match="equal trailing axes") as error:
        filter_energy(np.ones(first), np.ones(second))
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


@pytest.mark.parametrize("top", [0.0, 1.1, math.nan])
def test_a_share_is_a_share(top):
    with pytest.raises(ValueError, match=r"top must lie in \(0, 1\], got"):
        filter_energy(filters(0, (3, 4)), patches(0, (9, 4)), top=top)


@LIBRARIES
@pytest.mark.parametrize("shape", [(3, 4), (5, 3, 4), (2, 3, 5, 5), (2, 1, 1, 1)])
def test_roughness_is_its_definition(xp, shape):
    W = filters(5, shape)
    total = 0.0
    for image in W.reshape(-1, *shape[-2:]):
        for r in range(shape[-2]):
            for c in range(shape[-1]):
                total += (image[r + 1, c] - image[r, c]) ** 2 if r + 1 < shape[-2] else 0
                total += (image[r, c + 1] - image[r, c]) ** 2 if c + 1 < shape[-1] else 0
    found = float(filter_roughness(*in_library(xp, W)))
    assert found == pytest.approx(total / sum(v**2 for v in W.ravel()), rel=1e-12)


@given(SEEDS, st.sampled_from([1e-200, 7.0, 1e200]))
def test_roughness_is_blind_to_scale_turned_images_and_the_order_of_filters(seed, factor):
    W = filters(seed, (3, 2, 4, 4))
    found = filter_roughness(W)
    for alike in (
        factor * W,
        W[::-1],
        np.swapaxes(W, -1, -2),
        W[..., ::-1],
        np.rot90(W, 1, (2, 3)),
    ):
        assert filter_roughness(alike) == pytest.approx(found, rel=1e-10)
    assert 0 <= found <= 4 + 4 * math.cos(math.pi / 4) + 1e-12


def test_roughness_of_noise_constants_and_chessboards():
    noise = [filter_roughness(filters(seed, (16, 1, 5, 5))) for seed in range(200)]
    assert np.mean(noise) == pytest.approx(3.2, abs=0.03)
    assert filter_roughness(np.ones((3, 5, 5))) == 0
    board = np.indices((5, 5)).sum(0) % 2 * 2 - 1
    assert filter_roughness(board) == pytest.approx(6.4, rel=1e-12)


@LIBRARIES
@pytest.mark.parametrize("shape", [(3, 4), (6, 2, 3, 4), (30, 5), (1, 7), (7, 1)])
def test_participation_is_its_definition(xp, shape):
    W = filters(6, shape)
    energy = np.linalg.svd(W.reshape(len(W), -1), compute_uv=False) ** 2
    wanted = 1 / sum((e / sum(energy)) ** 2 for e in energy)
    assert float(filter_participation(*in_library(xp, W))) == pytest.approx(wanted, rel=1e-10)


@given(SEEDS, st.sampled_from([1e-200, 7.0, 1e200]))
def test_participation_is_blind_to_scale_and_rotations_and_counts_directions(seed, factor):
    W = filters(seed, (3, 6))
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))
    found = filter_participation(W)
    assert 1 <= found <= 3
    for alike in (factor * W, W @ turn, W[::-1], W.reshape(3, 2, 3)):
        assert filter_participation(alike) == pytest.approx(found, rel=1e-10)
    assert filter_participation(turn[:4]) == pytest.approx(4, rel=1e-12)
    assert filter_participation(np.outer(W[0], W[1])) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("measure", [filter_roughness, filter_participation])
@pytest.mark.parametrize("shape", [(3,), (), (0, 2, 2), (2, 0)])
def test_what_is_no_filter_is_refused(measure, shape):
    with pytest.raises(ValueError, match="not be empty, got") as error:
        measure(np.ones(shape))
    assert str(shape) in str(error.value)


def of_each(xp, W, X):
    return filter_energy(W, X), filter_roughness(W), filter_participation(W)


@LIBRARIES
@pytest.mark.parametrize("height", [0.0, np.nan, np.inf])
def test_filters_without_direction_have_no_measures(xp, height):
    W, X = in_library(xp, np.full((2, 2, 2), height), patches(7, (9, 2, 2)))
    assert all(math.isnan(float(found)) for found in of_each(xp, W, X))


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    W, X = in_library(xp, filters(8), patches(9), dtype=dtype)
    for found in of_each(xp, W, X):
        assert array_namespace(found) is array_namespace(W)
        assert found.dtype == W.dtype
        assert found.shape == ()


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((3, 2, 2), device=elsewhere)
    for found in of_each(array_api_strict, w, w):
        assert found.device == elsewhere


def test_integers_become_floats_and_complex_numbers_are_refused():
    assert filter_roughness(np.eye(3, dtype=int)).dtype == np.float64
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        filter_participation(1j * np.eye(3))
