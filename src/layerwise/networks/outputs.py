"""Wrappers of a network that begin at zero output, or scale it."""

from __future__ import annotations

import copy
import math
from typing import final

from torch import Tensor, nn

from layerwise.networks.scaled import Scaled

__all__ = ["CentredOutput", "ScaledOutput", "SymmetrisedOutput"]


@final
class ScaledOutput(Scaled):
    """The network times a number, ``x -> factor * net(x)``.

    A large factor makes training lazy, if the loss is divided by its square to keep the speed.

    Attributes
    ----------
    net, factor
        The network itself, not a copy, and the number.

    References
    ----------
    Chizat, Oyallon and Bach 2019, arXiv 1812.07956.

    Examples
    --------
    >>> net = ScaledOutput(nn.Identity(), 3.0)
    >>> net(Tensor([1.0, 2.0]))
    tensor([3., 6.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of the network to its scaled outputs."""
        return self.factor * self.net(x)


class CentredOutput(nn.Module):
    """The network minus what it was when wrapped, ``x -> net(x) - start(x)``: zero at first.

    The tangent kernel and the gradients of the outputs are those of the network. Outputs start at
    zero as long as the forward pass draws no random numbers, as dropout in training does.

    Attributes
    ----------
    net, start
        The network itself, and a copy of it that is not trained.

    Examples
    --------
    >>> CentredOutput(nn.Linear(3, 2))(Tensor([[1.0, 2.0, 3.0]])).tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.start = copy.deepcopy(net).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of the network to the change of its outputs."""
        return self.net(x) - self.start(x)


class SymmetrisedOutput(nn.Module):
    """Two copies of a network with opposite signs, ``x -> (plus(x) - minus(x)) / sqrt(2)``.

    Zero at first, as `CentredOutput`, but both copies are trained. The square root keeps the
    tangent kernel at the start that of one network.

    Attributes
    ----------
    plus, minus
        The network itself and its copy.

    References
    ----------
    Chizat, Oyallon and Bach 2019, arXiv 1812.07956; used by Kunin et al. 2024, arXiv 2406.06158.

    Examples
    --------
    >>> net = SymmetrisedOutput(nn.Linear(3, 2))
    >>> net(Tensor([[1.0, 2.0, 3.0]])).tolist(), sum(p.requires_grad for p in net.parameters())
    ([[0.0, 0.0]], 4)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.plus = net
        self.minus = copy.deepcopy(net)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs of the network to the scaled difference of the copies' outputs."""
        return (self.plus(x) - self.minus(x)) / math.sqrt(2.0)
