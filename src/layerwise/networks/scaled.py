"""A network with a number that multiplies what enters or what leaves it."""

from __future__ import annotations

import abc
import math

from torch import Tensor, nn

__all__ = ["Scaled"]


class Scaled(nn.Module, abc.ABC):
    """A network and a factor; nothing else stands before or behind the network.

    Attributes
    ----------
    net, factor
        The network itself, not a copy, and the number.

    Raises
    ------
    ValueError
        If the factor is not finite.
    """

    def __init__(self, net: nn.Module, factor: float) -> None:
        if not math.isfinite(factor):
            raise ValueError(f"factor must be finite, got {factor!r}")
        super().__init__()
        self.net = net
        self.factor = factor

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map inputs to outputs, one of them times the factor."""
