"""Fourier concentration: its definition in 50 digits, its ends, what it is blind to."""

import math

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from layerwise.measures import fourier_concentration

LIBRARIES = pytest.mark.parametrize(
    "xp", [np, torch, array_api_strict], ids=["numpy", "torch", "strict"]
)
SEEDS = st.integers(0, 2**32 - 1)
TOKENS = st.integers(3, 12)


def in_library(xp, array, dtype="float64"):
    return xp.asarray(array.tolist(), dtype=getattr(xp, dtype))


def weights(seed, neurons=4, p=7):
    return np.random.default_rng(seed).standard_normal((neurons, p))


def waves(p, frequencies, phases=0.3, sizes=1.0):
    angles = 2 * np.pi * np.outer(frequencies, np.arange(p)) / p
    return np.broadcast_to(np.asarray(sizes), len(frequencies))[:, None] * np.cos(angles + phases)


def by_definition(w):
    """Return the ratio in 50 digits, by projections on cosines and sines."""
    p = w.shape[1]
    with mp.workdps(50):
        largest = total = mp.mpf(0)
        for row in w:
            powers = []
            for k in range(1, p // 2 + 1):
                power = mp.mpf(0)
                for wave in (mp.cos, mp.sin):
                    shape = [wave(2 * mp.pi * k * t / p) for t in range(p)]
                    norm = mp.fsum(s * s for s in shape)
                    if norm > mp.mpf(10) ** -40:  # the sine of the last frequency of an even p
                        along = mp.fsum(
                            mp.mpf(float(v)) * s for v, s in zip(row, shape, strict=True)
                        )
                        power += along**2 / norm
                powers.append(power)
            largest += max(powers)
            total += mp.fsum(powers)
        return float(largest / total)


@LIBRARIES
@pytest.mark.parametrize("p", [3, 4, 7, 8, 23])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_definition(xp, seed, p):
    w = weights(seed, p=p)
    expected = pytest.approx(by_definition(w), rel=1e-12)
    assert float(fourier_concentration(in_library(xp, w))) == expected
    assert float(fourier_concentration(in_library(xp, w.T.copy()), axis=-2)) == expected
    single = fourier_concentration(in_library(xp, w, dtype="float32"))
    assert float(single) == pytest.approx(by_definition(w), rel=1e-5)


@given(SEEDS, TOKENS)
def test_all_power_is_counted_once(seed, p):
    w = weights(seed, neurons=1, p=p)[0]
    k = np.arange(1, p // 2 + 1)
    shares = []
    for wave in k:  # of a wave added so strongly that it is the largest, the rest is the others
        added = w + 1e3 * waves(p, [wave], 0.0)[0]
        shares.append(1 - float(fourier_concentration(added[None])))
        variance = np.sum((added - added.mean()) ** 2)
        basis = np.stack([np.cos(2 * np.pi * wave * np.arange(p) / p),
                          np.sin(2 * np.pi * wave * np.arange(p) / p)])  # fmt: skip
        inside = np.sum(np.linalg.lstsq(basis.T, added, rcond=1e-9)[0] @ basis * added)
        assert shares[-1] == pytest.approx(1 - inside / variance, abs=1e-12)


@pytest.mark.parametrize("p", [5, 6, 23])
def test_pure_waves_of_any_phase_size_and_mean_have_all_of_it(p):
    frequencies = np.arange(1, p // 2 + 1)
    sizes = 10.0 ** -np.arange(len(frequencies))
    w = waves(p, frequencies, 0.7, sizes) + 3.0
    assert fourier_concentration(w) == pytest.approx(1.0, abs=1e-9)


def test_equal_powers_at_all_frequencies_are_the_least():
    for p in (5, 7, 23):
        delta = np.eye(p)[:1]
        assert fourier_concentration(delta) == pytest.approx(1 / ((p - 1) / 2), rel=1e-12)


def test_neurons_count_by_their_power():
    strong, weak = 3.0 * waves(7, [2]), np.eye(7)[:1]
    shares = [float(fourier_concentration(part)) for part in (strong, weak)]
    powers = [np.sum((part - part.mean()) ** 2) for part in (strong, weak)]
    expected = np.dot(shares, powers) / sum(powers)
    found = fourier_concentration(np.concatenate([strong, weak, np.zeros((3, 7))]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_chance_is_what_the_notes_say():
    for p, expected in ((23, 0.275), (47, 0.162)):
        m = (p - 1) // 2
        assert sum(1 / k for k in range(1, m + 1)) / m == pytest.approx(expected, abs=5e-4)
        found = fourier_concentration(weights(0, neurons=20_000, p=p))
        # weighting by power tells a little more than the plain mean of the shares
        assert found == pytest.approx(expected, abs=0.01)


@given(SEEDS, TOKENS, st.sampled_from([1e-150, 1e-9, -7.0, 1e150]), st.floats(-10, 10))
def test_scale_order_shift_and_constants_change_nothing(seed, p, factor, constant):
    w = weights(seed, p=p)
    found = float(fourier_concentration(w))
    assert 1 / (p // 2) <= found * (1 + 1e-12)
    assert found <= 1
    others = [factor * w, w[::-1], np.roll(w, seed % p, axis=1), w[:, ::-1], w + constant]
    for other in others:
        assert float(fourier_concentration(other)) == pytest.approx(found, rel=1e-9)


@given(SEEDS)
def test_multiplying_the_tokens_permutes_the_frequencies(seed):
    w = weights(seed, p=11)
    turned = w[:, [3 * t % 11 for t in range(11)]]
    assert float(fourier_concentration(turned)) == pytest.approx(
        float(fourier_concentration(w)), rel=1e-10
    )


def test_an_order_that_is_none_of_the_waves_loses_them():
    w = waves(23, np.arange(1, 12))
    shuffled = w[:, np.random.default_rng(0).permutation(23)]
    assert fourier_concentration(w) == pytest.approx(1.0)
    assert fourier_concentration(shuffled) < 0.5


def test_leading_axes_are_times():
    w = np.stack([[weights(10 * i + j) for j in range(3)] for i in range(2)])
    for found in (fourier_concentration(w), fourier_concentration(np.swapaxes(w, -1, -2), -2)):
        assert found.shape == (2, 3)
        for k in np.ndindex(2, 3):
            assert found[k] == pytest.approx(float(fourier_concentration(w[k])), rel=1e-13)


@LIBRARIES
def test_without_a_wave_or_a_number_there_is_none(xp):
    unknown, infinite = weights(0), weights(0)
    unknown[1, 2], infinite[0, 0] = np.nan, np.inf
    constant = np.repeat(np.array([[0.1], [3.7], [1e9], [0.0]]), 7, axis=1)
    w = np.stack([constant, unknown, infinite, np.zeros((4, 7)), weights(0)])
    found = np.from_dlpack(fourier_concentration(in_library(xp, w)))
    np.testing.assert_array_equal(np.isnan(found), [True] * 4 + [False])


@LIBRARIES
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_and_the_precision_are_kept(xp, dtype):
    w = in_library(xp, weights(0), dtype=dtype)
    found = fourier_concentration(w)
    assert array_namespace(found) is array_namespace(w)
    assert found.dtype == w.dtype


def test_lists_and_integers_become_floats():
    assert fourier_concentration([[1, 0, 0], [0, 2, 0]]) == pytest.approx(1.0)
    assert math.isclose(fourier_concentration(np.eye(5, dtype=int)), 0.5)


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((7,), -1, r"three tokens at least, got \(7,\)"),
        ((4, 2), -1, r"three tokens at least, got \(4, 2\) with tokens along -1"),
        ((2, 4), -2, r"got \(2, 4\) with tokens along -2"),
        ((0, 5), -1, r"got \(0, 5\)"),
        ((4, 7), 0, "axis must be -1 or -2, got 0"),
    ],
)
def test_wrong_shapes_are_named(shape, axis, message):
    with pytest.raises(ValueError, match=message):
        fourier_concentration(np.ones(shape), axis)
