import numpy as np
import pytest

import layerwise as lw
from layerwise.measures import drift
from layerwise.theory.laws import pair

T = np.array([0.0, 0.1, 0.7, 3.0])
SHALLOW = lw.Shallow([2.0, -1.0], theta=0.3, rate=[1.0, 0.5])
DIAGONAL = lw.Diagonal([2.0, -1.0], a=[0.3, 1.0], b=0.5)
SCALAR = lw.Scalar(2.0, a=[0.3, 1.0, -0.2], b=[0.1, 0.4, 1.0], scale=1.5)
DECAYED = lw.Scalar(2.0, a=[0.3, 1.0, -0.2], b=[0.1, 0.4, 1.0], scale=1.5, decay=0.1)
MODELS = {"shallow": SHALLOW, "diagonal": DIAGONAL, "scalar": SCALAR, "decayed": DECAYED}
EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
METHODS = pytest.mark.parametrize("method", ["exact", "flow", "descent"])


def random_model(seed):
    """Return a model of any class; every fourth has decay."""
    rng = np.random.default_rng(seed)
    h, rate = int(rng.integers(1, 9)), 10 ** rng.uniform(-1, 1)
    target = rng.choice([-1.0, 1.0], 2) * 10 ** rng.uniform(-1, 1, 2)
    size = 10 ** rng.uniform(-3, 0.7)
    match seed % 4:
        case 0:
            return lw.Shallow(target, rng.standard_normal(2), rate=[rate, 0.1])
        case 1:
            return lw.Diagonal(target, *size * rng.standard_normal((2, 2)), rate=rate)
        case 2:
            return lw.Scalar(target[0], *size * rng.standard_normal((2, h)), np.sqrt(h), rate)
        case _:
            decay = 10 ** rng.uniform(-2, 0.5)
            return lw.Scalar(target[0], *size * rng.standard_normal((2, h)), h, rate, decay)


# --- flow against exact ----------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [30.0, 5e3], ids=["ordinary", "stiff"])
@pytest.mark.parametrize("seed", range(20))
def test_flow_and_exact_agree(seed, horizon):
    model = random_model(seed)
    t = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 12)]) * horizon / model.fastest()
    exact, flow = lw.solve(model, t, "exact"), lw.solve(model, t, "flow")
    assert (exact.method, flow.method, flow.law) == ("exact", "flow", None)
    scale = np.maximum(1, np.abs(exact["map"]))
    assert np.max(np.abs(flow["map"] - exact["map"]) / scale) < 1e-9
    assert np.max(np.abs(flow.state - exact.state)) < 1e-9 * max(1, np.max(np.abs(exact.state)))


@pytest.mark.parametrize(
    "model",
    [
        lw.Diagonal(1.0, a=1e-6, b=1e-6),  # a long plateau
        lw.Diagonal([1.0, 1e-3], a=1e-3, b=1e-3),  # modes learned a thousand times apart
        lw.Scalar(1.0, a=[30.0, 0.1], b=[0.1, 20.0], rate=5.0),  # lazy and stiff
        lw.Scalar(1.0, a=[3.0, 3.0], b=[3.0, -3.0], decay=0.01),  # grokking
    ],
    ids=["plateau", "modes", "lazy", "grokking"],
)
def test_flow_and_exact_agree_on_hard_problems(model):
    t = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 25)])
    exact, flow = lw.solve(model, t, "exact"), lw.solve(model, t, "flow")
    assert np.max(np.abs(flow["map"] - exact["map"])) < 1e-9


@pytest.mark.parametrize("seed", [1, 2, 5, 6, 9, 10])
def test_the_imbalance_is_conserved_along_exact_solutions_and_flows(seed):
    model = random_model(seed)
    t = np.linspace(0, 50, 30) / model.fastest()
    assert drift(lw.solve(model, t, "exact")["conserved"]) < 1e-12
    assert drift(lw.solve(model, t, "flow")["conserved"]) < 1e-10


def test_a_flow_that_stands_still_stands_still():
    for model in (lw.Diagonal(1.0, 0.0, 0.0), lw.Diagonal(2.0, 1.0, 2.0), lw.Shallow(1.0, rate=0)):
        state = lw.solve(model, T, "flow").state
        np.testing.assert_array_equal(state, np.broadcast_to(model.start, state.shape))
    np.testing.assert_array_equal(lw.solve(DIAGONAL, 0.0, "flow").state[0], DIAGONAL.start)


