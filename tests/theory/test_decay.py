import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import layerwise as lw
from layerwise.measures import crossing_time
from layerwise.theory.laws.decay import fit_time, rich_time

from . import oracles

EXACT = 1e-10
BESSEL, SCALAR_ODE = "1-h-1 with decay (Bessel)", "1-h-1 with decay (scalar ODE)"
KINDS = (
    "plain",
    "lazy",
    "small",
    "strong decay",
    "no target",
    "aligned",
    "opposed",
    "nearly aligned",
    "nearly opposed",
    "one layer zero",
)


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_network(kind, seed):
    rng = np.random.default_rng([KINDS.index(kind), seed])
    h = int(rng.integers(1, 30))
    a, b = rng.standard_normal((2, h))
    target = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-1, 0.5)
    scale, rate = rng.choice([1.0, np.sqrt(h), h]), 10 ** rng.uniform(-0.5, 0.5)
    decay = 10 ** rng.uniform(-1.5, 0)
    near = 10 ** rng.uniform(-12, -2)
    match kind:
        case "lazy":
            a, b = 10 * a, 10 * b
        case "small":
            a, b = 10 ** rng.uniform(-8, -1) * a, 10 ** rng.uniform(-8, -1) * b
        case "strong decay":
            decay = 10 ** rng.uniform(0, 3)
        case "no target":
            target = 0.0
        case "aligned":
            b = a.copy()
        case "opposed":
            b = -a
        case "nearly aligned":
            b, decay = a * (1 + near), 10 ** rng.uniform(-1, 1)
        case "nearly opposed":
            b, decay = -a * (1 + near), 10 ** rng.uniform(-1, 1)
        case "one layer zero":
            a = np.zeros(h)
    return lw.Scalar(target, a, b, scale=scale, rate=rate, decay=decay)


def random_times(model, seed):
    """Return times about the fit, and times about the decay up to 1e3 decay times."""
    rng = np.random.default_rng(seed)
    fit = 10 ** rng.uniform(-2, 2, 3) / model.fastest()
    late = np.append(10 ** rng.uniform(-2, 2, 2), 1e3) / float(model.decay)
    return np.concatenate([[0.0], np.sort(np.concatenate([fit, late]))])


def reference(model, t, **options):
    numbers = (model.target, model.scale, model.rate, model.decay)
    return oracles.decayed(model.a, model.b, *numbers, t, **options)


def errors(solution, expected):
    *layers, theta = expected
    largest = max(1.0, *(np.max(np.abs(layer[end])) for layer in layers for end in (0, -1)))
    found = solution.weights()
    of_weights = max(np.max(np.abs(x - y)) for x, y in zip(found, layers, strict=True))
    of_map = np.abs(solution["map"] - theta) / np.maximum(1, np.abs(theta))
    return of_weights / largest, np.max(of_map)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_map_agree_with_many_digits(kind, seed):
    model = random_network(kind, seed)
    t = random_times(model, seed)
    solution = lw.solve(model, t, method="exact")
    assert solution.law in (BESSEL, SCALAR_ODE)
    of_weights, of_map = errors(solution, reference(model, t))
    assert of_weights < EXACT
    assert of_map < EXACT


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["plain", "lazy", "small", "nearly opposed"])
def test_weak_decay_agrees_with_many_digits(kind, seed):
    plain = random_network(kind, seed)
    decay = 10 ** np.random.default_rng(seed).uniform(-9, -3) * plain.fastest()
    model = lw.Scalar(plain.target, plain.a, plain.b, plain.scale, plain.rate, decay)
    t = np.array([0.0, 0.1, 1.0, 5.0, 20.0, 60.0]) / model.fastest()
    solution = lw.solve(model, t)
    assert max(errors(solution, reference(model, t, series=True))) < EXACT


