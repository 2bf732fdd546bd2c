"""Phase maps of linear networks: against descent by hand, explicit kernels, flows and the notes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

import layerwise as lw
from layerwise.measures import imbalance, kernel_distance
from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich.descent import descend, folded, triangular
from layerwise.phenomena.lazy_rich.funnel import Funnel
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.networks import Networks
from layerwise.phenomena.lazy_rich.turn import turned
from layerwise.phenomena.lazy_rich.twin import (
    agreement,
    boundary,
    exact_funnel,
    exact_map,
    lazy_map,
    limit_distance,
)
from layerwise.theory.starts import two_valued

BALANCED = BalancedMap(points=5)
UNBALANCED = UnbalancedMap(points=5)
FUNNEL = Funnel(points=3)
SEEDS = st.integers(0, 2**32 - 1)


def trained(one, tmp_path):
    return run(one, tmp_path).trace


def kron_kernel(A, B, X):
    """Return the kernel on all inputs and outputs, written out."""
    return np.kron(np.eye(len(B)), X.T @ A @ X) + np.kron(B, X.T @ X)


# --- descent and kernels ---------------------------------------------------------------------


@given(SEEDS)
def test_the_folded_kernel_has_the_inner_products_of_the_kernel(seed):
    rng = np.random.default_rng(seed)
    i, o, n = rng.integers(1, 5, 3)
    X = rng.standard_normal((i, n))
    pairs = [
        (w1.T @ w1, w2 @ w2.T)
        for w1, w2 in ((rng.standard_normal((3, i)), rng.standard_normal((o, 3))) for _ in range(2))
    ]
    whole = [kron_kernel(*pair, X) for pair in pairs]
    small = [folded(*pair, X) for pair in pairs]
    for a in range(2):
        for b in range(2):
            assert np.sum(small[a] * small[b]) == pytest.approx(np.sum(whole[a] * whole[b]))


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
def test_small_distances_keep_their_digits(eps):
    rng = np.random.default_rng(1)
    A, B, dA, dB = (m @ m.T for m in rng.standard_normal((4, 2, 2)))
    X = np.eye(2)
    found = kernel_distance(folded(A, B, X), folded(A + eps * dA, B + eps * dB, X), centred=False)
    with mp.workdps(50):
        K, L = (
            mp.matrix(kron_kernel(a, b, X).tolist())
            for a, b in ((A, B), (A + eps * dA, B + eps * dB))
        )
        norm = [mp.sqrt(sum(entry**2 for entry in k)) for k in (K, L)]
        exact = 1 - sum(a * b for a, b in zip(K, L, strict=True)) / (norm[0] * norm[1])
    assert 0 < exact < eps**2
    assert found == pytest.approx(float(exact), rel=1e-15 / eps + 1e-12)


def test_descent_is_that_of_autograd_on_the_samples():
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((3, 7)), rng.standard_normal((2, 7))
    first, second = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
    basis, size, _ = np.linalg.svd(X)
    Q = np.concatenate([basis.T @ first.T, second])
    layers = [torch.from_numpy(w).requires_grad_() for w in (first.copy(), second.copy())]
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    for k in descend(Q, Y @ X.T @ basis / 7, size**2 / 7, 0.05, 20):
        w1, w2 = (w.detach().numpy() for w in layers)
        np.testing.assert_allclose(Q[3:] @ Q[:3].T, w2 @ w1 @ basis, atol=1e-12)
        if k == 20:
            break
        loss = ((layers[1] @ layers[0] @ x - y) ** 2).sum() / 14
        grads = torch.autograd.grad(loss, layers)
        with torch.no_grad():
            for w, grad in zip(layers, grads, strict=True):
                w -= 0.05 * grad


@given(SEEDS)
def test_width_is_no_cost_a_factor_of_the_grams_descends_as_they_do(seed):
    rng = np.random.default_rng(seed)
    w1, w2 = rng.standard_normal((9, 3)) / 3, rng.standard_normal((2, 9)) / 3
    cross = rng.standard_normal((2, 3))
    wide, small = np.concatenate([w1.T, w2]), triangular(w1, w2)
    assert small.shape == (5, 5)
    for _ in descend(wide, cross, np.ones(3), 0.05, 10):
        pass
    for _ in descend(small, cross, np.ones(3), 0.05, 10):
        pass
    np.testing.assert_allclose(small @ small.T, wide @ wide.T, atol=1e-12)


def test_a_descent_that_diverges_says_so():
    Q = np.stack([np.full((2, 1), 0.1), np.full((2, 1), 9.0)])
    with pytest.raises(FloatingPointError, match=r"1 of 2 networks diverged .* rate 0.5; lower"):
        list(descend(Q, np.ones((1, 1)), np.ones(1), 0.5, 200))


# --- the maps --------------------------------------------------------------------------------


@pytest.mark.parametrize(("published", "power"), [(False, 1.0), (True, 0.5)])
def test_balanced_starts_are_what_they_say(published, power):
    one = replace(BALANCED, published=published)
    start, (scales, lams) = one.networks, one.axes
    for k in np.ndindex(5, 5):
        w1, w2 = start.w1[k], start.w2[k]
        np.testing.assert_allclose(imbalance(w1, w2), lams[k[1]] * np.eye(2), atol=1e-12)
        np.testing.assert_allclose(np.linalg.svdvals(w2 @ w1), scales[k[0]] ** power)
        np.testing.assert_allclose(start.cross[k[0], 0] * scales[k[0]], start.cross[0, 0])
    assert (start.w1[0, 0] != start.w1[0, 1]).any()
    np.testing.assert_allclose(start.inputs @ start.inputs.T, np.eye(2), atol=1e-14)
    np.testing.assert_allclose(start.inputs.sum(axis=1), 0, atol=1e-14)


def test_unbalanced_starts_are_what_they_say():
    start, (scales, lams) = UNBALANCED.networks, UNBALANCED.axes
    np.testing.assert_allclose(start.w2 @ start.w1, 0, atol=1e-12)
    first, second = (np.sqrt(np.mean(w**2, axis=(0, 2, 3))) for w in (start.w1, start.w2))
    np.testing.assert_allclose(first, 0.1 + np.maximum(-lams, 0), rtol=0.1)
    np.testing.assert_allclose(second, 0.1 + np.maximum(lams, 0), rtol=0.2)  # lam > 0: W2 is larger
    covariance = start.inputs @ start.inputs.T
    np.testing.assert_allclose(covariance, np.diag(start.variances), atol=1e-13)
    assert start.inputs.shape == (10, 10)  # the inputs' range, of 20 dimensions
    assert start.variances[0] > 5 * start.variances[-1]
    np.testing.assert_allclose(start.cross[4, 0] * scales[4], start.cross[0, 0] * scales[0])


@pytest.mark.parametrize("one", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_a_point_of_a_map_is_a_network_trained_by_hand(one, tmp_path):
    one = replace(one, steps=500)
    found, start, k = trained(one, tmp_path), one.networks, (1, 3)
    rng = np.random.default_rng(0)
    i, n = start.inputs.shape
    # more dimensions than the inputs span, in which the weights are anything
    turn = np.linalg.qr(rng.standard_normal((i + 4, i + 4)))[0]
    X = np.sqrt(n) * turn[:, :i] @ start.inputs
    w1 = start.w1[k] @ turn[:, :i].T + rng.standard_normal((start.w1.shape[-2], 4)) @ turn[:, i:].T
    w2 = start.w2[k].copy()
    Y = np.linalg.lstsq(start.inputs, start.cross[k[0], 0].T)[0].T * np.sqrt(n)
    H = np.eye(n) - 1 / n
    kernels = []
    for step in range(501):
        if step in (0, 500):
            kernels.append([kron_kernel(w1.T @ w1, w2 @ w2.T, x) for x in (X, X @ H)])
        error = w2 @ w1 @ X - Y
        w1, w2 = w1 - 0.01 / n * w2.T @ error @ X.T, w2 - 0.01 / n * error @ X.T @ w1.T
    for name, before, after in zip(("distance", "distance_centred"), *kernels, strict=True):
        expected = kernel_distance(before, after, centred=False)
        assert expected > 1e-8
        assert found[name][k] == pytest.approx(float(expected), rel=1e-6)
    left = np.sum((w2 @ w1 @ X - Y) ** 2) / np.sum(Y**2)
    assert found["unlearned"][k] == pytest.approx(left, abs=0.01)


def test_inputs_of_mean_zero_leave_no_choice_of_the_distance(tmp_path):
    found = trained(BALANCED, tmp_path)
    np.testing.assert_allclose(found["distance"], found["distance_centred"], atol=1e-14)
    assert found.clock.tolist() == [1, 5.75, 10.5, 15.25, 20]
    assert found.provenance.clock == "scale"
    assert trained(replace(BALANCED, seed=1), tmp_path)["distance"][0, 0] != found["distance"][0, 0]


@pytest.mark.parametrize("published", [False, True])
def test_descent_approaches_the_exact_map_as_its_rate(published, tmp_path):
    one = replace(BALANCED, points=7, published=published)
    exact = exact_map(one)["distance"]
    gaps = []
    for finer in (1, 2, 4):
        fine = replace(one, learning_rate=0.01 / finer, steps=3999 * finer)
        found = trained(fine, tmp_path)["distance"]
        gaps.append(np.max(np.abs(np.log10(found + 1e-6) - np.log10(exact + 1e-6))))
    assert gaps[0] < 0.3
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.2)
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.2)


def logs(one, tmp_path, draws=3):
    traces = [trained(replace(one, seed=seed), tmp_path) for seed in range(draws)]
    return np.mean([np.log10(trace["distance"] + 1e-6) for trace in traces], axis=0)


@pytest.mark.parametrize("published", [False, True])
def test_the_balanced_map_keeps_to_the_known_bands(published, tmp_path):
    found = logs(replace(BALANCED, published=published), tmp_path)
    assert (found[:, 2] > -3.5).all()  # lam = 0 is rich at every scale
    assert (found[1:, [0, 1, 3, 4]] < -5).all()
    # at scale 1 the target, of size 1/2, is not yet small: the exact limit says how far
    ends = []
    for seed in range(3):
        one = replace(BALANCED, seed=seed)
        sizes = np.linalg.svdvals(one.networks.cross[0, 0])
        ends.append((sizes[0] ** 2 - sizes[1] ** 2) ** 2 / (4 * 4.5**4))
    assert found[0, 3] == pytest.approx(np.mean(np.log10(np.array(ends) + 1e-6)), abs=0.1)
    assert found[0, 3] > -5


def test_the_unbalanced_map_keeps_to_the_known_bands(tmp_path):
    found = logs(UNBALANCED, tmp_path)
    assert (found[0] > -2).all()
    assert (found[-1] < -4.5).all()
    # at a middle scale imbalance of either sign makes lazy
    assert max(found[1, 0], found[1, -1]) < found[1, 2] - 1.5


# --- limit, boundary and lazy prediction -----------------------------------------------------


def test_the_limit_of_a_square_target_is_the_formula():
    rng = np.random.default_rng(3)
    target, c = rng.standard_normal((3, 3)), np.array([0.0, 0.3, 2.0, 40.0])
    r = np.hypot(np.linalg.svdvals(target)[:, None], c)
    formula = 1 - (1 + (r.std(axis=0) / r.mean(axis=0)) ** 2 / 2) ** -0.5
    found = limit_distance(target, c, np.eye(3))
    np.testing.assert_allclose(found, formula, rtol=1e-6, atol=1e-16)
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize(("upper", "lower"), [(1.0, 0.2), (0.2, 1.0), (5.0, 5.0)])
def test_the_limit_is_where_two_valued_networks_end(upper, lower):
    target = np.random.default_rng(4).standard_normal((2, 3))
    w1, w2 = two_valued((3, 5, 2), upper, lower, mixing=0.0)
    sol = lw.solve(lw.Linear(w1, w2, target), [0.0, 300.0], method="flow")
    found = limit_distance(target, np.array((upper + lower) / 2), np.eye(3))
    assert float(found) == pytest.approx(sol["kernel_distance"][-1], rel=1e-8)


def test_the_limit_is_where_balanced_maps_end():
    one = replace(BALANCED, steps=10**7)
    exact = exact_map(one)["distance"]
    lams = one.axes[1]
    for k, scale in enumerate(one.axes[0]):
        found = limit_distance(one.networks.cross[0, 0] / scale, np.abs(lams) / 2, np.eye(2))
        turned_on = lams != 0  # without imbalance half of the starts never learn all
        np.testing.assert_allclose(exact[k, turned_on], found[turned_on], rtol=1e-6)


@pytest.mark.parametrize("one", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("level", [0.001, 0.01])
def test_at_the_boundary_the_distance_is_the_level(one, level):
    start = one.networks
    found = boundary(one, level)
    assert (np.diff(found) <= 0).all()
    assert found[0] > 0
    c = found / 2 if one is BALANCED else 10 * ((0.1 + found) ** 2 + 0.1**2)
    for k in np.flatnonzero(found):
        target = start.cross[k, 0] / start.variances
        assert limit_distance(target, c[k], start.inputs) == pytest.approx(level, rel=1e-6)


def test_a_level_above_all_distances_leaves_everything_lazy(tmp_path):
    assert (boundary(BALANCED, 0.5) == 0).all()
    found = trained(BALANCED, tmp_path)["distance"]
    assert np.isnan(agreement(BALANCED, found, 0.5))


@pytest.mark.parametrize("seed", range(3))
def test_the_boundary_separates_lazy_from_rich(seed, tmp_path):
    one = BalancedMap(points=9, seed=seed)
    assert agreement(one, trained(one, tmp_path)["distance"]) > 0.95
    one = UnbalancedMap(points=9, seed=seed)
    found = trained(one, tmp_path)["distance"]
    assert agreement(one, found) > 0.7
    rich = lazy_map(one)["distance"] > 0.01
    assert np.mean(rich == (found > 0.01)) > 0.95


def test_agreement_counts_both_kinds():
    found = np.where(np.abs(BALANCED.axes[1]) < boundary(BALANCED)[:, None], 1.0, 0.0)
    assert 0 < found.mean() < 0.5
    assert agreement(BALANCED, found) == 1.0
    assert agreement(BALANCED, 1 - found) == 0.0
    found[0, 0] = 1.0  # one of six rich points lies on the lazy side
    assert agreement(BALANCED, found) == pytest.approx(1 - 0.5 / found.sum())


@pytest.mark.parametrize("t", [0.7, 40.0])
def test_the_first_turn_of_the_kernel_is_that_of_small_targets(t):
    start, k = UnbalancedMap(points=2, samples=5, inputs=7, hidden=8).networks, (0, 1)
    w1, w2, X = start.w1[k], start.w2[k], start.inputs
    errors = []
    for size in (1e-2, 5e-3):
        cross = size * start.cross[0, 0]
        model = lw.Linear(w1, w2, cross, input_cov=X @ X.T)
        sol = lw.solve(model, [0.0, t], method="flow")
        found = turned(w1, w2, cross, X, t)
        for name, gram in zip(("gram_in", "gram_out"), found, strict=True):
            change = sol[name][-1] - sol[name][0]
            errors.append(np.linalg.norm(gram - sol[name][-1]) / np.linalg.norm(change))
    assert max(errors[:2]) < 0.02
    np.testing.assert_allclose(np.divide(errors[:2], errors[2:]), 4, rtol=0.2)


def test_lazy_predictions_are_right_where_the_map_is_lazy(tmp_path):
    found, lazy = trained(UNBALANCED, tmp_path)["distance"], lazy_map(UNBALANCED)
    gap = np.abs(np.log10(lazy["distance"] / found))[found < 1e-3]
    assert np.median(gap) < 0.05
    np.testing.assert_array_equal(lazy["boundary"], boundary(UNBALANCED))


def test_a_lazy_prediction_needs_a_start_at_zero():
    w1, w2 = np.ones((2, 1)), np.full((1, 2), 0.3)
    with pytest.raises(ValueError, match=r"needs W2 W1 = 0 at the start, its largest entry is 0.6"):
        turned(w1, w2, np.eye(1), np.eye(1), 1.0)


# --- funnels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "lazy"), [((8, 3, 3), -1), ((3, 3, 8), 0)], ids=["funnel", "anti-funnel"]
)
def test_funnels_are_lazy_for_one_sign_and_turn_late_for_the_other(sizes, lazy):
    for seed in range(3):
        one = Funnel(seed, *sizes, points=3)
        early, end = exact_funnel(one, np.array([0.0, 2.0, 4000.0]))["distance"][1:]
        late = -1 - lazy
        assert end[lazy] < 1e-4
        assert early[late] < 1e-2
        assert end[late] > 0.3
        assert end[1] > 0.05


def test_a_square_network_is_lazy_for_both_signs():
    end = exact_funnel(Funnel(0, 3, 3, 3, points=3), np.array([0.0, 4000.0]))["distance"][-1]
    assert max(end[0], end[2]) < 1e-6 < end[1]


def test_funnels_descend_as_the_exact_law_says(tmp_path):
    one = replace(FUNNEL, lam=5.0, end=100.0)
    found = trained(one, tmp_path)
    exact = exact_funnel(one, found.clock)
    assert found.clock[-1] == pytest.approx(100.0)
    assert np.isclose(found.clock, 2.0).sum() == 1
    np.testing.assert_allclose(found["distance"], exact["distance"], atol=0.01)
    finer = trained(replace(one, learning_rate=0.01), tmp_path)
    gaps = [
        np.max(np.abs(trace["distance"][-1] - exact["distance"][-1])) for trace in (found, finer)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.2)


def test_funnels_start_balanced_with_modes_of_one():
    start = FUNNEL.networks
    for k, lam in enumerate(FUNNEL.lams):
        w1, w2 = start.w1[k], start.w2[k]
        np.testing.assert_allclose(imbalance(w1, w2), lam * np.eye(3), atol=1e-12)
        np.testing.assert_allclose(np.linalg.svdvals(w2 @ w1), 1.0)


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [BALANCED, UNBALANCED, FUNNEL], ids=lambda one: one.name)
def test_settings_come_back_from_their_record_and_work_is_counted(one, tmp_path):
    values = json.loads(json.dumps(one.config()))
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    assert type(one)(**tuples) == one
    assert replace(one, seed=1).key != one.key
    brief, ticks = one.brief(), []
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1))
    assert brief.work() == 20


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (BalancedMap, {"points": 1}, "points must be at least 2, got 1"),
        (BalancedMap, {"samples": 2}, "samples must be at least 3, got 2"),
        (BalancedMap, {"scales": (2.0, 1.0)}, r"two increasing positive numbers, got \(2.0, 1.0\)"),
        (BalancedMap, {"lam": 0.0}, "lam must be positive and finite, got 0.0"),
        (UnbalancedMap, {"hidden": 5}, "hidden must be even.* got 5"),
        (UnbalancedMap, {"std": -1.0}, "std must be positive and finite, got -1.0"),
        (UnbalancedMap, {"learning_rate": np.inf}, "learning_rate must be positive and finite"),
        (Funnel, {"hidden": 4}, "got hidden 4 with 8 inputs and 3 outputs"),
        (Funnel, {"samples": 8}, "samples must be at least 9, got 8"),
        (Funnel, {"early": 5000.0}, "early must lie between .* 4000.0, got 5000.0"),
    ],
)
def test_bad_settings_are_refused(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_a_map_that_diverges_says_how_much_of_it(tmp_path):
    with pytest.raises(FloatingPointError, match="of 25 networks diverged"):
        trained(replace(BALANCED, learning_rate=0.5), tmp_path)


def test_networks_at_their_start_have_not_moved():
    start = BALANCED.networks
    look = Networks.look(start, start.stacked)
    assert np.max(look["distance"]) == 0.0
    assert look["unlearned"].shape == (5, 5)
