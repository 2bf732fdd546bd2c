import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.measures import imbalance
from layerwise.theory import starts

EXACT = 1e-13
SIZES = st.tuples(*[st.integers(1, 8)] * 3)
SEEDS = st.integers(0, 2**32)
GENERATORS = {
    "balanced": lambda seed: starts.balanced((3, 2, 4), 0.5, seed=seed),
    "two_valued": lambda seed: starts.two_valued((3, 8, 4), 2.0, 0.5, seed=seed),
    "aligned": lambda seed: starts.aligned(np.diag([2.0, 1.0]), 0.1, 0.2, seed=seed),
    "deep_aligned": lambda seed: starts.deep_aligned(np.eye(2), np.ones((3, 2)), seed=seed),
    "singular": lambda seed: starts.singular(np.diag([2.0, 1.0]), seed=seed),
    "wide": lambda seed: starts.wide((3, 5, 4), seed=seed),
}


def off(matrix, expected):
    """Return the largest difference, relative to the largest entry expected or to 1."""
    return np.max(np.abs(matrix - expected)) / max(1.0, float(np.max(np.abs(expected))))


def rank_of(w1, w2):
    return np.linalg.matrix_rank(np.vstack([w1.T, w2]), tol=1e-12)


# --- lambda-balanced --------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(SIZES, st.sampled_from([1e-9, 0.5, 2.0, 1e3]), st.sampled_from([-1, 0, 1]), SEEDS)
def test_balanced_is_lambda_times_the_identity_on_all_directions_in_use(shape, lam, sign, seed):
    i, h, o = shape
    lam = sign * lam
    most = min(h, {1: o, -1: i, 0: min(i, o)}[sign])
    rank = 1 + seed % most
    w1, w2 = starts.balanced(shape, lam, rank=rank, seed=seed)
    assert w1.shape == (h, i)
    assert w2.shape == (o, h)
    used = np.linalg.svd(np.vstack([w1.T, w2]))[2][:rank]
    size = max(1.0, np.sum(w1**2), np.sum(w2**2))
    assert np.max(np.abs(imbalance(w1, w2) - lam * used.T @ used)) < EXACT * size
    if abs(lam) > 1e-6:  # less is no rank to a numerical test where i or o < rank
        assert rank_of(w1, w2) == rank


@pytest.mark.parametrize(
    ("shape", "lam", "rank"),
    [((2, 3, 5), 2.0, 3), ((5, 3, 2), -2.0, 3), ((3, 9, 2), 0.0, 2), ((6, 2, 6), 0.0, 2)],
)
def test_balanced_uses_by_default_what_the_imbalance_allows(shape, lam, rank):
    w1, w2 = starts.balanced(shape, lam)
    assert off(imbalance(w1, w2), lam * np.eye(shape[1])) < EXACT
    assert rank_of(w1, w2) == rank


@pytest.mark.parametrize("lam", [0.0, 2.0, -2.0])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 30.0])
def test_the_scale_is_the_standard_deviation_of_the_smaller_layer(lam, scale):
    w1, w2 = starts.balanced((60, 60, 60), lam, scale, seed=3)
    smaller = w2 if lam < 0 else w1
    assert np.std(smaller) == pytest.approx(scale, rel=0.05)


def test_balanced_at_tiny_scale_keeps_its_relative_accuracy():
    w1, w2 = starts.balanced((3, 4, 5), 0.0, 1e-8, seed=1)
    assert np.max(np.abs(imbalance(w1, w2))) < EXACT * 1e-16


def test_balanced_hidden_and_output_directions_have_nothing_to_do_with_each_other():
    w1, w2 = starts.balanced((4, 4, 4), 0.0, seed=0)
    gram = w1.T @ w1
    product = w2 @ w1
    assert np.max(np.abs(gram @ (product.T + product) - (product.T + product) @ gram)) > 0.1
    assert not np.allclose(product, product.T)


@pytest.mark.parametrize(
    ("shape", "lam", "rank", "rule"),
    [
        ((3, 5, 4), 1.0, None, r"lam > 0 needs .*min\(h, o\).*rank 5 .h by default.*o = 4.*rank=4"),
        ((4, 5, 3), -1.0, None, r"lam < 0 needs .*min\(h, i\).*rank 5.*i = 4.*pass rank=4"),
        ((2, 5, 4), 0.0, 3, r"lam = 0 needs .*min\(i, h, o\).*rank 3 .as asked.*i = 2"),
        ((3, 3, 3), 1.0, 0, r"1 <= rank"),
    ],
)
def test_balanced_outside_its_domain_states_the_rule(shape, lam, rank, rule):
    with pytest.raises(ValueError, match=rule):
        starts.balanced(shape, lam, rank=rank)