def test_a_solver_that_gives_up_is_an_error(monkeypatch):
    def give_up(*args, **kwargs):
        class Failed:
            success, message = False, "step size too small"

        return Failed()

    monkeypatch.setattr("scipy.integrate.solve_ivp", give_up)
    with pytest.raises(ArithmeticError, match=r"the flow of Scalar.*step size too small"):
        lw.solve(SCALAR, T, "flow")


# --- descent ---------------------------------------------------------------------------------


@EACH
def test_descent_is_the_flow_to_first_order_in_its_step(model):
    step = 0.05 / model.fastest()
    t = step * np.array([0, 8, 40, 200])
    flow = lw.solve(model, t, "exact")
    errors = []
    for h in (step, step / 2, step / 4):
        descent = lw.solve(model, t, "descent", step=h)
        np.testing.assert_allclose(descent.t, t, rtol=1e-14)
        errors.append(np.max(np.abs(descent["map"] - flow["map"])))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1)


def test_descent_takes_the_steps_it_says():
    descent = lw.solve(DECAYED, [0.0, 0.2, 0.5], "descent", step=0.1)
    a, b = DECAYED.a, DECAYED.b
    for _ in range(5):
        push = (2.0 - np.sum(a * b) / 1.5) / 1.5
        a, b = a + 0.1 * (push * b - 0.1 * a), b + 0.1 * (push * a - 0.1 * b)
    np.testing.assert_allclose(descent.weights()[0][-1], a, rtol=1e-14)
    np.testing.assert_allclose(descent.weights()[1][-1], b, rtol=1e-14)
    assert descent.step == 0.1


def test_the_clock_of_a_descent_is_whole_steps():
    descent = lw.solve(DIAGONAL, [0.0, 0.11, 0.12, 0.96, 1.0], "descent", step=0.1)
    np.testing.assert_allclose(descent.t, [0.0, 0.1, 1.0])
    first, _ = descent.weights([0.1, 0.3])
    np.testing.assert_array_equal(first[0], descent.weights()[0][1])


def test_the_default_step_is_small_against_the_fastest_rate():
    descent = lw.solve(SCALAR, T, "descent")
    assert descent.step == pytest.approx(0.01 / SCALAR.fastest())
    assert np.max(np.abs(descent["map"] - np.interp(descent.t, T, descent["map"]))) < 0.1
    still = lw.solve(lw.Diagonal(0.0, 0.0, 0.0), T, "descent")
    assert not np.any(still.state)


@pytest.mark.parametrize("step", [0.0, -0.1, np.nan, np.inf])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="step must be positive and finite, got"):
        lw.solve(DIAGONAL, T, "descent", step=step)


@pytest.mark.parametrize("method", ["auto", "exact", "flow"])
def test_a_step_without_descent_is_refused(method):
    with pytest.raises(ValueError, match=f"step belongs to method='descent', got.*'{method}'"):
        lw.solve(DIAGONAL, T, method, step=0.1)


@pytest.mark.parametrize("step", [1e-9, 1e-320])
def test_too_many_steps_are_refused_before_any_is_made(step):
    with pytest.raises(ValueError, match=r"steps of .*, more than 2e\+07; pass step >= 1.5e-07"):
        lw.solve(DIAGONAL, [0.0, 3.0], "descent", step=step)


def test_a_step_that_diverges_says_which_would_not():
    with pytest.raises(ArithmeticError, match=r"diverged with step 3; .* well below 0\.") as error:
        lw.solve(SCALAR, [0.0, 300.0], "descent", step=3.0)
    assert f"about {SCALAR.fastest():.3g}" in str(error.value)


