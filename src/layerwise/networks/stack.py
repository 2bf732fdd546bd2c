"""Many small two-layer networks trained side by side, for the price of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layerwise.networks.two_layer import TwoLayer

__all__ = ["Stack", "stacked_gradient"]


class Stack(nn.Module):
    """An ensemble of two-layer ReLU networks that share their inputs and nothing else.

    Network j of the stack is ``TwoLayer(inputs, widths[j], std=std, seed=seed + j)``. Training all
    of them at once costs less than one by one as long as they are tiny.

    Parameters
    ----------
    inputs
        Number of inputs.
    widths
        Number of hidden neurons of each network.
    std
        Every parameter is drawn from N(0, std^2).
    seed
        Seed of the first network.

    Attributes
    ----------
    weight, bias, readout, offset
        Parameters of shapes (neurons, inputs), (neurons,), (neurons,) and (nets,), with
        ``neurons = sum(widths)`` and ``nets = len(widths)``.

    Examples
    --------
    >>> Stack(20, [2, 4, 4], std=0.3)(torch.zeros(5, 20)).shape
    torch.Size([5, 3])
    """

    members: Tensor  # (neurons, nets): 1 where a neuron belongs to a network

    def __init__(
        self, inputs: int, widths: Sequence[int], *, std: float = 0.01, seed: int = 0
    ) -> None:
        if not len(widths):
            raise ValueError("a stack needs at least one network, got no widths")
        super().__init__()
        members = [
            TwoLayer(inputs, width, std=std, seed=seed + j) for j, width in enumerate(widths)
        ]
        for name, _ in members[0].named_parameters():
            joined = torch.cat([getattr(member, name).data for member in members])
            self.register_parameter(name, nn.Parameter(joined))
        owners = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("members", nn.functional.one_hot(owners, len(widths)).float())

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, inputs) to the output of every network, shape (n, nets)."""
        hidden = torch.relu(nn.functional.linear(x, self.weight, self.bias))
        return torch.addmm(self.offset, hidden * self.readout, self.members)


def stacked_gradient(net: Stack, x: Tensor, y: Tensor) -> None:
    """Fill the gradients so that each network gets that of its own mean squared error.

    That is the gradient of ``sum_j mean((f_j(x) - y)^2)``; the mean over all outputs would divide
    the rate of every network by their number. `x` is (n, inputs), `y` (n, 1) or (n, nets).
    """
    net.zero_grad(set_to_none=True)
    (net(x) - y).square().mean(dim=0).sum().backward()
