"""The numerical flow against closed forms: tolerances, stiffness, many parts, long horizons."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.flow import flow

FLOW = "layerwise.theory.flow"
EXACT = 1e-9


def off(model, t, wanted=None):
    """Return the error of the flow's map, relative to max(1, largest)."""
    wanted = lw.solve(model, t, "exact")["map"] if wanted is None else wanted
    return np.max(np.abs(model.quantity("map", flow(model, t)) - wanted)) / max(
        1.0, np.max(np.abs(wanted))
    )


def times(model, horizon, count=20):
    """Return 0 and `count` times to a number of relaxation times of the model."""
    return np.append(0.0, np.geomspace(1e-2, horizon, count) / model.fastest())


def turned(values, shape, seed):
    """Return a matrix of that shape with these singular values, in random directions."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in shape)
    return u[:, : len(values)] * values @ v[:, : len(values)].T


def spread(modes, power, **weights):
    return lw.Diagonal(np.arange(1, modes + 1.0) ** -power, **weights)


# --- every model -----------------------------------------------------------------------------


def random_model(kind, seed, size):
    """Return a random model that a law solves, of unequal sizes and a start of that size."""
    rng = np.random.default_rng([seed, len(kind)])
    normal, h = rng.standard_normal, int(rng.integers(1, 9))
    i, o = (int(n) for n in rng.integers(1, 6, 2))
    match kind:
        case "shallow":
            return lw.Shallow(normal((2, 3)), size * normal((2, 3)), rate=[1.0, 0.1, 5.0])
        case "diagonal":
            return lw.Diagonal(
                normal(4), size * normal(4), size * normal(4), rate=rng.uniform(0, 3)
            )
        case "scalar":
            return lw.Scalar(normal(), size * normal(h), size * normal(h), np.sqrt(h))
        case "decay":
            decay = 10 ** rng.uniform(-2, 0)
            return lw.Scalar(2.0, size * normal(h), size * normal(h), decay=decay)
        case "deep":
            weight = max(size, 1e-2) * rng.uniform(0.5, 1, 3)
            return lw.Deep(rng.uniform(0.5, 2, 3), weight, depth=[2.0, 2.7, 4.0])
        case "linear":
            w1, w2 = starts.balanced((i, min(i, o), o), 0.0, size, seed=rng)
            return lw.Linear(w1, w2, normal((o, i)), rates=(1.0, 1.0))
        case "decayed linear":
            w1, w2 = starts.balanced((i, min(i, o), o), 0.0, size, seed=rng)
            return lw.Linear(w1, w2, normal((o, i)), decay=0.1)
        case "rates":
            w1, w2 = starts.balanced((i, min(i, o), o), 0.0, size, seed=rng)
            rates = 0.5, 3.0
            turn = (rates[1] / rates[0]) ** 0.25
            return lw.Linear(w1 / turn, w2 * turn, normal((o, i)), rates=rates)
        case "deep linear":
            layers = [max(size, 0.1) * np.eye(3) for _ in range(int(rng.integers(3, 5)))]
            cross = turned(np.array([2.0, 1.0, 0.5]), (3, 3), seed)
            u, _, vt = np.linalg.svd(cross)
            return lw.DeepLinear([layers[0] @ vt, *layers[1:-1], u @ layers[-1]], cross)
    raise AssertionError(kind)


KINDS = (
    "shallow",
    "diagonal",
    "scalar",
    "decay",
    "deep",
    "linear",
    "decayed linear",
    "rates",
    "deep linear",
)


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_flow_of_every_model_is_its_law(kind, size):
    for seed, horizon in enumerate((50.0, 3e4)):
        model = random_model(kind, seed, size)
        assert off(model, times(model, horizon)) < EXACT, horizon


@pytest.mark.parametrize("kind", KINDS)
def test_the_flow_checks_itself(kind):
    model = random_model(kind, 7, 0.3)
    sol = lw.solve(model, times(model, 1e4, 60), "flow")
    assert sol.drift() < 1e-9
    assert sol.rise() < 1e-14
    assert sol.residual() < EXACT


def test_a_network_without_law_is_a_tight_integration():
    rng = np.random.default_rng(3)
    square = rng.standard_normal((4, 5))
    cov = square @ square.T
    model = lw.Linear(
        1e-8 * rng.standard_normal((3, 4)),
        1e-8 * rng.standard_normal((2, 3)),
        rng.standard_normal((2, 4)) @ cov,
        cov,
        rates=(1.0, 0.3),
        decay=0.01,
    )
    t = np.linspace(0, 30, 15)
    states = solve_ivp(
        lambda _, w: model.velocity(w), (0, 30), model.start, "DOP853", t, rtol=3e-14, atol=1e-26
    ).y.T
    assert off(model, t, model.quantity("map", states)) < EXACT


def test_the_flow_of_any_layers_is_a_tight_integration():
    rng = np.random.default_rng(4)
    sizes = 4, 3, 5, 2
    layers = [0.3 * rng.standard_normal((b, a)) for a, b in pairwise(sizes)]
    model = lw.DeepLinear(layers, rng.standard_normal((2, 4)))
    t = np.linspace(0, 40, 15)
    states = solve_ivp(
        lambda _, w: model.velocity(w), (0, 40), model.start, "DOP853", t, rtol=3e-14, atol=1e-16
    ).y.T
    assert off(model, t, model.quantity("map", states)) < EXACT


# --- stiff spectra, many parts ---------------------------------------------------------------

SPECTRUM = np.geomspace(10, 1e-3, 6)


@pytest.mark.parametrize("size", [1e-2, 1e-4])
def test_modes_of_a_network_learned_ten_thousand_times_apart(size):
    w1, w2 = starts.balanced((6, 6, 6), 0.0, size, seed=3)
    model = lw.Linear(w1, w2, turned(SPECTRUM, (6, 6), 0))
    assert off(model, np.append(0, np.geomspace(1e-2, 1e4, 40))) < 1e-10


def test_waiting_modes_are_disturbed_by_the_rounding_of_learned_ones_as_said():
    w1, w2 = starts.balanced((6, 6, 6), 0.0, 1e-8, seed=3)
    model = lw.Linear(w1, w2, turned(SPECTRUM, (6, 6), 0))
    assert off(model, np.append(0, np.geomspace(1e-2, 3e4, 40))) < 5e-9
    alone = lw.Linear(1e-8 * np.eye(6), 2e-8 * np.eye(6), np.diag(SPECTRUM))
    assert off(alone, np.append(0, np.geomspace(1e-2, 3e4, 40))) < EXACT


def test_zeros_that_are_only_rounding_do_not_hold_the_solver_up(monkeypatch):
    """Off the diagonal of the middle layers are roundings, of no scale of their own."""
    monkeypatch.setattr(f"{FLOW}.MAX_EVALUATIONS", 80_000)
    u, _, vt = np.linalg.svd(turned(np.array([2.0, 1.5, 1.0, 0.3]), (4, 4), 1))
    layers = [0.03 * vt, *3 * [0.03 * np.eye(4)], 0.03 * u]
    model = lw.DeepLinear(layers, u * [2.0, 1.5, 1.0, 0.3] @ vt)
    assert off(model, np.append(0, np.geomspace(1e3, 1e8, 40))) < EXACT


@pytest.mark.parametrize("power", [1.5, 1.0])
def test_the_crowd_does_not_hide_the_mode_that_moves(power):
    model = spread(64, power, a=1e-3, b=1e-3)
    assert off(model, np.linspace(0, 200, 60)) < 1e-10


@pytest.mark.parametrize(
    ("model", "horizon"),
    [
        (spread(200, 1.5, a=1e-3, b=1e-3), 6e4),
        (lw.Deep(np.arange(1, 201) ** -1.5, weight=0.05, depth=3), 2e6),
        (lw.Deep(np.linspace(1, 2, 40), layers=np.full((40, 3), 0.3)), 1e3),
        (lw.Shallow(np.ones((5, 8)), rate=np.geomspace(1e-3, 10, 8)), 1e5),
        (lw.Scalar(np.linspace(-1, 1, 20), np.full((20, 3), 0.1), [0.2, 0.1, -0.3]), 1e4),
    ],
    ids=["200 pairs", "200 deep modes", "layers", "shallow", "1-h-1"],
)
def test_many_parts_are_solved_together_as_well_as_apart(model, horizon):
    assert np.prod(model.start.shape[:-1]) > 16
    assert off(model, np.append(0, np.geomspace(1, horizon, 30))) < EXACT


def test_more_parts_than_one_group_holds(monkeypatch):
    monkeypatch.setattr(f"{FLOW}.TOGETHER", 7)
    model = spread(20, 1.0, a=np.full((2, 20), 0.01), b=0.1)
    assert off(model, np.linspace(0, 30, 10)) < EXACT


# --- long horizons ---------------------------------------------------------------------------

LONG = np.append(0, np.geomspace(1e-2, 1e12, 60))


@pytest.mark.parametrize("kind", KINDS)
def test_long_horizons_end_at_rest(kind, monkeypatch):
    monkeypatch.setattr(f"{FLOW}.MAX_EVALUATIONS", 200_000)
    for seed in range(2):
        assert off(random_model(kind, seed, 0.3), LONG) < EXACT, seed


def test_what_is_learned_at_last_is_not_taken_for_rest():
    """The second mode's start moves by less than the rounding of the first one's weights."""
    w1, w2 = 1e-8 * np.eye(2), 1e-8 * np.eye(2)
    turn = turned(np.ones(2), (2, 2), 5)
    t = np.append(0, np.geomspace(1, 1e12, 20))
    target = [10.0, 1e-6]
    model = lw.Linear(w1 @ turn, turn.T @ w2, turn.T @ np.diag(target) @ turn)
    last = model.quantity("modes", flow(model, t)[-1:])[0]
    np.testing.assert_allclose(last, target, rtol=0, atol=1e-12)
    apart = spread(40, 4.0, a=1e-8, b=1e-8)
    assert off(apart, t) < EXACT


def test_a_map_that_falls_as_a_power_of_time_is_followed():
    cross = np.outer([1.0, 2.0, 0.5, 1.0], [1.0, 0.0, 2.0, 1.0])
    model = lw.Linear(*starts.balanced((4, 4, 4), 0.0, 0.5, seed=1), cross)
    assert off(model, np.append(0, np.geomspace(1e-1, 1e9, 40))) < EXACT
    pairs = lw.Diagonal([0.0, 1.0], a=[1.0, 0.1], b=[1.0, 0.3])
    assert off(pairs, LONG) < EXACT


def test_a_weight_that_decays_to_nothing_is_followed():
    for t in (LONG, np.append(0, np.geomspace(1e-2, 1e150, 40))):
        assert off(lw.Scalar(0.1, a=[1.0, 2.0], b=[1.0, -0.5], decay=0.5), t) < EXACT
        states = flow(lw.Deep(-1.0, weight=0.5, depth=4), t)
        assert 0 <= states[-1, 0] < 1e-3


def test_a_saddle_is_left_on_rounding_noise_as_said():
    cross = turned(np.array([2.0, 1.0, 0.5]), (3, 3), 0)
    model = lw.Linear(*starts.singular(cross, 0.5, seed=1), cross)
    rate = 0.5  # at which the saddle without the last mode is left
    t = np.array([0.0, 5.0, 10.0, 20.0, 30.0, 300.0]) / rate
    exact, found = (lw.solve(model, t, method)["modes"] for method in ("exact", "flow"))
    np.testing.assert_allclose(found[:4], exact[:4], rtol=0, atol=EXACT)
    assert exact[-1, 2] == pytest.approx(0.0, abs=1e-12)
    assert found[-1, 2] == pytest.approx(0.5, abs=EXACT)


def test_a_horizon_out_of_reach_is_an_error_that_names_the_time_reached(monkeypatch):
    monkeypatch.setattr(f"{FLOW}.MAX_EVALUATIONS", 500)
    for name, value in {"MANY": 10, "LATE": 1e7}.items():
        monkeypatch.setattr(f"{FLOW}.{name}", value)
    model = lw.Linear(*starts.balanced((3, 3, 3), 0.0, 0.1, seed=1), np.eye(3))
    with pytest.raises(
        ArithmeticError, match=r"flow of Linear was at t = .* of 1e\+12 after 5e\+02"
    ):
        flow(model, np.array([1.0, 1e12]))


@pytest.mark.parametrize(("bulky", "many"), [(5, 3000), (5, 10)], ids=["Radau", "DOP853"])
def test_large_models_first_have_their_share_of_the_explicit_solver(bulky, many, monkeypatch):
    w1, w2 = starts.balanced((5, 5, 5), 0.0, 0.1, seed=2)
    model = lw.Linear(w1, w2, turned(np.array([3.0, 1.0, 0.3, 0.05, 0.01]), (5, 5), 1))
    monkeypatch.setattr(f"{FLOW}.BULKY", bulky)
    monkeypatch.setattr(f"{FLOW}.MANY", many)
    assert off(model, np.append(0, np.geomspace(0.1, 1e3, 20))) < EXACT


def test_a_network_without_inputs_decays():
    model = lw.Linear([[1.0]], [[2.0]], [[0.0]], [[0.0]], decay=0.5)
    states = flow(model, np.array([0.0, 1.0, 20.0]))
    np.testing.assert_allclose(states, np.outer(np.exp([0.0, -0.5, -10.0]), [1.0, 2.0]), atol=1e-11)


# --- the checks ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "flow"])
def test_with_decay_the_drift_is_from_the_known_fall(method):
    for model in (
        lw.Scalar([1.0, 2.0], [[3.0, 0.2]], [[0.1, -0.3]], decay=[0.1, 0.01]),
        lw.Linear([[0.3, 0.1]], [[0.2], [0.5]], np.eye(2), decay=0.1, rates=(2.0, 2.0)),
        lw.Linear([[0.3]], [[0.2]], [[1.0]], decay=0.2),
    ):
        if method == "exact" and isinstance(model, lw.Linear) and model.cross.size > 1:
            continue
        sol = lw.solve(model, [0.5, 3.0, 9.0], method)
        assert sol.drift() < 1e-10
        assert sol.rise() <= 1e-14
        assert np.max(np.abs(np.diff(sol["conserved"], axis=0))) > 1e-3  # it does fall


def test_the_checks_find_a_descent_that_is_none():
    model = lw.Diagonal(1.0, a=0.5, b=3.0)
    sol = lw.solve(model, np.linspace(0, 0.9, 4), "descent", step=0.3)
    assert sol.drift() > 1e-2
    assert sol.rise() > 1e-2


def test_the_start_counts_in_the_drift_where_it_was_not_asked_for():
    model = lw.Diagonal(1.0, a=0.5, b=3.0)
    sol = lw.solve(model, 9.0, "descent", step=0.01)
    assert sol.drift() > 1e-5


def test_decay_with_unequal_rates_has_nothing_to_drift():
    model = lw.Linear([[0.3]], [[0.2]], [[1.0]], decay=0.2, rates=(1.0, 2.0))
    sol = lw.solve(model, [0.0, 1.0], "flow")
    with pytest.raises(ValueError, match="unequal rates of the layers nothing is conserved"):
        sol.drift()
    assert sol.rise() <= 1e-14


def test_a_model_that_conserves_nothing_does_not_drift():
    sol = lw.solve(lw.Shallow(2.0), [0.0, 1.0], "flow")
    assert sol.drift() == sol.rise() == 0


def test_the_loss_with_decay_falls_where_the_loss_alone_rises():
    model = lw.Scalar(1.0, a=[1.0], b=[1.0], decay=0.3)
    sol = lw.solve(model, np.linspace(0, 10, 50), "flow")
    assert np.max(np.diff(sol["loss"])) > 1e-3
    assert sol.rise() <= 1e-14
