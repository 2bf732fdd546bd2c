import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.theory.flow import flow
from layerwise.theory.laws import depth as law
from layerwise.theory.model import Model
from layerwise.theory.models.deep import Deep

EQUAL = {
    "depth 3": Deep(1.3, 0.7, 3),
    "opposed": Deep(-1.3, 0.7, 2.5, rate=0.4),
    "below depth 2": Deep(1.3, 0.7, 1.5),
    "odd, negative": Deep(1.3, -0.7, 5),
    "even, negative": Deep(1.3, -0.7, 4),
    "depth 1": Deep(1.3, -0.7, 1),
    "depth 2 at 0": Deep(1.3, 0.0, 2),
    "depth 3 at 0": Deep(1.3, 0.0, 3),
    "overshoot": Deep(0.5, 1.2, 7),
    "batch": Deep([[1.0], [-2.0]], [0.3, 0.8, 1.1], [[2.0, 3.5, 6.0]], rate=[[1.0], [0.5]]),
}
UNEQUAL = {
    "three": Deep(1.0, layers=[0.5, -0.3, 2.0]),
    "one": Deep(2.0, layers=0.5),
    "two at 0": Deep(-2.0, layers=[0.5, 0.0, 0.0, 0.7], rate=0.3),
    "one at 0": Deep(-2.0, layers=[0.5, 0.0, 0.9, 0.7], rate=0.3),
    "batch": Deep([1.0, -1.0], layers=[[0.5, 0.9, 1.5], [0.8, 0.7, -0.9]], rate=[1.0, 2.0]),
}
MODELS = {
    **{f"equal, {k}": m for k, m in EQUAL.items()},
    **{f"layers, {k}": m for k, m in UNEQUAL.items()},
}
EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def layers_of(model, state):
    """Return the layers one by one, as many as the depth says."""
    if model.shared:
        return [state[0]] * int(model.depth)
    return list(state)


def loss(part, layers):
    return part.rate * (part.target - np.prod(layers)) ** 2 / 2


def derivative(function, state, step=1e-6):
    changes = step * np.eye(len(state))
    return np.array([(function(state + d) - function(state - d)) / (2 * step) for d in changes])


@EACH
def test_the_velocity_is_minus_the_gradient_of_the_loss(model):
    for part in model.parts():
        if part.depth % 1 == 0:
            layers = layers_of(part, part.start)
            slope = derivative(lambda w, part=part: loss(part, w), np.array(layers))
            expected = -slope[:1] if part.shared else -slope
            np.testing.assert_allclose(part.velocity(part.start), expected, rtol=1e-8, atol=1e-9)


def test_the_velocity_of_a_broken_depth_moves_the_product_by_its_law():
    model = Deep(1.3, 0.7, 2.7, rate=0.4)
    w, (change,) = 0.7, model.velocity(model.start)
    u = w**2.7
    expected = 2.7 * 0.4 * u ** (2 - 2 / 2.7) * (1.3 - u)
    assert 2.7 * w**1.7 * change == pytest.approx(expected, rel=1e-14)


@EACH
def test_the_jacobian_is_the_derivative_of_the_velocity(model):
    for part in model.parts():
        numeric = derivative(part.velocity, part.start).T
        np.testing.assert_allclose(part.jacobian(part.start), numeric, rtol=1e-8, atol=1e-8)


@EACH
def test_no_relaxation_rate_on_the_way_exceeds_the_fastest(model):
    states = flow(model, np.linspace(0, 10, 30))
    for part, k in zip(model.parts(), np.ndindex(model.start.shape[:-1]), strict=True):
        for state in states[(slice(None), *k)]:
            rates = -np.linalg.eigvalsh(part.jacobian(state))
            assert np.max(rates) <= model.fastest() * (1 + 1e-9)


def test_the_fastest_rate_of_equal_layers_is_met():
    for model in (Deep(1.3, 0.7, 3), Deep(0.5, 1.2, 7), Deep(-1.3, 0.7, 4), Deep(1.3, 0.7, 1)):
        end = np.abs(model.target) ** (1 / model.depth) * np.ones(1)
        met = max(
            -model.jacobian(w).item()
            for w in (model.start, end)
            if model.target > 0 or w is not end
        )
        assert model.fastest() == pytest.approx(met, rel=1e-13)


@EACH
def test_parts_are_the_blocks_of_the_model(model):
    starts = [part.start for part in model.parts()]
    np.testing.assert_array_equal(np.stack(starts), model.start.reshape(len(starts), -1))
    velocities = [part.velocity(part.start) for part in model.parts()]
    whole = model.velocity(model.start).reshape(len(starts), -1)
    np.testing.assert_allclose(np.stack(velocities), whole, rtol=1e-15)


@EACH
def test_splitting_a_state_gives_one_array_per_weight(model):
    layers = model.split(model.start)
    assert len(layers) == model.start.shape[-1]
    np.testing.assert_array_equal(np.stack(layers, axis=-1), model.start)
    if model.shared:
        np.testing.assert_array_equal(layers[0], model.weight)


