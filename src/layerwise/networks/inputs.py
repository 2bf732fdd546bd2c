"""A wrapper of a network that scales its input."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["ScaledInput"]


class ScaledInput(nn.Module):
    """The network of inputs times a number, ``x -> net(factor * x)``.

    Attributes
    ----------
    net, factor
        The network itself, not a copy, and the number.

    Examples
    --------
    >>> net = ScaledInput(nn.Identity(), 0.5)
    >>> net(Tensor([1.0, 2.0]))
    tensor([0.5000, 1.0000])
    """

    def __init__(self, net: nn.Module, factor: float) -> None:
        if not math.isfinite(factor):
            raise ValueError(f"factor must be finite, got {factor!r}")
        super().__init__()
        self.net = net
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to the outputs of the network for scaled inputs."""
        return self.net(self.factor * x)
