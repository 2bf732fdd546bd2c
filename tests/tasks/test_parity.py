"""Multitask sparse parity: its distribution, labels by brute force, its random streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from layerwise.tasks import Parity


def rng(seed=0):
    return np.random.default_rng(seed)


def parts(task, x):
    return x[:, : task.n_skills], x[:, task.n_skills :]


def looks_uniform(counts, expected):
    """Return whether a chi-square test at one in a million lets `counts` pass."""
    counts, expected = np.asarray(counts), np.asarray(expected)
    statistic = np.sum((counts - expected) ** 2 / expected)
    return statistic < chi2.isf(1e-6, counts.size - 1)


@st.composite
def tasks(draw):
    skills, bits = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    return Parity(
        skills,
        bits,
        draw(st.integers(skills * bits, 64)),
        draw(st.floats(0.1, 3.0)),
        draw(st.floats(0.1, 10.0)),
        draw(st.floats(-1.0, 1.0)),
    )


def label_by_brute_force(task, row):
    (skill,) = np.flatnonzero(row[: task.n_skills])
    bits = row[task.n_skills :]
    odd = False
    for i in range(skill * task.skill_bits, (skill + 1) * task.skill_bits):
        odd ^= bool(bits[i])
    size = task.target * (skill + 1.0) ** -task.target_exponent
    return skill, size if odd else -size


@settings(deadline=None)
@given(tasks(), st.integers(0, 2**32 - 1))
def test_labels_and_features_are_those_of_brute_force(task, seed):
    x, y = task.sample(40, rng(seed))
    assert (x.shape, y.shape) == ((40, task.inputs), (40, 1))
    assert x.dtype == y.dtype == np.float32
    assert set(np.unique(x)) <= {0.0, 1.0}
    g = task.features(x)
    assert (g.shape, g.dtype) == ((40, task.n_skills), np.float32)
    for row, label, feature in zip(x, y[:, 0], g, strict=True):
        skill, wanted = label_by_brute_force(task, row)
        assert label == np.float32(wanted)
        assert feature.tolist() == [math.copysign(k == skill, wanted) for k in range(task.n_skills)]
    np.testing.assert_array_equal(y, (g * task.targets.astype(np.float32)).sum(1, keepdims=True))


def test_frequencies_and_targets_are_power_laws():
    task = Parity(n_skills=4, alpha=0.9, target=2.0, target_exponent=0.5)
    weights = [k**-1.9 for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(task.frequencies, np.array(weights) / sum(weights), rtol=1e-14)
    np.testing.assert_allclose(task.targets, [2.0 * k**-0.5 for k in (1, 2, 3, 4)], rtol=1e-14)
    published = [0.5927, 0.1955, 0.1022, 0.0645, 0.0451]
    np.testing.assert_allclose(Parity().frequencies, published, atol=5e-5)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 2.0])
def test_skills_are_asked_for_as_often_as_the_power_law_says(alpha):
    task, n = Parity(n_skills=12, skill_bits=2, alpha=alpha), 200_000
    control, _ = parts(task, task.sample(n, rng(1))[0])
    assert (control.sum(1) == 1).all()
    assert looks_uniform(control.sum(0), n * task.frequencies)


@pytest.mark.parametrize("n_bits", [8, 13, 32, 64])
def test_every_byte_is_as_likely_as_every_other(n_bits):
    task, n = Parity(n_skills=2, skill_bits=2, n_bits=n_bits), 100_000
    _, bits = parts(task, task.sample(n, rng(2))[0])
    for first in range(0, n_bits - 7):
        values = bits[:, first : first + 8] @ (2 ** np.arange(8))
        counts = np.bincount(values.astype(int), minlength=256)
        assert counts.min() > 0  # 255 among them
        assert looks_uniform(counts, np.full(256, n / 256))


def test_bits_skills_and_parities_are_independent():
    task, n = Parity(), 100_000
    x, y = task.sample(n, rng(3))
    control, bits = parts(task, x)
    correlations = np.corrcoef(np.concatenate([bits, control[:, :1], np.sign(y)], axis=1).T)
    off = correlations[np.triu_indices(len(correlations), 1)]
    assert np.abs(off).max() < 5.5 / math.sqrt(n)  # one in 1e5 for all of the 561 pairs
    g = task.features(x)
    np.testing.assert_allclose(g.T @ g / n, np.diag(task.frequencies), atol=5 / math.sqrt(n))


def test_samples_depend_on_the_generator_alone():
    task = Parity()
    for one, same, other in zip(*(task.sample(50, rng(seed)) for seed in (4, 4, 5)), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_a_fixed_data_set_and_the_held_out_one_have_streams_of_their_own():
    task, seed = Parity(n_skills=1, n_bits=64), 6
    fixed, held_out = task.fixed(500, seed)[0], task.evaluation(500, seed)[0]
    np.testing.assert_array_equal(fixed, task.fixed(500, seed)[0])
    np.testing.assert_array_equal(held_out, task.evaluation(500, seed)[0])
    fresh = [task.sample(500, rng([seed, k]))[0] for k in range(20)]
    others = fixed, held_out, task.fixed(500, seed + 1)[0], task.evaluation(500, seed + 1)[0]
    rows = np.concatenate([*fresh, *others])
    assert len(np.unique(rows, axis=0)) == len(rows)  # 64 bits: no row comes twice by chance


def test_held_out_samples_come_in_the_order_of_the_skills():
    task = Parity(n_skills=3, skill_bits=2, target_exponent=0.3)
    x, y = task.evaluation(400, 0)
    control, _ = parts(task, x)
    np.testing.assert_array_equal(control.argmax(1), np.repeat([0, 1, 2], 400))
    for k, part in enumerate(np.split(y, 3)):
        np.testing.assert_allclose(np.abs(part), task.targets[k], rtol=1e-7)
        assert abs(np.sign(part).sum()) < 5 * math.sqrt(400)


def test_one_skill_of_all_the_bits_is_possible():
    task = Parity(n_skills=1, skill_bits=64, n_bits=64)
    x, y = task.sample(30, rng())
    assert [label_by_brute_force(task, row)[1] for row in x] == y[:, 0].tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_skills": 0}, "n_skills must be at least 1, got 0"),
        ({"skill_bits": 0}, "skill_bits must be at least 1, got 0"),
        ({"n_bits": -1}, "n_bits must be at least 1, got -1"),
        ({"n_skills": 11}, "more skill bits than there are: 11 skills of 3 bits need 33, n_bits"),
        ({"n_bits": 65}, "n_bits must be at most 64, got 65"),
        ({"alpha": 0.0}, "alpha must be positive and finite, got 0.0"),
        ({"alpha": math.nan}, "alpha must be positive and finite, got nan"),
        ({"target": -5.0}, "target must be positive and finite, got -5.0"),
        ({"target": math.inf}, "target must be positive and finite, got inf"),
        ({"target_exponent": math.inf}, "target_exponent must be finite, got inf"),
    ],
)
def test_bad_tasks_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Parity(**fields)


@pytest.mark.parametrize("shape", [(37,), (4, 36), (2, 4, 37)])
def test_features_of_other_inputs_are_refused(shape):
    with pytest.raises(ValueError, match=r"inputs must be \(n, 37\), got"):
        Parity().features(np.zeros(shape, dtype=np.float32))
