"""A small convolutional network without biases, whose hidden layers are exposed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["CNN"]

LAYOUT: Final = ((5, 1), (3, 2), (3, 2))  # size of the filters and stride of each convolution


class CNN(nn.Module):
    """Convolutional network ``x -> head(flatten(s(c_3 * s(c_2 * s(c_1 * x)))))``, s the ReLU.

    Convolutions 5x5, 3x3 and 3x3 of strides 1, 2 and 2, each padded by zeros so that stride 1 keeps
    the image's size, and a linear head on all that is left. No layer has a bias, so the function is
    homogeneous: of degree 1 in the weights of each layer, and in the input.

    Weights of the convolutions are drawn from N(0, (weight_scale / sqrt(fan_in))^2), He's start by
    default, those of the head from N(0, (head_scale / sqrt(fan_in))^2).

    Parameters
    ----------
    channels, classes
        Channels of the images, outputs.
    side
        Height and width of the images: 8 for the small digits, 28 for MNIST.
    widths
        Channels of the three convolutions.
    weight_scale, head_scale
        Standard deviation of every weight times sqrt(fan_in), in the convolutions and in the head.
    seed
        Seed of the initial weights. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Attributes
    ----------
    body
        ``nn.Sequential`` of convolutions and ReLUs, and the flattening.
    head
        The classifier, ``nn.Linear``; of ``widths[2] * ceil(side / 4)^2`` features.

    References
    ----------
    He's start: He et al. 2015, arXiv 1502.01852.

    Examples
    --------
    >>> net = CNN(1, 10)
    >>> net.features(torch.zeros(2, 1, 8, 8)).shape, net(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([2, 128]), torch.Size([2, 10]))
    >>> sum(p.numel() for p in net.parameters())
    8592
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        side: int = 8,
        widths: Sequence[int] = (16, 16, 32),
        weight_scale: float = math.sqrt(2.0),
        head_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        if min(channels, classes, side) < 1:
            raise ValueError(
                f"channels, classes and side must be at least 1, got {channels}, {classes}, {side}"
            )
        if len(widths) != len(LAYOUT) or min(widths) < 1:
            raise ValueError(f"widths must be {len(LAYOUT)} positive sizes, got {tuple(widths)}")
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs, (size, stride) in zip(
            (channels, *widths[:-1]), widths, LAYOUT, strict=True
        ):
            convolution = nn.utils.skip_init(  # drawn below, by our own generator
                nn.Conv2d, inputs, outputs, size, stride, padding=size // 2, bias=False
            )
            _draw(convolution.weight, weight_scale, generator)
            layers += [convolution, nn.ReLU()]
            side = math.ceil(side / stride)
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.utils.skip_init(nn.Linear, widths[-1] * side**2, classes, bias=False)
        _draw(self.head.weight, head_scale, generator)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Return each convolution's output after the ReLU, shapes (n, width, h, w).

        A unit is active where its entry is positive; `layerwise.measures` compares such patterns.
        """
        found = []
        for layer in self.body[:-1]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """Map images (n, channels, side, side) to what the head reads, shape (n, features)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, side, side) to outputs (n, classes)."""
        return self.head(self.features(x))


@torch.no_grad()
def _draw(weight: Tensor, scale: float, generator: torch.Generator) -> None:
    weight.normal_(0.0, scale / math.sqrt(weight[0].numel()), generator=generator)
