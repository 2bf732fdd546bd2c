import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.theory.fit import Fit, fit

T = np.linspace(0.0, 12.0, 50)
LATE = np.linspace(0.0, 60.0, 80)  # past the plateau of a start of 1e-8
SOURCE = lw.Provenance("network", "steps x learning rate")


def measured(model, t=T, quantity="map", noise=0.0, seed=0):
    """Return a trace of one exact curve, with independent noise of one size."""
    curve = lw.solve(model, t)[quantity]
    rough = noise * np.random.default_rng(seed).standard_normal(curve.shape)
    return lw.Trace(t, {quantity: curve + rough}, SOURCE)


def worst(found, true):
    """Return the largest relative error of the fitted fields."""
    ratios = [found.values[name] / getattr(true, name) for name in found.values]
    return max(float(np.max(np.abs(ratio - 1))) for ratio in ratios)


# --- noiseless curves ------------------------------------------------------------------------

SHALLOW = lw.Shallow([2.0, -1.0], theta=[0.3, 0.5], rate=[1.0, 0.5])
DIAGONAL = lw.Diagonal([2.0, -1.0], a=[0.3, 0.1], b=[0.2, -0.4], rate=[1.0, 0.5])
SCALAR = lw.Scalar(2.0, a=[0.3, 0.1], b=[0.2, 0.1], scale=1.5, rate=0.8)
DECAYED = lw.Scalar(2.0, a=[1.0, 0.4], b=[0.5, 0.1], scale=1.5, rate=0.8, decay=0.2)
DEEP = lw.Deep([2.0, 1.0], weight=0.4, depth=3.0, rate=[1.0, 0.6])
LAYERS = lw.Deep(2.0, layers=[0.4, 0.5, 0.9])
LINEAR = lw.Linear(0.2 * np.eye(2), 0.2 * np.eye(2), cross=np.array([[2.0, 0.3], [0.3, 1.0]]))
FLOWING = lw.Linear([[0.2, 0.1]], [[0.3], [0.5]], [[1.0, 0.4], [0.2, 2.0]], decay=0.05)

TURNING = lw.Linear([[0.2, 0.6], [0.5, -0.1]], [[0.3, 0.1], [-0.4, 0.5]], [[1.0, 0.4], [0.2, 2.0]])

CASES = [
    (SHALLOW, {"target": [1.0, 1.0]}, "map"),
    (SHALLOW, {"theta": 0.0}, "map"),
    (SHALLOW, {"rate": 3.0}, "map"),
    (SHALLOW, {"target": [1.0, 1.0], "rate": 2.0}, "error"),
    (DIAGONAL, {"target": [1.0, 1.0]}, "map"),
    (DIAGONAL, {"a": 0.2}, "map"),
    (DIAGONAL, {"b": [0.3, -0.3]}, "map"),
    (DIAGONAL, {"rate": 2.0}, "map"),
    (DIAGONAL, {"target": [1.0, -2.0], "a": [0.2, 0.2], "rate": 1.0}, "map"),
    (DIAGONAL, {"target": [1.5, -2.0], "rate": 1.0}, "kernel"),
    (DIAGONAL, {"target": [1.5, -0.5]}, "loss"),
    (SCALAR, {"target": 1.0}, "loss"),
    (SCALAR, {"target": -1.0}, "map"),
    (SCALAR, {"b": [0.3, 0.2]}, "map"),
    (SCALAR, {"scale": 1.0, "rate": 2.0}, "map"),
    (SCALAR, {"target": 1.0, "rate": 2.0}, "loss"),
    (DECAYED, {"decay": 0.01}, "map"),
    (DECAYED, {"target": 1.0, "decay": 0.5, "rate": 1.0}, "loss"),
    (DEEP, {"target": 1.5}, "map"),
    (DEEP, {"weight": 0.1}, "map"),
    (DEEP, {"depth": 2.0}, "map"),
    (DEEP, {"target": [1.0, 1.0], "weight": 0.2, "depth": 2.0, "rate": 1.0}, "map"),
    (LAYERS, {"target": 1.0}, "map"),
    (LINEAR, {"cross": np.eye(2)}, "map"),
    (FLOWING, {"decay": 0.1}, "loss"),
    (FLOWING, {"rates": (2.0, 0.5)}, "map"),
]


