"""Which law is found for a two-layer network, and what is said where there is none."""

from dataclasses import replace

import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import starts
from layerwise.theory.reduction import reduce
from layerwise.theory.structure import Assumption, detect

from .linear_problems import problems

RNG = np.random.default_rng(50)
CROSS = RNG.standard_normal((3, 4))
BALANCED = lw.Linear(*starts.balanced((4, 3, 3), 0.5, 0.4, seed=1), CROSS)
ZERO = lw.Linear(*starts.balanced((4, 3, 3), 0.0, 0.4, seed=1), CROSS)
TWO_VALUED = lw.Linear(*starts.two_valued((4, 8, 3), 1.0, 0.5, seed=1), CROSS)
NEURON = lw.Linear(RNG.standard_normal((1, 4)), RNG.standard_normal((3, 1)), CROSS)
ONE = lw.Linear(RNG.standard_normal((5, 1)), RNG.standard_normal((1, 5)), [[1.5]])
ALIGNED = lw.Linear(*starts.aligned(CROSS, [0.3, -0.2, 0.5], 0.4, 5, seed=1), CROSS)
ANY = lw.Linear(RNG.standard_normal((2, 4)), RNG.standard_normal((3, 2)), CROSS)

ALONG = "weights and inputs aligned with the modes of the target"
WHITE = "inputs whitened on their range"
MULTIPLE = "imbalance W2^T W2 - W1 W1^T a multiple of the identity"
NOTHING = "no imbalance"
EVEN = "equal decay of both layers"
TWO = "imbalance of two values, one for each layer, weights of full rank"


def spread_inputs(model):
    """Return the model on inputs that are neither white nor aligned with its target."""
    root = np.random.default_rng(51).standard_normal((model.cross.shape[1],) * 2)
    return replace(model, input_cov=root @ root.T)


def failing(structure):
    return {item.name: item.measured for item in structure.assumptions if not item.holds}


# --- the decision table ----------------------------------------------------------------------


@pytest.mark.parametrize("problem", list(problems()), ids=lambda problem: problem.name)
def test_every_problem_has_the_law_that_it_was_made_for(problem):
    model = lw.Linear(problem.w1, problem.w2, problem.cross, **problem.training)
    # where there is no target, the joint modes of these weights will do
    aligned = not np.any(problem.cross) and problem.law != "1-h-1"
    expected = "modes" if aligned else problem.law
    assert detect(model).law == expected


@pytest.mark.parametrize(
    ("model", "law", "names"),
    [
        (ONE, "1-h-1", []),
        (replace(ONE, decay=0.1), "1-h-1", [EVEN]),
        (ALIGNED, "modes", [ALONG]),
        (replace(ALIGNED, decay=0.1), "modes", [ALONG, EVEN]),
        (replace(ALIGNED, decay=0.1, rates=(2.0, 2.0)), "modes", [ALONG, EVEN]),
        (replace(ALIGNED, rates=(2.0, 0.3)), "modes", [ALONG]),
        (NEURON, "neuron", [WHITE, MULTIPLE]),
        (replace(NEURON, rates=(2.0, 0.3)), "neuron", [WHITE, MULTIPLE]),
        (BALANCED, "balanced", [WHITE, MULTIPLE]),
        (ZERO, "balanced", [WHITE, MULTIPLE]),
        (replace(BALANCED, input_cov=3 * np.eye(4)), "balanced", [WHITE, MULTIPLE]),
        (replace(ZERO, decay=0.1), "balanced with decay", [WHITE, EVEN, NOTHING]),
        (TWO_VALUED, "two-valued", [WHITE, TWO]),
    ],
)
def test_each_row_of_the_table_has_its_name_and_what_it_assumes(model, law, names):
    structure = detect(model)
    assert structure.law == law
    assert [item.name for item in structure.assumptions] == names
    for item in structure.assumptions:
        assert item.holds
        assert 0 <= item.measured <= item.tolerance <= 1e-9
        assert len(item.why) > 20
    solution = lw.solve(model, [0.0, 1.0])
    assert solution.method == "exact"
    assert solution.assumptions == structure.assumptions
    assert (solution.law or "").startswith(law)


def test_the_imbalance_is_measured():
    assert detect(BALANCED).imbalance == pytest.approx((0.5, 0.5), rel=1e-12)
    assert detect(ZERO).imbalance == (0.0, 0.0)
    upper, lower = detect(TWO_VALUED).imbalance
    assert (upper, lower) == pytest.approx((1.0, -0.5), rel=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_hidden_directions_that_no_weight_uses_do_not_count(lam):
    w1, w2 = starts.balanced((4, 7, 3), lam, 0.4, rank=2, seed=1)
    structure = detect(lw.Linear(w1, w2, CROSS))
    assert structure.law == "balanced"
    assert structure.imbalance == pytest.approx((lam, lam), abs=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5, -0.5])
