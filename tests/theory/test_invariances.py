"""What must not matter, does not: symmetries, limits and laws that are instances of each other."""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.laws import neuron, riccati, two_valued
from layerwise.theory.orbits.balanced import BalancedGrams
from layerwise.theory.reduction import reduce

EXACT = 1e-9  # relative to the largest entry of the map, or to 1
CONTINUOUS = 1e-8
T = np.array([0.0, 0.2, 0.9, 3.0])
NAMES = ("map", "gram_in", "gram_out")
LAWS = ("balanced", "balanced with decay", "two-valued", "neuron", "modes", "1-h-1", None)
SEEDS = st.integers(0, 2**32)
SIGNS = st.sampled_from([-1.0, 0.0, 1.0])


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


@st.composite
def networks(draw, laws=LAWS, whitened=False):
    """Draw a network that obeys one of the laws, and the generator of what is done to it."""
    law, seed = draw(st.sampled_from(laws)), draw(SEEDS)
    rng = np.random.default_rng(seed)
    i, o = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    scale, lam = draw(st.sampled_from([1e-3, 0.1, 1.0])), draw(SIGNS) * draw(st.floats(0.01, 3))
    cross = rng.standard_normal((o, i))
    decay = draw(st.floats(0.01, 0.5)) if law in ("balanced with decay", "1-h-1") else 0.0
    cov = None
    match law:
        case "balanced":
            most = {1: o, 0: min(i, o), -1: i}[int(np.sign(lam))]
            h = draw(st.integers(1, most + 2))
            w1, w2 = starts.balanced((i, h, o), lam, scale, rank=min(h, most), seed=rng)
        case "balanced with decay":
            w1, w2 = starts.balanced((i, draw(st.integers(1, 5)), o), 0.0, scale, seed=rng)
        case "two-valued":
            w1, w2 = starts.two_valued((i, i + o + draw(st.integers(0, 2)), o), 1.0, 0.4, seed=rng)
        case "neuron":
            w1, w2 = scale * rng.standard_normal((1, i)), rng.standard_normal((o, 1))
        case "modes":
            cov = None if whitened else spread(rng, cross)
            k = min(i, o)
            a, b = scale * rng.standard_normal((2, k))
            w1, w2 = starts.aligned(cross, a, b, k + 1, cov, seed=rng)
        case "1-h-1":
            h = draw(st.integers(1, 5))
            w1, w2 = scale * rng.standard_normal((h, 1)), rng.standard_normal((1, h))
            cross = cross[:1, :1]
        case None:
            h = draw(st.integers(1, 4))
            w1, w2 = scale * rng.standard_normal((h, i)), rng.standard_normal((o, h))
            root = rng.standard_normal((i, i))
            cov = None if whitened else root @ root.T / i + 0.1 * np.eye(i)
    return lw.Linear(w1, w2, cross, cov, decay=decay), rng


def spread(rng, cross):
    """Return a covariance that the right singular vectors of `cross` diagonalise."""
    v = np.linalg.svd(cross)[2].T
    return v * rng.uniform(0.3, 2.0, len(v)) @ v.T


def answers(model, t=T):
    solution = lw.solve(model, t)
    return [solution[name] for name in NAMES]


def off(found, wanted):
    """Return the largest difference, relative to the largest entry of the map, or to 1."""
    size = max(1.0, float(np.max(np.abs(wanted[0]))))
    assert all(p.shape == q.shape for p, q in zip(found, wanted, strict=True))
    return max(float(np.max(np.abs(p - q))) for p, q in zip(found, wanted, strict=True)) / size


# --- symmetries ------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(networks())
def test_a_rotation_of_the_hidden_space_changes_nothing(drawn):
    model, rng = drawn
    turn = orthogonal(rng, len(model.w1))
    turned = replace(model, w1=turn @ model.w1, w2=model.w2 @ turn.T)
    assert off(answers(turned), answers(model)) < EXACT


@settings(max_examples=30, deadline=None)
@given(networks())
def test_dead_hidden_units_change_nothing(drawn):
    model, rng = drawn
    more, (i, o) = int(rng.integers(1, 4)), model.cross.shape[::-1]
    wide = replace(
        model,
        w1=np.concatenate([np.zeros((more, i)), model.w1]),
        w2=np.concatenate([model.w2, np.zeros((o, more))], axis=1)[
            :, np.r_[-more:0, 0 : len(model.w1)]
        ],
    )
    assert off(answers(wide), answers(model)) < EXACT
    assert lw.solve(wide, T).method == lw.solve(model, T).method


