"""The start of a run, and the accuracy that theory gives its fit from decayed weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from layerwise.diagnosis import Start
from layerwise.diagnosis.lazy import RIDGE
from layerwise.networks import MLP

SEEDS = st.integers(0, 2**32 - 1)


def blobs(n=40, dim=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return 2 * np.eye(classes, dim)[labels] + rng.standard_normal((n, dim)), labels


def drawn(scale=3.0, seed=0, widths=(6, 30, 20, 3), **changes):
    return Start.drawn(widths, scale, *blobs(seed=seed), seed=seed, **changes)


def test_the_outputs_are_those_of_the_network_with_shrunk_parameters():
    x, labels = blobs()
    net = MLP((6, 30, 20, 3), weight_scale=2.0, output_scale=0.7, seed=1).double()
    weights = tuple(layer.weight.detach().numpy().copy() for layer in net.layers)
    biases = tuple(layer.bias.detach().numpy().copy() for layer in net.layers)
    start = Start(weights, x, labels, biases, output_scale=0.7)
    assert start.scales == pytest.approx(net.scales().numpy(), rel=1e-12)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(math.exp(-0.4))
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(start.outputs(0.4), expected, rtol=1e-12, atol=1e-14)


def by_quadrature(cov, f, g):
    """Return E[f(u) g(v)] of Gaussians of covariance `cov` (2, 2), by Gauss-Hermite nodes."""
    z, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    root = np.linalg.cholesky(cov)
    u = root[0, 0] * z[:, None] + 0 * z[None, :]
    v = root[1, 0] * z[:, None] + root[1, 1] * z[None, :]
    return float(np.sum(w[:, None] * w[None, :] * f(u) * g(v)))


@pytest.mark.parametrize("biases", [True, False])
def test_the_kernel_is_the_recursion_with_its_averages_taken_by_quadrature(biases):
    start = drawn(scale=1.3, widths=(6, 40, 30, 3))
    if not biases:
        start = replace(start, biases=())
    a = math.sqrt(math.pi) / 2

    def tanh_like(z):
        return erf(a * z)

    def slope(z):
        return np.exp(-((a * z) ** 2))

    shrink = 0.2
    s = start.scales * math.exp(-shrink)
    found = start.kernel(shrink)
    for pair in ((0, 1), (2, 5), (7, 3)):
        x = start.inputs[list(pair)]
        K = x @ x.T
        T = K + biases
        for layer, h in enumerate((40, 30)):
            cov = s[layer] ** 2 * K / start.weights[layer].shape[1]
            if biases:
                cov = cov + np.mean((math.exp(-shrink) * start.biases[layer]) ** 2)
            averages = []
            for f in (tanh_like, slope):
                off = by_quadrature(cov, f, f)
                diagonal = [by_quadrature(cov[k, k] * np.eye(2), lambda u, f=f: f(u) ** 2,
                            np.ones_like) for k in range(2)]  # fmt: skip
                averages.append(np.array([[diagonal[0], off], [off, diagonal[1]]]))
            K = h * averages[0]
            T = s[layer + 1] ** 2 * averages[1] * T + K + biases
        np.testing.assert_allclose(found[np.ix_(pair, pair)], T, rtol=2e-6)


def test_the_kernel_is_the_tangent_kernel_of_a_wide_network():
    widths, x = (6, 1500, 1500, 4), blobs(n=4)[0] / 3
    start = Start.drawn(widths, 1.5, x, np.arange(4) % 3, seed=3)
    weights = [torch.from_numpy(w).requires_grad_() for w in start.weights]
    biases = [torch.from_numpy(b).requires_grad_() for b in start.biases]

    def network(z):
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            z = torch.erf(math.sqrt(math.pi) / 2 * (z @ weight.T + bias))
        return z @ weights[-1].T + biases[-1]

    out = network(torch.from_numpy(x))
    K = torch.zeros(4, 4, dtype=torch.float64)
    for c in range(4):
        rows = [
            torch.autograd.grad(out[i, c], weights + biases, retain_graph=True) for i in range(4)
        ]
        for i in range(4):
            for j in range(4):
                K[i, j] += sum((a * b).sum() for a, b in zip(rows[i], rows[j], strict=True)) / 4
    # one draw of width 1500: off by a few parts in a hundred of the diagonal
    np.testing.assert_allclose(start.kernel(), K.numpy(), atol=0.05 * float(K.max()))


@pytest.mark.parametrize("shrink", [0.0, 0.7])
def test_the_accuracy_is_that_of_refitting_without_each_datum(shrink):
    start = drawn(scale=4.0, target_scale=2.0, output_scale=0.8)
    K, f0 = start.kernel(shrink), start.outputs(shrink)
    K = K + RIDGE * np.mean(np.diag(K)) * np.eye(len(K))
    Y = 2.0 * np.eye(3)[start.labels]
    right = 0
    for i in range(len(K)):
        rest = np.arange(len(K)) != i
        fit = np.linalg.solve(K[np.ix_(rest, rest)], (Y - f0)[rest])
        right += np.argmax(f0[i] + K[i, rest] @ fit) == start.labels[i]
    assert start.accuracy(shrink) == right / len(K)
    assert 0 < right < len(K)


@given(SEEDS, st.floats(0.01, 100.0))
@settings(max_examples=20)
def test_targets_and_outputs_of_one_factor_change_nothing(seed, factor):
    start = drawn(seed=seed)
    both = replace(start, target_scale=factor, output_scale=factor)
    assert both.accuracy(0.1) == start.accuracy(0.1)


@given(SEEDS, st.floats(0.0, 2.0))
@settings(max_examples=20)
def test_shrinking_is_starting_from_smaller_weights(seed, shrink):
    start = drawn(seed=seed)
    weights, biases = (
        tuple(math.exp(-shrink) * array for array in arrays)
        for arrays in (start.weights, start.biases)
    )
    smaller = replace(start, weights=weights, biases=biases)
    np.testing.assert_allclose(smaller.outputs(), start.outputs(shrink), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(smaller.kernel(), start.kernel(shrink), rtol=1e-9)


@given(SEEDS)
@settings(max_examples=20)
def test_the_order_of_the_data_changes_nothing(seed):
    start = drawn(seed=seed)
    turn = np.random.default_rng(seed).permutation(len(start.labels))
    turned = replace(start, inputs=start.inputs[turn], labels=start.labels[turn])
    assert turned.accuracy() == pytest.approx(start.accuracy(), abs=1e-12)


def test_the_curve_ends_at_the_level_or_at_unit_weights():
    start = drawn(scale=8.0)
    shrinks, accuracies = start.curve(0.6)
    assert np.all(accuracies[:-1] < 0.6)
    assert accuracies[-1] >= 0.6
    np.testing.assert_allclose(np.diff(shrinks), 0.1)
    assert accuracies[0] == start.accuracy()
    unreached = start.curve(1.1)[0]
    assert math.log(np.max(start.scales)) <= unreached[-1] < math.log(np.max(start.scales)) + 0.3


def test_drawn_weights_have_their_scale_and_their_seed():
    start = Start.drawn((6, 400, 300, 3), 5.0, *blobs(), seed=2)
    assert start.depth == 3
    assert start.scales[:2] == pytest.approx([5.0, 5.0], rel=0.05)
    again = Start.drawn((6, 400, 300, 3), 5.0, *blobs(), seed=2)
    np.testing.assert_array_equal(again.weights[1], start.weights[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": ()}, "must be two or more, and follow on each other"),
        ({"weights": (np.ones((3, 6)),)}, r"two or more.*\[\(3, 6\)\]"),
        ({"weights": (np.ones((4, 5)), np.ones((3, 4)))}, r"\(4, 5\).*inputs \(40, 6\)"),
        ({"weights": (np.ones((4, 6)), np.ones((3, 5)))}, r"\(3, 5\)"),
        ({"weights": (np.full((3, 6), math.nan),)}, "18 values that are not finite"),
        ({"biases": (np.ones(3),)}, r"one per output of each layer: \[\(3,\)\]"),
        ({"inputs": np.ones(6)}, r"inputs must be finite, of 2 dimension.*\(6,\)"),
        ({"labels": np.ones(40)}, "whole numbers, one per input: float64"),
        ({"labels": np.ones(39, dtype=int)}, r"\(39,\) for 40 inputs"),
        ({"labels": np.arange(40)}, "from 0 to 2, got 0 to 39"),
        ({"labels": np.zeros(40, dtype=int)}, "two or more classes"),
        ({"target_scale": 0.0}, "target_scale must be positive and finite, got 0.0"),
        ({"output_scale": math.inf}, "output_scale must be positive"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"weight_decay": -0.1}, "weight_decay must be finite and >= 0, got -0.1"),
    ],
)
def test_what_does_not_fit_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(drawn(), **changes)