def parameters(model):
    return {name: getattr(model, name) for name in model.config() if name != "model"}


@pytest.mark.parametrize(("true", "guess", "quantity"), CASES)
def test_an_exact_curve_gives_its_parameters(true, guess, quantity):
    first = type(true)(**parameters(true) | guess)
    found = fit(measured(true, quantity=quantity), first, guess, quantity=quantity)
    assert worst(found, true) < 1e-8
    assert found.residual < 1e-10
    assert type(found.model) is type(true)
    for name, value in parameters(true).items():
        tolerance = 1e-8 if name in guess else 0
        if value is not None:
            np.testing.assert_allclose(getattr(found.model, name), value, rtol=tolerance)
    later = np.array([0.3, 40.0])
    expected = lw.solve(true, later)[quantity]
    np.testing.assert_allclose(found.predict(later), expected, rtol=1e-7, atol=1e-9)


def test_closed_forms_written_out():
    S, theta, rate = 1.7, -0.4, 0.6
    exponential = S - (S - theta) * np.exp(-rate * T)
    trace = lw.Trace(T, {"map": exponential}, SOURCE)
    found = fit(trace, lw.Shallow(1.0), ("target", "theta", "rate"))
    assert worst(found, lw.Shallow(S, theta, rate)) < 1e-12
    u0 = 0.003
    sigmoid = u0 * S / (u0 + (S - u0) * np.exp(-2 * rate * S * T))
    trace = lw.Trace(T, {"map": sigmoid}, SOURCE)
    equal = lw.Deep(1.0, weight=0.1, depth=2.0)
    found = fit(trace, equal, ("target", "weight", "rate"))
    assert worst(found, lw.Deep(S, weight=u0**0.5, depth=2.0, rate=rate)) < 1e-9


@pytest.mark.parametrize("quantity", ["map", "loss"])
@pytest.mark.parametrize("start", [1e-8, 1e-5, 1e-2])
@pytest.mark.parametrize("first", [1e-8, 0.3])
def test_tiny_starts_are_found_from_far_away(start, first, quantity):
    true = lw.Scalar(2.0, a=start, b=1e-8, rate=0.7)
    guess = lw.Scalar(1.0, a=first, b=1e-8, rate=0.7)
    found = fit(measured(true, LATE, quantity), guess, ("target", "a"), quantity=quantity)
    assert worst(found, true) < 1e-8


@pytest.mark.parametrize(("factor", "name"), [(1e3, "rate"), (1e-3, "rate"), (1e3, "scale")])
def test_rates_and_scales_are_found_from_powers_of_ten_away(factor, name):
    true = lw.Scalar(2.0, a=1e-3, b=2e-3, rate=0.5, scale=1.5)
    guess = dataclasses.replace(true, **{name: factor * getattr(true, name)})
    assert worst(fit(measured(true, LATE), guess, name), true) < 1e-8
    guess = dataclasses.replace(guess, target=1.0)
    assert worst(fit(measured(true, LATE), guess, ("target", name)), true) < 1e-8


def test_modes_of_very_different_starts_are_found_together():
    true = lw.Diagonal([2.0, 1.0, 3.0], a=[1e-8, 1e-3, 1.0], b=1e-2)
    guess = lw.Diagonal(1.5, a=[0.1] * 3, b=1e-2)
    assert worst(fit(measured(true, LATE), guess, ("target", "a")), true) < 1e-8


def test_the_wrong_sign_of_the_target_or_of_a_weight_is_put_right():
    # a > 0 and b > 0 of one size never leave the saddle for a negative target
    true = lw.Scalar(1.0, a=0.01, b=0.01)
    assert worst(fit(measured(true), lw.Scalar(-1.0, 0.01, 0.01)), true) < 1e-8
    true = lw.Diagonal([2.0, -1.0], a=[-0.1, 0.1], b=0.2)
    guess = lw.Diagonal([2.0, -1.0], a=[0.1, 0.1], b=0.2)
    assert worst(fit(measured(true), guess, "a"), true) < 1e-8


