import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from layerwise.measures import (
    kernel_alignment,
    kernel_distance,
    kernel_growth,
    kernel_velocity,
)

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
BOTH = pytest.mark.parametrize("centred", [True, False])
SEEDS = st.integers(0, 2**32 - 1)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def kernel(seed, size=5, features=4, mean=1.0):
    """Return a kernel whose features have a mean, as those of networks have."""
    phi = mean + np.random.default_rng(seed).standard_normal((size, features))
    return phi @ phi.T


def by_definition(k0, kt, centred):
    """Return the distance in 50 digits, the plain formula on ``H K H``."""
    with mp.workdps(50):
        N = len(k0)
        H = mp.eye(N) - mp.ones(N) / N if centred else mp.eye(N)
        one, other = (H * mp.matrix(k.tolist()) * H for k in (k0, kt))

        def inner(a, b):
            return mp.fsum(a[i, j] * b[i, j] for i in range(N) for j in range(N))

        cosine = inner(one, other) / mp.sqrt(inner(one, one) * inner(other, other))
        return float(1 - cosine)


@LIBRARIES
@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_definition(xp, centred, seed):
    k0, kt = kernel(seed), kernel(seed + 100)
    found = kernel_distance(*in_library(xp, k0, kt), centred=centred)
    assert float(found) == pytest.approx(by_definition(k0, kt, centred), rel=1e-12)


def test_the_centred_distance_is_the_default():
    k0, kt = kernel(0), kernel(1)
    assert kernel_distance(k0, kt) == kernel_distance(k0, kt, centred=True)
    assert kernel_distance(k0, kt) != kernel_distance(k0, kt, centred=False)


@BOTH
@pytest.mark.parametrize("eps", [1e-4, 1e-9, 1e-13])
def test_the_digits_of_small_distances_are_kept(centred, eps):
    k0 = kernel(2, mean=0.0)
    kt = k0 + eps * kernel(3, mean=0.0)
    expected = by_definition(k0, kt, centred)
    assert 0 < expected < 10 * eps**2
    # the kernels themselves are known to 1e-16, their difference to 1e-16/eps
    found = float(kernel_distance(k0, kt, centred))
    assert found == pytest.approx(expected, rel=1e-12 + 20 * 2.3e-16 / eps)
    flat = k0.ravel() @ kt.ravel() / (np.linalg.norm(k0) * np.linalg.norm(kt))
    assert eps > 1e-8 or abs(1 - flat - expected) > 0.1 * expected


def test_the_mean_hides_motion_from_the_plain_distance():
    k0, kt = 100 + kernel(4, mean=0.0), 100 + kernel(5, mean=0.0)
    plain, centred = kernel_distance(k0, kt, centred=False), kernel_distance(k0, kt)
    assert plain < 0.01 < 0.1 < centred


def test_leading_axes_broadcast_and_may_be_times():
    k0, kt = kernel(6), np.stack([[kernel(10 * i + j) for j in range(3)] for i in range(2)])
    found = kernel_distance(k0, kt)
    assert found.shape == (2, 3)
    for k in np.ndindex(2, 3):
        assert found[k] == pytest.approx(float(kernel_distance(k0, kt[k])), rel=1e-13)
    np.testing.assert_allclose(kernel_distance(kt, k0), found, rtol=1e-13)
    assert kernel_distance(kt, kt).shape == (2, 3)


@BOTH
@given(SEEDS, st.sampled_from([1e-150, 1e-9, 7.0, 1e9, 1e150]))
def test_scale_order_and_orthogonal_features_change_nothing(centred, seed, scale):
    k0, kt = kernel(seed), kernel(seed + 1)
    found = float(kernel_distance(k0, kt, centred))
    assert 0 <= found <= 1
    turn = np.random.default_rng(seed).permutation(len(k0))
    pairs = [(scale * k0, kt), (k0, scale * kt), (kt, k0)]
    pairs.append((k0[turn][:, turn], kt[turn][:, turn]))
    for one, other in pairs:
        assert float(kernel_distance(one, other, centred)) == pytest.approx(found, rel=1e-10)
    # proportional kernels: what the rounding of the factor leaves, squared
    assert float(kernel_distance(k0, 3 * k0, centred)) < 1e-29
    assert float(kernel_distance(k0, -k0, centred)) == pytest.approx(2, rel=1e-14)


@given(SEEDS, st.floats(-1e3, 1e3))
def test_a_constant_added_to_every_output_is_not_seen_when_centred(seed, shift):
    k0, kt = kernel(seed), kernel(seed + 1)
    found = float(kernel_distance(k0, kt))
    assert float(kernel_distance(k0 + shift, kt)) == pytest.approx(found, rel=1e-7)