# --- two-valued -------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(1, 6)),
    st.floats(1e-8, 10.0),
    st.floats(1e-8, 10.0),
    st.floats(0.0, 2.0),
    SEEDS,
)
def test_two_valued_imbalance_has_two_values(sizes, upper, lower, mixing, seed):
    i, extra, o = sizes
    w1, w2 = starts.two_valued((i, i + o + extra, o), upper, lower, mixing, seed=seed)
    found = np.linalg.eigvalsh(imbalance(w1, w2))
    size = max(1.0, np.sum(w1**2), np.sum(w2**2))
    assert np.max(np.abs(found - np.repeat([-lower, 0.0, upper], [i, extra, o]))) < EXACT * size
    # what makes the Riccati equation close: R J R = (upper - lower) R + upper lower J
    Q, J = np.vstack([w1.T, w2]), np.diag(np.repeat([-1.0, 1.0], [i, o]))
    R = Q @ Q.T
    left = R @ J @ R - (upper - lower) * R - upper * lower * J
    assert np.max(np.abs(left)) < EXACT * size**2


def test_two_valued_without_mixing_is_the_infinitely_wide_limit():
    w1, w2 = starts.two_valued((3, 9, 2), upper=4.0, lower=0.25, mixing=0.0)
    assert off(w1.T @ w1, 0.25 * np.eye(3)) < EXACT
    assert off(w2 @ w2.T, 4.0 * np.eye(2)) < EXACT
    assert off(w2 @ w1, np.zeros((2, 3))) < EXACT


def test_mixing_makes_a_map():
    w1, w2 = starts.two_valued((3, 9, 2), upper=4.0, lower=0.25, mixing=1.0)
    assert np.max(np.abs(w2 @ w1)) > 0.1


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (((3, 6, 4), 1.0, 1.0), r"h >= i \+ o.*i = 3, h = 6, o = 4"),
        (((3, 7, 4), 0.0, 1.0), "upper must be finite and positive, got 0.0"),
        (((3, 7, 4), 1.0, -1.0), "lower must be finite and positive"),
        (((3, 7, 4), 1.0, 1.0, -1.0), "mixing must be finite and not negative"),
    ],
)
def test_two_valued_outside_its_domain(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        starts.two_valued(*arguments)


# --- aligned ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SIZES, SEEDS)
def test_aligned_weights_are_diagonal_in_the_modes_of_the_target(sizes, seed):
    i, extra, o = sizes
    rng = np.random.default_rng(seed)
    k = min(i, o)
    cross = rng.standard_normal((o, i))
    a, b = rng.standard_normal((2, k))
    w1, w2 = starts.aligned(cross, a, b, width=k + extra - 1, seed=rng)
    u, _, vt = np.linalg.svd(cross, full_matrices=False)
    assert off(u.T @ w2 @ w1 @ vt.T, np.diag(a * b)) < EXACT
    assert off(w1.T @ w1, vt.T * a**2 @ vt) < EXACT
    assert off(w2 @ w2.T, u * b**2 @ u.T) < EXACT


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 0.0, 0.0], [0.0] * 3])
@pytest.mark.parametrize(("i", "o"), [(3, 3), (5, 3), (3, 5)])
def test_aligned_diagonalises_the_inputs_too_also_within_equal_values(values, i, o):
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (o, i))
    xi = rng.uniform(0.5, 3.0, i)
    cross, cov = u[:, :3] * values @ v[:, :3].T, v * xi @ v.T
    a, b = rng.uniform(0.5, 1.5, (2, 3))
    w1, w2 = starts.aligned(cross, a, b, width=4, input_cov=cov, seed=2)
    for one, other in [
        (cov, w1.T @ w1),
        (cov, cross.T @ cross),
        (cross.T @ cross, w1.T @ w1),
        (cross @ cross.T, w2 @ w2.T),
    ]:
        assert off(one @ other, other @ one) < 1e-12
    assert off(cross @ (w2 @ w1).T, w2 @ w1 @ cross.T) < 1e-12
    assert sorted(np.linalg.eigvalsh(w1.T @ w1)[-3:]) == pytest.approx(sorted(a**2), abs=EXACT)


def test_one_number_serves_all_modes():
    w1, w2 = starts.aligned(np.diag([2.0, 1.0]), 0.1, -0.3)
    assert off(w2 @ w1, -0.03 * np.eye(2)) < EXACT