# --- times and methods -----------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([], r"a number or a sequence of numbers, got dtype float64 and shape \(0,\)"),
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
        (["a"], "got dtype <U1"),
        ([1j], "got dtype complex128"),
        (None, "got dtype object"),
        ([0.0, np.nan], "t must be finite"),
        (np.inf, "t must be finite"),
        ([-1.0, 1.0], "t must not be negative, got -1.0"),
        ([0.0, 2.0, 1.0], r"t\[1\] = 2.0 and t\[2\] = 1.0"),
        ([0.0, 1.0, 1.0], "t must increase strictly"),
    ],
)
def test_times_that_are_none_are_refused(method, t, message):
    with pytest.raises(ValueError, match=message):
        lw.solve(DIAGONAL, t, method)


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown method 'exat'; did you mean 'exact'.*descent"):
        lw.solve(DIAGONAL, T, "exat")
    with pytest.raises(ValueError, match="unknown method '3'"):
        lw.solve(DIAGONAL, T, 3)


@pytest.mark.parametrize("model", [None, 3.0, lw.Scalar])
def test_only_models_are_solved(model):
    with pytest.raises(TypeError, match="solve takes a layerwise model, got"):
        lw.solve(model, T)


@EACH
def test_auto_is_exact_and_says_so(model):
    auto, exact = lw.solve(model, T), lw.solve(model, T, "exact")
    assert auto.method == "exact"
    assert auto.law == exact.law
    np.testing.assert_array_equal(auto.state, exact.state)


def test_a_number_is_one_time():
    solution = lw.solve(DIAGONAL, 2)
    assert solution.t.shape == (1,)
    assert solution["map"].shape == (1, 2)


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (SHALLOW, "shallow"),
        (DIAGONAL, "pair"),
        (SCALAR, "1-h-1"),
        (DECAYED, "1-h-1 with decay (Bessel)"),
    ],
)
def test_the_law_has_a_name(model, law):
    assert lw.solve(model, T).law == law


# --- shapes and batches ----------------------------------------------------------------------


@METHODS
def test_shapes_of_quantities(method):
    rng = np.random.default_rng(0)
    diagonal = lw.Diagonal(rng.standard_normal(3), *rng.standard_normal((2, 4, 3)))
    scalar = lw.Scalar(rng.standard_normal(4), *rng.standard_normal((2, 4, 5)))
    shapes = [
        (lw.Shallow(1.0), {"map": (2,), "loss": (2,)}, [(2,)]),
        (SHALLOW, {"map": (2, 2), "loss": (2,), "error": (2, 2)}, [(2, 2)]),
        (lw.Diagonal(1.0, 0.1, 0.2), {"map": (2,), "loss": (2,), "conserved": (2,)}, 2 * [(2,)]),
        (DIAGONAL, {"map": (2, 2), "loss": (2,), "conserved": (2, 2)}, 2 * [(2, 2)]),
        (diagonal, {"map": (2, 4, 3), "loss": (2, 4), "kernel": (2, 4, 3)}, 2 * [(2, 4, 3)]),
        (SCALAR, {"map": (2,), "loss": (2,), "conserved": (2, 3)}, 2 * [(2, 3)]),
        (scalar, {"map": (2, 4), "loss": (2, 4), "conserved": (2, 4, 5)}, 2 * [(2, 4, 5)]),
    ]
    for model, quantities, layers in shapes:
        solution = lw.solve(model, [0.0, 0.5], method)
        for name, shape in quantities.items():
            assert solution[name].shape == shape, (model, name)
        assert [layer.shape for layer in solution.weights()] == layers


@METHODS
def test_a_batch_is_its_members_solved_apart(method):
    rng = np.random.default_rng(1)
    target, decay = np.array([1.0, -0.5, 2.0]), np.array([0.0, 0.1, 0.2])
    a, b = rng.standard_normal((2, 3, 4))
    options = {"step": 0.01} if method == "descent" else {}
    batch = lw.solve(lw.Scalar(target, a, b, decay=decay), T, method, **options)
    for k in range(3):
        one = lw.solve(lw.Scalar(target[k], a[k], b[k], decay=decay[k]), T, method, **options)
        for name in one.quantities:
            np.testing.assert_allclose(batch[name][:, k], one[name], rtol=1e-13, atol=1e-14)


def test_modes_are_solved_apart():
    rng = np.random.default_rng(2)
    target, a, b = rng.standard_normal((3, 2, 5))
    whole = lw.solve(lw.Diagonal(target, a, b), T)
    for k in np.ndindex(2, 5):
        one = lw.solve(lw.Diagonal(target[k], a[k], b[k]), T)
        np.testing.assert_array_equal(whole["map"][(slice(None), *k)], one["map"])