@EACH
def test_config_makes_the_model_again(model):
    config = json.loads(json.dumps(model.config()))
    assert config.pop("model") == "Deep"
    again = Deep(**config)
    np.testing.assert_array_equal(again.start, model.start)
    np.testing.assert_array_equal(again.depth, model.depth)
    assert again.config() == model.config()


@EACH
def test_quantities_are_their_definitions(model):
    states = np.stack([model.start, 0.9 * model.start])
    lost = np.zeros(2)
    for part, k in zip(model.parts(), np.ndindex(model.start.shape[:-1]), strict=True):
        for n in range(2):
            at = (n, *k)
            state = states[at]
            if part.shared:
                w, L = state[0], part.depth
                u, kernel, conserved = w**L, L * w ** (2 * L - 2), [0.0]
            else:
                u = np.prod(state)
                kernel = sum(np.prod(np.delete(state, j)) ** 2 for j in range(len(state)))
                conserved = state**2 - state[0] ** 2
            lost[n] += part.rate * (part.target - u) ** 2 / 2
            assert model.quantity("map", states)[at] == pytest.approx(u, rel=1e-14)
            assert model.quantity("error", states)[at] == pytest.approx(part.target - u, rel=1e-13)
            assert model.quantity("kernel", states)[at] == pytest.approx(kernel, rel=1e-14)
            np.testing.assert_allclose(
                model.quantity("conserved", states)[at], conserved, rtol=1e-13, atol=1e-15
            )
    if model.target.ndim < 2:
        np.testing.assert_allclose(model.quantity("loss", states), lost, rtol=1e-13)
    else:  # summed over the last axis alone
        np.testing.assert_allclose(model.quantity("loss", states).sum(axis=-1), lost, rtol=1e-13)
    assert set(model.quantities) == {"map", "error", "loss", "conserved", "kernel"}


def test_an_unknown_quantity_is_answered_with_the_nearest():
    with pytest.raises(KeyError, match="unknown quantity of Deep 'kernle'; did you mean 'kernel'"):
        EQUAL["depth 3"].quantity("kernle", EQUAL["depth 3"].start[None])


@EACH
def test_what_is_conserved_is_conserved(model):
    states = flow(model, np.linspace(0, 5, 6))
    kept = model.quantity("conserved", states)
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), rtol=0, atol=1e-10)


@pytest.mark.parametrize("model", EQUAL.values(), ids=EQUAL.keys())
def test_the_law_of_equal_layers_is_the_flow(model):
    t = np.linspace(0, 3, 7)
    expected = flow(model, t)
    for depth in np.unique(model.depth):
        modes = model.depth == depth
        w = law.weights(model.weight, model.target, float(depth), model.rate, t)
        np.testing.assert_allclose(w[:, modes], expected[:, modes, 0], rtol=0, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=6),
    size=st.floats(0.3, 1.3),
    target=st.floats(-1.5, 1.5),
)
def test_layers_of_equal_size_follow_the_depth_law_whatever_their_signs(signs, size, target):
    model = Deep(target, layers=size * np.array(signs))
    assert model.equal_layers
    t = np.linspace(0, 3, 4)
    turned = model.orientation * model.target
    w = law.weights(model.equal_weight, turned, float(model.depth), model.rate, t)
    expected = flow(model, t)
    np.testing.assert_allclose(model.signs * w[..., None], expected, rtol=0, atol=1e-9)


def test_equal_layers_are_recognised():
    model = Deep(1.0, layers=[[0.1, 0.1, 0.1], [0.1, -0.1, 0.1 * (1 + 3e-16)], [0.1, 0.1, 0.1001]])
    np.testing.assert_array_equal(model.equal_layers, [True, True, False])
    np.testing.assert_allclose(model.spread, [0.0, 3e-16, 1e-3], rtol=0.6)
    np.testing.assert_array_equal(model.equal_weight, 0.1)
    np.testing.assert_array_equal(model.orientation, [1, -1, 1])
    assert Deep(1.0, layers=[0.0, 0.0]).equal_layers
    shared = Deep(1.0, [-0.1, -0.1, 0.1], [2, 3, 2.5])
    assert np.all(shared.equal_layers)
    np.testing.assert_array_equal(shared.orientation, [1, -1, 1])
    np.testing.assert_array_equal(shared.signs[:, 0], [-1, -1, 1])


def test_unequal_layers_cross_the_saddle_where_equal_ones_stop():
    t = np.array([0.0, 300.0])
    equal = flow(Deep(-1.0, layers=[0.5] * 4), t)
    unequal = flow(Deep(-1.0, layers=[0.5, 0.5, 0.5, 0.45]), t)
    assert 0 < np.prod(equal[-1]) < 1e-4
    assert np.prod(unequal[-1]) == pytest.approx(-1.0, abs=1e-9)


def test_a_broken_depth_below_2_dies_and_stays():
    model = Deep(-1.0, 0.6, 1.5)
    np.testing.assert_array_equal(model.velocity(np.zeros(1)), 0.0)
    np.testing.assert_array_equal(model.velocity(-1e-3 * np.ones(1)), 0.0)  # a solver's overstep
    assert model.jacobian(np.zeros(1)) == 0
    assert np.isfinite(model.fastest())
    assert Deep(-1.0, 0.0, 1.5).fastest() == 0


