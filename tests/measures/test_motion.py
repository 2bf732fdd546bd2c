import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

from layerwise.measures import linearised_gap, relative_motion, sign_distance

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 3, 3)])


def in_library(xp, *arrays, dtype="float64"):
    return [xp.asarray(array.tolist(), dtype=getattr(xp, dtype)) for array in arrays]


def arrays(seed, count, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)) for _ in range(count)]


def norm(values):
    return math.sqrt(math.fsum(float(v) ** 2 for v in np.ravel(values)))


@LIBRARIES
@SHAPES
def test_relative_motion_is_its_definition(xp, shape):
    start, now = arrays(0, 2, shape)
    found = float(relative_motion(*in_library(xp, start, now)))
    assert found == pytest.approx(norm(now - start) / norm(start), rel=1e-12)


@given(SEEDS, st.sampled_from([1e-9, 3.0, 1e9]))
def test_relative_motion_is_blind_to_a_common_factor_and_to_rotations(seed, factor):
    start, now = arrays(seed, 2)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    found = relative_motion(start, now)
    assert relative_motion(factor * start, factor * now) == pytest.approx(found, rel=1e-10)
    assert relative_motion(turn @ start, turn @ now) == pytest.approx(found, rel=1e-10)
    assert relative_motion(start, factor * start) == pytest.approx(abs(factor - 1), rel=1e-10)


@LIBRARIES
def test_a_start_at_zero_is_left_infinitely_far(xp):
    zero, one, unknown = in_library(xp, np.zeros(2), np.ones(2), np.array([np.nan, 1.0]))
    assert float(relative_motion(zero, zero)) == 0.0
    assert float(relative_motion(zero, one)) == math.inf
    assert math.isnan(float(relative_motion(zero, unknown)))
    assert math.isnan(float(relative_motion(unknown, one)))


@LIBRARIES
@SHAPES
def test_the_linearised_gap_is_its_definition(xp, shape):
    f0, ft, jvp = arrays(1, 3, shape)
    found = float(linearised_gap(*in_library(xp, f0, ft, jvp)))
    assert found == pytest.approx(norm(ft - f0 - jvp) / norm(ft - f0), rel=1e-12)


def test_the_gap_of_a_network_vanishes_with_the_motion_and_is_zero_for_a_linear_model():
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": torch.float64, "generator": generator}
    x, w1, w2 = torch.randn(6, 3, **draw), torch.randn(4, 3, **draw), torch.randn(2, 4, **draw)
    d1, d2 = torch.randn(4, 3, **draw), torch.randn(2, 4, **draw)

    def network(w1, w2):
        return torch.tanh(x @ w1.T) @ w2.T

    def gap(size):
        steps = size * d1, size * d2
        f0, jvp = torch.autograd.functional.jvp(network, (w1, w2), steps)
        return linearised_gap(f0, network(w1 + steps[0], w2 + steps[1]), jvp).item()

    assert gap(1e-3) / gap(1e-4) == pytest.approx(10, rel=0.02)
    assert 0 < gap(1e-4) < 1e-3 < gap(1.0)
    f0, jvp = torch.autograd.functional.jvp(lambda w: x @ w.T, w1, d1)
    assert linearised_gap(f0, x @ (w1 + d1).T, jvp).item() < 1e-14


@given(SEEDS)
def test_the_gap_sees_no_offset_no_scale_and_no_order_of_the_outputs(seed):
    f0, ft, jvp, offset = arrays(seed, 4)
    found = linearised_gap(f0, ft, jvp)
    order = np.random.default_rng(seed).permutation(4)
    triples = [(f0 + offset, ft + offset, jvp), (3 * f0, 3 * ft, 3 * jvp)]
    for alike in [*triples, (f0[order], ft[order], jvp[order])]:
        assert linearised_gap(*alike) == pytest.approx(found, rel=1e-9)
    assert linearised_gap(f0, ft, 0 * jvp) == pytest.approx(1, rel=1e-12)


@LIBRARIES
def test_the_gap_of_outputs_that_have_not_changed(xp):
    (same,) = in_library(xp, np.ones((2, 2)))
    assert float(linearised_gap(same, same, 0 * same)) == 0.0
    assert float(linearised_gap(same, same, same)) == math.inf


@LIBRARIES
@SHAPES
def test_sign_distance_is_its_definition(xp, shape):
    pre0, pret = arrays(2, 2, shape)
    pairs = list(zip(pre0.ravel(), pret.ravel(), strict=True))
    wanted = sum((a > 0) != (b > 0) for a, b in pairs) / len(pairs)
    assert float(sign_distance(*in_library(xp, pre0, pret))) == pytest.approx(wanted, abs=1e-12)


@given(SEEDS)
def test_sign_distance_is_a_distance_of_patterns_alone(seed):
    one, other, third = arrays(seed, 3)
    found = sign_distance(one, other)
    assert 0 <= found <= 1
    assert sign_distance(other, one) == found
    assert sign_distance(7 * one, 0.1 * other) == found
    assert sign_distance(np.maximum(one, 0), np.maximum(other, 0)) == found
    assert sign_distance(one, one) == 0
    assert sign_distance(one, -one) == 1
    assert sign_distance(one, third) <= found + sign_distance(other, third) + 1e-12
    order = np.random.default_rng(seed).permutation(4)
    assert sign_distance(one[order], other[order]) == pytest.approx(found, abs=1e-14)


@LIBRARIES
def test_zero_is_off_and_a_pattern_that_is_not_known_stays_so(xp):
    zero, on, unknown = in_library(xp, np.zeros(4), np.ones(4), np.array([0, 1, np.nan, 2]))
    assert float(sign_distance(zero, -on)) == 0.0
    assert float(sign_distance(zero, on)) == 1.0
    assert math.isnan(float(sign_distance(on, unknown)))


@pytest.mark.parametrize("measure", [relative_motion, sign_distance])
@pytest.mark.parametrize(("first", "second"), [((3,), (4,)), ((2, 3), (3,)), ((0, 2), (0, 2))])
def test_shapes_that_differ_are_named(measure, first, second):
    with pytest.raises(ValueError, match="one shape and not be empty") as error:
        measure(np.ones(first), np.ones(second))
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


@pytest.mark.parametrize("shapes", [((2,), (3,), (3,)), ((3,), (3,), (2,))])
def test_outputs_and_their_motion_have_one_shape(shapes):
    with pytest.raises(ValueError, match=r"one shape and not be empty, got .*\(2,\)"):
        linearised_gap(*map(np.ones, shapes))


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_of_the_inputs_are_kept(xp, dtype):
    a, b, c = in_library(xp, *arrays(3, 3), dtype=dtype)
    for found in (relative_motion(a, b), linearised_gap(a, b, c), sign_distance(a, b)):
        assert array_namespace(found) is array_namespace(a)
        assert found.dtype == a.dtype
        assert found.shape == ()


def test_the_device_of_the_inputs_is_kept():
    elsewhere = array_api_strict.Device("device1")
    w = array_api_strict.ones((2, 2), device=elsewhere)
    for found in (relative_motion(w, w), linearised_gap(w, 2 * w, w), sign_distance(w, w)):
        assert found.device == elsewhere


def test_integers_become_floats_and_complex_numbers_are_refused():
    assert relative_motion(np.array([1, 2]), np.array([1, 3])).dtype == np.float64
    with pytest.raises(TypeError, match="real numbers, got dtype complex128"):
        sign_distance(1j * np.ones(2), np.ones(2))
