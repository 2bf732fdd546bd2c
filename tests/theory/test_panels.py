"""Interpolation in time between exact nodes: what it resolves, and what it says of its error."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.theory import panels

TOLERANCE, LENGTH = 1e-11, 1.0


def escape(rates, starts):
    """Return times -> (T, modes): curves that leave a plateau, as modes of a network do."""
    rates, seeds = np.asarray(rates, dtype=float), np.asarray(starts, dtype=float)

    def at(t):
        decay = np.exp(-2 * rates * np.asarray(t)[:, None])
        return 1 / (decay / seeds + 1 - decay)

    return at


def resolved(function, t, accepted=TOLERANCE):
    """Return the interpolated values at t, the largest tail, and the pieces."""
    ends = panels.edges(function, t[0], np.nextafter(t[-1], np.inf), TOLERANCE, LENGTH)
    found, tail, many = np.full((len(t), function(t[:1]).shape[1]), np.nan), 0.0, []
    for piece in panels.pieces(function, ends, accepted, together=3):
        here = piece.times(t)
        found[here] = panels.weights(piece.panel, t[here]) @ piece.values
        tail = max(tail, piece.tail)
        many.append(piece)
    return found, tail, many


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e3), st.floats(1e-3, 1e3), st.integers(0, panels.DEGREE), st.integers(0, 99))
def test_polynomials_up_to_the_degree_are_exact(first, length, degree, seed):
    rng = np.random.default_rng(seed)
    panel = (first, first + length)
    nodes, t = panels.lobatto(panel), np.sort(rng.uniform(*panel, 7))

    def chebyshev(times):
        share = 2 * (times - panel[0]) / (panel[1] - panel[0]) - 1
        return np.cos(degree * np.arccos(np.clip(share, -1, 1)))

    # a share of the panel has the rounding of its ends
    noise = 1e-12 + 1e-15 * degree**2 * first / length
    np.testing.assert_allclose(
        panels.weights(panel, t) @ chebyshev(nodes), chebyshev(t), atol=100 * noise
    )


def test_the_nodes_are_those_of_lobatto_with_the_ends_exact():
    nodes = panels.lobatto((0.1, 0.7))
    assert len(nodes) == panels.DEGREE + 1
    assert (nodes[0], nodes[-1]) == (0.1, 0.7)
    angle = np.pi * np.arange(len(nodes)) / panels.DEGREE
    np.testing.assert_allclose(nodes, 0.4 - 0.3 * np.cos(angle), rtol=1e-14)


def test_at_a_node_the_value_is_its_own():
    panel = (0.2, 1.7)
    nodes, values = panels.lobatto(panel), np.random.default_rng(80).standard_normal((33, 2))
    np.testing.assert_array_equal(panels.weights(panel, nodes) @ values, values)
    assert panels.weights(panel, np.empty(0)).shape == (0, 33)


def test_weights_sum_to_one():
    share = panels.weights((0.2, 1.7), np.linspace(0.2, 1.7, 101))
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-13)


@pytest.mark.parametrize(
    ("rates", "starts", "last"),
    [
        ([1.0], [1e-2], 20.0),
        ([1.0], [1e-12], 40.0),
        ([3.0, 0.1], [1e-4, 1e-2], 60.0),
        ([1.0, 2.0, 5.0], [1e-6, 3.0, 1.0], 30.0),
        ([50.0], [1e-3], 200.0),
        ([1e-3], [0.5], 1.0),
    ],
)
def test_pieces_resolve_what_leaves_a_plateau(rates, starts, last):
    function, t = escape(rates, starts), np.linspace(0, last, 3001)
    found, tail, many = resolved(function, t)
    assert tail <= TOLERANCE
    assert np.max(np.abs(found - function(t))) < 10 * TOLERANCE
    assert len(many) < 30


@pytest.mark.parametrize("spacing", ["even", "late", "two"])
def test_every_time_falls_into_one_piece(spacing):
    t = {
        "even": np.linspace(0, 12, 777),
        "late": np.linspace(7.5, 12, 777),
        "two": np.array([3.0, 12.0]),
    }[spacing]
    found, _, many = resolved(escape([1.0], [1e-5]), t)
    assert np.all(np.isfinite(found))
    places = np.concatenate([np.arange(len(t))[piece.times(t)] for piece in many])
    np.testing.assert_array_equal(places, np.arange(len(t)))
    ends = [piece.panel for piece in many]
    assert ends[0][0] == t[0]
    assert all(before[1] == after[0] for before, after in pairwise(ends))


def test_panels_are_found_from_any_guess_of_their_length():
    function = escape([2.0, 0.3], [1e-6, 1e-3])
    counts = set()
    for guess in (1e-6, 1e-2, 1.0, 30.0, 1e6):
        ends = panels.edges(function, 0.0, 50.0, TOLERANCE, guess)
        assert (ends[0], ends[-1]) == (0.0, 50.0)
        assert np.all(np.diff(ends) > 0)
        counts.add(len(ends))
    assert max(counts) < 20


def test_a_panel_that_the_guess_missed_is_halved():
    sharp = escape([100.0], [1e-8])
    many = list(panels.pieces(sharp, np.array([0.0, 1.0]), TOLERANCE, together=1))
    assert len(many) > 2
    assert max(piece.tail for piece in many) <= TOLERANCE
    t = np.linspace(0, 1, 400, endpoint=False)
    for piece in many:
        here = t[piece.times(t)]
        error = panels.weights(piece.panel, here) @ piece.values - sharp(here)
        assert np.max(np.abs(error), initial=0.0) < 10 * TOLERANCE


def test_a_jump_ends_the_halving_and_is_said():
    def jump(t):
        return np.where(np.asarray(t) < 0.4, 0.0, 1.0)[:, None]

    many = list(panels.pieces(jump, np.array([0.0, 1.0]), TOLERANCE, together=1))
    assert len(many) < 100
    assert max(piece.tail for piece in many) > TOLERANCE
