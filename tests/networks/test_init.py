"""Starts of the theory for modules: the balance they claim, and the function they keep."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from layerwise.measures import imbalance
from layerwise.networks import (
    CNN,
    MLP,
    ResNet18,
    Transformer,
    TwoLayer,
    conserved_values,
    downstream,
    lambda_balance,
    neuron_balance,
    rescale,
    set_weights,
    upstream,
)
from layerwise.theory import starts

SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**20)


def drawn(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def pair(i, h, o, *, bias=False, seed=0):
    layers = nn.Linear(i, h, bias=bias).double(), nn.Linear(h, o, bias=bias).double()
    for k, p in enumerate(p for layer in layers for p in layer.parameters()):
        p.data = drawn(p.shape, seed + k)
    return layers


def weights(first, second):
    """Return W1, with the bias as its last column, and W2."""
    W1 = first.weight.detach()
    if first.bias is not None:
        W1 = torch.cat([W1, first.bias.detach()[:, None]], dim=1)
    return W1, second.weight.detach()


def row(*layers, seed=0):
    net = nn.Sequential(*layers).double()
    for k, p in enumerate(net.parameters()):
        p.data = drawn(p.shape, seed + k) / max(1, p[0].numel()) ** 0.5
    return net


HOMOGENEOUS = {
    "MLP": lambda: MLP((4, 6, 5, 7, 3), activation="relu", output_scale=0.5, seed=1).double(),
    "linear": lambda: row(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)),
    "leaky": lambda: row(
        nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3)
    ),
    "TwoLayer": lambda: TwoLayer(4, 6, std=0.5, seed=1).double(),
    "CNN": lambda: CNN(2, 3, side=6, widths=(3, 4, 5), seed=1).double(),
    "convolutions with biases": lambda: row(
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Conv2d(3, 4, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ),
}  # fmt: skip


def inputs(net):
    images = any(isinstance(module, nn.Conv2d) for module in net.modules())
    return drawn((5, 2, 6, 6) if images else (5, 4), seed=99)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_upstream_keeps_the_function_and_moves_the_scale(name, alpha):
    net = HOMOGENEOUS[name]()
    x, before = inputs(net), copy.deepcopy(net)
    old = [p for p in before.parameters() if p.ndim > 1 or name == "TwoLayer"]
    upstream(net, alpha)
    torch.testing.assert_close(net(x), before(x), rtol=1e-12, atol=1e-13)
    new = [p for p in net.parameters() if p.ndim > 1 or name == "TwoLayer"]
    torch.testing.assert_close(new[0], old[0] / alpha)
    last = 2 if name == "TwoLayer" else -1  # weight, bias, readout, offset
    torch.testing.assert_close(new[last], old[last] * alpha)
    for a, b in zip(new[1:last], old[1:last], strict=True):
        torch.testing.assert_close(a, b / alpha if name == "TwoLayer" else b)
    downstream(net, alpha)
    for a, b in zip(net.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_later_larger_is_upstream():
    net = HOMOGENEOUS["CNN"]()
    names = ("body.0-body.2", "body.4-head")
    before = [conserved_values(net)[name].sum() for name in names]
    upstream(net, 10.0)
    assert all(conserved_values(net)[name].sum() > b for name, b in zip(names, before, strict=True))
    downstream(net, 100.0)
    assert all(conserved_values(net)[name].sum() < b for name, b in zip(names, before, strict=True))


def test_the_early_layer_learns_upstream():
    x, y, moved = drawn((40, 4)), drawn((40, 3), seed=1), []
    for alpha in (0.1, 1.0, 10.0):
        net = HOMOGENEOUS["MLP"]()
        upstream(net, alpha)
        ends = [net.layers[k].weight for k in (0, -1)]
        start = [p.detach().clone() for p in ends]
        rate = 0.01 / max(alpha, 1 / alpha) ** 2
        for _ in range(30):
            gradients = torch.autograd.grad((net(x) - y).square().mean(), ends)
            with torch.no_grad():
                for p, gradient in zip(ends, gradients, strict=True):
                    p -= rate * gradient
        with torch.no_grad():
            moved.append(
                [float((p - s).norm() / s.norm()) for p, s in zip(ends, start, strict=True)]
            )
    (down_first, down_last), (even_first, even_last), (up_first, up_last) = moved
    assert up_first > 30 * up_last
    assert down_last > 30 * down_first
    assert up_first > even_first > 30 * down_first
    assert down_last > even_last > 30 * up_last


def test_what_would_change_the_function_is_refused():
    for net, through in (
        (MLP((3, 4, 2)), "'layers.0' to 'layers.1' through tanh"),
        (row(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
         "'2' to '4' through LayerNorm"),
    ):  # fmt: skip
        before = copy.deepcopy(net.state_dict())
        for change in (upstream, downstream):
            with pytest.raises(ValueError, match=f"no factor passes from {through}: the function"):
                change(net, 2.0)
        assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    for net in (ResNet18(1, 2, width=1), Transformer(3, 2, 3)):
        with pytest.raises(TypeError, match=f"layers of {type(net).__name__} is not known"):
            upstream(net, 2.0)
    with pytest.raises(ValueError, match="two layers, MLP has 1"):
        upstream(MLP((3, 2)), 2.0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_bad_factors_are_refused(alpha):
    net = HOMOGENEOUS["MLP"]()
    for change in (upstream, downstream):
        with pytest.raises(ValueError, match=f"alpha must be positive and finite, got {alpha}"):
            change(net, alpha)


@pytest.mark.parametrize("name", ["MLP", "convolutions with biases", "leaky"])
@settings(deadline=None)
@given(data=st.data())
def test_factors_of_product_one_keep_the_function(name, data):
    net = HOMOGENEOUS[name]()
    x, before = inputs(net), copy.deepcopy(net)
    names = [n.removesuffix(".weight") for n, p in net.named_parameters() if p.ndim > 1]
    logs = data.draw(st.lists(st.floats(-3, 3), min_size=len(names) - 1, max_size=len(names) - 1))
    factors = dict(zip(names, np.exp([*logs, -math.fsum(logs)]).tolist(), strict=True))
    rescale(net, factors, preserve=True)
    torch.testing.assert_close(net(x), before(x), rtol=1e-11, atol=1e-12)
    for layer, factor in factors.items():
        weight = f"{layer}.weight"
        torch.testing.assert_close(
            net.get_parameter(weight), factor * before.get_parameter(weight), rtol=1e-14, atol=0
        )


def test_a_factor_need_not_pass_where_none_has_to():
    net = row(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    x, before = drawn((5, 3)), copy.deepcopy(net)
    rescale(net, {"0": 8.0, "2": 0.125}, preserve=True)
    torch.testing.assert_close(net(x), before(x), rtol=1e-13, atol=0)
    with pytest.raises(ValueError, match="from '2' to '4' through Tanh"):
        rescale(net, {"0": 8.0, "4": 0.125}, preserve=True)


def test_plain_factors_are_those_asked_for():
    net = Transformer(5, 3, 4, width=8, heads=2, hidden=6)
    before = parameters(net)
    rescale(net, {"tokens": 0.5, "unembed.weight": 3.0})
    for name, p in parameters(net).items():
        factor = {"tokens.weight": 0.5, "unembed.weight": 3.0}.get(name, 1.0)
        assert torch.equal(p, factor * before[name])
    net = row(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), nn.Tanh(), nn.Linear(2, 2))
    before = parameters(net)
    rescale(net, {"0": 0.0, "2.bias": -2.0})
    for name, p in parameters(net).items():
        factor = 0.0 if name[0] == "0" else -2.0 if name == "2.bias" else 1.0
        assert torch.equal(p, factor * before[name])
    rescale(net, {"": 0.5})
    assert torch.equal(net[2].bias, -before["2.bias"])
    net = TwoLayer(3, 4)
    before = parameters(net)
    rescale(net, {"readout": 2.0})
    assert torch.equal(net.readout, 2 * before["readout"])
    assert torch.equal(net.weight, before["weight"])


def parameters(net):
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def test_bad_rescalings_are_refused_before_any_work():
    net = HOMOGENEOUS["MLP"]()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"finite, got \{'layers.1': nan\}"):
        rescale(net, {"layers.0": 2.0, "layers.1": math.nan})
    with pytest.raises(AttributeError, match="nothing"):
        rescale(net, {"layers.0": 2.0, "nothing": 2.0})
    with pytest.raises(ValueError, match=r"product 1, got 2\.0"):
        rescale(net, {"layers.0": 2.0}, preserve=True)
    with pytest.raises(ValueError, match="positive to pass a ReLU"):
        rescale(net, {"layers.0": -1.0, "layers.1": -1.0}, preserve=True)
    with pytest.raises(ValueError, match=r"\['layers.9'\] are not among the layers \['layers.0',"):
        rescale(net, {"layers.0": 2.0, "layers.9": 0.5}, preserve=True)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


@settings(deadline=None)
@given(
    i=SIZES, h=SIZES, o=SIZES, seed=SEEDS, bias=st.booleans(),
    lam=st.sampled_from([0.0, 1e-9, 0.5, -0.5, 30.0, -30.0]),
)  # fmt: skip
def test_lambda_balance_keeps_the_product_and_has_the_balance_asked_for(i, h, o, seed, bias, lam):
    first, second = pair(i, h, o, bias=bias, seed=seed)
    W1, W2 = weights(first, second)
    if (lam > 0 and h > o) or (lam < 0 and h > i + bias):
        with pytest.raises(ValueError, match="lam > 0 needs h <= o and lam < 0 needs h <= i, got"):
            lambda_balance(first, second, lam)
        assert all(torch.equal(a, b) for a, b in zip(weights(first, second), (W1, W2), strict=True))
        return
    product, kept = W2 @ W1, parameters(second)
    lambda_balance(first, second, lam)
    new1, new2 = weights(first, second)
    size = (W1.norm() + W2.norm()).item() ** 2 + abs(lam)
    torch.testing.assert_close(new2 @ new1, product, rtol=0, atol=1e-13 * size)
    wanted = lam * torch.eye(h, dtype=torch.float64)
    torch.testing.assert_close(imbalance(new1, new2), wanted, rtol=0, atol=1e-13 * size)
    if bias:
        assert torch.equal(second.bias, kept["bias"])


@settings(deadline=None)
@given(i=st.integers(3, 6), seed=SEEDS, lam=st.sampled_from([0.0, 0.5, -0.5]))
def test_lambda_balance_moves_nothing_twice_and_no_more_than_it_must(i, seed, lam):
    first, second = pair(i, 3, 4, seed=seed)
    before = weights(first, second)
    lambda_balance(first, second, lam)
    once = weights(first, second)
    moved = sum((a - b).square().sum() for a, b in zip(once, before, strict=True)).item()
    for k in range(20):  # all other hidden rotations of the same start
        turn, _ = torch.linalg.qr(drawn((3, 3), seed + k))
        others = turn @ once[0], once[1] @ turn.T
        assert sum((a - b).square().sum() for a, b in zip(others, before, strict=True)) > moved
    lambda_balance(first, second, lam)
    for a, b in zip(weights(first, second), once, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_lambda_balance_of_a_whole_linear_network_keeps_its_function():
    net = row(nn.Linear(4, 3), nn.Linear(3, 5), seed=5)
    x, before = drawn((6, 4)), copy.deepcopy(net)
    for lam in (2.0, 0.0, -2.0):
        lambda_balance(net[0], net[1], lam)
        torch.testing.assert_close(net(x), before(x), rtol=1e-12, atol=1e-12)
        found = conserved_values(net)["0-1"]
        torch.testing.assert_close(found, lam * torch.eye(3).double(), rtol=0, atol=1e-13)


def test_lambda_balance_of_zero_layers():
    first, second = pair(4, 2, 3)
    first.weight.data.zero_()
    second.weight.data.zero_()
    lambda_balance(first, second)
    assert not any(w.any() for w in weights(first, second))
    lambda_balance(first, second, 0.25)
    W1, W2 = weights(first, second)
    assert not W1.any()
    torch.testing.assert_close(W2.T @ W2, 0.25 * torch.eye(2).double())


def test_single_precision_is_balanced_to_its_rounding():
    first, second = nn.Linear(30, 20), nn.Linear(20, 25)
    lambda_balance(first, second, 0.7)
    wanted = 0.7 * torch.eye(20)
    torch.testing.assert_close(imbalance(*weights(first, second)), wanted, rtol=0, atol=1e-6)


def test_bad_pairs_are_refused():
    with pytest.raises(ValueError, match=r"share h, got weights \(3, 2\) and \(5, 4\)"):
        lambda_balance(nn.Linear(2, 3, bias=False), nn.Linear(4, 5))
    with pytest.raises(ValueError, match="with i = 2, h = 3, o = 1; change the sizes"):
        lambda_balance(nn.Linear(2, 3, bias=False), nn.Linear(3, 1), 1.0)
    for balance in (lambda_balance, neuron_balance):
        with pytest.raises(ValueError, match="lam must be finite, got nan"):
            balance(nn.Linear(2, 3), nn.Linear(3, 5), math.nan)
    with pytest.raises(ValueError, match=r"share their units, got weights \(3, 2\) and \(5, 6\)"):
        neuron_balance(nn.Linear(2, 3), nn.Linear(6, 5))
    with pytest.raises(ValueError, match=r"got weights \(3, 2, 3, 3\) and \(5, 7\)"):
        neuron_balance(nn.Conv2d(2, 3, 3), nn.Linear(7, 5))


UNITS = {
    "ReLU": lambda: row(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    "no bias": lambda: row(nn.Linear(4, 6, bias=False), nn.LeakyReLU(), nn.Linear(6, 3)),
    "convolutions": lambda: row(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(12, 2)
    ),
    "flattened": lambda: row(
        nn.Conv2d(2, 3, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    ),
}


@pytest.mark.parametrize("lam", [0.0, 1e-9, 0.5, -0.5, 1e4, -1e4])
@pytest.mark.parametrize("name", UNITS)
def test_neuron_balance_keeps_the_function_and_balances_each_unit(name, lam):
    net = UNITS[name]()
    if name != "ReLU":
        net = net.to(memory_format=torch.channels_last)
    x, before = inputs(net), copy.deepcopy(net)
    layers = [module for module in net if hasattr(module, "weight")]
    neuron_balance(layers[0], layers[1], lam)
    torch.testing.assert_close(net(x), before(x), rtol=1e-12, atol=1e-13)
    (found, *_) = conserved_values(net).values()
    torch.testing.assert_close(found, torch.full_like(found, lam), rtol=1e-12, atol=1e-13)


def test_units_without_weights_are_counted_and_nothing_changes():
    net = UNITS["no bias"]()
    with torch.no_grad():
        net[0].weight[1] = 0
        net[2].weight[:, 4] = 0
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="2 of 6 units have no weights in or none out"):
        neuron_balance(net[0], net[2])
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_starts_of_the_theory_are_those_of_a_network(dtype):
    net = MLP((3, 8, 2), activation="relu").to(dtype)
    W1, W2 = starts.two_valued((3, 8, 2), upper=2.0, lower=0.5)
    set_weights(net.layers, (W1, W2))
    for layer, W in zip(net.layers, (W1, W2), strict=True):
        assert layer.weight.dtype == dtype
        np.testing.assert_allclose(layer.weight.detach().numpy(), W, rtol=1e-6)
        assert not layer.bias.any()
        assert layer.weight.requires_grad
    layers = nn.Linear(3, 2, bias=False), nn.Linear(2, 2)
    set_weights(layers, ([[1, 2, 3], [4, 5, 6]], torch.eye(2)))
    assert layers[0].weight.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_arrays_that_do_not_fit_are_refused():
    net = MLP((3, 4, 2))
    before = copy.deepcopy(net.state_dict())
    for arrays in ([np.ones((4, 3))], [np.ones((4, 3)), np.ones((4, 2))]):
        with pytest.raises(ValueError, match=r"shapes \[\(4, 3\), \(2, 4\)\] of the layers, got"):
            set_weights(net.layers, arrays)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
