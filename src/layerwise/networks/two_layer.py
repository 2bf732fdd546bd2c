"""A two-layer ReLU network with one output, and its gradient in blocks that stay in cache."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TwoLayer", "blocked_gradient"]

BLOCK = 2**18  # hidden activations in a block, by measurement: more of them leave the cache


class TwoLayer(nn.Module):
    """Two-layer ReLU network ``x -> readout . relu(weight x + bias) + offset``.

    Parameters
    ----------
    inputs, width
        Numbers of inputs and of hidden neurons.
    std
        Every parameter is drawn from N(0, std^2), biases and offset included.
    seed
        Seed of the initial parameters. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Attributes
    ----------
    weight, bias, readout, offset
        Parameters of shapes (width, inputs), (width,), (width,) and (1,).
    mask
        Zeros and ones, shape (width, inputs), or None; see `restrict`.

    Examples
    --------
    >>> net = TwoLayer(37, 200, seed=0)
    >>> net(torch.zeros(4, 37)).shape
    torch.Size([4, 1])
    """

    mask: Tensor | None
    block: Tensor  # where `blocked_gradient` keeps a hidden layer: memory is slow to get anew

    def __init__(self, inputs: int, width: int, *, std: float = 0.01, seed: int = 0) -> None:
        if min(inputs, width) < 1:
            raise ValueError(f"inputs and width must be at least 1, got {inputs}, {width}")
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name, shape in (
            ("weight", (width, inputs)),
            ("bias", (width,)),
            ("readout", (width,)),
            ("offset", (1,)),
        ):
            drawn = torch.empty(shape).normal_(0.0, std, generator=generator)
            self.register_parameter(name, nn.Parameter(drawn))
        self.register_buffer("mask", None)
        self.register_buffer("block", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, inputs) to outputs (n, 1)."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        hidden = torch.relu(nn.functional.linear(x, weight, self.bias))
        return nn.functional.linear(hidden, self.readout[None], self.offset)

    @torch.no_grad()
    def restrict(self, mask: Tensor) -> None:
        """Set the weights where `mask` is zero to zero, and keep them there in training."""
        if mask.shape != self.weight.shape:
            raise ValueError(
                f"mask must be of shape {tuple(self.weight.shape)}, got {tuple(mask.shape)}"
            )
        self.mask = (mask != 0).to(self.weight)
        self.weight *= self.mask


@torch.no_grad()
def blocked_gradient(net: TwoLayer, x: Tensor, y: Tensor, rows: int | None = None) -> None:
    """Fill the gradients of `net` with those of ``mean((net(x) - y)^2)``, no factor 1/2.

    Written by hand and accumulated over blocks of `rows` samples, whose hidden layer stays in
    cache. With ``X = [x, 1]``, ``W = [weight, bias]``, ``M = [X W^T > 0]`` and
    ``e = 2 (f - y) / n`` all gradients come from ``G = (e X)^T M``::

        d[weight, bias] = readout G^T        d readout = rowsum(W G^T)        d offset = sum(e)

    The gradient of the hidden layer is never formed, and the hidden layer is read no further once
    ``e`` is known: ``e^T relu(X W^T)`` is the row sum above, since ``relu(h) = M h``.

    Parameters
    ----------
    x, y
        Inputs (n, inputs) and targets (n, 1).
    rows
        Samples in a block; by default as many as have a hidden layer of one megabyte.

    Notes
    -----
    Equal to `layerwise.train.autograd` up to rounding, about 1e-6 of the largest entry in float32.
    """
    weight, bias, readout, offset = net.parameters()
    n, (width, inputs) = len(x), weight.shape
    if y.shape != (n, 1) or not n:
        raise ValueError(f"targets must be ({n}, 1) and some, got {tuple(y.shape)}")
    rows = min(n, rows or max(1, BLOCK // width))
    if net.block.shape != (rows, width):
        net.block = x.new_empty(rows, width)
    block = net.block
    W = torch.cat([weight, bias[:, None]], dim=1)
    X = torch.cat([x, x.new_ones(n, 1)], dim=1)
    G = W.new_zeros(inputs + 1, width)
    total = torch.zeros_like(offset)
    for X_part, y_part in zip(X.split(rows), y[:, 0].split(rows), strict=True):
        hidden = torch.mm(X_part, W.T, out=block[: len(X_part)]).relu_()
        e = torch.addmv(offset, hidden, readout).sub_(y_part).mul_(2.0 / n)
        total += e.sum()
        G.addmm_(X_part.mul_(e[:, None]).T, hidden.gt_(0.0))
    G = G.T
    weight.grad = torch.mul(G[:, :inputs], readout[:, None], out=torch.empty_like(weight))
    if net.mask is not None:
        weight.grad *= net.mask
    bias.grad = G[:, inputs] * readout
    readout.grad = torch.linalg.vecdot(W, G)
    offset.grad = total
