"""Remedies as predictions: small networks are measured and trained before and after each."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import layerwise as lw
from layerwise.diagnosis.advice import SCALES, balanced, decayed, scale_to, scaled, spared, turned
from layerwise.measures import gamma_plus, weight_to_target
from layerwise.networks import ntk


def data(n=60, dim=6, classes=3):
    draws = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % classes
    x = torch.randn(n, dim, generator=draws)
    x[:, :classes] += 2 * nn.functional.one_hot(labels, classes)
    return x, nn.functional.one_hot(labels, classes).float()


def relu(depth=3, width=60, seed=0):
    torch.manual_seed(seed)
    sizes = [6, *[width] * (depth - 1), 3]
    layers = [nn.Linear(i, o, bias=False) for i, o in pairwise(sizes)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])


def applied(name, factor, net, y):
    """Return network and targets after a remedy, the network being a copy."""
    net = copy.deepcopy(net)
    if name == "scale_targets":
        return net, lw.remedies.scale_targets(y, factor)
    return getattr(lw.remedies, name)(net, factor) or net, y


def start(net, x, y):
    with lw.Probe(net, batch=(x, y), measures=("scale",)) as probe:
        found = probe.step(0)
        degree = probe.trace().provenance.config["degree"]
    return found["layerwise/weight_to_target"], found["layerwise/gamma_plus"], degree


@pytest.mark.parametrize("factor", [0.2, 3.0])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("name", SCALES)
def test_a_real_network_has_the_predicted_scale_and_speed(name, depth, factor):
    x, y = data()
    net = relu(depth)
    ratio, growth, degree = start(net, x, y)
    assert degree == pytest.approx(depth, abs=1e-4)
    told = scaled(name, factor, ratio, growth, degree).predicted
    after, targets = applied(name, factor, net, y)
    found = start(after, x, targets)
    assert found[0] == pytest.approx(told["weight_to_target"], rel=1e-3)
    assert found[1] == pytest.approx(told["gamma_plus"], rel=1e-3)
    kernels = [torch.linalg.matrix_norm(ntk(one, x[:20])) for one in (net, after)]
    assert float(kernels[1] / kernels[0]) == pytest.approx(told["speed"], rel=1e-3)


@pytest.mark.parametrize("name", SCALES)
def test_squared_weights_grow_as_predicted(name):
    """A trained 1-h-1 network, before and after: every (a + b)^2 grows by gamma_plus."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 8, bias=False), nn.Linear(8, 1, bias=False)).double()
    x, y = torch.ones(1, 1).double(), torch.tensor([[0.7]]).double()
    ratio, growth, degree = start(net, x, y)
    remedy = scaled(name, 0.5 if name != "scale_targets" else 2.0, ratio, growth, degree)
    factor = float(remedy.call.split(", ")[1].rstrip(")"))
    for one, target, predicted in (
        (net, y, growth),
        (*applied(name, factor, net, y), remedy.predicted["gamma_plus"]),
    ):
        a, b = (p.detach().reshape(-1).clone() for p in one.parameters())
        optimizer = torch.optim.SGD(one.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            (0.5 * (one(x) - target).square().sum()).backward()
            optimizer.step()
        c, d = (p.detach().reshape(-1) for p in one.parameters())
        torch.testing.assert_close(
            ((c + d) / (a + b)) ** 2, torch.full_like(a, predicted), rtol=0.03, atol=0
        )


def feature_motion(net, x, y, steps=250):
    """Train by plain descent, as fast as is stable, and return how far the features moved."""
    rate = len(x) / float(torch.linalg.matrix_norm(ntk(net, x), ord=2))
    probe = lw.Probe(net, batch=(x, y), every=steps, measures=("features",))
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for step in range(steps + 1):
        loss = 0.5 * (net(x) - y).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        probe.step(step)
        optimizer.step()
    return probe.trace()["layerwise/feature_distance/penultimate"][-1]


@pytest.mark.parametrize("name", SCALES)
def test_features_move_more_after_each_remedy(name):
    x, y = data()
    net = relu(depth=2, width=100)
    lw.remedies.scale_weights(net, 2.0)
    ratio, growth, degree = start(net, x, y)
    remedies = scale_to(ratio / 16, ratio, growth, degree)
    remedy = next(one for one in remedies if one.name == name)
    factor = float(remedy.call.split(", ")[1].rstrip(")"))
    after, targets = applied(name, factor, net, y)
    assert feature_motion(after, x, targets) > 3 * feature_motion(net, x, y)


def test_balancing_wakes_the_larger_layer():
    x, y = data()
    net = relu(depth=2, width=100)
    lw.remedies.upstream(net, 0.1)
    with lw.Probe(net, batch=(x, y), measures=("balance",)) as probe:
        share = probe.step(0)["layerwise/balance_share/0-2"]
    ratio = start(net, x, y)[0]
    told = balanced(share, ratio)
    assert told.keeps_function
    outputs, still = net(x), copy.deepcopy(net)
    lw.remedies.balance(net)
    squares = [
        sum(float(p.detach().square().sum()) for p in one.parameters()) for one in (still, net)
    ]
    left = told.predicted["squared_weights"]
    assert 0.8 * left < squares[1] / squares[0] <= left
    torch.testing.assert_close(net(x), outputs, rtol=1e-4, atol=1e-4)
    assert start(net, x, y)[0] < ratio / 5
    assert told.predicted["weight_to_target"] < ratio / 5
    assert feature_motion(net, x, y) > 10 * feature_motion(still, x, y)


def test_turning_wakes_the_early_layer():
    x, y = data()
    net = relu(depth=2, width=100)
    lw.remedies.upstream(net, 0.1)

    def share(net):
        with lw.Probe(net, batch=(x, y), measures=("balance",)) as probe:
            return probe.step(0)["layerwise/balance_share/0-2"]

    told = turned(share(net))
    outputs, still = net(x), copy.deepcopy(net)
    lw.remedies.upstream(net, told.value)
    assert share(net) == pytest.approx(told.predicted["balance_share"], rel=1e-5)
    torch.testing.assert_close(net(x), outputs, rtol=1e-4, atol=1e-4)
    assert feature_motion(net, x, y) > 10 * feature_motion(still, x, y)


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=6),
    st.floats(0.1, 10),
)
def test_the_ratio_of_balanced_pairs_is_bounded(pairs, target):
    a, b = np.array(pairs).T
    ratio = float(weight_to_target(a, b, target))
    share = float(np.sum(b**2 - a**2) / np.sum(a**2 + b**2))
    root = np.sqrt(a * b)
    after = float(weight_to_target(root, root, target))
    bound = balanced(share, ratio).predicted["weight_to_target"]
    assert after <= bound * (1 + 1e-9)
    if len(a) == 1:
        assert after == pytest.approx(bound, rel=1e-6)


