import json
import warnings
from dataclasses import dataclass
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

from . import linear_oracles as oracles

EXACT = 1e-9  # relative to the largest entry of the map, or to 1
T = np.array([0.0, 0.05, 0.4, 1.0, 2.5, 6.0])
FOR_EVER = 1e12
ALIGNED = "layers and inputs aligned with the modes of the target"
EQUAL = "weights of each mode equal but for signs"


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, its law (None if there is none), and how many modes it never learns."""

    name: str
    law: str | None
    weights: list
    cross: np.ndarray
    input_cov: np.ndarray | None = None
    unexcited: int = 0

    @property
    def t(self):
        """Times to look at; weights that follow from Grams are dear."""
        return T[:3] if len(self.weights) == 2 else T

    @property
    def model(self):
        return lw.DeepLinear(self.weights, self.cross, self.input_cov)


def orthogonal(rng, n, k=None):
    return np.linalg.qr(rng.standard_normal((n, n)))[0][:, :k]


def target(rng, o, i, s):
    """Return a target of singular values s, and its vectors."""
    u, v = orthogonal(rng, o, len(s)), orthogonal(rng, i, len(s))
    return u * s @ v.T, u, v


def chain(rng, u, v, links, widths=()):
    """Return layers ``R_l diag(w_l) R_{l-1}^T``, of equal hidden sizes unless widths are given."""
    k = links.shape[1]
    widths = widths or [k + 1] * (len(links) - 1)
    sides = [v, *(orthogonal(rng, width, k) for width in widths), u]
    return [q * w @ p.T for w, (p, q) in zip(links, pairwise(sides), strict=True)]


def random_chain(rng, sizes, scale=0.6):
    return [
        scale * rng.standard_normal((n, m)) / np.sqrt(max(m, n)) * 2 for m, n in pairwise(sizes)
    ]


def covariance(rng, i, rank=None):
    q = orthogonal(rng, i, rank)
    return q * 10 ** rng.uniform(-0.6, 0.6, q.shape[1]) @ q.T


def one_layer():
    for seed, (o, i, rank) in enumerate([(3, 2, 2), (1, 4, None), (4, 1, 1), (2, 5, 3), (6, 6, 6)]):
        rng = np.random.default_rng([1, seed])
        cov = None if rank is None else covariance(rng, i, rank)
        cross = rng.standard_normal((o, i))
        cross = cross if cov is None else cross @ cov
        yield Problem(f"{i}-{o}, rank {rank}", "shallow", [rng.standard_normal((o, i))], cross, cov)
    yield Problem("no variance", "shallow", [np.ones((2, 2))], np.zeros((2, 2)), np.zeros((2, 2)))


def two_layers():
    rng = np.random.default_rng(2)
    cross, cov = rng.standard_normal((3, 4)), covariance(rng, 4)
    even = list(starts.balanced((4, 3, 3), 0.0, 0.4, seed=rng))
    yield Problem("zero-balanced", "balanced", even, cross)
    lam = list(starts.balanced((4, 3, 3), 0.7, 0.4, seed=rng))
    yield Problem("lambda-balanced, Sxx 2 I", "balanced", lam, cross, 2 * np.eye(4))
    two = list(starts.two_valued((2, 4, 1), 1.0, 0.5, seed=rng))
    yield Problem("two-valued", "two-valued", two, rng.standard_normal((1, 2)))
    plain = random_chain(rng, (1, 5, 1))
    yield Problem("1-5-1", "1-h-1", plain, np.array([[1.3]]), np.array([[0.7]]))
    narrow = list(starts.balanced((4, 1, 3), -0.5, 0.4, seed=rng))
    yield Problem("one neuron", "neuron", narrow, cross)
    pairs = list(starts.aligned(cross, [0.3, -0.2, 0.1], [0.5, 0.2, 0.1], 5, seed=rng))
    yield Problem("aligned", "modes", pairs, cross)
    yield Problem("any imbalance", None, random_chain(rng, (4, 3, 3)), cross)
    yield Problem("any inputs", None, even, cross, cov)


def aligned():
    for L in (3, 4):
        shapes = [(3, 3), (4, 2), (2, 5), (1, 4), (1, 1), (6, 6)]
        for seed, (o, i) in enumerate(shapes):
            rng = np.random.default_rng([3, L, seed])
            k = min(o, i)
            cross, u, v = target(rng, o, i, np.sort(rng.uniform(0.3, 2.5, k))[::-1])
            signs = rng.choice([-1.0, 1.0], (L, k))
            signs[-1] *= np.prod(signs, axis=0)
            links = signs * rng.uniform(0.3, 1.0, k)  # far past a target rounding grows
            widths = [int(n) for n in rng.integers(k, 8, L - 1)]
            weights = chain(rng, u, v, links, widths)
            yield Problem(f"{i}-{widths}-{o}", "deep modes", weights, cross)
            xi = 10 ** rng.uniform(-0.6, 0.6, k)
            rest = np.eye(i) - v @ v.T
            cov = v * xi @ v.T + 0.8 * rest
            yield Problem(f"{i}-{widths}-{o}, any spectrum", "deep modes", weights, cross * 1, cov)
        yield from special(L)


def special(L):
    rng = np.random.default_rng([4, L])
    full = np.array([2.0, 1.2, 0.5])
    cross, u, v = target(rng, 4, 5, full)
    same = np.ones((L, 1))

    def problem(name, cross, links, unexcited=0, cov=None):
        weights = chain(rng, u, v, links)
        return Problem(f"{name}, depth {L}", "deep modes", weights, cross, cov, unexcited)

    opposed = same * [0.6, 0.5, 0.4]
    opposed[1, 1] *= -1
    yield problem("one mode opposed", cross, opposed, 1)
    yield problem("overshoot", cross, same * [2.0, 0.5, 1.7])
    yield problem("at its target", cross, same * full ** (1 / L))
    yield problem("one mode dead", cross, same * [0.6, 0.0, 0.4], 1)
    yield problem("all dead", cross, 0 * opposed, 3)
    yield problem("zero target", 0 * cross, opposed)
    yield problem("target of rank one", u * [2.0, 0.0, 0.0] @ v.T, opposed)
    yield problem(
        "target of rank two, weights alike", u * [2.0, 1.0, 0.0] @ v.T, 0.5 * same + 0 * full
    )
    yield problem("two values alike", u * [2.0, 2.0, 1.0] @ v.T, same * [0.6, 0.3, 0.4])
    yield problem("all alike", u * [1.5, 1.5, 1.5] @ v.T, same * [0.6, 0.6, 0.4])
    mixed = same * [0.6, 0.6, 0.4]
    mixed[0, 0] *= -1
    yield problem("alike, one opposed", u * [1.5, 1.5, 1.5] @ v.T, mixed, 1)
    yield problem("small beside large", cross, same * [1.5, 0.3, 0.4])
    two = same * [0.6, 0.5, 0.4]
    two[[0, L - 1], 1] = 0.0
    yield problem("two layers of one mode 0, others not", cross, two, 1)
    narrow = chain(rng, u[:, :2], v[:, :2], same * [0.6, 0.5], [2] * (L - 1))
    yield Problem(f"too narrow for all modes, depth {L}", "deep modes", narrow, cross, unexcited=1)
    # hidden directions that no input reaches and no output hears
    weights = chain(rng, u, v, same * [0.6, 0.5, 0.4], [6] * (L - 1))
    lost = [np.linalg.svd(side)[2][-1] for side in (weights[0].T, weights[1].T)]
    weights[1] = weights[1] + 0.9 * np.outer(lost[1], lost[0])
    if L == 4:
        yield Problem("a detached link", "deep modes", weights, cross)
    # inputs without variance, used and not
    seen = orthogonal(rng, 5, 4)
    cross, u, v = target(rng, 4, 4, full)
    cov = seen @ (v * [0.5, 2.0, 1.0] @ v.T + 0.7 * (np.eye(4) - v @ v.T)) @ seen.T
    weights = chain(rng, u, seen @ v, same * [0.6, 0.5, 0.4])
    yield Problem(f"blind inputs, depth {L}", "deep modes", weights, cross @ seen.T, cov)
    blind = np.eye(5) - seen @ seen.T
    used = [weights[0] + rng.standard_normal(weights[0].shape) @ blind, *weights[1:]]
    yield Problem(f"blind inputs used, depth {L}", "deep modes", used, cross @ seen.T, cov)


def unsolvable():
    rng = np.random.default_rng(5)
    cross, u, v = target(rng, 3, 4, np.array([2.0, 1.2, 0.5]))
    for L in (3, 4):
        links = np.ones((L, 1)) * [0.6, 0.5, 0.4]
        unequal, broken = links.copy(), links.copy()
        unequal[1, 1] *= 1.3
        broken[1, 1] = 0.0
        yield Problem(f"unequal layers, depth {L}", None, chain(rng, u, v, unequal), cross)
        yield Problem(f"one layer 0, depth {L}", None, chain(rng, u, v, broken), cross)
        turned = chain(rng, u, v, links)
        yield Problem(f"other inputs, depth {L}", None, turned, cross, covariance(rng, 4))
        inside = chain(rng, u, v, links)
        inside[1] = orthogonal(rng, len(inside[1])) @ inside[1]
        yield Problem(f"turned inside, depth {L}", None, inside, cross)
        # hidden vectors of their own for what comes and for what is passed on
        detour = chain(rng, u, v, links)
        aside = np.linalg.svd(detour[-1])[2][3:].T
        detour[-2] = detour[-2] + 0.5 * aside @ np.linalg.svd(detour[-2])[2][:1]
        yield Problem(f"a detour, depth {L}", None, detour, cross)
        sizes = (4, *rng.integers(1, 7, L - 1), 3)
        yield Problem(f"random, depth {L}", None, random_chain(rng, sizes), cross)
    # the one unit between hears both modes, so that the second moves though it is last in line
    shared = [np.eye(2), [[1.0, 0.5]], np.zeros((2, 1)), [[0.0, 0.0], [0.0, 1.0]]]
    shared = [np.array(layer) for layer in shared]
    yield Problem("a hidden unit shared", None, shared, np.diag([2.0, 1.0]))


PROBLEMS = {
    f"{row.__name__}, {p.name}": p
    for row in (one_layer, two_layers, aligned, unsolvable)
    for p in row()
}
DEEP = {name: p for name, p in PROBLEMS.items() if p.law == "deep modes"}


def named(choice):
    return pytest.mark.parametrize("problem", choice.values(), ids=choice.keys())


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def followed(problem, t=None):
    """Return the states (T, d) by the order-8 solver."""
    t = problem.t if t is None else t
    layers = oracles.integrate_deep(problem.weights, problem.cross, t, problem.input_cov)
    return np.concatenate([layer.reshape(len(t), -1) for layer in layers], axis=1)


def error(found, wanted):
    assert found.shape == wanted.shape
    return np.max(np.abs(found - wanted)) / max(1.0, np.max(np.abs(wanted)))


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


# --- the model -------------------------------------------------------------------------------

MODELS = {
    name: PROBLEMS[name].model
    for name in (
        "one_layer, 2-3, rank 2",
        "one_layer, no variance",
        "two_layers, any inputs",
        "aligned, one mode opposed, depth 4",
        "aligned, blind inputs used, depth 3",
        "unsolvable, other inputs, depth 3",
        "unsolvable, random, depth 4",
    )
}
EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def product(model, state):
    found = np.eye(model.cross.shape[1])
    for layer in model.split(state):
        found = layer @ found
    return found


def covariance_of(model):
    return np.eye(model.cross.shape[1]) if model.input_cov is None else model.input_cov


def derivative(function, state, step=1e-6):
    changes = step * np.eye(len(state))
    return np.array([(function(state + d) - function(state - d)) / (2 * step) for d in changes])


@EACH
def test_the_velocity_is_minus_the_gradient_of_the_loss(model):
    def loss(state):
        W = product(model, state)
        return np.trace(W @ covariance_of(model) @ W.T) / 2 - np.trace(W @ model.cross.T)

    slope = derivative(loss, model.start)
    np.testing.assert_allclose(model.velocity(model.start), -slope, rtol=0, atol=1e-8)
    both = np.stack([model.start, 0.9 * model.start])
    np.testing.assert_allclose(model.velocity(both)[0], model.velocity(model.start), atol=1e-14)
    np.testing.assert_allclose(model.velocity(both)[1], model.velocity(both[1]), atol=1e-14)


@EACH
def test_the_jacobian_is_the_derivative_of_the_velocity(model):
    numeric = derivative(model.velocity, model.start).T
    found = model.jacobian(model.start)
    np.testing.assert_allclose(found, numeric, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "model",
    [
        *MODELS.values(),
        lw.DeepLinear([[[10.0]], [[0.1]], [[10.0]]], [[2.0]]),
        lw.DeepLinear([[[0.1]], [[10.0]], [[0.1]]], [[2.0]]),
        lw.DeepLinear([[[3.0]], [[0.3]]], [[2.0]]),
    ],
    ids=[*MODELS.keys(), "thin in the middle", "thick in the middle", "thin at the end"],
)
def test_no_relaxation_rate_on_the_way_exceeds_the_fastest(model):
    for state in lw.solve(model, np.linspace(0, 6, 25)).state:
        rates = -np.linalg.eigvalsh(model.jacobian(state))
        assert np.max(rates) <= model.fastest() * (1 + 1e-9)


def test_the_fastest_rate_of_one_layer_is_the_largest_variance():
    for seed in range(3):
        cov = covariance(np.random.default_rng(seed), 4)
        model = lw.DeepLinear([np.ones((2, 4))], np.ones((2, 4)), cov)
        assert model.fastest() == pytest.approx(np.linalg.eigvalsh(cov)[-1], rel=1e-12)


def test_the_fastest_rate_is_no_wild_guess():
    for seed in range(5):
        rng = np.random.default_rng([10, seed])
        model = lw.DeepLinear(random_chain(rng, (4, 5, 3, 4)), rng.standard_normal((4, 4)))
        states = lw.solve(model, np.linspace(0, 20, 30)).state
        met = max(-np.linalg.eigvalsh(model.jacobian(state))[0] for state in states)
        assert met <= model.fastest() < 40 * met


@EACH
def test_quantities_are_their_definitions(model):
    states = np.stack([model.start, 0.9 * model.start])
    cov = covariance_of(model)
    best = model.cross @ np.linalg.pinv(cov, rtol=1e-10)
    u, s, v = model.regression.modes
    np.testing.assert_allclose(u * s @ v.T, best, atol=1e-13)
    for k, state in enumerate(states):
        W, layers = product(model, state), model.split(state)
        kept = [q.T @ q - p @ p.T for p, q in pairwise(layers)]
        wanted = {
            "map": W,
            "error": model.cross - W @ cov,
            "loss": np.trace((W - best) @ cov @ (W - best).T) / 2,
            "modes": np.diag(u.T @ W @ v),
            "singular_values": np.linalg.svd(W, compute_uv=False),
            "effective_rank": lw.measures.effective_rank(W),
            "conserved": np.concatenate([np.zeros(0), *(m.ravel() for m in kept)]),
        }
        assert set(wanted) == set(model.quantities)
        for name, value in wanted.items():
            found = model.quantity(name, states)[k]
            np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-13)
    assert set(model.traced) == set(model.quantities) - {"map", "error", "conserved"}
    for name in ("map", "error", "conserved"):
        assert model.size_of(name) == model.quantity(name, states)[0].size
    assert model.size_of("loss") == 1


@EACH
def test_config_makes_the_model_again(model):
    config = json.loads(json.dumps(model.config()))
    assert config.pop("model") == "DeepLinear"
    again = lw.DeepLinear(**config)
    np.testing.assert_array_equal(again.start, model.start)
    assert again.config() == model.config()


@EACH
def test_a_model_is_its_only_part_and_its_state_its_layers(model):
    assert list(model.parts()) == [model]
    for layer, given_one in zip(model.split(model.start), model.weights, strict=True):
        np.testing.assert_array_equal(layer, given_one)
    shapes = [layer.shape for layer in model.split(np.zeros((3, 2, len(model.start))))]
    assert shapes == [(3, 2, *layer.shape) for layer in model.weights]


def test_a_model_is_frozen():
    weights = [np.ones((2, 3)), np.ones((4, 2))]
    model = lw.DeepLinear(weights, np.ones((4, 3)), np.eye(3))
    weights[0][...] = 7.0
    np.testing.assert_array_equal(model.weights[0], 1.0)
    with pytest.raises(AttributeError):
        model.cross = 3.0
    for array in (*model.weights, model.cross):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 3.0


def test_weights_may_be_one_array_of_equal_layers():
    model = lw.DeepLinear(0.5 * np.ones((3, 2, 2)), np.eye(2))
    assert [layer.shape for layer in model.weights] == 3 * [(2, 2)]


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"weights": []}, ValueError, "DeepLinear: weights must have at least one layer"),
        ({"weights": 3.0}, TypeError, "weights must be a sequence of layers, got float"),
        ({"weights": None}, TypeError, "weights must be a sequence of layers, got NoneType"),
        ({"weights": "ab"}, TypeError, "weights must be a sequence of layers, got str"),
        (
            {"weights": np.ones((2, 3))},
            ValueError,
            r"DeepLinear: weights\[0\] must be a matrix, got shape \(3,\)",
        ),
        (
            {"weights": [np.ones((2, 3)), np.ones((4, 3))]},
            ValueError,
            r"weights\[0\] \(h, \.\) and weights\[1\] \(\., h\) do not fit: \(2, 3\) and \(4, 3\)",
        ),
        (
            {"weights": [np.ones((2, 3)), np.ones((5, 2)), np.ones((4, 2))]},
            ValueError,
            r"weights\[1\] .* and weights\[2\] .* do not fit: \(5, 2\) and \(4, 2\)",
        ),
        (
            {"weights": [np.ones((2, 3)), np.full((4, 2), np.nan)]},
            ValueError,
            r"DeepLinear: weights\[1\] must be finite, got nan",
        ),
        (
            {"weights": [1j * np.ones((2, 3)), np.ones((4, 2))]},
            TypeError,
            r"DeepLinear: weights\[0\] must be real numbers, got complex128",
        ),
        ({"weights": [np.ones((0, 3)), np.ones((4, 0))]}, ValueError, "must be a matrix, got"),
        (
            {"weights": 4 * [1e40 * np.eye(3)]},
            ValueError,
            r"DeepLinear: the product of the layers is larger than 1e\+150 in size",
        ),
        (
            {"cross": np.ones((3, 4))},
            ValueError,
            r"cross \(o, i\) must have shape \(4, 3\) for a first layer \(2, 3\) and a last layer "
            r"\(4, 2\), got \(3, 4\)",
        ),
        ({"cross": np.inf * np.ones((4, 3))}, ValueError, "DeepLinear: cross must be finite"),
        ({"cross": np.ones(3)}, ValueError, "DeepLinear: cross must be a matrix, got shape"),
        (
            {"input_cov": np.eye(4)},
            ValueError,
            r"DeepLinear: input_cov \(i, i\) does not fit cross \(o, i\): \(4, 4\) and \(4, 3\)",
        ),
        ({"input_cov": np.diag([1.0, 1.0, -1.0])}, ValueError, "no negative eigenvalue, got -1"),
        ({"input_cov": np.triu(np.ones((3, 3)))}, ValueError, "input_cov must be symmetric"),
        ({"input_cov": np.diag([1.0, 1.0, 0.0])}, ValueError, "gives no variance"),
    ],
)
def test_bad_input_is_refused_by_name(given, kind, message):
    fine = {"weights": [np.ones((2, 3)), np.ones((4, 2))], "cross": np.ones((4, 3))}
    with pytest.raises(kind, match=message):
        lw.DeepLinear(**fine | given)


@named({name: PROBLEMS[name] for name in SYMMETRIC})
def test_an_unknown_quantity_is_answered_with_the_nearest(problem):
    solution = lw.solve(problem.model, T)
    for ask in (solution.__getitem__, lambda name: solution.orbit.quantity(name, T)):
        with pytest.raises(KeyError, match=r"unknown quantity of \w*Linear 'mdes'; .* 'modes'"):
            ask("mdes")


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