def test_weights_of_rank_one_are_one_neuron(lam):
    w1, w2 = starts.balanced((4, 5, 3), lam, 0.4, rank=1, seed=1)
    structure = detect(lw.Linear(w1, w2, CROSS))
    assert structure.law == "neuron"
    assert lw.solve(lw.Linear(w1, w2, CROSS), 1.0).weights_are_exact


# --- near misses -----------------------------------------------------------------------------


def nudged(model, size):
    """Return the model with one weight of W2 moved, and how much of an imbalance that makes."""
    w2 = model.w2.copy()
    w2[0, 1] += size
    gap = w2.T @ w2 - model.w2.T @ model.w2
    return replace(model, w2=w2), float(np.max(np.abs(gap)))


@pytest.mark.parametrize(
    ("model", "name"), [(BALANCED, MULTIPLE), (ZERO, MULTIPLE), (TWO_VALUED, TWO)]
)
def test_an_imbalance_that_is_off_by_a_millionth_is_refused_with_the_number(model, name):
    near, gap = nudged(model, 1e-6)
    structure = detect(near)
    assert structure.law is None
    assert gap / 20 < failing(structure)[name] < 20 * gap
    with pytest.raises(lw.NotSolvable, match=r"deviation \d(\.\d)?e-0[567], allowed 1e-09"):
        lw.solve(near, 1.0, "exact")


def test_decay_refuses_an_imbalance_of_a_millionth():
    near, _ = nudged(replace(ZERO, decay=0.1), 1e-6)
    assert set(failing(detect(near))) >= {NOTHING}
    assert 1e-8 < failing(detect(near))[NOTHING] < 1e-4
    uneven = failing(detect(replace(BALANCED, decay=0.1)))
    assert uneven[NOTHING] > 0.1


@pytest.mark.parametrize("model", [BALANCED, ZERO, NEURON, TWO_VALUED])
def test_inputs_that_are_off_white_by_a_millionth_are_refused_with_the_number(model):
    cov = np.diag([1.0, 1.0, 1.0, 1 + 1e-6])
    turn = np.linalg.qr(np.random.default_rng(52).standard_normal((4, 4)))[0]
    structure = detect(replace(model, input_cov=turn @ cov @ turn.T))
    assert structure.law is None
    assert failing(structure)[WHITE] == pytest.approx(7.5e-7, rel=1e-3)  # from their mean
    assert failing(structure)[ALONG] > 1e-10


def test_an_alignment_that_is_off_by_a_millionth_is_refused_with_the_number():
    near, _ = nudged(ALIGNED, 1e-6)
    assert detect(near).law is None
    assert 1e-8 < failing(detect(near))[ALONG] < 1e-4


def test_rates_that_differ_by_a_millionth_decay_differently():
    for model in (ALIGNED, ZERO):
        uneven = replace(model, decay=0.1, rates=(1.0, 1 + 1e-6))
        assert detect(uneven).law is None
        assert failing(detect(uneven))[EVEN] == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("model", [BALANCED, ZERO, TWO_VALUED, ALIGNED])
def test_rounding_is_no_miss(model):
    near, _ = nudged(model, 1e-15)
    assert detect(near).law == detect(model).law


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("model", [BALANCED, ZERO, TWO_VALUED, ALIGNED, ANY])
def test_what_is_found_does_not_depend_on_units(model, scale):
    scaled = replace(model, w1=scale * model.w1, w2=scale * model.w2, cross=scale**2 * model.cross)
    assert detect(scaled).law == detect(model).law
    if model.input_cov is None:
        other_inputs = replace(model, cross=scale * model.cross, input_cov=scale * np.eye(4))
        assert detect(other_inputs).law == detect(model).law


# --- refusal and what is done instead --------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (ANY, [WHITE, MULTIPLE, TWO, ALONG]),
        (spread_inputs(BALANCED), [WHITE, MULTIPLE, TWO, ALONG]),
        (replace(ANY, decay=0.1), [WHITE, EVEN, NOTHING, ALONG]),
        (replace(ZERO, decay=0.1, rates=(2.0, 1.0)), [WHITE, EVEN, NOTHING, ALONG]),
    ],
)
def test_a_refusal_lists_what_every_law_would_need(model, names):
    structure = detect(model)
    assert structure.law is None
    assert [item.name for item in structure.assumptions] == names
    assert failing(structure)
    with pytest.raises(lw.NotSolvable) as refusal:
        lw.solve(model, 1.0, "exact")
    head, *lines = str(refusal.value).split("\n")
    assert head == (
        "no closed form covers this Linear; use method='flow'. What the laws would need:"
    )
    assert lines == [f"  {item}; {item.why}" for item in structure.assumptions]


