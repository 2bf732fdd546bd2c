"""Wrappers of the output: zero at the start, the same kernel, scaled."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from layerwise.networks import CNN, MLP, CentredOutput, ScaledOutput, SymmetrisedOutput

ZERO = pytest.mark.parametrize("wrap", [CentredOutput, SymmetrisedOutput])
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(seed=1):
    return MLP((3, 5, 2), seed=seed).double()


def kernel(net, x):
    """Return J J^T of all outputs, one gradient at a time."""
    trained = [p for p in net.parameters() if p.requires_grad]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(f, trained, retain_graph=True)])
        for f in net(x).flatten()
    ]
    return torch.stack(rows) @ torch.stack(rows).T


@ZERO
def test_the_output_is_zero_and_the_kernel_that_of_the_network(wrap):
    net = network()
    wanted = kernel(net, X)
    wrapped = wrap(net)
    assert torch.equal(wrapped(X), torch.zeros(4, 2, dtype=torch.float64))
    torch.testing.assert_close(kernel(wrapped, X), wanted)
    assert not wrap(CNN(1, 10))(torch.randn(1, 1, 8, 8)).any()


def test_centred_is_the_change_since_it_was_wrapped():
    net = network()
    start = copy.deepcopy(net)
    wrapped = CentredOutput(net)
    assert wrapped.net is net
    with torch.no_grad():
        net.layers[0].weight += 0.5
    torch.testing.assert_close(wrapped(X), net(X) - start(X))
    names = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert names == {f"net.{name}" for name, _ in net.named_parameters()}


def test_centred_stays_the_same_start_in_training_and_in_storage():
    wrapped, x = CentredOutput(network()), X
    before = copy.deepcopy(wrapped.start.state_dict())
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (wrapped(x) - 1).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in wrapped.start.state_dict().items())
    other = CentredOutput(network(seed=2))
    other.load_state_dict(wrapped.state_dict())
    assert torch.equal(other(x), wrapped(x))


def test_symmetrised_is_the_scaled_difference_of_two_trained_copies():
    net = network()
    wrapped = SymmetrisedOutput(net)
    assert wrapped.plus is net
    assert all(p.requires_grad for p in wrapped.parameters())
    with torch.no_grad():
        wrapped.minus.layers[1].weight += 0.5
    wanted = (net(X) - wrapped.minus(X)) / math.sqrt(2)
    torch.testing.assert_close(wrapped(X), wanted)
    assert wrapped(X).abs().max() > 0.1


def test_scaled_is_the_multiple():
    net = network()
    wrapped = ScaledOutput(net, -2.5)
    assert wrapped.net is net
    assert torch.equal(wrapped(X), -2.5 * net(X))
    torch.testing.assert_close(kernel(wrapped, X), 6.25 * kernel(net, X))


def test_wrappers_stack():
    wrapped = ScaledOutput(CentredOutput(network()), 10.0)
    assert not wrapped(X).any()
    assert isinstance(wrapped.net.net, nn.Module)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_factor_that_is_no_number_is_refused(factor):
    with pytest.raises(ValueError, match=f"factor must be finite, got {factor}"):
        ScaledOutput(network(), factor)