@settings(max_examples=40, deadline=None)
@given(networks())
def test_a_rotation_of_inputs_and_outputs_is_one_of_the_answer(drawn):
    model, rng = drawn
    o, i = model.cross.shape
    p, q = orthogonal(rng, i), orthogonal(rng, o)
    cov = None if model.input_cov is None else p @ model.input_cov @ p.T
    turned = replace(
        model, w1=model.w1 @ p.T, w2=q @ model.w2, cross=q @ model.cross @ p.T, input_cov=cov
    )
    W, first, second = answers(model)
    assert off(answers(turned), [q @ W @ p.T, p @ first @ p.T, q @ second @ q.T]) < EXACT


@settings(max_examples=40, deadline=None)
@given(networks(whitened=True))
def test_transposing_a_network_exchanges_its_layers(drawn):
    model, _ = drawn
    rates = model.rates[::-1]
    swapped = replace(model, w1=model.w2.T, w2=model.w1.T, cross=model.cross.T, rates=rates)
    W, first, second = answers(model)
    assert off(answers(swapped), [np.swapaxes(W, 1, 2), second, first]) < EXACT
    one, other = lw.solve(model, 0.0), lw.solve(swapped, 0.0)
    assert one.law == other.law
    np.testing.assert_allclose(other["conserved"], -one["conserved"], atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(networks())
def test_the_sign_of_the_outputs_is_that_of_the_answer(drawn):
    model, _ = drawn
    W, first, second = answers(model)
    mirrored = replace(model, w2=-model.w2, cross=-model.cross)
    assert off(answers(mirrored), [-W, first, second]) < EXACT


@settings(max_examples=40, deadline=None)
@given(
    networks(("balanced", "two-valued", "neuron", "modes", None)),
    st.floats(0.1, 9),
    st.floats(0.1, 9),
)
def test_rates_are_a_rescaling_of_start_and_time(drawn, r1, r2):
    model, _ = drawn
    change, speed = (r2 / r1) ** 0.25, np.sqrt(r1 * r2)
    uneven = replace(model, w1=model.w1 / change, w2=model.w2 * change, rates=(r1, r2))
    W, first, second = answers(model)
    assert off(answers(uneven, T / speed), [W, first / change**2, second * change**2]) < EXACT
    assert lw.solve(uneven, T).law == lw.solve(model, T).law


@settings(max_examples=40, deadline=None)
@given(networks(("balanced", "balanced with decay", "two-valued", "neuron")), st.floats(0.2, 5))
def test_a_variance_of_the_inputs_is_a_rescaling_of_target_and_time(drawn, xi):
    model, _ = drawn
    i = model.cross.shape[1]
    scaled = replace(
        model, cross=xi * model.cross, input_cov=xi * np.eye(i), decay=xi * model.decay
    )
    assert off(answers(scaled, T / xi), answers(model)) < EXACT


@settings(max_examples=40, deadline=None)
@given(networks(("balanced", "two-valued", "neuron", "modes", None)), st.floats(0.2, 5))
def test_units_of_the_weights_are_units_of_target_and_time(drawn, unit):
    model, _ = drawn
    scaled = replace(model, w1=unit * model.w1, w2=unit * model.w2, cross=unit**2 * model.cross)
    wanted = [unit**2 * part for part in answers(model)]
    cov = model.input_cov
    if cov is None:
        assert off(answers(scaled, T / unit**2), wanted) < EXACT


# --- conservation and the group of time ------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(networks(("neuron", "modes", None)))
def test_the_imbalance_is_conserved(drawn):
    model, rng = drawn
    uneven = replace(model, rates=tuple(rng.uniform(0.3, 3, 2)))
    for one in (model, uneven):
        held = lw.solve(one, T)["conserved"]
        assert off([held], [np.broadcast_to(held[0], held.shape)]) < EXACT


@settings(max_examples=10, deadline=None)
@given(networks(("balanced", "two-valued")))
def test_the_imbalance_of_integrated_weights_is_conserved(drawn):
    model, _ = drawn
    held = lw.solve(model, [0.0, 1.5])["conserved"]
    assert off([held[1]], [held[0]]) < EXACT


@settings(max_examples=30, deadline=None)
@given(networks(("neuron", "modes", "1-h-1", None)), st.floats(0.01, 3), st.floats(0.01, 3))
def test_a_restart_goes_on_where_it_was(drawn, before, after):
    model, _ = drawn
    (w1,), (w2,) = lw.solve(model, before).weights([before])
    again = answers(replace(model, w1=w1, w2=w2), [after])
    assert off(again, answers(model, [before + after])) < EXACT


@settings(max_examples=12, deadline=None)
@given(
    networks(("balanced", "balanced with decay", "two-valued")),
    st.floats(0.01, 1.5),
    st.floats(0.01, 3),
)
def test_a_restart_from_integrated_weights_goes_on_where_it_was(drawn, before, after):
    model, _ = drawn
    (w1,), (w2,) = lw.solve(model, before).weights([before])
    restarted = replace(model, w1=w1, w2=w2)
    assert off(answers(restarted, [after]), answers(model, [before + after])) < EXACT
    assert lw.solve(restarted, after).law == lw.solve(model, after).law


# --- limits ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 3), st.booleans(), SEEDS)
def test_the_balanced_law_is_continuous_at_no_imbalance(sizes, mirrored, seed):
    h, i, o = sorted(sizes)  # the same rank with an imbalance and without
    near, at = (starts.balanced((i, h, o), lam, 0.5, seed=seed) for lam in (1e-12, 0.0))
    # a root of lam I + W1 W1^T moves the more, the smaller W1 is
    assume(np.linalg.svd(at[0], compute_uv=False)[-1] > 0.05)
    cross = np.random.default_rng(seed).standard_normal((o, i))
    pair = [lw.Linear(*start, cross) for start in (near, at)]
    if mirrored:
        pair = [lw.Linear(m.w2.T, m.w1.T, m.cross.T) for m in pair]
    assert off(*(answers(model) for model in pair)) < CONTINUOUS


@settings(max_examples=40, deadline=None)
@given(networks(("balanced", "balanced with decay", "two-valued", "neuron", "1-h-1")))
def test_the_laws_are_continuous_at_no_target(drawn):
    model, _ = drawn
    near, at = (replace(model, cross=share * model.cross) for share in (1e-10, 0.0))
    assert off(answers(near), answers(at)) < CONTINUOUS


@settings(max_examples=40, deadline=None)
@given(networks(("balanced", "neuron")))
def test_the_balanced_law_with_decay_is_continuous_at_no_decay(drawn):
    model, rng = drawn
    o, i = model.cross.shape
    model = replace(
        model,
        **dict(zip(("w1", "w2"), starts.balanced((i, 3, o), 0.0, 0.5, seed=rng), strict=True)),
    )
    assert off(answers(replace(model, decay=1e-10)), answers(model)) < CONTINUOUS


@settings(max_examples=40, deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 1.5), st.sampled_from([-1e-10, 1e-10]))
def test_the_depth_law_is_continuous_at_depth_2(target, weight, more):
    near, at = (lw.solve(lw.Deep(target, weight, depth), T)["map"] for depth in (2 + more, 2))
    np.testing.assert_allclose(near, at, atol=CONTINUOUS)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 2), st.floats(0.1, 1.5))