def test_an_assumption_says_whether_it_holds_and_by_how_much():
    item = Assumption("no imbalance", False, 0.0312, 1e-9, "why it matters")
    assert str(item) == "no imbalance: fails (deviation 0.031, allowed 1e-09)"
    assert str(replace(item, holds=True, measured=0.0)) == (
        "no imbalance: holds (deviation 0, allowed 1e-09)"
    )


def test_auto_falls_to_the_flow_and_says_so():
    auto, flow = lw.solve(ANY, [0.0, 1.0]), lw.solve(ANY, [0.0, 1.0], "flow")
    assert (auto.method, auto.law) == ("flow", None)
    assert auto.assumptions == detect(ANY).assumptions
    assert not auto.weights_are_exact
    np.testing.assert_array_equal(auto.state, flow.state)
    assert flow.assumptions == ()


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_modes_that_the_start_does_not_excite_are_counted(n, decay):
    cross = np.random.default_rng([53, n]).standard_normal((n, n))
    for width in (n, n + 2):
        start = starts.singular(cross, 0.3, width, seed=n)
        solution = lw.solve(lw.Linear(*start, cross, decay=decay), [0.0, 1e6])
        assert solution.unexcited_modes == 1
        s = np.linalg.svd(cross, compute_uv=False)
        wanted = np.append(np.maximum(s[:-1] - decay, 0), 0.0)
        np.testing.assert_allclose(solution["modes"][-1], wanted, atol=1e-9)
        w1, w2 = start
        mirrored = lw.solve(lw.Linear(w1, np.diag([-1.0] + [1] * (n - 1)) @ w2, cross), 1.0)
        assert mirrored.unexcited_modes == 0


def test_a_network_that_is_too_narrow_misses_modes_for_another_reason():
    assert (
        lw.solve(lw.Linear(*starts.balanced((4, 2, 3), 0.0, 0.3), CROSS), 1.0).unexcited_modes == 0
    )
    assert lw.solve(BALANCED, 1.0).unexcited_modes == 0


# --- reductions ------------------------------------------------------------------------------


def test_the_reduced_network_has_whitened_inputs_and_equal_rates():
    basis = np.linalg.qr(np.random.default_rng(54).standard_normal((4, 4)))[0][:, :2]
    onto = basis @ basis.T
    model = lw.Linear(ZERO.w1, ZERO.w2, CROSS @ onto, 0.4 * onto, rates=(4.0, 0.5), decay=0.0)
    found, change = reduce(model), (0.5 / 4.0) ** 0.25
    assert (found.xi, found.clock) == pytest.approx((0.4, 0.4 * np.sqrt(2)), rel=1e-12)
    assert found.whitened < 1e-12
    np.testing.assert_allclose(found.into @ found.into.T, onto, atol=1e-12)
    np.testing.assert_allclose(found.w1 @ found.into.T, change * ZERO.w1 @ onto, atol=1e-12)
    np.testing.assert_allclose(found.w2, ZERO.w2 / change, atol=1e-12)
    np.testing.assert_allclose(found.cross @ found.into.T, CROSS @ onto / 0.4, atol=1e-12)
    assert found.stretch == pytest.approx(change**-2)


def test_the_deviation_from_white_inputs_is_relative_to_their_mean():
    model = lw.Linear(ZERO.w1, ZERO.w2, CROSS, np.diag([1.0, 2.0, 3.0, 6.0]))
    assert reduce(model).whitened == pytest.approx(1.0)
    assert reduce(ZERO).whitened == 0
    assert reduce(ZERO).into is None


def test_inputs_without_any_variance_leave_everything_where_it_is():
    model = lw.Linear(ZERO.w1, ZERO.w2, np.zeros((3, 4)), np.zeros((4, 4)))
    solution = lw.solve(model, [0.0, 1.0, 1e12])
    np.testing.assert_allclose(
        solution["map"], np.broadcast_to(ZERO.w2 @ ZERO.w1, (3, 3, 4)), atol=1e-14
    )
    np.testing.assert_array_equal(solution["loss"], 0.0)
