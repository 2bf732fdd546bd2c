"""A two-layer network with squares for activations, the smallest one that groks arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Quadratic"]


class Quadratic(nn.Module):
    """Two-layer network ``x -> output_scale * readout (weight x)^2``, squared entry by entry.

    No biases. Of two tokens in one-hot form, a neuron ``(u_a + v_b)^2`` holds the product
    ``2 u_a v_b``, which is what addition modulo p is made of. The network is homogeneous of degree
    three in its weights.

    Parameters
    ----------
    inputs, width, outputs
        Numbers of inputs, hidden neurons and outputs.
    weight_scale
        Weights are drawn from N(0, (weight_scale / sqrt(fan_in))^2).
    output_scale
        Factor on the outputs.
    seed
        Seed of the initial weights. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Attributes
    ----------
    weight, readout
        Parameters of shapes (width, inputs) and (outputs, width).

    References
    ----------
    Gromov 2023, arXiv 2301.02679.

    Examples
    --------
    >>> Quadratic(46, 128, 23)(torch.zeros(5, 46)).shape
    torch.Size([5, 23])
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        weight_scale: float = 1.0,
        output_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        if min(inputs, width, outputs) < 1:
            raise ValueError(
                f"inputs, width and outputs must be at least 1, got {inputs}, {width}, {outputs}"
            )
        super().__init__()
        self.output_scale = output_scale
        generator = torch.Generator().manual_seed(seed)
        for name, shape in (("weight", (width, inputs)), ("readout", (outputs, width))):
            std = weight_scale / math.sqrt(shape[1])
            drawn = torch.empty(shape).normal_(0.0, std, generator=generator)
            self.register_parameter(name, nn.Parameter(drawn))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, inputs) to outputs (n, outputs)."""
        hidden = nn.functional.linear(x, self.weight).square()
        return self.output_scale * nn.functional.linear(hidden, self.readout)