@pytest.mark.parametrize("order", [-0.5, 0.3, 7.3, 60.3])
@pytest.mark.parametrize("size", [1e3, 1e8, 1e30, 1e-100, 1e-200, 1e-300])
def test_starts_of_any_size_agree_with_many_digits(size, order):
    # the one layer is the target's size over the other, so that the map has digits to lose
    S, other = (1.3, 1 / size) if size > 1 else (-1.3, 0.4 * size)
    S, decay = (S, abs(S) / (2 * order + 1)) if order > -0.5 else (0.0, 0.7)
    model = lw.Scalar(S, size, other, decay=decay)
    folds = abs(np.log(size))
    fit = np.array([0.3, 1.0, 10.0, 100.0]) / model.fastest()
    t = np.unique([0.0, *fit, *(np.array([0.1, 1.0, folds + 2, 4 * folds + 50]) / decay)])
    solution, expected = lw.solve(model, t, method="exact"), reference(model, t)
    assert max(errors(solution, expected)) < EXACT
    assert np.all(np.isfinite(solution.state))


@pytest.mark.parametrize(("order", "target"), [(100.3, 1.0), (1000.3, -1.0), (1e4 - 0.2, 1.0)])
def test_large_orders_agree_with_many_digits(order, target):
    decay = 1 / (2 * order + 1)
    for size in (10.0, 1.0):
        model = lw.Scalar(target, [0.3 * size, -0.1], [0.2, 0.5 * size], decay=decay)
        fit = np.array([0.0, 0.5, 4.0]) / model.fastest()
        assert max(errors(lw.solve(model, fit), reference(model, fit, series=True))) < 1e-12
    late = np.array([0.0, 1 / decay])
    assert max(errors(lw.solve(model, late), reference(model, late))) < EXACT


@pytest.mark.parametrize("decay", [1e-300, 1e-3, 1e12])
@pytest.mark.parametrize("size", [1e-300, 1.0, 1e30, 1e140])
@pytest.mark.parametrize("target", [-2.0, 0.0, 1e9])
def test_no_start_no_decay_and_no_target_gives_a_nan(target, size, decay):
    for b in ([0.5, -1.0], [1.0, 0.3], [-1.0, -0.3], [0.0, 0.0]):
        model = lw.Scalar(target, [size, 0.3 * size], size * np.array(b), decay=decay)
        t = np.array([0.0, 1e-3, 1.0, 40.0]) / model.fastest()
        solution = lw.solve(model, t, method="exact")
        assert np.all(np.isfinite(solution.state))
        fading = np.exp(-2 * decay * t)[:, None] * model.quantity("conserved", model.start[None])
        room = 1e-10 * np.max(solution["magnitude"], initial=1e-300)
        np.testing.assert_allclose(solution["conserved"], fading, rtol=0, atol=room)


def test_the_two_oracles_agree():
    for kind in KINDS:
        model = random_network(kind, 50)
        t = np.array([0.0, 0.3, 5.0]) / model.fastest()
        for bessel, series in zip(
            reference(model, t), reference(model, t, series=True), strict=True
        ):
            np.testing.assert_allclose(bessel, series, rtol=1e-14)


def test_both_ways_of_evaluating_the_law_occur_and_say_so():
    models = [random_network(kind, seed) for kind in KINDS for seed in range(10)]
    laws = [lw.solve(model, random_times(model, 0)).law for model in models]
    assert set(laws) == {BESSEL, SCALAR_ODE}
    assert laws.count(BESSEL) > 50
    assert laws.count(SCALAR_ODE) > 10


def test_large_orders_and_cancelling_terms_go_to_the_scalar_equation():
    plain = lw.Scalar(1.0, [0.3, -0.1], [0.2, 0.5], decay=0.1)
    large_order = lw.Scalar(1.0, [0.3, -0.1], [0.2, 0.5], decay=1e-4)
    cancelling = lw.Scalar(0.02, [0.9], [0.9 + 1e-8], decay=0.8)
    assert lw.solve(plain, [0.0, 5.0]).law == BESSEL
    for model in (large_order, cancelling):
        solution = lw.solve(model, [0.0, 0.1, 1.0, 5.0])
        assert solution.law == SCALAR_ODE
        assert max(errors(solution, reference(model, solution.t))) < 1e-12