@LIBRARIES
def test_distances_without_meaning_are_nan(xp):
    whole = kernel(7)
    unknown, infinite = whole.copy(), whole.copy()
    unknown[0, 1], infinite[2, 2] = np.nan, np.inf
    kt = np.stack([np.zeros((5, 5)), np.full((5, 5), 0.1), unknown, infinite, whole])
    k0, kt = in_library(xp, whole, kt)
    found = np.from_dlpack(kernel_distance(k0, kt))
    np.testing.assert_array_equal(np.isnan(found), [True] * 4 + [False])
    plain = np.from_dlpack(kernel_distance(k0, kt, centred=False))
    np.testing.assert_array_equal(np.isnan(plain), [True, False, True, True, False])
    assert math.isnan(kernel_distance(kt[0, ...], kt[0, ...]))


@pytest.mark.parametrize("size", [1, 3, 50, 400])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_centring_leaves_of_a_constant_kernel_is_no_direction(size, dtype):
    rng = np.random.default_rng(size)
    for height in rng.standard_normal(5):
        constant = np.full((size, size), height, dtype=dtype)
        assert math.isnan(kernel_distance(constant, constant))
        if size > 1:
            assert math.isnan(kernel_distance(np.eye(size, dtype=dtype), constant))


def test_small_single_precision_kernels_do_not_underflow():
    k0, kt = kernel(8), kernel(9)
    small = (1e-30 * k0).astype(np.float32)
    found = kernel_distance(small, kt.astype(np.float32))
    assert found == pytest.approx(by_definition(k0, kt, True), rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 3), (4, 4)), ((3, 4), (3, 4)), ((3, 3), (2, 3, 4)), ((3,), (3, 3)), ((0, 0), (0, 0))],
)
def test_both_shapes_are_named_where_they_do_not_fit(first, second):
    with pytest.raises(ValueError, match="square and of one size") as error:
        kernel_distance(np.ones(first), np.ones(second))
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


@LIBRARIES
@BOTH
def test_velocity_is_the_distance_of_neighbours_over_the_time_between_them(xp, centred):
    kernels, times = np.stack([kernel(seed) for seed in range(4)]), np.array([0.0, 0.5, 2.0, 7.0])
    found = np.from_dlpack(kernel_velocity(*in_library(xp, kernels, times), centred=centred))
    assert found.shape == (3,)
    for t in range(3):
        wanted = by_definition(kernels[t], kernels[t + 1], centred) / (times[t + 1] - times[t])
        assert found[t] == pytest.approx(wanted, rel=1e-12)


def test_velocities_of_several_kernels_are_those_of_each():
    kernels = np.stack([[kernel(2 * t + k) for k in range(2)] for t in range(3)])
    found = kernel_velocity(kernels, [0, 1, 3])
    assert found.shape == (2, 2)
    for k in range(2):
        np.testing.assert_allclose(found[:, k], kernel_velocity(kernels[:, k], [0, 1, 3]))
    np.testing.assert_array_equal(found, kernel_velocity(kernels, [0, 1, 3], centred=True))


@given(SEEDS, st.floats(0.01, 100))
def test_velocity_sees_turns_and_the_unit_of_time_alone(seed, unit):
    times, path = np.array([0.0, 1.0, 3.0]), np.stack([kernel(seed + k) for k in range(3)])
    found = kernel_velocity(path, times)
    grown = path * np.array([1.0, 5.0, 0.1])[:, None, None]
    np.testing.assert_allclose(kernel_velocity(grown, unit * times), found / unit, rtol=1e-10)


@pytest.mark.parametrize(
    ("kernels", "times", "message"),
    [
        ((1, 3, 3), [0.0], r"two or more times, got \(1, 3, 3\) and \(1,\)"),
        ((2, 3, 3), [0.0, 1.0, 2.0], r"two or more times, got \(2, 3, 3\) and \(3,\)"),
        ((3, 3), [0.0, 1.0, 2.0], r"two or more times, got \(3, 3\)"),
        ((2, 3, 4), [0.0, 1.0], "square and of one size"),
        ((2, 3, 3), [1.0, 1.0], "must increase strictly"),
    ],
)
def test_bad_paths_of_kernels_are_refused(kernels, times, message):
    with pytest.raises(ValueError, match=message):
        kernel_velocity(np.ones(kernels), times)


@LIBRARIES
def test_growth_is_its_definition(xp):
    k0, kt = kernel(0), 3 * kernel(1)
    norms = [math.sqrt(sum(v**2 for v in k.ravel())) for k in (k0, kt)]
    found = float(kernel_growth(*in_library(xp, k0, kt)))
    assert found == pytest.approx(norms[1] / norms[0], rel=1e-12)


@given(SEEDS, st.sampled_from([1e-200, 1e-9, 7.0, 1e200]))
def test_growth_is_what_the_distance_does_not_see(seed, factor):
    k0, kt = kernel(seed), kernel(seed + 1)
    found = float(kernel_growth(k0, kt))
    assert float(kernel_growth(k0, factor * kt)) == pytest.approx(factor * found, rel=1e-10)
    assert float(kernel_growth(factor * k0, kt)) == pytest.approx(found / factor, rel=1e-10)
    assert float(kernel_growth(kt, k0)) == pytest.approx(1 / found, rel=1e-10)
    assert float(kernel_growth(k0, factor * k0)) == pytest.approx(factor, rel=1e-10)


