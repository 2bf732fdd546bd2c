"""What a solution of a two-layer network says of itself, law by law, against the flow and loops."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import brentq

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.laws import decay, neuron, pair, riccati, two_valued
from layerwise.theory.orbits.network import Network

from . import linear_problems as rows
from .solved_problems import (
    EACH,
    EXACT,
    GRAM_LAWS,
    PROBLEMS,
    ROUNDING,
    SOME,
    dense,
    model_of,
    off,
    solved,
)

# --- exact against flow ----------------------------------------------------------------------


def test_the_problems_have_every_law_with_more_inputs_and_with_more_outputs():
    kinds = {(solved(p).law, int(np.sign(np.subtract(*p.cross.shape)))) for p in PROBLEMS}
    for law in ("balanced", "balanced with decay", "two-valued", "neuron", "modes"):
        assert {sign for name, sign in kinds if name == law} >= {-1, 1}, law
    assert {"1-h-1", "1-h-1 with decay (Bessel)", "modes with decay"} <= {law for law, _ in kinds}


@EACH
def test_every_quantity_is_that_of_the_flow(problem):
    exact, flow = solved(problem), solved(problem, "flow")
    cheap = set(exact.quantities) - ({"conserved"} if exact.law in GRAM_LAWS else set())
    assert {name: off(exact[name], flow[name]) for name in cheap} == pytest.approx(
        dict.fromkeys(cheap, 0.0), abs=EXACT
    )


@EACH
def test_every_quantity_is_the_same_at_one_time_alone(problem):
    solution = solved(problem)
    for name in set(solution.quantities) - {"conserved", "kernel_distance", "effective_rank"}:
        alone = solution.evaluate(name, problem.t[-2])
        assert off(alone[0], solution[name][-2]) < ROUNDING, name


@pytest.mark.parametrize("law", ["balanced", "mirrored", "unmirrored", "decayed"])
def test_every_quantity_is_the_same_on_a_dense_grid(law):
    solution = dense(law)
    few = np.arange(0, 1000, 90)
    alone = lw.solve(solution.model, solution.t[few], "exact")
    assert alone.interpolation_error == 0
    for name in set(solution.quantities) - {"conserved", "effective_rank"}:
        assert off(solution[name][few], alone[name]) < EXACT, name


# --- what is computed, and when --------------------------------------------------------------


def peak(work):
    """Return the largest memory that `work` took, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize(("count", "last"), [(140, 10.0), (400, 10.0), (1600, 10.0)])
def test_loss_and_modes_never_take_the_memory_of_the_map(lam, count, last):
    shape = (200, 100, 150)
    rng = np.random.default_rng(41)
    start = starts.balanced(shape, lam, 0.01, seed=rng)
    model = lw.Linear(*start, rng.standard_normal((shape[2], shape[0])) / 10)
    solution = lw.solve(model, np.linspace(0, last, count), "exact")

    def ask():
        for name in ("loss", "modes", "ntk_trace"):
            assert np.all(np.isfinite(solution[name]))

    assert peak(ask) < count * model.cross.size * 8 / 2
    assert (solution.interpolation_error > 0) == (count > 140)


def test_aligned_modes_take_little_memory_for_loss_and_modes():
    cross, count = np.random.default_rng(42).standard_normal((60, 50)), 3000
    model = lw.Linear(*starts.aligned(cross, 0.1, 0.2), cross)
    solution = lw.solve(model, np.linspace(0, 4, count), "exact")
    assert solution.law == "modes"
    assert peak(lambda: (solution["loss"], solution["modes"])) < count * cross.size * 8 / 2


def test_solving_evaluates_nothing_and_what_was_asked_is_kept():
    solution = dense("balanced")
    assert solution._known == {}
    loss = solution["loss"]
    assert set(solution._known) == {"loss"}
    assert solution["loss"] is loss
    again = solution.evaluate("loss")
    assert again is not loss
    np.testing.assert_array_equal(again, loss)
    solution.evaluate("modes")
    assert set(solution._known) == {"loss"}


