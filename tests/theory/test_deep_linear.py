"""Deep linear networks of any shape: every law against integration, symmetries, solutions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.measures import drift
from layerwise.theory import starts
from layerwise.theory.flow import flow
from layerwise.theory.orbits.deep import chains

from .deep_problems import (
    ALIGNED,
    DEEP,
    EQUAL,
    EXACT,
    FOR_EVER,
    PROBLEMS,
    Problem,
    T,
    _no_floating_point_trouble,  # noqa: F401
    chain,
    covariance,
    error,
    followed,
    named,
    orthogonal,
    random_chain,
    target,
)

# --- against independent integration ---------------------------------------------------------


@named(PROBLEMS)
def test_every_quantity_is_that_of_the_flow(problem):
    model, wanted = problem.model, followed(problem)
    solution = lw.solve(model, problem.t)
    assert (solution.method, solution.law) == ("exact" if problem.law else "flow", problem.law)
    assert solution.unexcited_modes == problem.unexcited
    assert error(solution.state, wanted) < EXACT
    for name in ("map", "error", "loss", "modes", "singular_values"):
        assert error(solution[name], model.quantity(name, wanted)) < EXACT, name
    if np.any(solution["map"][0]):  # the rank of 0 jumps
        wanted = model.quantity("effective_rank", wanted)
        assert error(solution["effective_rank"], wanted) < 1e-8


@named(DEEP)
def test_imbalances_are_conserved_and_the_equation_holds(problem):
    solution = lw.solve(problem.model, np.linspace(0, 8, 15))
    assert drift(solution["conserved"]) < 1e-13
    assert solution.residual() < 1e-13
    np.testing.assert_array_equal(solution.state[0], problem.model.start)


@named({name: p for name, p in PROBLEMS.items() if p.law is None})
def test_imbalances_are_conserved_along_flows(problem):
    assert drift(lw.solve(problem.model, T)["conserved"]) < 1e-10


@named(DEEP)
def test_it_ends_at_its_target_but_for_what_is_not_excited(problem):
    end = lw.solve(problem.model, [0.0, 1.0, FOR_EVER])
    left = np.linalg.svd(end["error"][-1], compute_uv=False)
    assert np.sum(left > 1e-2) == problem.unexcited
    assert np.sum(left > 1e-7) == problem.unexcited
    assert np.all(np.isfinite(end.state))


def test_deep_modes_are_followed_through_a_long_plateau():
    # too long for any solver, so against the law of one number
    rng = np.random.default_rng(6)
    cross, u, v = target(rng, 3, 3, np.array([2.0, 1.0, 0.4]))
    size = np.array([1e-3, 1e-4, 2e-3])
    model = lw.DeepLinear(chain(rng, u, v, np.tile(size, (3, 1))), cross)
    t = np.linspace(0, 2e4, 40)
    solution = lw.solve(model, t)
    each = lw.solve(lw.Deep([2.0, 1.0, 0.4], size, 3), t)
    np.testing.assert_allclose(solution["modes"], each["map"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(solution["loss"], each["loss"], rtol=0, atol=1e-9)


# --- which law, and what it takes ------------------------------------------------------------


def test_what_the_deep_law_assumes_is_said():
    (along, equal) = lw.solve(next(iter(DEEP.values())).model, T).assumptions
    assert (along.name, equal.name) == (ALIGNED, EQUAL)
    assert along.holds
    assert equal.holds
    assert along.measured < 1e-14
    assert equal.measured < 1e-14


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize(
    ("name", "broken", "measured"),
    [
        ("unequal layers", EQUAL, 0.15 / 0.65),
        ("one layer 0", EQUAL, 1.0),
        ("other inputs", ALIGNED, None),
        ("turned inside", ALIGNED, None),
        ("a detour", ALIGNED, None),
        ("random", ALIGNED, None),
    ],
)
def test_a_refusal_names_the_assumption_and_its_number(depth, name, broken, measured):
    model = PROBLEMS[f"unsolvable, {name}, depth {depth}"].model
    fallen = lw.solve(model, T)
    failed = [item for item in fallen.assumptions if not item.holds]
    assert [item.name for item in failed] == [broken]
    assert failed[0].measured > 1e-3
    if measured:
        assert failed[0].measured == pytest.approx(measured, rel=1e-12)
    with pytest.raises(
        lw.NotSolvable, match=f"covers this DeepLinear; .*\n(.*\n)?.*{broken}: fails"
    ):
        lw.solve(model, T, "exact")


def test_small_deviations_are_not_overlooked():
    rng = np.random.default_rng(7)
    cross, u, v = target(rng, 3, 3, np.array([2.0, 1.0, 0.4]))
    weights = chain(rng, u, v, np.full((3, 3), 0.5))
    assert lw.solve(lw.DeepLinear(weights, cross), T).law == "deep modes"
    stretched = [weights[0] * (1 + 1e-11), *weights[1:]]
    assert lw.solve(lw.DeepLinear(stretched, cross), T).law is None
    for k in range(3):
        moved = list(weights)
        moved[k] = weights[k] + 1e-8 * rng.standard_normal(weights[k].shape)
        found, off = chains(lw.DeepLinear(moved, cross))
        assert found is None
        assert 1e-9 < off < 1e-6


@named({name: p for name, p in PROBLEMS.items() if name.startswith("two_layers")})
def test_two_layers_are_a_linear_network(problem):
    same = lw.Linear(*problem.weights, problem.cross, problem.input_cov)
    deep, linear = lw.solve(problem.model, T), lw.solve(same, T)
    assert (deep.law, deep.method) == (linear.law, linear.method)
    assert deep.unexcited_modes == linear.unexcited_modes
    assert [str(a) for a in deep.assumptions] == [str(a) for a in linear.assumptions]
    assert deep.weights_are_exact == linear.weights_are_exact
    atol = EXACT if deep.law is None else 1e-13
    for name in ("map", "error", "loss", "modes", "singular_values"):
        np.testing.assert_allclose(deep[name], linear[name], rtol=0, atol=atol)
    velocity, jacobian = same.velocity(same.start), same.jacobian(same.start)
    np.testing.assert_allclose(problem.model.velocity(same.start), velocity, atol=1e-14)
    np.testing.assert_allclose(problem.model.jacobian(same.start), jacobian, atol=1e-14)
    early = T[:3]  # of some laws the weights are dear
    start, end = deep.evaluate("conserved", early), linear.evaluate("conserved", early)
    np.testing.assert_allclose(start, end.reshape(len(early), -1), rtol=0, atol=1e-10)


def test_interpolated_maps_say_so_as_those_of_a_linear_network():
    rng = np.random.default_rng(8)
    w1, w2 = starts.balanced((30, 30, 30), 0.0, 0.1, seed=rng)
    cross, t = rng.standard_normal((30, 30)), np.linspace(0, 3, 400)
    deep, linear = (
        lw.solve(lw.DeepLinear([w1, w2], cross), t),
        lw.solve(lw.Linear(w1, w2, cross), t),
    )
    np.testing.assert_array_equal(deep["map"], linear["map"])
    assert deep.interpolation_error == linear.interpolation_error


@pytest.mark.parametrize(
    "layers", [[0.5], [0.5, -0.7], [0.5, -0.5, 0.5], [0.5] * 4, [0.3, 0.6, 0.9]]
)
@pytest.mark.parametrize("S", [1.3, -0.8])
def test_layers_of_one_number_are_a_deep_scalar_network(layers, S):
    xi = 0.6
    model = lw.DeepLinear([[[w]] for w in layers], [[S * xi]], [[xi]])
    scalar = lw.Deep(S, rate=xi, layers=layers)
    many, one = lw.solve(model, T), lw.solve(scalar, T)
    np.testing.assert_allclose(many["map"][:, 0, 0], one["map"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(many.state, one.state, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        model.quantity("conserved", model.start), np.diff(np.square(layers)), atol=1e-15
    )
    np.testing.assert_allclose(
        model.velocity(model.start), scalar.velocity(scalar.start), rtol=1e-13
    )
    np.testing.assert_allclose(
        model.jacobian(model.start), scalar.jacobian(scalar.start), atol=1e-15
    )


# --- symmetries ------------------------------------------------------------------------------

SYMMETRIC = {
    name: PROBLEMS[name]
    for name in (
        "one_layer, 4-1, rank None",
        "two_layers, zero-balanced",
        "two_layers, any imbalance",
        "aligned, one mode opposed, depth 3",
        "aligned, two values alike, depth 4",
        "aligned, small beside large, depth 3",
        "unsolvable, unequal layers, depth 3",
        "unsolvable, a hidden unit shared",
        "unsolvable, random, depth 4",
    )
}


@named(SYMMETRIC)
def test_hidden_spaces_may_be_turned(problem):
    rng = np.random.default_rng(9)
    turns = [orthogonal(rng, len(layer)) for layer in problem.weights[:-1]]
    sides = [np.eye(problem.cross.shape[1]), *turns, np.eye(len(problem.cross))]
    turned = [
        q @ layer @ p.T for layer, (p, q) in zip(problem.weights, pairwise(sides), strict=True)
    ]
    one, other = (
        lw.solve(problem.model, problem.t),
        lw.solve(lw.DeepLinear(turned, problem.cross), problem.t),
    )
    assert one.law == other.law
    assert error(other["map"], one["map"]) < EXACT
    for before, after, (p, q) in zip(one.weights(), other.weights(), pairwise(sides), strict=True):
        assert error(after, q @ before @ p.T) < EXACT


@named(SYMMETRIC)
def test_a_network_may_be_read_backwards(problem):
    backwards = lw.DeepLinear([w.T for w in reversed(problem.weights)], problem.cross.T)
    one, other = lw.solve(problem.model, problem.t), lw.solve(backwards, problem.t)
    assert one.law == other.law
    assert one.unexcited_modes == other.unexcited_modes
    assert error(np.swapaxes(other["map"], 1, 2), one["map"]) < EXACT
    assert error(other["loss"], one["loss"]) < EXACT
    for before, after in zip(one.weights(), reversed(other.weights()), strict=True):
        assert error(np.swapaxes(after, 1, 2), before) < EXACT


@named(SYMMETRIC)
def test_solving_on_is_solving_at_once(problem):
    middle = lw.solve(problem.model, [0.0, 0.4]).weights()
    on = lw.DeepLinear([layer[-1] for layer in middle], problem.cross, problem.input_cov)
    late = lw.solve(on, [0.6, 2.1])
    whole = lw.solve(problem.model, [1.0, 2.5])
    assert (late.law is None) == (whole.law is None)
    assert error(late["map"], whole["map"]) < EXACT


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    depth=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 6), min_size=5, max_size=5),
    white=st.booleans(),
)
def test_random_chains(seed, depth, sizes, white):
    rng = np.random.default_rng(seed)
    sizes = sizes[: depth + 1]
    cov = None if white else covariance(rng, sizes[0])
    problem = Problem(
        "", None, random_chain(rng, sizes), rng.standard_normal((sizes[-1], sizes[0])), cov
    )
    model, t = problem.model, np.array([0.0, 0.3, 1.5])
    solution, wanted = lw.solve(model, t), followed(problem, t)
    assert (solution.law is None) == (solution.method == "flow")
    assert error(solution["map"], model.quantity("map", wanted)) < EXACT
    assert np.all(np.diff(solution["loss"]) <= 1e-12)
    if depth > 1:
        assert drift(solution["conserved"]) < 1e-9
    assert error(flow(model, t), wanted) < EXACT


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    depth=st.integers(3, 5),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    zeros=st.integers(0, 3),
)
def test_random_aligned_chains(seed, depth, shape, zeros):
    rng = np.random.default_rng(seed)
    k = min(shape)
    s = rng.uniform(0.2, 2.0, k)
    s[:zeros] = 0.0
    cross, u, v = target(rng, *shape, s)
    links = rng.choice([-1.0, 1.0], (depth, k)) * rng.uniform(0.3, 1.2, k)
    weights = chain(rng, u, v, links, [int(n) for n in rng.integers(k, 7, depth - 1)])
    problem = Problem("", "deep modes", weights, cross)
    solution, wanted = lw.solve(problem.model, T, "exact"), followed(problem)
    assert solution.law == "deep modes"
    assert solution.unexcited_modes == np.sum((np.prod(links, axis=0) < 0) & (s > 0))
    assert error(solution.state, wanted) < EXACT
    assert error(solution["map"], problem.model.quantity("map", wanted)) < EXACT


# --- the solution ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "flow", "descent"])
def test_the_trace_holds_what_is_no_matrix(method, tmp_path):
    model = DEEP["aligned, one mode opposed, depth 3"].model
    solution = lw.solve(model, T, method, step=0.01 if method == "descent" else None)
    trace = solution.trace()
    assert set(trace) == set(model.traced)
    assert trace.provenance.config["law"] == solution.law
    assert lw.Trace.load(trace.save(tmp_path / "run")) == trace
    assert ("saxe2014exact" in solution.cite()) == (method == "auto")


def test_weights_at_any_times():
    solution = lw.solve(DEEP["aligned, one mode opposed, depth 3"].model, T)
    for own, one, many in zip(
        solution.weights(), solution.weights(0.4), solution.weights([[2.5, 0.0]]), strict=True
    ):
        np.testing.assert_allclose(one, own[2], rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(many, own[[4, 0]][None], rtol=1e-13, atol=1e-15)
    assert solution.weights_are_exact


def test_descent_is_the_flow_to_first_order_in_its_step():
    model = PROBLEMS["unsolvable, random, depth 3"].model
    t = np.array([0.0, 0.2, 1.0])
    exact = lw.solve(model, t, "flow")["map"]
    errors = [
        np.max(np.abs(lw.solve(model, t, "descent", step=h)["map"] - exact)) for h in (2e-3, 1e-3)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)


def test_many_layers_and_wide_ones():
    rng = np.random.default_rng(11)
    cross, u, v = target(rng, 12, 9, rng.uniform(0.5, 1.5, 5))
    weights = chain(rng, u, v, np.full((20, 5), 0.95), [15] * 19)
    solution = lw.solve(lw.DeepLinear(weights, cross), T)
    scalar = lw.solve(lw.Deep(np.linalg.svd(cross)[1][:5], 0.95, 20), T)
    np.testing.assert_allclose(solution["modes"][:, :5], scalar["map"], rtol=0, atol=1e-12)
    assert solution.residual() < 1e-12


@named({name: PROBLEMS[name] for name in SYMMETRIC})
def test_an_unknown_quantity_is_answered_with_the_nearest(problem):
    solution = lw.solve(problem.model, T)
    for ask in (solution.__getitem__, lambda name: solution.orbit.quantity(name, T)):
        with pytest.raises(KeyError, match=r"unknown quantity of \w*Linear 'mdes'; .* 'modes'"):
            ask("mdes")