def test_growths_broadcast_and_are_nan_without_meaning():
    k0, zero = kernel(0), np.zeros((5, 5))
    unknown, infinite = k0.copy(), k0.copy()
    unknown[0, 1], infinite[0, 1] = np.nan, np.inf
    path = np.stack([k0, 2 * k0, zero, unknown, infinite])
    np.testing.assert_allclose(kernel_growth(k0, path), [1, 2, 0, np.nan, np.nan], rtol=1e-14)
    found = kernel_growth(path, k0)
    np.testing.assert_allclose(found, [1, 0.5, np.nan, np.nan, np.nan], rtol=1e-14)
    with pytest.raises(ValueError, match="square and of one size"):
        kernel_growth(k0, np.ones((4, 4)))


@LIBRARIES
def test_alignment_is_its_definition(xp):
    k, targets = kernel(0), np.random.default_rng(1).standard_normal((5, 3))
    found = float(kernel_alignment(*in_library(xp, k, targets)))
    wanted = 1 - by_definition(k, targets @ targets.T, centred=True)
    assert found == pytest.approx(wanted, abs=1e-13)


def test_alignments_of_several_kernels_and_their_range():
    labels = np.array([0, 1, 2, 0, 1])
    targets = np.eye(3)[labels]
    own = targets @ targets.T
    found = kernel_alignment(np.stack([own, 4 + 3 * own, np.eye(5)]), targets)
    assert found[:2] == pytest.approx(1, abs=1e-14)
    assert 0 < found[2] < 0.9
    # two codes of the same two classes
    signs = np.array([[1.0], [-1.0], [1.0], [1.0], [-1.0]])
    codes = signs, np.hstack([signs > 0, signs < 0])
    assert kernel_alignment(kernel(0), codes[0]) == pytest.approx(
        float(kernel_alignment(kernel(0), codes[1])), abs=1e-14
    )


@given(SEEDS, st.sampled_from([1e-9, 1e9]), st.floats(-10, 10))
def test_alignment_is_blind_to_scales_offsets_order_and_the_code_of_the_targets(seed, scale, shift):
    rng = np.random.default_rng(seed)
    k, targets = kernel(seed), rng.standard_normal((5, 2))
    found = float(kernel_alignment(k, targets))
    assert -1e-12 <= found <= 1 + 1e-12
    order, (turn, _) = rng.permutation(5), np.linalg.qr(rng.standard_normal((2, 2)))
    alike = [(scale * k, targets), (k, scale * targets), (k, shift + targets), (k, targets @ turn)]
    for one, other in [*alike, (k[order][:, order], targets[order])]:
        assert float(kernel_alignment(one, other)) == pytest.approx(found, abs=1e-9)


@LIBRARIES
def test_alignments_without_meaning_are_nan(xp):
    k, same, some = in_library(xp, kernel(0), np.full((5, 2), 0.1), np.eye(5)[:, :2])
    assert math.isnan(float(kernel_alignment(k, same)))
    assert math.isnan(float(kernel_alignment(0 * k, some)))


@pytest.mark.parametrize(
    ("first", "second"), [((4, 4), (5, 2)), ((4, 4), (4,)), ((4,), (4, 2)), ((3, 4), (4, 2))]
)
def test_kernels_and_targets_that_do_not_fit_are_named(first, second):
    with pytest.raises(ValueError, match=r"do not fit|square and of one size") as error:
        kernel_alignment(np.ones(first), np.ones(second))
    assert str(first) in str(error.value)


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    k0, kt = in_library(xp, kernel(0), kernel(1), dtype=dtype)
    found_ones = (
        kernel_distance(k0, kt), kernel_distance(k0, kt, centred=False), kernel_growth(k0, kt),
        kernel_velocity(xp.stack([k0, kt]), xp.asarray([0, 1])), kernel_alignment(k0, kt[:, :2]),
    )  # fmt: skip
    for found in found_ones:
        assert array_namespace(found) is array_namespace(k0)
        assert found.dtype == k0.dtype
        assert found.device == k0.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    k = array_api_strict.ones((2, 2), device=elsewhere)
    found_ones = (
        kernel_distance(k, k, centred=False), kernel_growth(k, k), kernel_alignment(k, k),
        kernel_velocity(k[None, ...] + 0 * k[:, :, None], [0.0, 1.0]),
    )  # fmt: skip
    for found in found_ones:
        assert found.device == elsewhere


def test_integers_become_floats_and_complex_numbers_are_refused():
    whole = np.diag([1, 2, 3])
    assert kernel_distance(whole, whole).dtype == np.float64
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        kernel_distance(1j * whole, whole)
