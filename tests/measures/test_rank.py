import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from layerwise.measures import effective_rank, numerical_rank, rank_of_spectrum, stable_rank

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
RANKS = [effective_rank, stable_rank, numerical_rank]
EACH = pytest.mark.parametrize("rank", RANKS)

spectra = st.lists(st.floats(0, 10).map(lambda x: round(x, 6)), min_size=1, max_size=6)
factors = st.sampled_from([1e-150, 1e-12, 3.0, 1e12, 1e150])


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def matrix(seed, singular_values, shape=None):
    """Return a matrix (o, i) of the given singular values and random singular vectors."""
    rng, k = np.random.default_rng(seed), len(singular_values)
    o, i = shape or (k + 1, k + 2)
    u, _ = np.linalg.qr(rng.standard_normal((o, k)))
    v, _ = np.linalg.qr(rng.standard_normal((i, k)))
    return (u * np.asarray(singular_values)) @ v.T


def by_definition(rank, singular_values):
    """Return the rank in 50 digits."""
    with mp.workdps(50):
        sizes = [mp.mpf(float(s)) for s in singular_values if s > 0]
        if not sizes:
            return 0.0
        if rank is stable_rank:
            return float(mp.fsum(s**2 for s in sizes) / max(sizes) ** 2)
        if rank is numerical_rank:
            return float(sum(s > mp.mpf(10) ** -14 * max(sizes) for s in sizes))
        shares = [s / mp.fsum(sizes) for s in sizes]
        return float(mp.exp(-mp.fsum(p * mp.log(p) for p in shares)))


@LIBRARIES
@EACH
@pytest.mark.parametrize("seed", range(3))
def test_each_is_its_definition(xp, rank, seed):
    sizes = 10.0 ** np.random.default_rng(seed).uniform(-6, 2, 4)
    found = rank(*in_library(xp, matrix(seed, sizes)))
    assert float(found) == pytest.approx(by_definition(rank, sizes), rel=1e-9)


@given(spectra, factors)
def test_the_rank_of_a_spectrum_is_its_definition_at_any_scale_and_in_any_order(sizes, k):
    expected = by_definition(effective_rank, sizes)
    for values in (sizes, sizes[::-1], [*sizes, 0.0], [k * s for s in sizes]):
        assert float(rank_of_spectrum(values)) == pytest.approx(expected, rel=1e-12)


@EACH
@given(st.integers(0, 2**32 - 1), spectra, factors)
def test_neither_scale_nor_rotation_nor_transposition_matters(rank, seed, sizes, k):
    w = matrix(seed, sizes)
    found = float(rank(np.diag(sizes)))
    for other in (w, k * w, w.T):
        # rounding leaves singular values of 1e-16 where there were zeros: sigma ln sigma
        assert float(rank(other)) == pytest.approx(found, rel=1e-12, abs=1e-12)


@given(spectra)
def test_stable_is_at_most_effective_is_at_most_the_number_that_do_not_vanish(sizes):
    w, count = np.diag(sizes), np.count_nonzero(sizes)
    stable, effective = float(stable_rank(w)), float(effective_rank(w))
    assert stable <= effective * (1 + 1e-12)
    assert effective <= count * (1 + 1e-12)
    assert stable >= min(count, 1)


@EACH
@pytest.mark.parametrize("k", [1, 2, 5])
def test_k_equal_directions_have_rank_k(rank, k):
    w = matrix(k, [0.3] * k, shape=(7, 6))
    assert float(rank(w)) == pytest.approx(k, rel=1e-12)


@LIBRARIES
@EACH
def test_zero_and_unknown_matrices_among_others(xp, rank):
    w = np.stack([np.zeros((2, 3)), np.full((2, 3), 2.0), np.ones((2, 3)), np.ones((2, 3))])
    w[2, 1, 1], w[3, 0, 0] = np.nan, np.inf
    found = np.from_dlpack(rank(*in_library(xp, w)))
    np.testing.assert_allclose(found, [0.0, 1.0, np.nan, np.nan], rtol=1e-13)


def test_unknown_singular_values_among_others():
    found = rank_of_spectrum([[1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(found, [2.0, np.nan, np.nan, 0.0])


@EACH
def test_leading_axes_are_treated_apart(rank):
    w = np.random.default_rng(3).standard_normal((2, 3, 4, 5))
    found = rank(w)
    assert found.shape == (2, 3)
    for k in np.ndindex(2, 3):
        assert found[k] == pytest.approx(float(rank(w[k])), rel=1e-13)


def test_numerical_rank_counts_above_its_threshold():
    w = np.diag([4.0, 0.4, 4e-9, 4e-17])
    assert [float(numerical_rank(w, rtol)) for rtol in (None, 1e-8, 0.1, 0.5)] == [3, 2, 1, 1]
    assert float(numerical_rank(w.astype(np.float32))) == 2  # 1e-9 is rounding there
    product = np.outer([1.0, 2.0, 3.0], [0.1, 0.3, 0.7])
    assert float(numerical_rank(product)) == 1
    assert float(numerical_rank(w, rtol=0.0)) == 4
    assert float(numerical_rank([[1.0, 0.0], [0.0, 0.0]], rtol=0.0)) == 1


@EACH
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0), (2, 0, 3)])
def test_what_is_no_matrix_is_refused_by_its_shape(rank, shape):
    with pytest.raises(ValueError, match="matrix") as error:
        rank(np.ones(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("rtol", [-1e-3, 1.0, math.nan])
def test_a_threshold_outside_its_range_is_refused(rtol):
    with pytest.raises(ValueError, match=r"rtol must lie in \[0, 1\)"):
        numerical_rank(np.eye(2), rtol)


def test_a_spectrum_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        rank_of_spectrum([1.0, -1e-3])
    for empty in (np.ones(()), np.ones((2, 0))):
        with pytest.raises(ValueError, match=r"singular values \(\.\.\., k\)"):
            rank_of_spectrum(empty)


@EACH
def test_integers_become_floats_and_complex_numbers_are_refused(rank):
    assert rank(np.eye(3, dtype=int)).dtype == np.float64
    assert float(rank([[1, 0], [0, 1]])) == pytest.approx(2, rel=1e-15)
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        rank(1j * np.eye(2))


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [*RANKS, rank_of_spectrum])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, rank, dtype):
    (w,) = in_library(xp, np.abs(matrix(0, [1.0, 2.0])), dtype=dtype)
    found = rank(w)
    assert array_namespace(found) is array_namespace(w)
    assert found.dtype == w.dtype
    assert found.device == w.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((2, 2), device=elsewhere)
    for rank in RANKS:
        assert rank(w).device == elsewhere