@pytest.mark.parametrize(
    "model",
    [
        lw.Scalar(1.3, [1.0, -0.4], [0.2, 0.9], scale=2.0, rate=1.5, decay=0.2),
        lw.Scalar(-0.7, [1.0, -0.4], [0.2, 0.9], decay=0.05),
        lw.Scalar(0.0, [1.0, 0.3], [0.2, 0.9], decay=0.3),
        lw.Scalar(0.4, [1.0, 0.3], [1.0, 0.3], decay=0.6),
        lw.Scalar(0.4, [1.0, 0.3], [-1.0, -0.3], decay=0.6),
    ],
    ids=["plain", "negative target", "no target", "aligned", "opposed"],
)
def test_oracle_and_law_agree_with_an_independent_solver(model):
    t = np.linspace(0, 12, 7)
    numeric = solve_ivp(
        lambda time, state: model.velocity(state),
        (0, t[-1]),
        model.start,
        method="DOP853",
        t_eval=t,
        rtol=3e-14,
        atol=1e-16,
    )
    a, b, _ = reference(model, t)
    np.testing.assert_allclose(np.concatenate([a, b], axis=-1), numeric.y.T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(lw.solve(model, t).state, numeric.y.T, rtol=0, atol=1e-11)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_imbalance_and_size_of_the_orbit_decay_exactly(kind, seed):
    model = random_network(kind, seed)
    t = random_times(model, seed)
    solution = lw.solve(model, t)
    fading = np.exp(-2 * model.decay * t)
    imbalance = solution["conserved"]
    np.testing.assert_allclose(
        imbalance,
        np.multiply.outer(fading, imbalance[0]),
        rtol=0,
        atol=1e-12 * max(1.0, np.max(np.abs(imbalance[0]))),
    )
    a, b = solution.weights()
    U, V = (np.sum((a + k * b) ** 2, axis=-1) / (4 * model.scale) for k in (1, -1))
    C = 2 * np.sqrt(U) * np.sqrt(V)
    # U and V each carry the rounding of weights of the size of their root
    assert np.max(np.abs(C - C[0] * fading)) < 1e-12 * max(1.0, solution["magnitude"][0])


@pytest.mark.parametrize("target", [1.0, -1.0, 0.3, -0.3, 0.0])
@pytest.mark.parametrize("start", [0.1, 1.0, 10.0])
def test_the_end_state(target, start):
    model = lw.Scalar(target, [start, -start], [start, 0.5 * start], 2.0, 3.0, decay=0.3)
    end = max(abs(target) - 0.3 * 2.0 / 3.0, 0.0)
    solution = lw.solve(model, [0.0, 1e3, 1e5])
    np.testing.assert_allclose(solution["map"][1:], np.sign(target) * end, rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution["magnitude"][1:], end, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [1e-6, 0.3])
@pytest.mark.parametrize("b", [[1.0, 0.5], [-1.0, -0.5 + 1e-9]])
def test_the_end_state_keeps_its_digits_however_late(b, decay):
    end = lw.solve(lw.Scalar(2.0, [1.0, 0.5], b, decay=decay), [0.0, 1e8, 1e12])["map"][1:]
    np.testing.assert_allclose(end, 2.0 - decay, rtol=1e-12)


def test_at_the_threshold_the_map_dies_out_algebraically():
    # S = decay Z/s and an aligned start: Theta = Theta_0/(1 + 2 s Theta_0 t/Z)
    t = np.array([0.0, 1.0, 1e2, 1e6])
    found = lw.solve(lw.Scalar(0.5, 1.0, 1.0, decay=0.5), t)["map"]
    np.testing.assert_allclose(found, 1 / (1 + 2 * t), rtol=1e-13)


def test_zero_weights_and_no_input():
    assert not np.any(lw.solve(lw.Scalar(1.0, 0.0, 0.0, decay=0.1), [0.0, 5.0]).state)
    t = np.array([0.0, 1.0, 7.0])
    still = lw.solve(lw.Scalar(1.0, [2.0], [0.5], rate=0.0, decay=0.1), t)
    expected = np.exp(-0.1 * t)[:, None] * [2.0, 0.5]
    np.testing.assert_allclose(still.state, expected, rtol=1e-12)


def test_the_start_is_kept():
    for kind in KINDS:
        model = random_network(kind, 3)
        state = lw.solve(model, [0.0, 1.0]).state[0]
        np.testing.assert_allclose(state, model.start, rtol=0, atol=1e-15 * np.max(abs(state)))


def test_the_answer_does_not_depend_on_the_other_times():
    model = random_network("plain", 0)
    t = np.linspace(0, 60 / float(model.decay), 301)
    dense = lw.solve(model, t).state
    np.testing.assert_allclose(lw.solve(model, t[[7, 130, 300]]).state, dense[[7, 130, 300]])


@pytest.mark.parametrize("decay", [1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("target", [1.5, -1.5, 0.0])
def test_without_decay_it_is_the_pair_law(decay, target):
    a, b, t = [1.0, -0.4, 0.7], [0.3, 0.5, -0.2], np.linspace(0, 6, 13)
    plain = lw.solve(lw.Scalar(target, a, b), t)
    fading = lw.solve(lw.Scalar(target, a, b, decay=decay), t)
    assert plain.law == "1-h-1"
    np.testing.assert_allclose(fading.state, plain.state, rtol=0, atol=20 * decay + 1e-12)


def test_a_batch_may_mix_networks_with_and_without_decay():
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, 3, 5))
    t = [0.0, 0.5, 20.0]
    batch = lw.solve(lw.Scalar([1.0, -2.0, 0.5], a, b, decay=[0.0, 0.1, 1e-5]), t)
    assert batch.law == f"1-h-1 + {BESSEL} + {SCALAR_ODE}"
    for k, (target, decay) in enumerate([(1.0, 0.0), (-2.0, 0.1), (0.5, 1e-5)]):
        alone = lw.solve(lw.Scalar(target, a[k], b[k], decay=decay), t)
        np.testing.assert_array_equal(batch.state[:, k], alone.state)


# --- the grokking clock ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "formula", "measured"),
    [(3, 55.4, 55.28), (10, 115.6, 115.48), (30, 170.6, 170.41), (100, 230.8, 230.61)],
)
def test_the_time_to_become_rich(ratio, formula, measured):
    decay = 0.01
    predicted = float(rich_time(ratio / (1 - decay), decay))
    assert predicted == pytest.approx(formula, abs=0.051)
    # Theta_0 = 0, Sigma_0 = ratio, S = s = Z = 1
    size = np.sqrt(ratio / 2)
    t = np.linspace(0, 300, 30_001)
    net = lw.Scalar(1.0, [size, size], [size, -size], decay=decay)
    assert lw.measures.weight_to_target(net.a, net.b, net.target) == pytest.approx(ratio)
    rich = float(crossing_time(t, lw.solve(net, t)["alignment"], np.sqrt(0.5)))
    assert rich == pytest.approx(measured, abs=0.006)


def test_rich_time_by_its_definition():
    assert float(rich_time(1.0, 0.1)) == 0.0
    assert float(rich_time(0.5, 0.1)) == 0.0
    assert float(rich_time(np.e, 0.1)) == pytest.approx(5.0)
    assert float(rich_time(np.e, 0.1, depth=4)) == pytest.approx(2.5)
    assert float(rich_time(np.e, 0.0)) == np.inf
    np.testing.assert_allclose(rich_time([1.0, np.e], [0.1, 0.2]), [0.0, 2.5])


@pytest.mark.parametrize("ratio", [100.0, 1000.0])
def test_fit_time_is_that_of_the_lazy_network(ratio):
    size = np.sqrt(ratio / 2)
    t = np.linspace(0, 20 / ratio, 2001)
    net = lw.Scalar(3.0, np.sqrt(3.0) * size * np.ones(2), np.sqrt(3.0) * size * np.array([1, -1]))
    error = np.abs(lw.solve(net, t)["error"])
    fitted = float(crossing_time(t, error, 0.01 * 3.0))
    predicted = float(fit_time(ratio, rate=1.0, scale=1.0, target=3.0, eps=0.01))
    assert fitted == pytest.approx(predicted, rel=1e-3)
