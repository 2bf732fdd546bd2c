"""Modular arithmetic: tables by brute force, splits that leave nothing out, mirrors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from layerwise.tasks import Modular

PRIMES = (2, 3, 5, 7, 11, 13, 23)


@st.composite
def tasks(draw, operations=("+", "-", "*", "/", "table")):
    operation = draw(st.sampled_from(operations))
    modulus = draw(st.sampled_from(PRIMES) if operation == "/" else st.integers(2, 24))
    split_by = draw(st.sampled_from(["ordered", "unordered"]))
    try:
        return Modular(operation, modulus, draw(st.floats(0.05, 0.95)), split_by)
    except ValueError:  # a part of a small table may be empty: that is a test of its own
        assume(False)


def by_definition(operation, a, b, p):
    match operation:
        case "+":
            return (a + b) % p
        case "-":
            return next(c for c in range(p) if (c + b) % p == a)
        case "*":
            return sum(a for _ in range(b)) % p
        case "/":
            return next(c for c in range(p) if c * b % p == a)


def rows(pairs):
    return [tuple(pair) for pair in pairs.tolist()]


@settings(deadline=None)
@given(tasks(("+", "-", "*", "/")))
def test_labels_are_those_of_the_definition(task):
    expected = [by_definition(task.operation, a, b, task.modulus) for a, b in rows(task.pairs)]
    assert task.labels(task.pairs).tolist() == expected


@settings(deadline=None)
@given(tasks(), st.integers(0, 2**32 - 1))
def test_a_split_is_the_whole_table_once(task, seed):
    parts, p = task.split(seed), task.modulus
    table = [(a, b) for a in range(p) for b in range(p) if b or task.operation != "/"]
    assert rows(task.pairs) == table
    assert sorted(rows(parts.train) + rows(parts.test)) == table
    assert parts.train_labels.tolist() == task.labels(parts.train, seed).tolist()
    assert parts.test_labels.tolist() == task.labels(parts.test, seed).tolist()
    assert parts.train.dtype == parts.test.dtype == parts.train_labels.dtype == np.int64
    for labels in (parts.train_labels, parts.test_labels):
        assert len(labels) > 0
        assert 0 <= labels.min() <= labels.max() < p


@settings(deadline=None)
@given(tasks(), st.integers(0, 99))
def test_as_many_are_drawn_as_the_fraction_says(task, seed):
    parts = task.split(seed)
    if task.split_by == "ordered":
        assert len(parts.train) == round(task.fraction * len(task.pairs))
    else:
        groups = {tuple(sorted(pair)) for pair in rows(task.pairs)}
        drawn = {tuple(sorted(pair)) for pair in rows(parts.train)}
        assert len(drawn) == round(task.fraction * len(groups))


@settings(deadline=None)
@given(tasks(), st.integers(0, 99))
def test_mirrors_are_known_and_stay_together_where_they_should(task, seed):
    parts = task.split(seed)
    known = set(rows(parts.train))
    assert parts.mirrored.tolist() == [(b, a) in known for a, b in rows(parts.test)]
    assert not parts.mirrored[parts.test[:, 0] == parts.test[:, 1]].any()
    if task.split_by == "unordered":
        assert not parts.mirrored.any()


def test_half_of_the_test_pairs_have_a_mirror_in_a_half():
    shares = [Modular(modulus=47).split(seed).mirrored.mean() for seed in range(5)]
    assert 0.4 < min(shares) <= max(shares) < 0.6


def test_division_is_balanced_and_undoes_multiplication():
    task = Modular("/", 23)
    pairs = task.pairs
    assert pairs[:, 1].min() == 1
    assert Counter(task.labels(pairs).tolist()) == dict.fromkeys(range(23), 22)
    quotients = np.stack([task.labels(pairs), pairs[:, 1]], axis=1)
    assert Modular("*", 23).labels(quotients).tolist() == pairs[:, 0].tolist()


def test_subtraction_undoes_addition():
    pairs = Modular("+", 24).pairs
    sums = np.stack([Modular("+", 24).labels(pairs), pairs[:, 1]], axis=1)
    assert Modular("-", 24).labels(sums).tolist() == pairs[:, 0].tolist()


def test_the_random_table_is_one_per_seed_and_no_operation():
    task = Modular("table", 23)
    one, again, other = (task.labels(task.pairs, seed) for seed in (0, 0, 1))
    assert one.tolist() == again.tolist()
    assert 0.01 < np.mean(one == other) < 0.1  # one in 23 by chance
    assert 0.01 < np.mean(one == one.reshape(23, 23).T.ravel()) - 1 / 23 < 0.1  # and the diagonal
    counts = np.bincount(one, minlength=23)
    assert counts.min() > 5
    assert counts.max() < 50
    half = task.split(0)
    assert half.train_labels.tolist() == one.reshape(23, 23)[tuple(half.train.T)].tolist()


def test_a_split_depends_on_the_seed_alone():
    one, again, other = (Modular().split(seed) for seed in (3, 3, 4))
    assert rows(one.train) == rows(again.train)
    assert rows(one.train) != rows(other.train)
    assert 0.4 < np.mean([pair in set(rows(other.train)) for pair in rows(one.train)]) < 0.6


def test_test_pairs_come_sorted_and_training_pairs_do_not():
    parts = Modular().split(0)
    assert rows(parts.test) == sorted(rows(parts.test))
    assert rows(parts.train) != sorted(rows(parts.train))


@given(tasks())
def test_one_hot_says_which_tokens(task):
    p, x = task.modulus, task.one_hot(task.pairs)
    assert x.shape == (len(task.pairs), task.inputs) == (len(task.pairs), 2 * p)
    assert x.dtype == np.float32
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (x.sum(axis=1) == 2).all()
    assert rows(np.stack([x[:, :p].argmax(1), x[:, p:].argmax(1)], axis=1)) == rows(task.pairs)


@pytest.mark.parametrize("p", PRIMES)
@pytest.mark.parametrize("operation", ["*", "/"])
def test_along_the_cycle_multiplication_adds(operation, p):
    task = Modular(operation, p, 0.5)
    cycle, sign = task.cycle, 1 if operation == "*" else -1
    assert sorted(cycle.tolist()) == list(range(1, p))
    for i in range(p - 1):
        for j in range(p - 1):
            (label,) = task.labels([[cycle[i], cycle[j]]])
            assert label == cycle[(i + sign * j) % (p - 1)]


@pytest.mark.parametrize("task", [Modular("+", 6), Modular("-", 6), Modular("*", 6)])
def test_what_has_no_other_cycle_keeps_the_order_of_the_tokens(task):
    assert task.cycle.tolist() == list(range(6))


def test_the_formula_says_what_is_computed():
    assert Modular("/", 7).formula == "a / b mod 7"
    assert Modular("table", 7).formula == "random table mod 7"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operation": "^"}, r"operation must be one of .*'table'\), got '\^'"),
        ({"split_by": "rows"}, "split_by must be ordered or unordered, got 'rows'"),
        ({"modulus": 1}, "modulus must be at least 2, got 1"),
        ({"modulus": -5}, "modulus must be at least 2, got -5"),
        (
            {"operation": "/", "modulus": 35},
            "division needs a prime modulus, got 35 = 5 x 7: there 5 has no inverse",
        ),
        ({"operation": "/", "modulus": 4}, "got 4 = 2 x 2: there 2 has no inverse"),
        ({"fraction": 0.0}, "ordered pairs to train and to test on: 0.0 of 529 are 0"),
        ({"fraction": 1.0}, "ordered pairs to train and to test on: 1.0 of 529 are 529"),
        ({"fraction": 0.9995}, "0.9995 of 529 are 528.736"),
        ({"fraction": 1.5}, "1.5 of 529 are 793.5"),
        ({"fraction": -0.1}, "-0.1 of 529 are -52.9"),
        ({"fraction": float("nan")}, "fraction must be finite, got nan"),
        ({"fraction": float("inf")}, "fraction must be finite, got inf"),
        (
            {"modulus": 2, "fraction": 0.1, "split_by": "unordered"},
            "unordered pairs to train and to test on: 0.1 of 3 are 0.3",
        ),
    ],
)
def test_bad_tasks_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Modular(**fields)


def test_pairs_of_a_wrong_shape_or_value_are_refused():
    task = Modular(modulus=5)
    for bad in (np.zeros((3, 3), int), np.zeros(2, int)):
        with pytest.raises(ValueError, match=r"pairs must be \(n, 2\), got"):
            task.labels(bad)
        with pytest.raises(ValueError, match=r"pairs must be \(n, 2\), got"):
            task.one_hot(bad)
    with pytest.raises(ValueError, match="tokens must be from 0 to 4, got 0 to 5"):
        task.labels([[0, 5]])
    with pytest.raises(ValueError, match="tokens must be from 0 to 4, got -1 to 1"):
        task.one_hot([[-1, 1]])
    with pytest.raises(ValueError, match="0 has no inverse"):
        Modular("/", 5).labels([[1, 0]])