def generalises_at(decay, rate=0.01, dim=40, n=34, width=60):
    """Train a two-layer linear network from large weights; return the steps to test error 1.2."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, dim, generator=draws)
    unseen = torch.randn(500, dim, generator=draws)
    teacher = torch.zeros(dim, 1)
    teacher[0], teacher[1] = 1.0, -1.0
    A = (3 / math.sqrt(dim) * torch.randn(width, dim, generator=draws)).requires_grad_()
    b = (3 / math.sqrt(width) * torch.randn(1, width, generator=draws)).requires_grad_()
    optimizer = torch.optim.SGD([A, b], lr=rate, weight_decay=decay)
    for step in range(3_000):
        optimizer.zero_grad()
        (0.5 * (x @ A.T @ b.T - x @ teacher).square().mean()).backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                if (unseen @ (A.T @ b.T - teacher)).square().mean() < 1.2:
                    return step
    raise AssertionError("the network never generalised")


def test_more_decay_ends_the_delay_as_many_times_sooner():
    told = decayed(0.04, 2.0).predicted["steps"]
    assert told == 0.5
    assert generalises_at(0.08) / generalises_at(0.04) == pytest.approx(told, rel=0.2)


@given(
    st.floats(0.01, 50), st.floats(-0.99, 0.99), st.floats(0.05, 20), st.sampled_from(SCALES),
    st.floats(1, 5),
)  # fmt: skip
def test_the_start_follows_from_ratio_and_growth(ratio, share, factor, name, degree):
    """Against the pair of weights itself, scaled."""
    theta = share * ratio
    plus, minus = math.sqrt(2 * (ratio + theta)), math.sqrt(2 * (ratio - theta))
    a, b = (plus + minus) / 2, (plus - minus) / 2
    told = scaled(name, factor, ratio, float(gamma_plus([a], [b], 1.0)), degree).predicted
    size = {"scale_weights": factor**degree, "scale_targets": 1 / factor}.get(name, factor)
    c, d = math.sqrt(size) * a, math.sqrt(size) * b
    assert told["weight_to_target"] == pytest.approx(float(weight_to_target([c], [d], 1.0)))
    assert told["gamma_plus"] == pytest.approx(float(gamma_plus([c], [d], 1.0)), rel=1e-6)


def test_all_four_reach_the_goal():
    for one in scale_to(0.5, 20.0, 1.03, 3.0):
        assert one.predicted["weight_to_target"] == pytest.approx(0.5)
    assert [one.name for one in scale_to(0.5, 20.0)] == list(SCALES)
    assert not scale_to(0.5, 20.0, saturated=4)[-1].predicted


def test_bad_numbers_are_refused():
    with pytest.raises(
        ValueError, match="unknown remedy that scales 'scale_outputs'; did you mean"
    ):
        scaled("scale_outputs", 0.1, 1.0)
    for numbers in ((0.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="must be positive and finite, got"):
            scaled("scale_output", *numbers)
    with pytest.raises(ValueError, match=r"share must lie in \[-1, 1\]"):
        balanced(1.5)
    with pytest.raises(ValueError, match="decay must be positive and finite, got 0"):
        decayed(0.0, 2.0)
    with pytest.raises(ValueError, match="learned must be positive and finite, got 0"):
        spared(0.1, smallest=4, learned=0)
    for share in (0.0, 0.5, -1.0, math.nan):
        with pytest.raises(ValueError, match="share must lie between -1 and 0"):
            turned(share)