def test_many_layers():
    model = Deep(1.0, layers=np.geomspace(0.9, 1.1, 300))
    assert model.velocity(model.start).shape == (300,)
    assert model.jacobian(model.start).shape == (300, 300)
    assert np.isfinite(model.fastest())


def test_two_layers_are_a_pair():
    model = Deep(2.0, layers=[0.3, 0.5], rate=0.7)
    push = 0.7 * (2.0 - 0.15)
    np.testing.assert_allclose(model.velocity(model.start), [push * 0.5, push * 0.3], rtol=1e-15)


@pytest.mark.parametrize(
    ("model", "batch", "start"),
    [
        (Deep(1.0, 0.1, 3), (), (1,)),
        (Deep(np.ones((4, 1)), 0.1, np.ones(3)), (4, 3), (4, 3, 1)),
        (Deep(1.0, [0.1, 0.2], 3, rate=np.ones((2, 1))), (2, 2), (2, 2, 1)),
        (Deep(1.0, layers=0.3), (), (1,)),
        (Deep(1.0, layers=np.ones(5)), (), (5,)),
        (Deep(np.ones(3), layers=np.ones(5)), (3,), (3, 5)),
        (Deep(np.ones((2, 1)), layers=np.ones((3, 5)), rate=0.5), (2, 3), (2, 3, 5)),
    ],
)
def test_parameters_broadcast(model, batch, start):
    assert model.target.shape == model.rate.shape == model.depth.shape == batch
    assert model.weight.shape == model.equal_layers.shape == model.orientation.shape == batch
    assert model.start.shape == model.layers.shape == start


def test_a_model_is_frozen():
    for model in (Deep(1.0, 0.1, 3), Deep(1.0, layers=[0.1, 0.2])):
        assert isinstance(model, Model)
        with pytest.raises(AttributeError):
            model.target = 3.0
        for name in ("target", "weight", "depth", "rate", "layers"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(model, name)[...] = 3.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "got none of them"),
        ({"weight": 0.1}, "got weight"),
        ({"depth": 3}, "got depth"),
        ({"weight": 0.1, "layers": [0.1, 0.1]}, "got weight, layers"),
        ({"depth": 2, "layers": [0.1, 0.1]}, "got depth, layers"),
        ({"weight": 0.1, "depth": 2, "layers": [0.1, 0.1]}, "got weight, depth, layers"),
    ],
)
def test_either_weight_and_depth_or_layers(given, said):
    with pytest.raises(TypeError, match=f"either weight and depth .* or layers .*, {said}"):
        Deep(1.0, **given)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"depth": 0.5}, ValueError, "Deep: depth must be at least 1, got 0.5"),
        ({"depth": [3, -1]}, ValueError, "Deep: depth must be at least 1, got -1"),
        ({"depth": np.inf}, ValueError, r"depth must be finite, got inf; .*laws\.depth\.product"),
        ({"depth": -np.inf}, ValueError, "Deep: depth must be finite, got -inf"),
        ({"depth": np.nan}, ValueError, "Deep: depth must be finite, got nan"),
        ({"depth": 3j}, TypeError, "Deep: depth must be real numbers, got complex"),
        ({"depth": "3"}, TypeError, "Deep: depth must be real numbers, got"),
        ({"weight": np.nan}, ValueError, "Deep: weight must be finite, got nan"),
        ({"weight": 1j}, TypeError, "Deep: weight must be real numbers, got complex"),
        ({"weight": -0.1, "depth": 2.5}, ValueError, "weight must not be negative where depth is"),
        (
            {"weight": 10.0, "depth": 200},
            ValueError,
            r"product of the layers is larger than 1e\+150",
        ),
        ({"target": np.inf}, ValueError, "Deep: target must be finite, got inf"),
        ({"rate": -1.0}, ValueError, "Deep: rate must not be negative, got -1.0"),
        ({"rate": None}, TypeError, "Deep: rate must be real numbers, got object"),
        ({"target": [1, 2], "weight": [1, 2, 3]}, ValueError, "shapes do not fit"),
        ({"target": []}, ValueError, "there is nothing to solve"),
    ],
)
def test_bad_numbers_are_refused_by_name(given, kind, message):
    with pytest.raises(kind, match=message):
        Deep(**{"target": 1.0, "weight": 0.1, "depth": 3} | given)


@pytest.mark.parametrize(
    ("layers", "kind", "message"),
    [
        ([0.1, np.nan], ValueError, "Deep: layers must be finite, got nan"),
        ([0.1, 1j], TypeError, "Deep: layers must be real numbers, got complex"),
        ([], ValueError, "there is nothing to solve"),
        (
            np.ones((3, 2)),
            ValueError,
            r"shapes do not fit: target \(2,\), rate \(\), layers \(3, 2",
        ),
        ([1e100, 1e100, 1e-100], ValueError, "product of the layers is larger"),
    ],
)
def test_bad_layers_are_refused_by_name(layers, kind, message):
    with pytest.raises(kind, match=message):
        Deep([1.0, 2.0], layers=layers)
