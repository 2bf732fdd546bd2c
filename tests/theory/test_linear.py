"""The two-layer network as a model: what it refuses, how it moves, what its quantities are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layerwise as lw
from layerwise.theory import starts

SIZES = st.tuples(*[st.integers(1, 4)] * 3)
SEEDS = st.integers(0, 2**32)


def network(shape, seed, *, white=False):
    """Return any network: unequal rates, decay, and inputs that may lack variance."""
    rng = np.random.default_rng(seed)
    i, h, o = shape
    root = rng.standard_normal((i, int(rng.integers(1, i + 1))))
    cov = None if white else root @ root.T
    cross = rng.standard_normal((o, i))
    return lw.Linear(
        rng.standard_normal((h, i)),
        rng.standard_normal((o, h)),
        cross if white else cross @ cov,
        cov,
        rates=tuple(rng.uniform(0.3, 3.0, 2)),
        decay=float(rng.choice([0.0, 0.4])),
    )


def cov_of(model):
    return np.eye(model.cross.shape[1]) if model.input_cov is None else model.input_cov


def total_loss(model, w1, w2):
    """Return ``tr(W Sxx W^T)/2 - tr(W S^T)`` with the decay term, entry by entry."""
    W, cov = w2 @ w1, cov_of(model)
    loss = model.decay / 2 * (np.sum(w1**2) + np.sum(w2**2))
    for a in range(W.shape[0]):
        for b in range(W.shape[1]):
            loss -= W[a, b] * model.cross[a, b]
            loss += sum(W[a, b] * cov[b, c] * W[a, c] for c in range(W.shape[1])) / 2
    return loss


def slope(function, at, step=1e-5):
    """Return the derivative of a function of an array, the array's axes last."""
    columns = []
    for k in np.ndindex(at.shape):
        change = np.zeros_like(at)
        change[k] = step
        columns.append((function(at + change) - function(at - change)) / (2 * step))
    return np.moveaxis(np.array(columns), 0, -1).reshape(*np.shape(columns[0]), *at.shape)


# --- how it moves ----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS, st.booleans())
def test_the_velocity_is_minus_rate_times_gradient(shape, seed, white):
    model = network(shape, seed, white=white)
    w1, w2 = model.w1, model.w2
    first, second = model.split(model.velocity(model.start))
    one = slope(lambda w: total_loss(model, w, w2), w1)
    other = slope(lambda w: total_loss(model, w1, w), w2)
    size = max(1.0, np.max(np.abs(one)), np.max(np.abs(other)))
    np.testing.assert_allclose(first, -model.rates[0] * one, atol=1e-8 * size)
    np.testing.assert_allclose(second, -model.rates[1] * other, atol=1e-8 * size)


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS, st.booleans())
def test_the_jacobian_is_the_derivative_of_the_velocity(shape, seed, white):
    model = network(shape, seed, white=white)
    numeric = slope(model.velocity, model.start)
    size = max(1.0, np.max(np.abs(numeric)))
    np.testing.assert_allclose(model.jacobian(model.start), numeric, atol=1e-8 * size)


@settings(max_examples=30, deadline=None)
@given(SIZES, SEEDS, st.booleans(), st.sampled_from([1e-2, 0.3, 2.0]))
def test_no_relaxation_rate_on_the_way_exceeds_the_fastest(shape, seed, white, scale):
    model = network(shape, seed, white=white)
    model = replace(model, w1=scale * model.w1)
    fastest = model.fastest()
    if fastest == 0:
        assert not np.any(model.velocity(model.start))
        return
    for state in lw.solve(model, np.linspace(0, 40, 12) / fastest, "flow").state:
        rates = -np.linalg.eigvals(model.jacobian(state)).real
        assert np.max(rates) <= fastest * (1 + 1e-9)


def test_a_network_whose_inputs_do_not_vary_has_no_rate():
    still = lw.Linear(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)))
    assert still.fastest() == 0
    assert not np.any(still.velocity(still.start))


