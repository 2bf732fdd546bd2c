"""The law of targets of low rank: against the general balanced law and 60-digit references."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.theory.laws import low_rank, riccati
from layerwise.theory.orbits.balanced import BalancedGrams
from layerwise.theory.orbits.low_rank import LowRankGrams
from layerwise.theory.reduction import reduce

from . import linear_oracles as oracles

AGREED = 1e-12
INTERPOLATED = 1e-10
TIMES = np.array([0.0, 1e-3, 0.3, 1.0, 3.0, 12.0, 100.0])
FOR_EVER = 1e12
MATRICES = ("map", "gram_in", "gram_out")
QUANTITIES = (*MATRICES, "loss", "modes", "singular_values", "ntk_trace", "kernel_distance")

# (i, h, o), rank of the target, lam; h <= i where lam < 0
NETWORKS = [
    ((12, 12, 12), 2, 0.0),
    ((20, 9, 15), 2, 0.0),
    ((14, 40, 11), 3, 0.0),  # wider than it needs to be
    ((12, 12, 12), 2, -1e-9),
    ((16, 10, 12), 2, -0.5),
    ((12, 12, 12), 1, -2.0),
    ((30, 20, 9), 2, -2.0),  # hidden directions that no output reaches
    ((14, 12, 10), 2, -1e3),
]


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def frame(rows, columns, rng):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def network(sizes, rank, lam, *, scale=0.3, seed=0, spectrum=None):
    """Return W1, W2 with ``W2^T W2 - W1 W1^T = lam I``, lam <= 0, and a target of some rank."""
    rng, (i, h, o) = np.random.default_rng(seed), sizes
    w2 = scale / math.sqrt(h) * rng.standard_normal((o, h))
    values, vectors = np.linalg.eigh(w2.T @ w2 - lam * np.eye(h))
    kept = values > 1e-12 * values[-1]
    w1 = np.sqrt(values[kept]) * vectors[:, kept] @ frame(i, int(kept.sum()), rng).T
    s = np.linspace(2.0, 0.5, rank) if spectrum is None else spectrum
    return w1, w2, frame(o, rank, rng) * s @ frame(i, rank, rng).T


def both(w1, w2, cross, lam, t, decay=0.0):
    """Return the Grams by this law and by the general one, whatever the rank of the target.

    At those of the times t at which this law holds.
    """
    model = lw.Linear(w1, w2, cross, decay=decay)
    reduced, modes = reduce(model), model.regression.modes
    law = low_rank.prepare(w1, w2, modes, lam, decay)
    general = riccati.prepare(w1, w2, modes, lam, decay)
    assert law is not None
    t = t[: np.sum([law.holds(time) for time in t])]
    assert len(t) > 0
    here = LowRankGrams(model, reduced, law, False, t)
    return here, BalancedGrams(model, reduced, general, False, t)


def solved(model, t):
    solution = lw.solve(model, t, "exact")
    grams = getattr(solution.orbit, "grams", lambda _: None)
    return solution, isinstance(grams(solution.t), LowRankGrams)


def generally(monkeypatch, model, t):
    with monkeypatch.context() as patch:
        patch.setattr(low_rank, "suits", lambda *_: False)
        solution, short = solved(model, t)
    assert not short
    return solution


def error(found, wanted):
    assert found.shape == wanted.shape
    return float(np.max(np.abs(found - wanted))) / max(1.0, float(np.max(np.abs(wanted))))


def named(networks):
    return pytest.mark.parametrize(("sizes", "rank", "lam"), networks)


@named(NETWORKS)
@pytest.mark.parametrize("scale", [1e-3, 0.3, 3.0])
def test_the_general_law_agrees(sizes, rank, lam, scale):
    here, general = both(*network(sizes, rank, lam, scale=scale), lam, TIMES)
    assert len(here.t) > 4
    for name in (*MATRICES, "loss", "modes", "singular_values"):
        assert error(getattr(here, name)(), getattr(general, name)()) < AGREED, name
    for found, wanted in zip(here.traces(), general.traces(), strict=True):
        assert error(found, wanted) < AGREED


@named([((12, 12, 12), 2, 0.0), ((14, 30, 11), 2, 0.0), ((9, 20, 9), 3, 0.0)])
@pytest.mark.parametrize("decay", [0.05, 1.0, 3.0])
def test_decay_agrees_with_the_general_law(sizes, rank, lam, decay):
    here, general = both(*network(sizes, rank, lam), lam, TIMES, decay)
    for name in (*MATRICES, "loss", "modes"):
        assert error(getattr(here, name)(), getattr(general, name)()) < AGREED, name


@pytest.mark.parametrize("scale", [1e-5, 0.3, 3.0])
@pytest.mark.parametrize(
    ("sizes", "rank", "lam"),
    [
        ((6, 5, 5), 1, 0.0),
        ((5, 14, 4), 1, 0.0),
        ((6, 6, 5), 2, -1e-9),
        ((6, 5, 5), 2, -0.5),
        ((6, 5, 4), 1, -2.0),
        ((6, 5, 5), 2, -1e3),
    ],
)
def test_map_and_grams_to_sixty_digits(sizes, rank, lam, scale):
    w1, w2, cross = network(sizes, rank, lam, scale=scale)
    here, _ = both(w1, w2, cross, lam, TIMES[:6])
    wanted = oracles.grams(w1, w2, cross, here.t)
    for name, expected in zip(MATRICES, wanted, strict=True):
        assert error(getattr(here, name)(), expected) < AGREED, name


@pytest.mark.parametrize("decay", [0.05, 1.0])
def test_decay_to_sixty_digits(decay):
    w1, w2, cross = network((6, 5, 5), 2, 0.0)
    here, _ = both(w1, w2, cross, 0.0, TIMES[:6], decay)
    wanted = oracles.grams(w1, w2, cross, here.t, decay=decay)
    for name, expected in zip(MATRICES, wanted, strict=True):
        assert error(getattr(here, name)(), expected) < AGREED, name


def test_a_vanishing_loss_keeps_its_digits():
    t = np.linspace(0.0, 30.0, 400)
    w1, w2, cross = network((16, 10, 12), 1, -2.0, spectrum=np.array([1.0]))
    here, general = both(w1, w2, cross, -2.0, t)
    every = np.arange(0, 400, 40)
    wanted = np.concatenate([general.part(slice(k, k + 1)).loss() for k in every])
    assert np.min(wanted) < 1e-9
    assert np.max(np.abs(here.loss()[every] / wanted - 1)) < 1e-6
    exact = np.concatenate([here.part(slice(k, k + 1)).loss() for k in every])
    assert np.max(np.abs(exact / wanted - 1)) < 1e-9


def variants():
    """Models of every kind of inputs, rates and imbalance, with a target of rank 2."""
    w1, w2, cross = network((17, 20, 16), 2, 0.0)
    yield "as it is", lw.Linear(w1, w2, cross)
    yield "more outputs", lw.Linear(w2.T, w1.T, cross.T)
    yield "decay", lw.Linear(w1, w2, cross, decay=0.1)
    yield "decay, more outputs", lw.Linear(w2.T, w1.T, cross.T, decay=0.1)
    yield "rates", lw.Linear(w1 / 4**0.25, w2 * 4**0.25, cross, rates=(1.0, 4.0))
    yield "variance", lw.Linear(w1, w2, cross, 2.5 * np.eye(17))
    basis = frame(20, 17, np.random.default_rng(1))
    blind = cross @ basis.T, 2.5 * basis @ basis.T
    yield "blind inputs", lw.Linear(w1 @ basis.T, w2, *blind)
    w1, w2, cross = network((20, 18, 14), 2, -0.7)
    yield "imbalance", lw.Linear(w1, w2, cross)
    yield "imbalance, mirrored", lw.Linear(w2.T, w1.T, cross.T)
    yield "imbalance, rates", lw.Linear(w1 * 4**0.25, w2 / 4**0.25, cross, rates=(4.0, 1.0))
    basis = frame(24, 14, np.random.default_rng(2))
    blind = cross.T @ basis.T, 0.4 * basis @ basis.T
    yield "imbalance, mirrored, blind inputs", lw.Linear(w2.T @ basis.T, w1.T, *blind)
    w1, w2, cross = network((60, 30, 11), 2, -0.7)
    yield "wide", lw.Linear(w1, w2, cross)
    yield "wide, mirrored", lw.Linear(w2.T, w1.T, cross.T)
    basis = frame(64, 60, np.random.default_rng(3))
    blind = cross @ basis.T, 0.4 * basis @ basis.T
    yield "wide, blind inputs", lw.Linear(w1 @ basis.T, w2, *blind)


VARIANTS = dict(variants())


@pytest.mark.parametrize("name", VARIANTS)
def test_solve_takes_it_and_changes_no_quantity(name, monkeypatch):
    model, t = VARIANTS[name], TIMES[:6]
    here, short = solved(model, t)
    assert short
    general = generally(monkeypatch, model, t)
    assert (here.law, here.unexcited_modes) == (general.law, general.unexcited_modes)
    for quantity in QUANTITIES:
        found, wanted = here[quantity], general[quantity]
        if quantity == "singular_values":  # the general law leaves out those of blind inputs, 0
            found = found[:, : wanted.shape[1]]
        assert error(found, wanted) < AGREED, quantity
    assert here.residual() < 1e-9


@pytest.mark.parametrize("name", ["as it is", "decay", "imbalance, mirrored", "blind inputs"])
def test_many_times_are_interpolated(name, monkeypatch):
    model, t = VARIANTS[name], np.linspace(0.0, 12.0, 700)
    here, short = solved(model, t)
    assert short
    assert 0 < here.orbit.own.interpolation_error < INTERPOLATED
    few = np.array([0, 1, 5, 77, 351, 699])
    general = generally(monkeypatch, model, t[few])
    for quantity in (*MATRICES, "loss", "modes", "ntk_trace"):
        assert error(here[quantity][few], general[quantity]) < INTERPOLATED, quantity
    out = np.empty_like(here["map"])
    assert here.orbit.own.map(out) is out
    assert np.array_equal(out, here["map"])


@pytest.mark.parametrize("scale", [1e-60, 1e-8, 20.0])
def test_interpolation_from_small_and_large_starts(scale):
    t = np.geomspace(1e-3, 60.0, 900)
    w1, w2, cross = network((14, 14, 14), 2, 0.0, scale=scale)
    model = lw.Linear(w1, w2, cross)
    law = low_rank.prepare(w1, w2, model.regression.modes, 0.0)
    here = LowRankGrams(model, reduce(model), law, False, t)
    exact = [
        LowRankGrams(model, reduce(model), law, False, t[k : k + 1]) for k in range(0, 900, 90)
    ]
    for name in (*MATRICES, "loss", "modes"):
        wanted = np.concatenate([getattr(grams, name)() for grams in exact])
        size = max(1.0, scale**2) if name != "loss" else max(1.0, scale**4)
        assert np.max(np.abs(getattr(here, name)()[::90] - wanted)) < INTERPOLATED * size, name


def refused():
    """Balanced networks with a target of low rank that this law leaves to the general one."""
    w1, w2, cross = network((12, 16, 12), 1, 0.0)
    u, _, _ = np.linalg.svd(cross)
    yield "zero start", 0 * w1, 0 * w2, cross
    turn = frame(12, 12, np.random.default_rng(4))  # W1 v = -W2^T u
    yield "unexcited", w2.T @ turn, w2, -np.outer(u[:, 0], u[:, 0] @ turn)
    left, right = (frame(12, 3, np.random.default_rng(seed)) for seed in (1, 2))
    cross = network((12, 16, 12), 2, 0.0)[2]
    yield "start of rank 3, two modes", w2[:3].T @ right.T, left @ w2[:3], cross
    first = 0.2 * np.random.default_rng(3).standard_normal((16, 12))
    yield "W2 = W1^T", first, first.T, np.outer(u[:, 0], u[:, 0])


REFUSED = {name: rest for name, *rest in refused()}


@pytest.mark.parametrize("name", REFUSED)
def test_dependent_rows_are_left_to_the_general_law(name, monkeypatch):
    model = lw.Linear(*REFUSED[name])
    t = np.array([0.0, 0.5, 4.0, FOR_EVER])
    modes = model.regression.modes
    assert low_rank.suits(modes[1], model.w1, model.w2)
    assert low_rank.prepare(model.w1, model.w2, modes, 0.0) is None
    here, short = solved(model, t)
    assert not short
    general = generally(monkeypatch, model, t)
    assert here.unexcited_modes == general.unexcited_modes
    assert bool(here.unexcited_modes) == (name == "unexcited")
    assert np.array_equal(here["map"], general["map"])


def test_too_few_hidden_directions_are_refused():
    w1, w2, cross = network((9, 3, 8), 2, 0.0)
    assert low_rank.prepare(w1, w2, lw.Linear(w1, w2, cross).regression.modes, 0.0) is None


def test_ranks_that_are_low():
    w1, w2, cross = network((24, 24, 24), 3, 0.0)
    noise = np.random.default_rng(5).standard_normal(cross.shape)
    for size, low in ((0.0, True), (1e-14, True), (1e-10, False), (0.1, False)):
        s = np.linalg.svd(cross + size * noise, compute_uv=False)
        assert low_rank.suits(s, w1, w2) is low
    assert not low_rank.suits(np.ones(4), np.ones((64, 64)), np.ones((4, 64)))
    assert not low_rank.suits(np.zeros(24), w1, w2)
    s = np.linalg.svd(cross, compute_uv=False)
    assert not low_rank.suits(s, w1[:20], w2[:, :20])


@named([((12, 20, 12), 2, 0.0), ((16, 16, 12), 1, -0.5), ((14, 18, 13), 2, 0.0)])
def test_it_ends_where_it_must(sizes, rank, lam):
    w1, w2, cross = network(sizes, rank, lam)
    end, _ = solved(lw.Linear(w1, w2, cross), [0.0, FOR_EVER])
    for name, wanted in zip(MATRICES, oracles.limit(w1, w2, cross), strict=True):
        assert error(end[name][-1], wanted) < 1e-10, name


def test_late_times_go_to_the_general_law_without_a_step():
    w1, w2, cross = network((14, 16, 14), 2, 0.0)
    model = lw.Linear(w1, w2, cross)
    law = low_rank.prepare(w1, w2, model.regression.modes, 0.0)
    last = next(t for t in 10.0 ** np.arange(1, 12) if not law.holds(10 * t))
    assert law.holds(last)
    here, short = solved(model, [last])
    there, shorter = solved(model, [last, 10 * last])
    assert short
    assert not shorter
    for name in MATRICES:
        assert error(here[name][0], there[name][0]) < AGREED, name


@given(
    seed=st.integers(0, 10_000),
    lam=st.sampled_from([0.0, -1e-6, -0.3, -4.0]),
    scale=st.floats(1e-3, 2.0),
    t=st.floats(0.0, 50.0),
)
@settings(max_examples=40, deadline=None)
def test_balance_and_positivity(seed, lam, scale, t):
    w1, w2, cross = network((9, 8, 7), 1, lam, scale=scale, seed=seed)
    modes = lw.Linear(w1, w2, cross).regression.modes
    law = low_rank.prepare(w1, w2, modes, lam)
    if law is None or not law.holds(t):
        return
    state = law.at(np.array([t]))
    outer, inner, W = (
        law.product(state, left, right)[0]
        for left, right in (
            (law.outputs, law.outputs),
            (law.inputs, law.inputs),
            (law.outputs, law.inputs),
        )
    )
    # W2 W2^T W2 W2^T - W W^T = lam W2 W2^T
    size = max(1.0, float(np.max(np.abs(outer))), float(np.max(np.abs(inner))))
    assert np.max(np.abs(outer @ outer - W @ W.T - lam * outer)) < AGREED * size**2
    stacked = np.linalg.eigvalsh(np.block([[outer, W], [W.T, inner]]))
    assert stacked[0] > -AGREED * size
    assert abs(np.trace(inner) - np.trace(outer) - law.gap) < AGREED * size * 10


@named([((12, 12, 12), 2, 0.0), ((16, 10, 12), 2, -0.5), ((14, 40, 11), 3, 0.0)])
@pytest.mark.parametrize("t", [0.0, 2.0, 9.0])
def test_the_span_holds_the_weights(sizes, rank, lam, t):
    here, _ = both(*network(sizes, rank, lam), lam, np.array([t]))
    columns = here.span()
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    basis, length, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis[:, length > 1e-13 * length[0]]
    assert basis.shape[1] <= min(sizes[1:] if lam else sizes)
    W = here.map()[0]
    stacked = np.block([[here.gram_in()[0], W.T], [W, here.gram_out()[0]]])
    assert np.max(np.abs(stacked - basis @ (basis.T @ stacked))) < AGREED


def test_weights_of_a_target_of_low_rank():
    w1, w2, cross = network((10, 12, 9), 1, 0.0)
    here, short = solved(lw.Linear(w1, w2, cross), [0.0, 1.0, 4.0])
    assert short
    found = here.weights([0.0, 1.0, 4.0])
    wanted = oracles.integrate(w1, w2, cross, np.array([0.0, 1.0, 4.0]))
    for part, expected in zip(found, wanted, strict=True):
        assert error(part, expected) < 1e-9