@pytest.mark.parametrize("problem", PROBLEMS[::2], ids=[problem.name for problem in PROBLEMS[::2]])
def test_what_evaluate_returned_may_be_changed_without_harm(problem):
    solution, again = solved(problem), solved(problem)
    names = set(solution.quantities) - {"conserved"}
    for name in names:
        solution.evaluate(name)[:] = 7.0
    assert {name: off(solution[name], again[name]) for name in names} == dict.fromkeys(names, 0.0)


def test_weights_are_not_integrated_again_for_every_quantity(monkeypatch):
    problem = next(problem for problem in rows.covariances() if problem.mixed)
    calls, right = [], Network.states

    def counted(orbit, t):
        calls.append(len(t))
        return right(orbit, t)

    monkeypatch.setattr(Network, "states", counted)
    solution = solved(problem)
    for name in ("loss", "modes", "map", "gram_in"):
        solution[name]
    assert len(calls) <= 1


# --- the tangent kernel ----------------------------------------------------------------------


def by_gradients(w1, w2, x):
    """Return K (N, o, N, o) of one network from the gradients of its outputs, weight by weight."""
    (h, i), o = w1.shape, len(w2)
    gradients = np.zeros((len(x), o, h * i + o * h))
    for n, point in enumerate(x):
        for output in range(o):
            first = np.outer(w2[output], point)
            second = np.zeros((o, h))
            second[output] = w1 @ point
            gradients[n, output] = np.concatenate([first.ravel(), second.ravel()])
    return np.einsum("map,nbp->manb", gradients, gradients)


@SOME
def test_the_tangent_kernel_is_that_of_the_gradients(problem):
    solution = solved(problem)
    x = np.random.default_rng(44).standard_normal((4, problem.cross.shape[1]))
    full, traced = solution.ntk(x, "full"), solution.ntk(x)
    flow = solved(problem, "flow")
    for k, (w1, w2) in enumerate(zip(*flow.weights(), strict=True)):
        kernel = by_gradients(w1, w2, x)
        assert off(full[k], kernel) < 1e-8  # entries are sums of many weights
        assert off(traced[k], np.einsum("mana->mn", kernel)) < 1e-8


@SOME
def test_trace_and_distance_of_the_kernel_are_means_over_the_inputs(problem):
    i = problem.cross.shape[1]
    cov = np.eye(i) if problem.input_cov is None else problem.input_cov
    values, vectors = np.linalg.eigh(cov)
    x = np.sqrt(i * np.maximum(values, 0))[:, None] * vectors.T  # its second moment is cov
    np.testing.assert_allclose(x.T @ x / i, cov, atol=1e-12)
    solution = solved(problem)
    traces = np.einsum("tnn->t", solution.ntk(x)) / i
    assert off(solution["ntk_trace"], traces) < ROUNDING
    kernels = solution.ntk(x, "full").reshape(len(problem.t), -1)
    kernels /= np.linalg.norm(kernels, axis=1, keepdims=True)
    assert off(solution["kernel_distance"], 1 - kernels @ kernels[0]) < ROUNDING


@pytest.mark.parametrize("x", [np.ones(3), np.ones((2, 3)), [[np.nan] * 6], np.ones((1, 1, 6))])
def test_inputs_that_do_not_fit_are_refused(x):
    with pytest.raises(ValueError, match=r"x must be finite, of shape \(N, 6\), got shape"):
        solved(PROBLEMS[0]).ntk(x)


def test_other_models_have_a_kernel_instead():
    with pytest.raises(TypeError, match="ntk is for Linear; Scalar has a 'kernel'"):
        lw.solve(lw.Scalar(1.0, 0.1, 0.1), 1.0).ntk([[1.0]])


# --- interpolation ---------------------------------------------------------------------------


def interpolated(shape, lam, scale, seed):
    rng = np.random.default_rng([45, seed])
    i, _, o = shape
    cross = rng.standard_normal((o, i)) / np.sqrt(max(i, o))
    w1, w2 = starts.balanced(shape, lam, scale, rank=min(shape), seed=rng)
    return lw.Linear(w1, w2, cross)


