"""A residual network of eighteen layers for small images, whose features are exposed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ResNet18"]


class ResNet18(nn.Module):
    """Residual network ``x -> head(features(x))`` with the layout usual for 32x32 images.

    A 3x3 stem, eight blocks of two 3x3 convolutions with batch norm, of widths w, 2w, 4w, 8w and
    strides 1, 2, 2, 2, the mean over the image, a linear head with bias. Where a block changes the
    shape, a 1x1 convolution with batch norm does so beside it.

    Weights of convolutions and head, and the head's bias, are drawn from
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default; batch norm starts as the identity.

    Parameters
    ----------
    channels, classes
        Channels of the images, outputs.
    width
        The width w of the first blocks.
    seed
        Seed of the initial weights. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Attributes
    ----------
    head
        The classifier, ``nn.Linear`` from 8w features to the classes.

    References
    ----------
    He et al. 2016, arXiv 1512.03385.

    Examples
    --------
    >>> net = ResNet18(1, 10, width=8)
    >>> net.features(torch.zeros(2, 1, 8, 8)).shape, net(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([2, 64]), torch.Size([2, 10]))
    >>> sum(p.numel() for p in net.parameters())
    176258
    """

    def __init__(self, channels: int, classes: int, *, width: int = 64, seed: int = 0) -> None:
        if min(channels, classes, width) < 1:
            raise ValueError(
                f"channels, classes and width must be at least 1, got {channels}, {classes}, "
                f"{width}"
            )
        super().__init__()
        w = width
        self.stem = nn.Sequential(_convolution(channels, w, 3), nn.BatchNorm2d(w), nn.ReLU())
        self.blocks = nn.Sequential(
            _Block(w, w), _Block(w, w),
            _Block(w, 2 * w, stride=2), _Block(2 * w, 2 * w),
            _Block(2 * w, 4 * w, stride=2), _Block(4 * w, 4 * w),
            _Block(4 * w, 8 * w, stride=2), _Block(8 * w, 8 * w),
        )  # fmt: skip
        self.head = nn.utils.skip_init(nn.Linear, 8 * w, classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    bound = 1.0 / math.sqrt(layer.weight[0].numel())
                    layer.weight.uniform_(-bound, bound, generator=generator)
                    if layer.bias is not None:
                        layer.bias.uniform_(-bound, bound, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        """Map images (n, channels, h, w) to the features before the head, shape (n, 8w)."""
        return self.blocks(self.stem(x)).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, h, w) to outputs (n, classes)."""
        return self.head(self.features(x))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = _convolution(outputs, outputs, 3)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                _convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(hidden)) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.utils.skip_init(  # drawn by the network's own generator
        nn.Conv2d, inputs, outputs, size, stride, padding=size // 2, bias=False
    )