def test_a_weight_near_zero_crosses_it():
    true = lw.Diagonal(2.0, a=-1e-3, b=0.1)
    assert worst(fit(measured(true), lw.Diagonal(2.0, a=1e-2, b=0.1), "a"), true) < 1e-8
    # here the noise decides on the sign, as it may
    found = fit(measured(true, noise=0.02, seed=1), lw.Diagonal(2.0, a=1e-2, b=0.1), "a")
    assert abs(found.values["a"] - true.a) < 3 * found.errors["a"] < 6e-3


def test_the_other_side_of_a_saddle_is_found():
    # |a| = 0.1 and |a| = 0.3 have nearly the same U and V: two minima
    true = lw.Diagonal(-1.0, a=0.1, b=0.2)
    for first in (0.05, 0.4, 1.0):
        assert worst(fit(measured(true), lw.Diagonal(-1.0, first, 0.2), "a"), true) < 1e-8


def test_rates_of_a_summed_loss_that_changed_places_are_put_right():
    true = lw.Shallow([2.0, 1.3], theta=0.3, rate=[0.97, 2.65])
    guess = lw.Shallow([2.0, 1.3], theta=0.3, rate=[3.1, 1.3])
    found = fit(measured(true, np.linspace(0, 5, 50), "loss"), guess, "rate", quantity="loss")
    assert worst(found, true) < 1e-8


@pytest.mark.parametrize("size", [1e-9, 1e6])
def test_the_size_of_the_curve_does_not_matter(size):
    true = lw.Shallow(2.0 * size, theta=0.5 * size, rate=0.7)
    found = fit(measured(true), lw.Shallow(1.5 * size, 0.4 * size, 1.0), ("target", "rate"))
    assert worst(dataclasses.replace(found), true) > 1e-3  # theta is fixed at a wrong value
    found = fit(measured(true), lw.Shallow(1.5 * size, 0.4 * size), ("target", "theta", "rate"))
    assert worst(found, true) < 1e-9


def test_a_target_of_zero_and_a_curve_of_zeros_are_found():
    true = lw.Diagonal([1.0, 0.0], a=[0.1, 0.8], b=[0.1, 0.5])
    found = fit(measured(true), lw.Diagonal(0.5, true.a, true.b))
    np.testing.assert_allclose(found.values["target"], [1.0, 0.0], atol=1e-12)
    still = lw.Trace(T, {"map": np.zeros(len(T))}, SOURCE)
    found = fit(still, lw.Shallow(1.0, rate=2.0))
    assert abs(found.values["target"]) < 1e-12
    assert found.residual < 1e-12


def test_a_number_at_the_edge_of_its_domain_is_found():
    true = lw.Deep(2.0, weight=0.3, depth=1.0)
    found = fit(measured(true), lw.Deep(2.0, weight=0.3, depth=2.5), "depth")
    assert found.values["depth"] == pytest.approx(1.0, abs=1e-9)
    assert found.values["depth"] >= 1


@st.composite
def problems(draw):
    modes = draw(st.integers(1, 2))
    number = st.lists(st.floats(-1, 1), min_size=modes, max_size=modes).map(np.array)
    target = 3 ** draw(number)
    a, b = (0.5 * 10 ** (1.5 * (draw(number) - 1)) for _ in range(2))
    true = lw.Diagonal(target, a, b, rate=3 ** draw(number))
    assume(np.all(a * b < 0.3 * target))
    names = st.sets(st.sampled_from(["target", "a", "rate"]), min_size=1)
    free = {name: getattr(true, name) * 2 ** draw(number) for name in sorted(draw(names))}
    return true, free