@pytest.mark.parametrize(
    ("shape", "lam", "scale", "last"),
    [
        ((12, 12, 12), 0.0, 0.3, 30.0),
        ((12, 20, 12), 0.0, 1e-3, 40.0),
        ((30, 20, 10), -0.5, 0.05, 30.0),
        ((10, 20, 30), 0.5, 0.05, 30.0),
        ((40, 8, 24), 0.2, 0.01, 40.0),
        ((40, 40, 40), 0.0, 1e-6, 60.0),
        ((16, 16, 16), 0.0, 3.0, 10.0),
        ((24, 10, 36), -2.0, 0.3, 30.0),
    ],
    ids=str,
)
def test_the_interpolation_error_bounds_the_true_one(shape, lam, scale, last):
    for seed in range(2):
        model = interpolated(shape, lam, scale, seed)
        solution = lw.solve(model, np.linspace(0, last, 1000), "exact")
        found, bound = solution["map"], solution.interpolation_error
        assert 0 < bound < 1e-9
        truth = np.concatenate(
            [solution.evaluate("map", solution.t[k : k + 100]) for k in range(0, 1000, 100)]
        )
        missed = np.max(np.abs(found - truth)) / np.linalg.norm(model.cross, 2)
        assert missed <= bound + ROUNDING, (missed, bound)


def test_where_nothing_is_interpolated_there_is_no_error_of_it():
    assert dense("balanced", count=149).interpolation_error == 0
    assert dense("balanced", count=1000).interpolation_error > 0
    assert dense("two-valued", count=200).interpolation_error == 0
    assert lw.solve(lw.Diagonal(1.0, 0.1, 0.1), [0.0, 1.0]).interpolation_error == 0
    assert solved(PROBLEMS[0], "flow").interpolation_error == 0


# --- weights ---------------------------------------------------------------------------------


CHEAP = [problem for problem in PROBLEMS if problem.law not in GRAM_LAWS]
INTEGRATED = [problem for problem in PROBLEMS if problem.law in GRAM_LAWS]


@pytest.mark.parametrize("problem", [*CHEAP[::2], *INTEGRATED[::4]], ids=lambda p: p.name)
def test_weights_have_the_grams_of_the_law_and_its_imbalance(problem):
    solution = solved(problem)
    first, second = solution.weights()
    assert off(second @ first, solution["map"]) < ROUNDING * 100
    assert off(np.swapaxes(first, 1, 2) @ first, solution["gram_in"]) < ROUNDING * 100
    assert off(second @ np.swapaxes(second, 1, 2), solution["gram_out"]) < ROUNDING * 100
    assert solution.weights_are_exact == (problem.law not in GRAM_LAWS)


def test_weights_go_on_where_all_but_a_slow_direction_is_at_rest():
    s, small = np.array([1.0, 0.003]), 1e-8
    a = np.sqrt(1 + np.hypot(1, s))  # at the end of training, with lambda = -2, ...
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(small), np.sin(small)], [-np.sin(small), np.cos(small)]]
    first, cross = (np.pad(np.diag(x), ((0, 0), (0, 1))) for x in (a, s))
    model = lw.Linear(first @ turn, np.diag(s / a), cross)  # ... but for one input
    solution = lw.solve(model, [0.0, 1e6, 1e7])
    assert solution.law == "balanced"
    found, _ = solution.weights()
    assert off(np.swapaxes(found, 1, 2) @ found, solution["gram_in"]) < EXACT


def test_weights_of_a_flow_are_not_exact():
    for method in ("flow", "descent"):
        assert not solved(PROBLEMS[0], method).weights_are_exact
    assert lw.solve(lw.Diagonal(1.0, 0.1, 0.1), 1.0).weights_are_exact


# --- the check of the equation of motion -----------------------------------------------------


