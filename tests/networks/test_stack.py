"""An ensemble side by side: every member is the network it would be alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from layerwise.networks import Stack, TwoLayer, stacked_gradient

INPUTS, WIDTHS, SEED = 7, (5, 1, 3, 5), 11
X = torch.randn(30, INPUTS, generator=torch.Generator().manual_seed(0))
Y = torch.randn(30, 1, generator=torch.Generator().manual_seed(1))


def ensemble():
    stack = Stack(INPUTS, WIDTHS, std=0.4, seed=SEED)
    members = [TwoLayer(INPUTS, w, std=0.4, seed=SEED + j) for j, w in enumerate(WIDTHS)]
    return stack, members


def assert_equal_members(stack, members, of):
    for name, p in stack.named_parameters():
        torch.testing.assert_close(
            of(p), torch.cat([of(getattr(member, name)) for member in members]), msg=name
        )


def test_every_output_is_that_of_the_network_alone():
    stack, members = ensemble()
    assert_equal_members(stack, members, lambda p: p.data)
    torch.testing.assert_close(stack(X), torch.cat([member(X) for member in members], dim=1))


@pytest.mark.parametrize("width", [1, 3])
def test_one_network_and_one_neuron_are_a_stack_too(width):
    alone = TwoLayer(INPUTS, width, std=0.4, seed=2)
    torch.testing.assert_close(Stack(INPUTS, [width], std=0.4, seed=2)(X), alone(X))


@pytest.mark.parametrize("y", [Y, Y + torch.arange(float(len(WIDTHS)))], ids=["shared", "own"])
def test_every_gradient_is_that_of_the_network_alone(y):
    stack, members = ensemble()
    for member, own in zip(members, y.expand(-1, len(WIDTHS)).split(1, dim=1), strict=True):
        mse_loss(member(X), own).backward()
    for _ in range(2):  # nothing is added up
        stacked_gradient(stack, X, y)
    assert_equal_members(stack, members, lambda p: p.grad)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_training_side_by_side_is_training_one_by_one(optimizer):
    stack, members = ensemble()
    together = optimizer(stack.parameters(), lr=0.02)
    for _ in range(10):
        stacked_gradient(stack, X, Y)
        together.step()
    for member in members:
        alone = optimizer(member.parameters(), lr=0.02)
        for _ in range(10):
            alone.zero_grad()
            mse_loss(member(X), Y).backward()
            alone.step()
    assert_equal_members(stack, members, lambda p: p.data)


def test_an_empty_stack_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        Stack(3, [])