def test_the_depth_law_is_continuous_at_depth_1_on_the_side_of_the_target(target, weight):
    near, at = (lw.solve(lw.Deep(target, weight, depth), T)["map"] for depth in (1 + 1e-10, 1))
    np.testing.assert_allclose(near, at, atol=CONTINUOUS)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(0, 2))
def test_depth_1_is_the_shallow_model(target, weight):
    deep, shallow = lw.Deep(target, weight, depth=1), lw.Shallow(target, weight)
    np.testing.assert_allclose(
        lw.solve(deep, T)["map"], lw.solve(shallow, T)["map"], rtol=1e-13, atol=1e-14
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(0.1, 3), st.sampled_from([-1.0, 1.0]))
def test_depth_2_is_a_pair_of_equal_weights(target, weight, rate, sign):
    deep = lw.Deep(target, rate=rate, layers=[weight, sign * weight])
    pair = lw.Diagonal(target, weight, sign * weight, rate)
    one, other = lw.solve(deep, T, "exact"), lw.solve(pair, T, "exact")
    for name in ("map", "kernel", "loss", "error"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-11, atol=1e-13, err_msg=name)
    for first, second in zip(
        np.moveaxis(one.state, -1, 0), np.moveaxis(other.state, -1, 0), strict=True
    ):
        np.testing.assert_allclose(first, second, rtol=1e-11, atol=1e-13)