@settings(max_examples=40)
@given(problems())
def test_a_guess_off_by_a_factor_of_two_recovers_a_noiseless_curve(problem):
    true, guess = problem
    horizon = 1.3 * np.max(lw.time_to(true, level=0.95 * true.target))
    trace = measured(true, np.linspace(0, horizon, 40))
    found = fit(trace, dataclasses.replace(true, **guess), guess)
    assert worst(found, true) < 1e-8


# --- noise -----------------------------------------------------------------------------------

NOISY = [
    (lw.Shallow(2.0, 0.3, 0.5), {"target": 1.0, "theta": 0.0, "rate": 1.0}, "map"),
    (lw.Diagonal(2.0, 1e-3, 2e-3, rate=0.7), {"target": 1.0, "a": 0.1}, "map"),
    (lw.Diagonal(2.0, 1e-3, 2e-3, rate=0.7), {"target": 1.5, "a": 0.01, "rate": 1.0}, "loss"),
    (lw.Deep(2.0, 0.4, 3.0), {"depth": 2.5}, "map"),
]


@pytest.mark.parametrize(("true", "guess", "quantity"), NOISY)
def test_noise_moves_the_parameters_by_as_much_as_the_errors_say(true, guess, quantity):
    first, noise, off = type(true)(**parameters(true) | guess), 0.02, []
    for seed in range(40):
        found = fit(measured(true, T, quantity, noise, seed), first, guess, quantity=quantity)
        off.append([(found.values[n] - getattr(true, n)) / found.errors[n] for n in guess])
        assert found.residual == pytest.approx(noise, rel=0.4)
    assert np.max(np.abs(off)) < 4
    covered = np.mean(np.abs(off) < 1.96, axis=0)
    assert np.all(covered >= 0.8), covered
    assert np.mean(np.square(off)) == pytest.approx(1.0, abs=0.5)


def test_errors_and_covariance_of_a_straight_problem_are_the_textbook_ones():
    # theta(t) = S (1 - e) + theta_0 e is straight in S and theta_0
    true = lw.Shallow(2.0, theta=0.3, rate=0.4)
    trace = measured(true, T, noise=0.05)
    found = fit(trace, lw.Shallow(1.0, theta=1.0, rate=0.4), ("theta", "target"))
    e = np.exp(-0.4 * T)
    design = np.stack([e, 1 - e], axis=1)
    best, (square,), _, _ = np.linalg.lstsq(design, trace["map"], rcond=None)
    covariance = square / (len(T) - 2) * np.linalg.inv(design.T @ design)
    assert list(found.values) == list(found.errors) == ["theta", "target"]
    np.testing.assert_allclose([found.values["theta"], found.values["target"]], best, rtol=1e-8)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-8)
    errors = [found.errors["theta"], found.errors["target"]]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-8)
    assert found.residual == pytest.approx(np.sqrt(square / len(T)), rel=1e-10)


def test_errors_of_logarithms_are_those_of_the_numbers():
    # u = S - (S - theta_0) e^{-s t}: du/ds = t (S - theta_0) e
    true = lw.Shallow(2.0, rate=0.4)
    found = fit(measured(true, T, noise=0.02), lw.Shallow(2.0, rate=1.0), "rate")
    slope = T * 2 * np.exp(-found.values["rate"] * T)
    variance = found.residual**2 * len(T) / (len(T) - 1) / (slope @ slope)
    assert found.errors["rate"] == pytest.approx(np.sqrt(variance), rel=1e-7)
    assert found.covariance.shape == (1, 1)


@pytest.mark.parametrize("seed", [0, 2])
def test_what_cannot_be_negative_may_end_at_zero(seed):
    true = lw.Scalar(2.0, 0.3, 0.1)
    found = fit(measured(true, noise=0.02, seed=seed), lw.Scalar(2.0, 0.3, 0.1, decay=0.1), "decay")
    assert 0 <= found.values["decay"] < 3 * found.errors["decay"] < 0.02


def test_errors_keep_the_shapes_of_the_fields():
    found = fit(measured(DIAGONAL, T, noise=0.01), DIAGONAL, ("rate", "target"))
    assert {name: error.shape for name, error in found.errors.items()} == {
        "rate": (2,),
        "target": (2,),
    }
    assert found.covariance.shape == (4, 4)
    assert np.all(np.linalg.eigvalsh(found.covariance) > 0)
    assert found.points == 2 * len(T)


