"""Remedies: what they change, what they keep, and that they can be undone."""

import copy
import math

import pytest
import torch
from torch import nn

from layerwise.networks import (
    CNN,
    MLP,
    CentredOutput,
    ResNet18,
    ScaledInput,
    ScaledOutput,
    SymmetrisedOutput,
    TwoLayer,
    conserved_values,
    remedies,
)

HOMOGENEOUS = {
    "MLP": lambda: MLP((5, 20, 30, 4), activation="relu", seed=0),
    "CNN": lambda: CNN(2, 3, side=8, widths=(4, 5, 6), seed=0),
    "leaky": lambda: nn.Sequential(nn.Linear(5, 9), nn.LeakyReLU(), nn.Linear(9, 2)),
    "linear": lambda: nn.Sequential(nn.Linear(5, 9, bias=False), nn.Linear(9, 2)),
}


def built(name):
    torch.manual_seed(0)
    return HOMOGENEOUS[name]().double()


def batch(name):
    return torch.randn(*((7, 2, 8, 8) if name == "CNN" else (7, 5))).double()


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_weights_are_multiplied_and_back(factor):
    net = built("CNN")
    x, before = batch("CNN"), copy.deepcopy(net)
    remedies.scale_weights(net, factor)
    torch.testing.assert_close(net(x), factor**4 * before(x), rtol=1e-10, atol=0)
    remedies.scale_weights(net, 1 / factor)
    for a, b in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


@pytest.mark.parametrize("factor", [0.1, 3.0, 7.0])
@pytest.mark.parametrize(
    ("scale", "kind"), [(remedies.scale_output, ScaledOutput), (remedies.scale_input, ScaledInput)]
)
def test_wrappers_scale_and_are_taken_off(scale, kind, factor):
    net, x = built("MLP"), batch("MLP")
    wrapped = scale(net, factor)
    wanted = factor * net(x) if kind is ScaledOutput else net(factor * x)
    assert type(wrapped) is kind
    torch.testing.assert_close(wrapped(x), wanted, rtol=1e-12, atol=0)
    assert scale(wrapped, 1 / factor) is net
    twice = scale(wrapped, 2.0)
    assert twice.net is net
    assert twice.factor == pytest.approx(2 * factor)
    assert scale(net, 1.0) is net


def test_targets_are_multiplied():
    y = torch.randn(4, 2)
    assert torch.equal(remedies.scale_targets(y, 3.0), 3 * y)
    labels = torch.tensor([2, 0])
    assert remedies.scale_targets(labels, 2.0, classes=3).tolist() == [[0, 0, 2], [2, 0, 0]]
    with pytest.raises(ValueError, match=r"labels of torch.int64 have no scale: pass classes="):
        remedies.scale_targets(labels, 2.0)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_factors_must_be_positive(factor):
    net = built("MLP")
    before = copy.deepcopy(net.state_dict())
    for scale in (remedies.scale_weights, remedies.scale_output, remedies.scale_input):
        with pytest.raises(ValueError, match="factor must be positive and finite"):
            scale(net, factor)
    with pytest.raises(ValueError, match="factor must be positive and finite"):
        remedies.scale_targets(torch.ones(2), factor)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ValueError, match="factor must be finite, got"):
        ScaledInput(net, math.nan)


@pytest.mark.parametrize("alpha", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_balanced_layers_keep_the_function_at_the_least_norm(name, alpha):
    net = built(name)
    x = batch(name)
    remedies.upstream(net, alpha)
    wanted, old = net(x), copy.deepcopy(net.state_dict())
    before = remedies.balance(net)
    torch.testing.assert_close(net(x), wanted, rtol=1e-9, atol=1e-11)
    sizes = sum(float(p.detach().square().sum()) for p in net.parameters())
    for D in conserved_values(net).values():
        own = D.diagonal() if D.ndim == 2 else D
        assert float(own.abs().max()) < 1e-4 * sizes
    for factor in (0.3, 0.8, 1.1, 4.0):  # any other scale has a larger norm
        other = copy.deepcopy(net)
        remedies.upstream(other, factor)
        assert sum(float(p.detach().square().sum()) for p in other.parameters()) >= sizes * (
            1 - 1e-8
        )
    assert all(torch.equal(value, old[key]) for key, value in before.items())
    net.load_state_dict(before)
    assert torch.equal(net(x), wanted)


def test_what_has_no_balance_is_refused_and_left_alone():
    tanh = MLP((3, 4, 2))
    dead = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(dead[4].weight)
    for net, words in (
        (tanh, "no factor of a unit passes from 'layers.0' to 'layers.1' through tanh"),
        (dead, "4 of 4 units have no weights"),
    ):
        before = copy.deepcopy(net.state_dict())
        with pytest.raises(ValueError, match=words):
            remedies.balance(net)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for net in (ResNet18(1, 2, width=1), TwoLayer(3, 4)):
        for wrapped in (net, ScaledInput(net, 2.0)):
            with pytest.raises(TypeError, match=type(net).__name__):
                remedies.balance(wrapped)
    with pytest.raises(TypeError, match="2 chains of layers"):
        remedies.balance(SymmetrisedOutput(built("linear")))


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_wrappers_are_seen_through(name):
    """Layers inside are moved upstream and balanced, and the whole keeps its function."""
    x = batch(name)
    for wrap in (
        lambda net: remedies.scale_output(net, 0.2),
        lambda net: remedies.scale_input(remedies.scale_output(net, 5.0), 0.3),
        CentredOutput,
    ):
        net = wrap(built(name))
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.01 if p.requires_grad else 0.0)  # away from the copy of the centred one
        wanted = net(x)
        remedies.upstream(net, 7.0)
        torch.testing.assert_close(net(x), wanted, rtol=1e-9, atol=1e-11)
        before = remedies.balance(net)
        torch.testing.assert_close(net(x), wanted, rtol=1e-9, atol=1e-11)
        for D in conserved_values(net).values():
            own = D.diagonal() if D.ndim == 2 else D
            assert float(own.abs().max()) < 1e-4 * sum(
                float(p.detach().square().sum()) for p in net.parameters()
            )
        net.load_state_dict(before)
        remedies.upstream(net, 1 / 7.0)
        torch.testing.assert_close(net(x), wanted, rtol=1e-9, atol=1e-11)


def test_decay_is_set_and_set_back():
    groups = [{"params": [nn.Parameter(torch.ones(1))], "weight_decay": d} for d in (0.0, 0.1)]
    optimizer = torch.optim.AdamW(groups)
    before = remedies.set_decay(optimizer, 0.3)
    assert before == (0.0, 0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert remedies.set_decay(optimizer, before) == (0.3, 0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.1]


@pytest.mark.parametrize("decay", [-0.1, math.nan, math.inf, (0.1, 0.2)])
def test_bad_decays_are_refused(decay):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1, weight_decay=0.5)
    with pytest.raises(ValueError, match=r"one for each of the 1 groups, got"):
        remedies.set_decay(optimizer, decay)
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    with pytest.raises(ValueError, match="LBFGS has no weight_decay"):
        remedies.set_decay(torch.optim.LBFGS([nn.Parameter(torch.ones(1))]), 0.1)