# --- laws within laws ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1e-4, 0.1, 1.0, 10.0]), SEEDS)
def test_one_neuron_is_a_balanced_network(i, o, scale, seed):
    rng = np.random.default_rng(seed)
    w1, w2 = scale * rng.standard_normal((1, i)), rng.standard_normal((o, 1))
    model = lw.Linear(w1, w2, rng.standard_normal((o, i)))
    lam = float(np.sum(w2**2) - np.sum(w1**2))
    u, s, v = model.regression.modes
    mirrored = lam > 0
    sides = (w2.T, w1.T, (v, s, u)) if mirrored else (w1, w2, (u, s, v))
    law = riccati.prepare(*sides, -abs(lam))
    balanced = BalancedGrams(model, reduce(model), law, mirrored, T)
    first, second = neuron.weights(w1, w2, model.cross, T)
    found = [balanced.map(), balanced.gram_in(), balanced.gram_out()]
    back, forth = np.swapaxes(first, 1, 2), np.swapaxes(second, 1, 2)
    assert off(found, [second @ first, back @ first, second @ forth]) < EXACT


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sampled_from([1e-3, 0.1, 1.0, 3.0]), st.floats(-3, 3), SEEDS)
def test_a_two_valued_network_of_one_input_and_output_is_1_h_1(h, scale, target, seed):
    rng = np.random.default_rng(seed)
    w1, w2 = scale * rng.standard_normal((h, 1)), rng.standard_normal((1, h))
    values = np.linalg.eigvalsh(w2.T @ w2 - w1 @ w1.T)
    law = two_valued.prepare(w1, w2, np.array([[target]]), values[-1], -values[0])
    R = np.stack([law.at(time) for time in T])
    solution = lw.solve(lw.Linear(w1, w2, [[target]]), T)
    assert solution.law == "1-h-1"
    found = [R[:, 1:, :1], R[:, :1, :1], R[:, 1:, 1:]]
    assert off(found, [solution[name] for name in NAMES]) < EXACT


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), SEEDS)
def test_a_linear_network_of_diagonal_matrices_is_a_diagonal_network(k, seed):
    rng = np.random.default_rng(seed)
    target, a, b = rng.standard_normal((3, k))
    rate = rng.uniform(0.2, 2.0, k)
    diagonal = lw.solve(lw.Diagonal(target, a, b, rate), T)
    linear = lw.Linear(np.diag(a), np.diag(b), np.diag(rate * target), np.diag(rate))
    solution = lw.solve(linear, T)
    assert solution.law in ("modes", "1-h-1")
    maps = np.einsum("tk,kl->tkl", diagonal["map"], np.eye(k))
    assert off([solution["map"]], [maps]) < 1e-12
    np.testing.assert_allclose(solution["loss"], diagonal["loss"], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        np.einsum("tkk->tk", solution["gram_in"]), diagonal.weights()[0] ** 2, atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(networks())
def test_independent_networks_beside_each_other_are_solved_as_if_alone(drawn):
    model, rng = drawn
    other = lw.Linear(*(0.5 * rng.standard_normal(shape) for shape in ((2, 2), (1, 2), (1, 2))))
    other = replace(other, decay=model.decay)
    both = lw.Linear(
        _beside(model.w1, other.w1),
        _beside(model.w2, other.w2),
        _beside(model.cross, other.cross),
        _beside(_cov(model), np.eye(2)),
        decay=model.decay,
    )
    (o, i), W = model.cross.shape, lw.solve(both, T)["map"]
    assert off([W[:, :o, :i]], [answers(model)[0]]) < EXACT
    assert off([W[:, o:, i:]], [answers(other)[0]]) < EXACT
    assert off([W[:, :o, i:], W[:, o:, :i]], [0 * W[:, :o, i:], 0 * W[:, o:, :i]]) < EXACT


def _beside(one, other):
    (m, n), (p, q) = one.shape, other.shape
    return np.block([[one, np.zeros((m, q))], [np.zeros((p, n)), other]])


def _cov(model):
    return np.eye(model.cross.shape[1]) if model.input_cov is None else model.input_cov