@EACH
def test_the_residual_is_at_rounding_for_every_law(problem):
    assert solved(problem).residual() < ROUNDING


@SOME
def test_the_residual_is_at_tolerance_for_a_flow(problem):
    assert solved(problem, "flow").residual() < 1e-9


def test_the_residual_is_small_on_a_dense_grid():
    for law in ("balanced", "mirrored", "decayed"):
        assert dense(law).residual() < 1e-10


@pytest.mark.parametrize(
    ("owner", "name", "place", "wanted"),
    [
        (riccati.Balanced, "at", 1, "balanced"),
        (two_valued.TwoValued, "at", 1, "two-valued"),
        (neuron, "weights", 3, "neuron"),
        (pair, "weights", 5, "modes"),
        (pair, "weights", 5, "1-h-1"),
        (decay, "weights", 6, "1-h-1 with decay (Bessel)"),
        (decay, "weights", 6, "modes with decay"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_residual_finds_a_clock_that_is_a_little_wrong(owner, name, place, wanted, monkeypatch):
    problem = next(problem for problem in PROBLEMS if solved(problem).law == wanted)
    right = getattr(owner, name)

    def late(*arguments):
        listed = list(arguments)
        listed[place] = listed[place] * (1 + 1e-6)
        return right(*listed)

    monkeypatch.setattr(owner, name, late)
    assert 1e-9 < solved(problem).residual() < 1e-5


# --- trace and times -------------------------------------------------------------------------


@SOME
def test_the_trace_holds_what_is_no_matrix_and_what_was_asked(problem, tmp_path):
    solution = solved(problem)
    trace = solution.trace()
    assert set(trace) == set(solution.model.traced)
    assert not {"map", "gram_in", "gram_out", "error", "conserved"} & set(trace)
    asked = solution.trace("map", "loss")
    assert set(asked) == {"map", "loss"}
    np.testing.assert_array_equal(asked["map"], solution["map"])
    config = trace.provenance.config
    assert (config["model"], config["law"]) == ("Linear", solution.law)
    np.testing.assert_array_equal(config["w1"], problem.w1)
    assert lw.Trace.load(trace.save(tmp_path / "run")) == trace
    with pytest.raises(KeyError, match="unknown quantity of Linear 'maps'; did you mean 'map'"):
        solution.trace("maps")


def crossing(solution, mode, level):
    """Return when a mode first crosses a level, from single times."""
    values = solution["modes"][:, mode] - level
    first = int(np.argmax(values >= 0))
    if values[first] < 0:
        return np.inf
    if first == 0:
        return solution.t[0]
    low, high = solution.t[first - 1], solution.t[first]

    def at(time):
        return float(solution.evaluate("modes", time)[0, mode]) - level

    return brentq(at, low, high, xtol=1e-14, rtol=1e-14)


@SOME
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_emergence_times_are_the_crossings(problem, share):
    solution = solved(problem)
    times, goals = solution.emergence_times(share), model_of(problem).regression.modes[1]
    assert times.shape == goals.shape
    wanted = [crossing(solution, k, share * goal) for k, goal in enumerate(goals)]
    seen = goals > 1e-12 * goals[0]
    np.testing.assert_allclose(times[seen], np.array(wanted)[seen], rtol=1e-11)
    assert np.all(times[~seen] == np.inf)


def test_emergence_times_are_half_way_by_their_name():
    solution = solved(PROBLEMS[0])
    np.testing.assert_array_equal(solution["emergence_times"], solution.emergence_times(0.5))
    for share in (0.0, 1.0, -0.5, 2.0, np.nan):
        with pytest.raises(ValueError, match="share must lie between 0 and 1, got"):
            solution.emergence_times(share)


def test_emergence_times_on_a_dense_grid_are_those_of_few_times():
    solution = dense("balanced", last=40.0)
    few = lw.solve(solution.model, np.array([0.0, 5.0, 10.0, 20.0, 40.0]))
    np.testing.assert_allclose(solution["emergence_times"], few["emergence_times"], rtol=1e-8)
