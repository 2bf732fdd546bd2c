"""The deep linear model: velocity, Jacobian, quantities and refusals."""

import json
from itertools import pairwise

import numpy as np
import pytest

import layerwise as lw

from .deep_problems import (
    PROBLEMS,
    _no_floating_point_trouble,  # noqa: F401
    covariance,
    random_chain,
)

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