# --- the solution ----------------------------------------------------------------------------


@EACH
@METHODS
def test_weights_at_any_times(model, method):
    options = {"step": 0.01} if method == "descent" else {}
    solution = lw.solve(model, T, method, **options)
    own = solution.weights()
    for layer, at_one, at_many in zip(
        own, solution.weights(0.7), solution.weights([[3.0, 0.1], [0.1, 0.0]]), strict=True
    ):
        np.testing.assert_allclose(at_one, layer[2], rtol=1e-9)
        assert at_many.shape == (2, 2, *layer.shape[1:])
        np.testing.assert_allclose(at_many[0, 0], layer[3], rtol=1e-9)
        np.testing.assert_allclose(at_many[1, 0], layer[1], rtol=1e-9)
        np.testing.assert_allclose(at_many[1, 1], layer[0], rtol=1e-9)
    with pytest.raises(ValueError, match="t must not be negative"):
        solution.weights(-1.0)


@EACH
def test_the_residual_is_at_rounding_for_a_law_and_at_tolerance_for_a_flow(model):
    t = np.linspace(0, 20, 100)
    assert lw.solve(model, t, "exact").residual() < 1e-12
    assert lw.solve(model, t, "flow").residual() < 1e-9
    assert 1e-5 < lw.solve(model, t, "descent").residual() < 1e-1


def test_the_residual_finds_the_printed_exponent(monkeypatch):
    right = pair.weights

    def printed(a, b, target, scale, rate, t):
        return right(a, b, target, scale, rate, 2 * t)  # exp(-4 R t/Z) for exp(-2 R t/Z)

    monkeypatch.setattr(pair, "weights", printed)
    for model in (DIAGONAL, SCALAR):
        assert lw.solve(model, np.linspace(0, 3, 20)).residual() > 0.01


def test_the_residual_finds_a_wrong_constant(monkeypatch):
    right = pair.weights

    def near(a, b, target, scale, rate, t):
        return right(a, b, target, scale, rate, t * (1 + 1e-6))

    monkeypatch.setattr(pair, "weights", near)
    assert 1e-8 < lw.solve(SCALAR, np.linspace(0, 3, 20)).residual() < 1e-5


def test_what_cannot_move_has_no_residual():
    assert lw.solve(lw.Diagonal(1.0, 0.5, 0.5, rate=0.0), T).residual() == 0.0
    assert lw.solve(lw.Diagonal(1.0, 0.0, 0.0), T).residual() == 0.0


@pytest.mark.parametrize(
    ("model", "method", "keys"),
    [
        (SHALLOW, "exact", ["@software{layerwise"]),
        (DIAGONAL, "exact", ["saxe2014exact", "nam2025position", "@software{layerwise"]),
        (SCALAR, "exact", ["nam2025position", "@software{layerwise"]),
        (DECAYED, "exact", ["nam2025position", "@software{layerwise"]),
        (SCALAR, "flow", ["virtanen2020scipy", "@software{layerwise"]),
        (SCALAR, "descent", ["@software{layerwise"]),
    ],
)
def test_cite_gives_bibtex_of_what_was_used(model, method, keys):
    text = lw.solve(model, T, method).cite()
    assert text.count("@") == len(keys)
    assert all(key in text for key in keys)
    assert text.count("{") == text.count("}")


@EACH
@METHODS
def test_the_trace_holds_every_quantity_and_how_it_came_about(model, method, tmp_path):
    solution = lw.solve(model, T, method)
    trace = solution.trace()
    np.testing.assert_array_equal(trace.clock, solution.t)
    assert set(trace) == set(solution.quantities)
    for name in trace:
        np.testing.assert_array_equal(trace[name], solution[name])
    config = trace.provenance.config
    assert (config["model"], config["method"]) == (type(model).__name__, method)
    assert (config["law"], config["step"]) == (solution.law, solution.step)
    assert trace.provenance.source == "theory"
    assert ("learning rate" in trace.provenance.clock) == (method == "descent")
    assert lw.Trace.load(trace.save(tmp_path / "run")) == trace