def test_velocity_and_split_take_states_of_many_times():
    model = network((3, 2, 4), 0)
    states = np.random.default_rng(0).standard_normal((2, 3, model.start.size))
    each = np.array([[model.velocity(state) for state in row] for row in states])
    np.testing.assert_allclose(model.velocity(states), each, rtol=1e-12, atol=1e-12)
    first, second = model.split(states)
    assert (first.shape, second.shape) == ((2, 3, 2, 3), (2, 3, 4, 2))
    np.testing.assert_array_equal(first[1, 2].ravel(), states[1, 2, :6])
    np.testing.assert_array_equal(second[1, 2].ravel(), states[1, 2, 6:])
    np.testing.assert_array_equal(model.split(model.start)[0], model.w1)
    np.testing.assert_array_equal(model.split(model.start)[1], model.w2)
    assert [*model.parts()] == [model]


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS, st.booleans())
def test_the_imbalance_does_not_change_to_first_order(shape, seed, white):
    model = replace(network(shape, seed, white=white), decay=0.0)
    (w1, w2), (v1, v2) = model.split(model.start), model.split(model.velocity(model.start))
    r1, r2 = model.rates
    change = (v2.T @ w2 + w2.T @ v2) / r2 - (v1 @ w1.T + w1 @ v1.T) / r1
    size = max(1.0, np.max(np.abs(v1)), np.max(np.abs(v2))) * np.max(np.abs(model.start))
    assert np.max(np.abs(change)) < 1e-12 * max(1.0, size)


# --- quantities ------------------------------------------------------------------------------


def by_loops(model, w1, w2, first, second):
    """Return every quantity of one state from its definition; `first`, `second` are the start."""
    (h, i), o = w1.shape, len(w2)
    cov, (r1, r2) = cov_of(model), model.rates
    W = np.array([[sum(w2[a, k] * w1[k, b] for k in range(h)) for b in range(i)] for a in range(o)])
    best = model.cross @ np.linalg.pinv(cov, rcond=1e-10, hermitian=True)
    u, _, vt = np.linalg.svd(best)
    values = np.linalg.svd(W, compute_uv=False)
    shares = values / np.sum(values)
    # inputs with exactly these second moments
    size, vectors = np.linalg.eigh(cov)
    x = np.sqrt(i * np.maximum(size, 0))[:, None] * vectors.T
    misses = [(best - W) @ point for point in x]
    kernels = [_kernel(x, *layers) for layers in ((w1, w2), (first, second))]
    now, before = (kernel / np.linalg.norm(kernel) for kernel in kernels)
    return {
        "map": W,
        "error": model.cross - W @ cov,
        "loss": sum(miss @ miss for miss in misses) / (2 * i),
        "modes": np.array([u[:, k] @ W @ vt[k] for k in range(min(i, o))]),
        "singular_values": values,
        "effective_rank": np.exp(-np.sum(shares[shares > 0] * np.log(shares[shares > 0]))),
        "gram_in": w1.T @ w1,
        "gram_out": w2 @ w2.T,
        "conserved": np.sqrt(r1 * r2) * (w2.T @ w2 / r2 - w1 @ w1.T / r1),
        "ntk_trace": np.trace(kernels[0]) / i,
        "kernel_distance": 1 - np.sum(now * before),
    }


def _kernel(x, w1, w2):
    n, o = len(x), len(w2)
    kernel = np.empty((n, o, n, o))
    for (p, one), (q, other) in ((a, b) for a in enumerate(x) for b in enumerate(x)):
        inner = (w1 @ one) @ (w1 @ other)
        kernel[p, :, q, :] = inner * np.eye(o) + one @ other * w2 @ w2.T
    return kernel.reshape(n * o, n * o)


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize(
    "shape", [(3, 2, 4), (4, 3, 2), (1, 3, 2), (3, 4, 1), (2, 5, 2), (1, 2, 1)]
)
def test_quantities_are_their_definitions(shape, white):
    model = network(shape, 60, white=white)
    other = network(shape, 61).start
    states = np.stack([model.start, other])
    first, second = model.split(model.start)
    seen = model.regression.modes[1] > 1e-9
    for k, state in enumerate(states):
        wanted = by_loops(model, *model.split(state), first, second)
        assert set(wanted) == set(model.quantities)
        for name in model.quantities:
            found = model.quantity(name, states)
            assert found.shape == (2, *np.shape(wanted[name])), name
            here, there = found[k], wanted[name]
            if name == "modes":  # those that the target lacks have no vectors of their own
                here, there = here[seen], there[seen]
            np.testing.assert_allclose(here, there, rtol=1e-10, atol=1e-11, err_msg=name)