@pytest.mark.parametrize(("widths", "depth"), [(None, 4), ([3, 5, 4], 4), ([], 1), ([6], 2)])
def test_deep_aligned_layers_are_diagonal_between_bases_that_fit(widths, depth):
    rng = np.random.default_rng(5)
    cross = rng.standard_normal((3, 4))
    weights = rng.standard_normal((depth, 3))
    layers = starts.deep_aligned(cross, weights, widths, seed=rng)
    hidden = [3] * (depth - 1) if widths is None else widths
    assert [layer.shape for layer in layers] == list(zip([*hidden, 3], [4, *hidden], strict=True))
    u, _, vt = np.linalg.svd(cross, full_matrices=False)
    product = np.linalg.multi_dot([u.T, *layers[::-1], vt.T])
    assert off(product, np.diag(np.prod(weights, axis=0))) < EXACT
    for before, after, w, v in zip(layers, layers[1:], weights, weights[1:], strict=False):
        # the imbalance between neighbours has the differences of squares, and zeros
        found = np.sort(np.linalg.eigvalsh(imbalance(before, after)))
        wanted = np.sort(np.pad(v**2 - w**2, (0, len(found) - 3)))
        assert np.max(np.abs(found - wanted)) < EXACT * 10


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: starts.aligned(np.eye(3), [1.0, 2.0], 1.0), r"a \(2,\).*must be 3 numbers"),
        (lambda: starts.aligned(np.eye(3), 1.0, 1.0, width=2), "hidden sizes of at least 3"),
        (lambda: starts.aligned(np.ones(3), 1.0, 1.0), "cross must be a matrix"),
        (lambda: starts.aligned([[np.nan]], 1.0, 1.0), "cross must be finite"),
        (lambda: starts.deep_aligned(np.eye(2), np.ones((3, 2)), [2]), "need 2 hidden sizes"),
        (lambda: starts.deep_aligned(np.eye(2), np.ones((3, 3))), r"weights must have .*\(L, 2\)"),
        (
            lambda: starts.aligned(np.diag([2.0, 1.0]), 1.0, 1.0, input_cov=[[2.0, 1.0], [1, 2]]),
            "no singular vectors of cross diagonalise input_cov",
        ),
        (lambda: starts.aligned(np.eye(2), 1.0, 1.0, input_cov=np.eye(3)), "input_cov"),
    ],
)
def test_aligned_outside_its_domain(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


# --- singular, wide ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 4), SEEDS)
def test_a_singular_start_is_zero_balanced_and_of_the_wrong_sign(n, extra, seed):
    rng = np.random.default_rng(seed)
    cross = rng.standard_normal((n, n))
    w1, w2 = starts.singular(cross, 0.3, n + extra, seed=rng)
    assert np.max(np.abs(imbalance(w1, w2))) < EXACT
    assert np.linalg.slogdet(w2 @ w1).sign == -np.linalg.slogdet(cross).sign


def test_a_singular_start_of_tiny_weights_does_not_lose_its_sign():
    w1, w2 = starts.singular(np.eye(20), 1e-8, seed=1)  # a determinant of 1e-320
    assert np.linalg.slogdet(w2 @ w1).sign == -1


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: starts.singular(np.ones((2, 3))), r"must be square, got shape \(2, 3\)"),
        (lambda: starts.singular(np.ones((2, 2))), "must be invertible"),
        (lambda: starts.singular(np.eye(3), width=2), "h >= n, got h = 2"),
        (lambda: starts.singular(np.eye(3), 0.0), "scale must be finite and positive"),
        (lambda: starts.wide((1, 0, 1)), r"three positive sizes \(i, h, o\), got \(1, 0, 1\)"),
        (lambda: starts.wide((1, 2)), "three positive sizes"),
        (lambda: starts.wide((1, 2, 3), first=-1.0), "first must be finite and not negative"),
        (lambda: starts.wide((1, 2, 3), second=np.inf), "second must be finite"),
        (lambda: starts.balanced((1, 2, 3), np.nan), "lam must be finite"),
        (lambda: starts.balanced((1, 1, 1), scale=-1.0), "scale must be finite"),
    ],
)
def test_refusals(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


def test_wide_layers_approach_the_two_valued_start():
    sizes = 100, 10_000
    away = []
    for h in sizes:
        w1, w2 = starts.wide((3, h, 2), first=0.5, second=2.0, seed=4)
        away.append(
            max(
                np.max(np.abs(w1.T @ w1 - 0.25 * np.eye(3))),
                np.max(np.abs(w2 @ w2.T - 4.0 * np.eye(2))),
                np.max(np.abs(w2 @ w1)),
            )
        )
        assert away[-1] < 20 / np.sqrt(h)
    assert away[1] < away[0] / 3


@pytest.mark.parametrize("name", GENERATORS)
def test_the_seed_alone_decides(name):
    make = GENERATORS[name]
    first, again, other = make(1), make(1), make(2)
    assert all(np.array_equal(p, q) for p, q in zip(first, again, strict=True))
    assert not all(np.array_equal(p, q) for p, q in zip(first, other, strict=True))
    rng = np.random.default_rng(1)
    drawn, next_one = make(rng), make(rng)
    assert all(np.array_equal(p, q) for p, q in zip(first, drawn, strict=True))
    assert not all(np.array_equal(p, q) for p, q in zip(drawn, next_one, strict=True))
