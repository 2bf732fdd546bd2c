"""ResNet18: its layout, its count of parameters, its start, its features."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from layerwise.networks import ResNet18


def weights(width, channels, classes):
    """Count parameters layer by layer: convolutions without bias, two numbers a normed channel."""

    def convolution(i, o, size=3):
        return size * size * i * o + 2 * o

    total, i = convolution(channels, width), width
    for o in (width, 2 * width, 4 * width, 8 * width):
        total += convolution(i, o) + 3 * convolution(o, o)
        total += convolution(i, o, 1) if i != o else 0
        i = o
    return total + (8 * width + 1) * classes


@pytest.mark.parametrize(
    ("settings", "count"),
    [((8, 1, 10), 176_258), ((16, 1, 10), 701_178), ((64, 3, 10), 11_173_962)],
)
def test_there_are_as_many_parameters_as_published(settings, count):
    width, channels, classes = settings
    net = ResNet18(channels, classes, width=width)
    assert sum(p.numel() for p in net.parameters()) == count == weights(*settings)
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()) == 17


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_the_image_is_halved_three_times_and_then_averaged(channels, side):
    net, sides = ResNet18(channels, 7, width=2), []
    for block in net.blocks:
        block.register_forward_hook(lambda block, x, y: sides.append((y.shape[1], y.shape[2])))
    x = torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    features = net.features(x)
    halved = [side, math.ceil(side / 2), math.ceil(side / 4), math.ceil(side / 8)]
    wanted = [(width, s) for width, s in zip((2, 4, 8, 16), halved, strict=True) for _ in range(2)]
    assert sides == wanted
    assert features.shape == (3, 16)
    assert (features >= 0).all()  # a mean of what a ReLU left
    torch.testing.assert_close(net(x), features @ net.head.weight.T + net.head.bias)


def test_a_block_adds_what_came_in():
    net = ResNet18(1, 3, width=2).eval()
    same, narrower = net.blocks[1], net.blocks[2]
    x = torch.rand(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in (same, narrower):
            block.second.weight.zero_()
        assert torch.equal(same(x), x)
        beside = torch.relu(narrower.shortcut[0](x) / math.sqrt(1 + narrower.shortcut[1].eps))
        torch.testing.assert_close(narrower(x), beside)


def test_weights_start_uniform_within_the_fan_in_and_norms_as_the_identity():
    net = ResNet18(3, 10, width=16, seed=1)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert layer.weight.abs().max() <= bound
            few = 5 / math.sqrt(layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=few)
            assert layer.weight.mean().item() == pytest.approx(0, abs=few * bound)
    assert 0 < net.head.bias.abs().max() <= 1 / math.sqrt(128)


def test_the_draw_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    one, same, other = (ResNet18(1, 3, width=2, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.stem[0].weight, other.stem[0].weight)
    assert not torch.equal(one.head.bias, other.head.bias)


@pytest.mark.parametrize("sizes", [(0, 3, 2), (1, 0, 2), (1, 3, 0)])
def test_bad_sizes_are_refused(sizes):
    channels, classes, width = sizes
    with pytest.raises(ValueError, match="channels, classes and width must be at least 1"):
        ResNet18(channels, classes, width=width)