def test_the_loss_is_without_what_no_map_can_learn():
    rng = np.random.default_rng(62)
    x, y = rng.standard_normal((200, 3)), rng.standard_normal((200, 2))
    model = lw.Linear(np.ones((2, 3)), np.ones((2, 2)), y.T @ x / 200, x.T @ x / 200)
    W = model.w2 @ model.w1
    best = np.linalg.lstsq(x, y)[0].T
    left = np.mean(np.sum((y - x @ W.T) ** 2, axis=1)) - np.mean(np.sum((y - x @ best.T) ** 2, 1))
    assert model.quantity("loss", model.start[None])[0] == pytest.approx(left / 2, rel=1e-12)


def test_the_map_of_a_network_at_rest_has_rank_0():
    model = lw.Linear(np.zeros((2, 3)), np.zeros((2, 2)), np.ones((2, 3)))
    assert model.quantity("effective_rank", model.start[None])[0] == 0


def test_an_unknown_quantity_is_answered_with_the_nearest():
    model = network((2, 2, 2), 0)
    with pytest.raises(KeyError, match="unknown quantity of Linear 'lose'; did you mean 'loss'"):
        lw.solve(model, [0.0, 1.0])["lose"]
    with pytest.raises(KeyError, match="unknown quantity of Linear 'maps'"):
        model.quantity("maps", model.start[None])


def test_what_is_traced_are_quantities_without_matrices():
    assert set(lw.Linear.traced) < set(lw.Linear.quantities)
    model = network((3, 2, 4), 0)
    states = np.stack([model.start] * 5)
    for name in lw.Linear.traced:
        assert model.quantity(name, states).ndim <= 2


# --- what it is made of ----------------------------------------------------------------------


@pytest.mark.parametrize("white", [True, False])
def test_config_is_json_from_which_the_model_can_be_made_again(white):
    model = network((3, 2, 4), 1, white=white)
    config = json.loads(json.dumps(model.config()))
    assert config.pop("model") == "Linear"
    again = lw.Linear(**config | {"rates": tuple(config["rates"])})
    assert again.config() == model.config()
    np.testing.assert_array_equal(again.start, model.start)
    np.testing.assert_array_equal(again.velocity(again.start), model.velocity(model.start))


def test_a_model_is_frozen_and_does_not_follow_the_arrays_it_was_made_from():
    w1, cov = np.ones((2, 3)), np.eye(3)
    model = lw.Linear(w1, np.ones((2, 2)), np.ones((2, 3)), cov)
    w1[0, 0] = cov[0, 0] = 5.0
    assert model.w1[0, 0] == model.input_cov[0, 0] == 1.0
    with pytest.raises(AttributeError):
        model.decay = 1.0


@pytest.mark.parametrize("name", ["w1", "w2", "cross", "input_cov"])
def test_the_arrays_of_a_model_are_read_only(name):
    model = network((3, 2, 4), 0)
    with pytest.raises(ValueError, match="read-only"):
        getattr(model, name)[0, 0] = 2.0


def test_integers_lists_and_float32_are_numbers():
    model = lw.Linear([[1, 2]], [[3]], np.ones((1, 2), np.float32), rates=(1, 2), decay=0)
    assert model.w1.dtype == model.w2.dtype == model.cross.dtype == np.float64
    assert model.rates == (1.0, 2.0)


# --- what it refuses -------------------------------------------------------------------------

