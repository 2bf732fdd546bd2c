import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import eigsy, exp, expm1, matrix, mp, mpf, sqrt
from scipy.integrate import solve_ivp

from layerwise.theory.laws import neuron, pair

EXACT = 1e-13
TIMES = np.array([0.0, 1e-9, 1e-3, 0.03, 0.2, 1.0, 4.0, 20.0, 60.0, 300.0, 1e4, 1e8, 1e12])
KINDS = (
    "plain",
    "no target",
    "one target mode",
    "two target modes",
    "equal target modes",
    "against the target",
    "balanced",
    "first layer zero",
    "second layer zero",
    "zero",
    "tiny",
    "heavy inputs",
    "heavy outputs",
    "orthogonal to the target",
)


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_neuron(kind, seed):
    """Return w1 (1, i), w2 (o, 1), cross (o, i)."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    i, o = rng.integers(1, 7, 2)
    cross = 10 ** rng.uniform(-1, 1) * rng.standard_normal((o, i))
    w1 = 10 ** rng.uniform(-3, 1) * rng.standard_normal((1, i))
    w2 = 10 ** rng.uniform(-3, 1) * rng.standard_normal((o, 1))
    match kind:
        case "no target":
            cross = np.zeros((o, i))
        case "one target mode":
            cross = np.outer(rng.standard_normal(o), rng.standard_normal(i))
        case "two target modes":
            cross = rng.standard_normal((o, 2)) @ rng.standard_normal((2, i))
        case "equal target modes":
            cross = np.eye(o, i)
        case "against the target":
            cross = -10 * w2 @ w1
        case "balanced":
            w1 *= np.linalg.norm(w2) / np.linalg.norm(w1)
        case "first layer zero":
            w1 = np.zeros((1, i))
        case "second layer zero":
            w2 = np.zeros((o, 1))
        case "zero":
            w1, w2 = np.zeros((1, i)), np.zeros((o, 1))
        case "tiny":
            w1, w2 = 1e-12 * rng.standard_normal((1, i)), 1e-12 * rng.standard_normal((o, 1))
        case "heavy inputs":
            w1, w2 = 1e3 * rng.standard_normal((1, i)), 1e-3 * rng.standard_normal((o, 1))
        case "heavy outputs":
            w1, w2 = 1e-3 * rng.standard_normal((1, i)), 1e3 * rng.standard_normal((o, 1))
        case "orthogonal to the target":
            cross = np.pad(cross, ((0, 1), (0, 1)))
            w1, w2 = np.eye(1, i + 1, i) * 0.7, 1.3 * np.eye(1, o + 1, o).T
    return w1, w2, cross


def in_many_digits(w1, w2, cross, t):
    """Return w1, w2 by ``q = e^{Ft} q_0/sqrt(1 + q_0^T P q_0)`` in the eigenbasis of F."""
    (o, i), largest = cross.shape, np.linalg.norm(cross) + np.sum(w1**2) + np.sum(w2**2)
    with mp.workdps(int(60 + np.log10(1 + largest * max(t)))):
        a, b = ([mpf(float(x)) for x in layer.ravel()] for layer in (w1, w2))
        lam = sum(x * x for x in b) - sum(x * x for x in a)
        F = matrix(i + o, i + o)
        for k in range(i + o):
            F[k, k] = (-1 if k < i else 1) * lam / 2
        for row, column in np.ndindex(o, i):
            F[i + row, column] = F[column, i + row] = mpf(float(cross[row, column]))
        f, vectors = eigsy(F)
        q0 = matrix(a + b)
        c = vectors.T * q0
        states = []
        for time in map(mpf, map(float, t)):
            spread = [expm1(2 * g * time) / (2 * g) if g else time for g in f]
            size = sqrt(1 + sum(p * x * x for p, x in zip(spread, c, strict=True)))
            grown = matrix([exp(g * time) * x / size for g, x in zip(f, c, strict=True)])
            states.append([float(x) for x in vectors * grown])
    state = np.array(states)
    return state[:, None, :i], state[:, i:, None]


def integrated(w1, w2, cross, t):
    i = w1.shape[1]

    def slope(_, q):
        a, b = q[:i], q[i:]
        error = cross - np.outer(b, a)
        return np.concatenate([b @ error, error @ a])

    start = np.concatenate([w1[0], w2[:, 0]])
    options = {"method": "DOP853", "t_eval": t, "rtol": 3e-14, "atol": 1e-20}
    state = solve_ivp(slope, (0, t[-1]), start, **options).y.T
    return state[:, None, :i], state[:, i:, None]


def off(found, expected):
    """Return the errors of the weights, relative to their largest, and of the map."""
    scale = max(1.0, *(np.max(np.abs(layer)) for layer in expected))
    of_weights = max(np.max(np.abs(x - y)) for x, y in zip(found, expected, strict=True))
    first, second = (layers[1] @ layers[0] for layers in (found, expected))
    sizes = np.maximum(1, np.max(np.abs(second), axis=(1, 2), keepdims=True))
    return of_weights / scale, np.max(np.abs(first - second) / sizes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_map_agree_with_many_digits(kind, seed):
    start = random_neuron(kind, seed)
    # the reference's own rounding excites what this start does not
    t = TIMES[TIMES < 10] if kind == "orthogonal to the target" else TIMES
    found = neuron.weights(*start, t)
    assert max(off(found, in_many_digits(*start, t))) < EXACT


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", sorted({*KINDS} - {"zero"}))
def test_weights_and_map_agree_with_an_independent_solver(kind, seed):
    w1, w2, cross = start = random_neuron(kind, seed + 50)
    fastest = np.linalg.norm(cross, 2) + np.sum(w1**2) + np.sum(w2**2)
    t = np.linspace(0, 12 / max(fastest, 1e-3), 7)
    assert max(off(neuron.weights(*start, t), integrated(*start, t))) < 1e-10


@pytest.mark.parametrize(("i", "o"), [(784, 3), (2, 300)])
def test_many_inputs_or_outputs(i, o):
    rng = np.random.default_rng(i)
    w1, w2 = 0.02 * rng.standard_normal((1, i)), 0.3 * rng.standard_normal((o, 1))
    cross = rng.standard_normal((o, i)) / np.sqrt(i * o)
    t = np.array([0.0, 0.3, 2.0, 10.0])
    found = neuron.weights(w1, w2, cross, t)
    assert found[0].shape == (4, 1, i)
    assert found[1].shape == (4, o, 1)
    assert max(off(found, integrated(w1, w2, cross, t))) < 1e-11


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_returned(kind):
    w1, w2, cross = random_neuron(kind, 9)
    first, second = neuron.weights(w1, w2, cross, np.zeros(1))
    rounding = 4e-15 * max(np.max(np.abs(w1)), np.max(np.abs(w2)))
    np.testing.assert_allclose(first[0], w1, rtol=0, atol=rounding)
    np.testing.assert_allclose(second[0], w2, rtol=0, atol=rounding)


@pytest.mark.parametrize("kind", KINDS)
def test_the_imbalance_is_conserved(kind):
    w1, w2, cross = random_neuron(kind, 8)
    first, second = neuron.weights(w1, w2, cross, TIMES)
    lam = np.sum(second**2, axis=(1, 2)) - np.sum(first**2, axis=(1, 2))
    size = np.sum(w1**2) + np.sum(w2**2) + np.linalg.norm(cross, 2)
    np.testing.assert_allclose(lam, lam[0], rtol=0, atol=1e-14 * size)


def test_one_input_and_one_output_are_a_pair():
    w1, w2, cross = np.array([[0.02]]), np.array([[-0.5]]), np.array([[1.5]])
    first, second = neuron.weights(w1, w2, cross, TIMES)
    a, b = pair.weights(w1[0], w2[0], cross[0, 0], np.ones(()), np.ones(()), TIMES)
    np.testing.assert_allclose(first[:, 0], a, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(second[:, 0], b, rtol=1e-13, atol=1e-15)


def test_it_ends_in_the_strongest_mode_that_the_start_excites():
    cross = np.diag([3.0, 2.0, 1.0])
    all_modes = np.array([[0.1, 0.2, -0.1]])
    weaker_modes = np.array([[0.0, 0.2, -0.1]])
    late = np.array([1e2, 1e12])
    for w1, learned in ((all_modes, 0), (weaker_modes, 1)):
        first, second = neuron.weights(w1, w1.T, cross, late)
        expected = np.zeros((3, 3))
        expected[learned, learned] = cross[learned, learned]
        np.testing.assert_allclose(second @ first, np.stack([expected] * 2), atol=1e-14)


def test_a_start_against_the_target_stays_on_its_saddle():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((n, 2)))[0] for n in (4, 3))
    cross = u @ np.diag([2.0, 1.0]) @ v.T
    w1, w2 = 0.3 * v[:, :1].T, -0.3 * u[:, :1]  # excited by rounding alone
    first, second = neuron.weights(w1, w2, cross, np.array([1.0, 40.0, 1e3, 1e12]))
    u0 = 0.09  # a' = -a (S + a^2), a pair on its stable manifold
    on_the_way = u0 * 2 * np.exp(-4) / (u0 * (1 - np.exp(-4)) + 2)
    assert -(u[:, 0] @ second[0] @ first[0] @ v[:, 0]) == pytest.approx(on_the_way, rel=1e-13)
    np.testing.assert_allclose((second @ first)[1:], 0, atol=1e-30)


def test_modes_that_rounding_parts_stay_equal():
    quarter = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
    cross = 2 * quarter  # orthogonal, all singular values 2
    w1, w2 = np.array([[0.3, -0.1, 0.2, 0.5]]), np.array([[0.5], [0.1], [-0.2], [0.3]])
    first, second = neuron.weights(w1, w2, cross, np.array([1e2, 1e12]))
    # nothing decides between the modes: the direction of c+ is kept
    kept = quarter @ w1[0] + w2[:, 0]
    kept /= np.linalg.norm(kept)
    expected = 2 * np.outer(kept, quarter.T @ kept)
    np.testing.assert_allclose(second @ first, np.stack([expected] * 2), atol=1e-14)


def test_what_the_target_does_not_see_keeps_to_itself():
    w1, w2, cross = random_neuron("orthogonal to the target", 0)
    first, second = neuron.weights(w1, w2, cross, np.array([300.0, 1e12]))
    np.testing.assert_allclose(first, 0, atol=1e-70)
    np.testing.assert_allclose(np.sum(second**2, axis=(1, 2)), 1.3**2 - 0.7**2, rtol=1e-14)


def test_slow_competition_of_modes_under_a_large_imbalance():
    # the modes differ by rates of about s^2/lam = 1e-6, on top of lam/2
    w1, w2 = np.array([[1e-3, 2e-3]]), np.array([[600.0], [800.0]])
    cross = np.array([[1.0, 0.3], [0.2, 0.8]])
    t = np.array([1e5, 3e5, 1e6, 3e6, 1e7])
    assert max(off(neuron.weights(w1, w2, cross, t), in_many_digits(w1, w2, cross, t))) < EXACT


# --- symmetries ------------------------------------------------------------------------------

seeds = st.tuples(st.sampled_from(KINDS), st.integers(100, 10_000))


@given(seeds)
def test_transposing_exchanges_the_layers(seed):
    w1, w2, cross = random_neuron(*seed)
    first, second = neuron.weights(w1, w2, cross, TIMES)
    later, earlier = neuron.weights(w2.T, w1.T, cross.T, TIMES)
    size = max(1.0, np.max(np.abs(first)), np.max(np.abs(second)))
    np.testing.assert_allclose(np.swapaxes(earlier, 1, 2), first, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(np.swapaxes(later, 1, 2), second, rtol=0, atol=1e-12 * size)


@given(seeds, st.integers(0, 1000))
def test_inputs_and_outputs_may_be_rotated(seed, turn):
    w1, w2, cross = random_neuron(*seed)
    rng = np.random.default_rng(turn)
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in cross.shape)
    t = TIMES[:9]
    first, second = neuron.weights(w1, w2, cross, t)
    found = neuron.weights(w1 @ V.T, U @ w2, U @ cross @ V.T, t)
    assert max(off(found, (first @ V.T, U @ second))) < 1e-10


@given(seeds, st.floats(0, 1), st.floats(0.01, 1))
def test_a_flow_restarted_goes_on(seed, t1, t2):
    w1, w2, cross = random_neuron(*seed)
    unit = np.linalg.norm(cross, 2) + np.sum(w1**2) + np.sum(w2**2)
    first, second = neuron.weights(w1, w2, cross, np.array([t1, t1 + t2]) / max(unit, 1e-3))
    restarted = neuron.weights(first[0], second[0], cross, np.array([t2]) / max(unit, 1e-3))
    assert max(off(restarted, (first[1:], second[1:]))) < 1e-12
