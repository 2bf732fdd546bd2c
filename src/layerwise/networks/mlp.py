"""A multilayer perceptron whose initial scale and output scale are explicit numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["MLP"]

ACTIVATIONS: Final = {"tanh": torch.tanh, "relu": torch.relu}


class MLP(nn.Module):
    """Dense network ``x -> output_scale * (W_L s(... s(W_1 x + b_1) ...) + b_L)``.

    Weights are drawn from N(0, (weight_scale / sqrt(fan_in))^2), biases from bias_scale times
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)) (PyTorch's default, at bias_scale 1). He's start is
    weight_scale sqrt(2) and bias_scale 0.

    Parameters
    ----------
    widths
        Sizes ``(inputs, hidden, ..., outputs)``, at least two.
    weight_scale
        Standard deviation of every weight times sqrt(fan_in).
    bias_scale
        Factor on every initial bias; 0 starts without biases.
    output_scale
        Factor on the last layer's output, bias included.
    activation
        ``"tanh"`` or ``"relu"``, on the hidden layers; none at the output.
    seed
        Seed of the initial weights. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Examples
    --------
    >>> net = MLP((784, 200, 200, 200, 10), weight_scale=5.0, seed=0)
    >>> net(torch.zeros(2, 784)).shape
    torch.Size([2, 10])
    >>> [round(scale) for scale in net.scales().tolist()]
    [5, 5, 5, 5]
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        weight_scale: float = 1.0,
        bias_scale: float = 1.0,
        output_scale: float = 1.0,
        activation: str = "tanh",
        seed: int = 0,
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths must be two or more positive sizes, got {tuple(widths)}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        super().__init__()
        self.output_scale = output_scale
        self.activation = ACTIVATIONS[activation]
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, i, o)  # drawn below, by our own generator
            for i, o in pairwise(widths)
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in self.layers:
                std = 1.0 / math.sqrt(layer.in_features)
                layer.weight.normal_(0.0, weight_scale * std, generator=generator)
                layer.bias.uniform_(-std, std, generator=generator).mul_(bias_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, inputs) to outputs (n, outputs)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.output_scale * self.layers[-1](x)

    @torch.no_grad()
    def scales(self) -> Tensor:
        """Return each layer's root-mean-square weight times sqrt(fan_in), shape (L,)."""
        norms = [layer.weight.norm() / math.sqrt(layer.out_features) for layer in self.layers]
        return torch.stack(norms)