GOOD = {"w1": np.ones((2, 3)), "w2": np.ones((4, 2)), "cross": np.ones((4, 3))}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"w2": np.ones((4, 3))}, r"w1 \(h, i\) and w2 \(o, h\) do not fit: \(2, 3\) and \(4, 3\)"),
        (
            {"cross": np.ones((3, 4))},
            r"cross \(o, i\) must have shape \(4, 3\) for w1 \(2, 3\) and w2 \(4, 2\), got "
            r"\(3, 4\)",
        ),
        (
            {"input_cov": np.eye(4)},
            r"input_cov \(i, i\) does not fit cross \(o, i\): \(4, 4\) and \(4, 3\)",
        ),
        ({"input_cov": np.ones((3, 2))}, r"does not fit .*: \(3, 2\) and \(4, 3\)"),
        ({"w1": np.ones(3)}, r"w1 must be a matrix, got shape \(3,\)"),
        ({"w2": np.ones((1, 4, 2))}, r"w2 must be a matrix, got shape \(1, 4, 2\)"),
        ({"cross": 1.0}, r"cross must be a matrix, got shape \(\)"),
        ({"w1": np.ones((0, 3))}, r"w1 must be a matrix, got shape \(0, 3\)"),
        ({"w1": np.full((2, 3), np.nan)}, "w1 must be finite, got nan"),
        ({"w2": np.full((4, 2), np.inf)}, "w2 must be finite, got inf"),
        ({"cross": np.full((4, 3), -np.inf)}, "cross must be finite, got -inf"),
        ({"input_cov": np.full((3, 3), np.nan)}, "input_cov must be finite, got nan"),
        ({"w1": np.full((2, 3), 1e160)}, r"w1 is larger than 1e\+150"),
        (
            {"input_cov": np.eye(3) + np.diag([0.1, 0.0], 1)},
            "input_cov must be symmetric, but differs from its transpose by 0.1",
        ),
        (
            {"input_cov": np.diag([1.0, 1.0, -0.5])},
            "input_cov must have no negative eigenvalue, got -0.5",
        ),
        ({"input_cov": -np.eye(3)}, "input_cov must have no negative eigenvalue, got -1"),
        (
            {"input_cov": np.diag([1.0, 1.0, 0.0])},
            r"cross E\[y x\^T\] has entries up to 1 on inputs to which input_cov gives no variance",
        ),
        ({"rates": (1.0, -1.0)}, r"rates must be finite and not negative, got \(1.0, -1.0\)"),
        ({"rates": (np.nan, 1.0)}, "rates must be finite and not negative, got"),
        ({"rates": (0.0, 1.0)}, r"rates must be positive, got \(0.0, 1.0\); freeze no layer"),
        ({"decay": -0.1}, "decay must be finite and not negative, got -0.1"),
        ({"decay": np.inf}, "decay must be finite and not negative, got inf"),
    ],
)
def test_what_is_outside_its_domain_is_refused(given, message):
    with pytest.raises(ValueError, match=f"^Linear: .*{message}|^Linear: {message}"):
        lw.Linear(**GOOD | given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"w1": 1j * np.ones((2, 3))}, "w1 must be real numbers, got complex128"),
        ({"w2": [["a", "b"]] * 4}, "w2 must be real numbers, got <U1"),
        ({"cross": None}, "cross must be real numbers, got object"),
        ({"input_cov": np.eye(3) + 0j}, "input_cov must be real numbers, got complex128"),
        ({"rates": 1.0}, "rates must be two real numbers, got 1.0"),
        ({"rates": (1.0, 2.0, 3.0)}, r"rates must be two real numbers, got \(1.0, 2.0, 3.0\)"),
        ({"rates": (1j, 1.0)}, "rates must be two real numbers"),
        ({"rates": None}, "rates must be two real numbers, got None"),
        ({"decay": [0.1]}, r"decay must be one real number, got \[0.1\]"),
        ({"decay": "0.1"}, "decay must be one real number, got '0.1'"),
        ({"decay": 1j}, "decay must be one real number, got 1j"),
    ],
)
def test_what_is_no_real_number_is_refused(given, message):
    with pytest.raises(TypeError, match=f"^Linear: {message}"):
        lw.Linear(**GOOD | given)


@pytest.mark.parametrize("size", [1e-150, 1e-20, 1e20, 1e100])
def test_a_covariance_is_judged_relative_to_its_size(size):
    lw.Linear(**GOOD | {"input_cov": size * np.eye(3), "cross": size * GOOD["cross"]})
    with pytest.raises(ValueError, match="no negative eigenvalue"):
        lw.Linear(**GOOD | {"input_cov": size * np.diag([1.0, 1.0, -1e-6])})
    with pytest.raises(ValueError, match="must be symmetric"):
        lw.Linear(**GOOD | {"input_cov": size * (np.eye(3) + np.diag([1e-6, 0.0], 1))})


def test_rounding_in_a_covariance_is_forgiven_and_removed():
    noise = 1e-13 * np.random.default_rng(63).standard_normal((3, 3))
    model = lw.Linear(**GOOD | {"input_cov": np.ones((3, 3)) + noise})
    np.testing.assert_array_equal(model.input_cov, model.input_cov.T)
    assert model.regression.variances[0][0] > -1e-12


def test_what_the_decay_does_to_an_imbalance():
    w1, w2 = starts.balanced((3, 2, 3), 0.5, 0.4, seed=0)
    model = lw.Linear(w1, w2, np.eye(3), decay=0.3)
    t = np.array([0.0, 0.5, 2.0])
    conserved = lw.solve(model, t)["conserved"]
    wanted = np.exp(-2 * 0.3 * t)[:, None, None] * conserved[0]
    np.testing.assert_allclose(conserved, wanted, atol=1e-10)
