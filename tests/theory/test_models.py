import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import Model

MODELS = {
    "shallow": lw.Shallow([2.0, -1.0], theta=0.3, rate=[1.0, 0.5]),
    "diagonal": lw.Diagonal([2.0, -1.0], a=[0.3, 1.0], b=0.5, rate=[1.0, 0.5]),
    "scalar": lw.Scalar(2.0, a=[0.3, 1.0, -0.2], b=[0.1, 0.4, 2.0], scale=1.5, rate=0.7, decay=0.1),
}
EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())

# what each class needs, and a name of its parameters
NEEDED = {
    lw.Shallow: {"target": 1.0},
    lw.Diagonal: {"target": 1.0, "a": 0.1, "b": 0.1},
    lw.Scalar: {"target": 1.0, "a": [0.1], "b": [0.1]},
}
PARAMETERS = [
    (kind, name)
    for kind, names in {
        lw.Shallow: ("target", "theta", "rate"),
        lw.Diagonal: ("target", "a", "b", "rate"),
        lw.Scalar: ("target", "a", "b", "scale", "rate", "decay"),
    }.items()
    for name in names
]


def loss(model, state):
    """Return the total loss of one state with the decay term, from the model's definition."""
    match model:
        case lw.Shallow():
            return np.sum(model.rate * (model.target - state[..., 0]) ** 2) / 2
        case lw.Diagonal():
            return np.sum(model.rate * (model.target - state[..., 0] * state[..., 1]) ** 2) / 2
        case lw.Scalar():
            a, b = np.split(state, 2)
            theta = sum(x * y for x, y in zip(a, b, strict=True)) / model.scale
            decay = model.decay / 2 * sum(x * x + y * y for x, y in zip(a, b, strict=True))
            return model.rate * (model.target - theta) ** 2 / 2 + decay


def derivative(function, state, step=1e-6):
    columns = []
    for k in np.ndindex(state.shape):
        change = np.zeros_like(state)
        change[k] = step
        columns.append((function(state + change) - function(state - change)) / (2 * step))
    return np.array(columns)


@EACH
def test_the_velocity_is_minus_the_gradient_of_the_loss(model):
    slope = derivative(lambda state: loss(model, state), model.start).reshape(model.start.shape)
    np.testing.assert_allclose(model.velocity(model.start), -slope, rtol=1e-8, atol=1e-9)


@EACH
def test_the_jacobian_is_the_derivative_of_the_velocity(model):
    for part in model.parts():
        start = part.start.ravel()
        numeric = derivative(part.velocity, start).T
        np.testing.assert_allclose(part.jacobian(start), numeric, rtol=1e-8, atol=1e-8)


@EACH
def test_parts_are_the_blocks_of_the_model(model):
    starts = [part.start.ravel() for part in model.parts()]
    np.testing.assert_array_equal(np.stack(starts), model.start.reshape(len(starts), -1))


@EACH
def test_no_relaxation_rate_on_the_way_exceeds_the_fastest(model):
    solution = lw.solve(model, np.linspace(0, 20, 50))
    for part, k in zip(model.parts(), np.ndindex(model.start.shape[:-1]), strict=True):
        for state in solution.state[(slice(None), *k)]:
            rates = -np.linalg.eigvalsh(part.jacobian(state))
            assert np.max(rates) <= model.fastest() * (1 + 1e-12)


@EACH
def test_splitting_a_state_gives_one_array_per_layer(model):
    layers = model.split(model.start)
    names = ("theta",) if isinstance(model, lw.Shallow) else ("a", "b")
    for name, layer in zip(names, layers, strict=True):
        np.testing.assert_array_equal(layer, getattr(model, name))


@EACH
def test_config_is_json_with_the_name_of_the_model(model):
    config = model.config()
    again = type(model)(**{name: config[name] for name in config if name != "model"})
    assert config["model"] == type(model).__name__
    np.testing.assert_array_equal(again.start, model.start)
    assert again.config() == config


@EACH
def test_quantities_of_the_start_are_their_definitions(model):
    state = model.start[None]
    layers = [layer[0] for layer in model.split(state)]
    weights = layers if len(layers) == 2 else (layers[0], np.ones_like(layers[0]))
    expected = by_definition(model, *weights)
    assert set(model.quantities) <= set(expected)
    for name in model.quantities:
        np.testing.assert_allclose(model.quantity(name, state)[0], expected[name], rtol=1e-14)


def by_definition(model, a, b):
    scale, units = getattr(model, "scale", 1.0), lambda x: x
    if isinstance(model, lw.Scalar):
        units = sum
    theta = units(a * b) / scale
    losses = model.rate * (model.target - theta) ** 2 / 2
    size = units(a**2 + b**2) / (2 * scale)
    return {
        "map": theta,
        "error": model.target - theta,
        "loss": np.sum(losses),
        "conserved": b**2 - a**2,
        "magnitude": size,
        "kernel": 2 * size / scale,
        "alignment": theta / size,
    }


