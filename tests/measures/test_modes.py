import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import alignment, mode_strengths, skill_strength

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
SEEDS = st.integers(0, 2**32 - 1)


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def map_and_modes(seed, lead=()):
    rng = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(rng.standard_normal((3, 5)), full_matrices=False)
    return rng.standard_normal((*lead, 3, 5)), u, vt.T


def strength_by_definition(w, u, v, k):
    return sum(u[i, k] * w[i, j] * v[j, k] for i in range(len(u)) for j in range(len(v)))


@LIBRARIES
def test_mode_strengths_are_their_definition(xp):
    w, u, v = map_and_modes(0)
    found = np.from_dlpack(mode_strengths(*in_library(xp, w, u, v)))
    expected = [strength_by_definition(w, u, v, k) for k in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_leading_axes_of_the_map_are_times():
    w, u, v = map_and_modes(1, lead=(4, 2))
    found = mode_strengths(w, u, v)
    assert found.shape == (4, 2, 3)
    np.testing.assert_allclose(found[3, 1], mode_strengths(w[3, 1], u, v), rtol=1e-13)


@given(SEEDS)
def test_a_learned_target_has_its_singular_values_as_strengths(seed):
    target = np.random.default_rng(seed).standard_normal((3, 5))
    u, s, vt = np.linalg.svd(target, full_matrices=False)
    np.testing.assert_allclose(mode_strengths(target, u, vt.T), s, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 5), (3, 2), (5, 3)),
        ((3, 5), (5, 3), (3, 3)),
        ((3,), (3, 1), (1, 1)),
        ((3, 5), (3,), (5, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_all_named(shapes):
    with pytest.raises(ValueError, match="do not fit") as error:
        mode_strengths(*(np.ones(shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)


@LIBRARIES
def test_skill_strength_is_its_definition(xp):
    rng = np.random.default_rng(4)
    f, y = rng.standard_normal(9), 5.0 * rng.choice([-1.0, 1.0], 9)
    spread = np.sqrt(sum((b - sum(y) / 9) ** 2 for b in y) / 9)
    parts = [(a - sum(f) / 9) * (b - sum(y) / 9) / spread for a, b in zip(f, y, strict=True)]
    found = float(skill_strength(*in_library(xp, f, y)))
    assert found == pytest.approx(sum(parts) / 9 / spread, rel=1e-13)


def test_skill_strength_of_balanced_samples_is_the_share_of_the_skill_in_the_output():
    g = np.array([1.0, -1.0, -1.0, 1.0])
    other = np.array([1.0, 1.0, -1.0, -1.0])  # orthogonal to g
    for share in (-0.3, 0.0, 0.4, 1.0, 1.7):
        output = 5.0 * share * g + 2.0 * other + 11.0
        assert skill_strength(output, 5.0 * g) == pytest.approx(share, abs=1e-15)
        assert skill_strength(output, g) == pytest.approx(5.0 * share, abs=1e-15)


@given(SEEDS, st.floats(-10.0, 10.0), st.floats(-10.0, 10.0))
def test_skill_strength_is_linear_in_the_output_and_blind_to_constants(seed, factor, constant):
    rng = np.random.default_rng(seed)
    f, g = rng.standard_normal((2, 8))
    y = np.concatenate([rng.choice([-1.0, 1.0], 6), [-1.0, 1.0]])
    expected = factor * skill_strength(f, y) + skill_strength(g, y)
    found = skill_strength(factor * f + g + constant, y)
    assert float(found) == pytest.approx(expected, rel=1e-11, abs=1e-13)
    assert float(skill_strength(y + constant, y)) == pytest.approx(1.0, rel=1e-13)


def test_leading_axes_of_the_output_are_times_or_networks():
    rng = np.random.default_rng(5)
    f, y = rng.standard_normal((3, 2, 8)), rng.standard_normal((2, 8))
    found = skill_strength(f, y)
    assert found.shape == (3, 2)
    assert found[2, 1] == pytest.approx(skill_strength(f[2, 1], y[1]), rel=1e-13)


def test_a_target_without_both_parities_is_refused():
    with pytest.raises(ValueError, match="both parities are needed"):
        skill_strength(np.ones(3), np.full(3, 0.1))
    with pytest.raises(ValueError, match="both parities are needed"):
        skill_strength(np.ones((2, 3)), np.array([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]))


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((), (3,)), ((3, 2), (3,)), ((0,), (0,))])
def test_samples_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match="do not fit") as error:
        skill_strength(*(np.ones(shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)


@LIBRARIES
def test_alignment_is_its_definition(xp):
    a, b = np.random.default_rng(2).standard_normal((2, 6))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    squares = sum(x * x + y * y for x, y in zip(a, b, strict=True))
    assert float(alignment(*in_library(xp, a, b))) == pytest.approx(2 * dot / squares)


@given(SEEDS, st.floats(1e-6, 1e6))
def test_alignment_lies_between_opposed_and_aligned_whatever_the_scale(seed, k):
    a, b = np.random.default_rng(seed).standard_normal((2, 5))
    value = float(alignment(a, b))
    assert -1 <= value <= 1
    assert float(alignment(k * a, k * b)) == pytest.approx(value, rel=1e-12, abs=1e-15)
    assert float(alignment(a, -b)) == -value
    assert float(alignment(a[::-1], b[::-1])) == pytest.approx(value, rel=1e-12, abs=1e-15)


def test_alignment_at_its_ends_and_of_nothing():
    a = np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    b = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(alignment(a, b), [1.0, -1.0, 0.0, 0.0])


def test_alignment_names_the_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        alignment(np.ones(3), np.ones(2))


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    w, u, v = in_library(xp, *map_and_modes(3), dtype=dtype)
    strength = skill_strength(w, [1.0, -1.0, 1.0, -1.0, 1.0])
    for found in (mode_strengths(w, u, v), strength, alignment(w, w), alignment(w, [1.0] * 5)):
        assert array_namespace(found) is array_namespace(w)
        assert found.dtype == w.dtype
        assert found.device == w.device


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((2, 2), device=elsewhere)
    assert mode_strengths(w, w, w).device == elsewhere
    assert alignment(w, w).device == elsewhere
    assert skill_strength(w, [1.0, -1.0]).device == elsewhere