# --- what is measured ------------------------------------------------------------------------


def test_unmeasured_entries_do_not_count():
    true, guess = DIAGONAL, lw.Diagonal([1.0, -2.0], DIAGONAL.a, DIAGONAL.b, DIAGONAL.rate)
    curve = measured(true, T, noise=0.01)["map"].copy()
    curve[::3], curve[1::3, 1] = np.nan, np.nan
    found = fit(lw.Trace(T, {"map": curve}, SOURCE), guess)
    assert found.points == np.sum(~np.isnan(curve))
    rows = np.any(~np.isnan(curve), axis=1)
    again = fit(lw.Trace(T[rows], {"map": curve[rows]}, SOURCE), guess)
    np.testing.assert_array_equal(found.values["target"], again.values["target"])
    np.testing.assert_array_equal(found.covariance, again.covariance)
    # the modes do not meet: the first is what it is alone
    alone = lw.Trace(T[rows], {"map": curve[rows, 0]}, SOURCE)
    single = fit(alone, lw.Diagonal(1.0, guess.a[0], guess.b[0], guess.rate[0]))
    assert found.values["target"][0] == pytest.approx(float(single.values["target"]), rel=1e-9)


def test_the_series_may_have_another_name_and_the_clock_may_count():
    true = lw.Scalar(2.0, 0.1, 0.1, rate=0.01)
    trace = lw.Trace(np.arange(300), {"train_loss": lw.solve(true, range(300))["loss"]}, SOURCE)
    found = fit(trace, lw.Scalar(1.0, 0.1, 0.1), ["target"], quantity="loss", series="train_loss")
    assert found.residual > 1e-3
    free = ["target", "rate", "target"]
    found = fit(trace, lw.Scalar(1.0, 0.1, 0.1), free, quantity="loss", series="train_loss")
    assert worst(found, true) < 1e-8
    assert found.quantity == "loss"


def test_as_many_points_as_numbers_leave_no_errors():
    true = lw.Shallow(2.0, 0.3)
    found = fit(measured(true, [0.5, 2.0]), lw.Shallow(1.0), ("target", "theta"))
    assert worst(found, true) < 1e-10
    assert all(np.isnan(error) for error in found.errors.values())
    assert np.all(np.isnan(found.covariance))


def test_a_fit_is_frozen():
    found = fit(measured(SHALLOW), SHALLOW)
    assert isinstance(found, Fit)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.residual = 0.0
    with pytest.raises(TypeError):
        found.values["target"] = 0.0


def test_optimisers_load_with_the_first_fit_alone():
    code = "import sys, layerwise.theory.fit; print('scipy.optimize' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# --- what cannot be fitted -------------------------------------------------------------------


def test_unknown_names_are_refused_with_the_nearest():
    trace = measured(SCALAR)
    with pytest.raises(ValueError, match="unknown field of Scalar 'tagret'; did you mean 'target'"):
        fit(trace, SCALAR, ("tagret",))
    with pytest.raises(ValueError, match=r"unknown field of Deep 'layers'.*Known: depth, rate"):
        fit(measured(DEEP), DEEP, "layers")
    with pytest.raises(KeyError, match=r"unknown quantity of Scalar 'mpa'; did you mean 'map'"):
        fit(trace, SCALAR, quantity="mpa")
    with pytest.raises(KeyError, match=r"unknown series 'loss'; Known: map"):
        fit(trace, SCALAR, quantity="loss")
    with pytest.raises(KeyError, match=r"unknown series 'mapp'; did you mean 'map'"):
        fit(trace, SCALAR, series="mapp")
    with pytest.raises(ValueError, match="at least one free field"):
        fit(trace, SCALAR, ())