@EACH
def test_an_unknown_quantity_is_answered_with_the_nearest(model):
    solution = lw.solve(model, [0.0, 1.0])
    with pytest.raises(KeyError) as error:
        solution["lose"]
    message = str(error.value)
    assert f"unknown quantity of {type(model).__name__} 'lose'; did you mean 'loss'?" in message
    assert all(name in message for name in model.quantities)
    assert solution.quantities == model.quantities


@EACH
def test_a_model_is_frozen(model):
    with pytest.raises(AttributeError):
        model.target = 3.0
    with pytest.raises(ValueError, match="read-only"):
        model.target[...] = 3.0


def test_a_model_does_not_follow_the_arrays_it_was_made_from():
    target = np.array([1.0, 2.0])
    model = lw.Diagonal(target, 0.1, 0.1)
    target[0] = 5.0
    assert model.target[0] == 1.0


def test_integers_lists_and_booleans_are_numbers():
    model = lw.Diagonal([1, 2], a=True, b=np.float32(0.5))
    assert model.a.dtype == model.b.dtype == model.target.dtype == np.float64
    np.testing.assert_array_equal(model.a, [1.0, 1.0])


def test_the_interface_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Model()


@pytest.mark.parametrize(("kind", "name"), PARAMETERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, [1.0, np.nan]])
def test_numbers_that_are_not_finite_are_refused(kind, name, bad):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {name} must be finite, got"):
        kind(**NEEDED[kind] | {name: bad})


@pytest.mark.parametrize(("kind", "name"), PARAMETERS)
@pytest.mark.parametrize("bad", [1j, "1.0", ["a", "b"], None, object(), [1 + 2j]])
def test_what_is_no_real_number_is_refused(kind, name, bad):
    with pytest.raises(TypeError, match=rf"{kind.__name__}: {name} must be real numbers, got"):
        kind(**NEEDED[kind] | {name: bad})


@pytest.mark.parametrize(("kind", "name"), PARAMETERS)
def test_numbers_whose_squares_overflow_are_refused(kind, name):
    with pytest.raises(ValueError, match=rf"{kind.__name__}: {name} is larger than 1e\+150"):
        kind(**NEEDED[kind] | {name: 1e160})


@pytest.mark.parametrize(
    ("kind", "name", "bad", "rule"),
    [
        (lw.Shallow, "rate", -1.0, "must not be negative, got -1.0"),
        (lw.Diagonal, "rate", [1.0, -2.0], "must not be negative, got -2.0"),
        (lw.Scalar, "rate", -1e-9, "must not be negative, got -1e-09"),
        (lw.Scalar, "decay", -0.1, "must not be negative, got -0.1"),
        (lw.Scalar, "scale", 0.0, "must be positive, got 0.0"),
        (lw.Scalar, "scale", -2.0, "must be positive, got -2.0"),
    ],
)
def test_numbers_outside_their_domain_are_refused(kind, name, bad, rule):
    with pytest.raises(ValueError, match=f"{kind.__name__}: {name} {rule}"):
        kind(**NEEDED[kind] | {name: bad})


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (lambda: lw.Shallow(np.ones(2), theta=np.ones(3)), ("target (2,)", "theta (3,)")),
        (lambda: lw.Diagonal(np.ones(2), np.ones(3), 1.0), ("target (2,)", "a (3,)", "b ()")),
        (lambda: lw.Scalar(1.0, np.ones(2), np.ones(3)), ("a (2,)", "b (3,)")),
        (lambda: lw.Scalar(np.ones(2), np.ones((3, 4)), 1.0), ("target (2,)", "a (3, 4)")),
    ],
)
def test_shapes_that_do_not_fit_are_all_named(build, shapes):
    with pytest.raises(ValueError, match="shapes do not fit") as error:
        build()
    assert all(shape in str(error.value) for shape in shapes)


@pytest.mark.parametrize(
    "build",
    [
        lambda: lw.Shallow([]),
        lambda: lw.Diagonal([], 0.1, 0.1),
        lambda: lw.Scalar(1.0, [], []),
        lambda: lw.Scalar(np.ones(0), [0.1], [0.1]),
    ],
)
def test_empty_models_are_refused(build):
    with pytest.raises(ValueError, match="there is nothing to solve, shapes are"):
        build()


@pytest.mark.parametrize(
    ("model", "batch", "start"),
    [
        (lw.Shallow(1.0), (), (1,)),
        (lw.Shallow(np.ones((2, 3)), theta=np.zeros(3)), (2, 3), (2, 3, 1)),
        (lw.Diagonal(1.0, 0.1, [0.2, 0.3]), (2,), (2, 2)),
        (lw.Diagonal(np.ones(3), np.ones((4, 1)), 0.1), (4, 3), (4, 3, 2)),
        (lw.Scalar(1.0, 0.1, 0.2), (), (2,)),
        (lw.Scalar(1.0, np.ones(5), 0.2), (), (10,)),
        (lw.Scalar(np.ones(3), np.ones(5), np.ones(5)), (3,), (3, 10)),
        (lw.Scalar(np.ones((2, 1)), np.ones((3, 5)), 0.1, decay=0.1), (2, 3), (2, 3, 10)),
    ],
)
def test_parameters_broadcast(model, batch, start):
    assert model.target.shape == model.rate.shape == batch
    assert model.start.shape == start
