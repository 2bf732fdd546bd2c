"""A wrapper of a network that scales its input."""

from __future__ import annotations

from typing import final

from torch import Tensor

from layerwise.networks.scaled import Scaled

__all__ = ["ScaledInput"]


@final
class ScaledInput(Scaled):
    """The network of inputs times a number, ``x -> net(factor * x)``.

    Attributes
    ----------
    net, factor
        The network itself, not a copy, and the number.

    Examples
    --------
    >>> from torch import nn
    >>> net = ScaledInput(nn.Identity(), 0.5)
    >>> net(Tensor([1.0, 2.0]))
    tensor([0.5000, 1.0000])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to the outputs of the network for scaled inputs."""
        return self.net(self.factor * x)