def test_other_kinds_of_things_are_refused():
    with pytest.raises(TypeError, match="fit takes a Trace, got ndarray"):
        fit(T, SCALAR)
    with pytest.raises(TypeError, match="fit takes a layerwise model, got dict"):
        fit(measured(SCALAR), {"target": 1.0})
    whitened = lw.Linear(np.eye(2), np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="input_cov must hold numbers to start from, got None"):
        fit(measured(LINEAR), whitened, "input_cov")


def test_curves_that_do_not_fit_the_model_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"'map' has shape \(50, 2\), 'map' .* \(50,\)"):
        fit(measured(DIAGONAL), SCALAR)
    trace = lw.Trace(T, {"map": np.where(T > 1, np.nan, 1.0)}, SOURCE)
    with pytest.raises(ValueError, match=r"'map' has shape \(50,\), 'loss' .* shape \(50, 2, 3\)"):
        fit(
            trace, lw.Scalar(np.ones((2, 3)), np.ones(4), np.ones(4)), quantity="loss", series="map"
        )


def test_curves_without_enough_points_are_refused():
    nothing = lw.Trace(T, {"map": np.full(len(T), np.nan)}, SOURCE)
    with pytest.raises(ValueError, match="'map' holds nothing but NaN"):
        fit(nothing, SCALAR)
    infinite = lw.Trace(T, {"map": np.where(T > 11, np.inf, 1.0)}, SOURCE)
    with pytest.raises(ValueError, match=r"'map' holds infinite values; NaN marks"):
        fit(infinite, SCALAR)
    few = measured(SCALAR, [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"3 .* 4 free numbers \(target, a\[0\], a\[1\], rate"):
        fit(few, SCALAR, ("target", "a", "rate"))
    early = lw.Trace([-1.0, 1.0], {"map": [0.0, 1.0]}, SOURCE)
    with pytest.raises(ValueError, match=r"t must not be negative, got -1\.0"):
        fit(early, SCALAR)


@pytest.mark.parametrize(
    ("true", "free", "quantity", "said"),
    [
        # a larger Z is made up for by a larger start and rate
        (lw.Scalar(2.0, 0.3, 0.2), ("a", "b", "scale", "rate"), "map", "a[0], b[0], scale, rate"),
        # |a - b| beside a + b of 1e-4: an effect of 1e-8 on the curve
        (lw.Diagonal(2.0, 1e-4, 1e-4), ("a", "b"), "map", "a, b"),
        # any rotation of three hidden units has the same U and V
        (lw.Scalar(2.0, [0.3, 0.1, 0.2], 0.5), ("a",), "map", "a[0], a[1], a[2]"),
        (SHALLOW, ("target", "theta"), "error", "target[0], target[1], theta[0], theta[1]"),
        # a rotation of the hidden space
        (TURNING, ("w1", "w2"), "map", "w1[0, 0]"),
    ],
)
def test_numbers_that_are_not_determined_apart_are_named(true, free, quantity, said):
    with pytest.raises(ValueError, match=r"does not determine .* apart.*; fix one") as error:
        fit(measured(true, T[:20], quantity), true, free, quantity=quantity)
    assert f"the {quantity} of this {type(true).__name__}" in str(error.value)
    assert said in str(error.value)


def test_numbers_that_do_not_matter_are_named():
    with pytest.raises(ValueError, match=r"does not depend on target\[1\] at the best fit; fix it"):
        fit(measured(DIAGONAL), lw.Diagonal([2.0, -1.0], DIAGONAL.a, DIAGONAL.b, [1.0, 0.0]))
    saddle = lw.Diagonal(1.0, a=0.0, b=0.0)
    with pytest.raises(ValueError, match="does not depend on target"):
        fit(measured(saddle), saddle)


def test_numbers_that_cannot_vary_alone_are_named():
    cov = np.array([[1.0, 0.2], [0.2, 0.5]])
    model = lw.Linear(0.2 * np.eye(2), 0.2 * np.eye(2), cross=np.eye(2), input_cov=cov)
    with pytest.raises(ValueError, match=r"input_cov\[0, 1\] cannot be fitted: Linear"):
        fit(measured(model), model, "input_cov")
