"""The convolutional network: its layout, its map, its start, its hidden layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from layerwise.networks import CNN


def images(n, channels, side, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, side, side, generator=generator, dtype=dtype)


def convolved(x, weight, stride):
    """Convolve by the definition: one product for each output, zeros outside the image."""
    (o, _, size, _), (n, _, side, _) = weight.shape, x.shape
    pad = size // 2
    padded = x.new_zeros(n, x.shape[1], side + 2 * pad, side + 2 * pad)
    padded[:, :, pad : pad + side, pad : pad + side] = x
    places = range(0, side, stride)
    found = x.new_empty(n, o, len(places), len(places))
    for a, row in enumerate(places):
        for b, column in enumerate(places):
            patch = padded[:, :, row : row + size, column : column + size]
            found[:, :, a, b] = torch.einsum("nikl,oikl->no", patch, weight)
    return found


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (1, 9)])
def test_the_map_is_the_formula(channels, side):
    net = CNN(channels, 4, side=side, widths=(3, 5, 2), seed=1).double()
    x = images(3, channels, side, torch.float64)
    hidden, weights = x, [net.body[k].weight.detach() for k in (0, 2, 4)]
    for weight, stride, found in zip(weights, (1, 2, 2), net.hidden(x), strict=True):
        hidden = convolved(hidden, weight, stride).clamp(min=0)
        torch.testing.assert_close(found, hidden)
    torch.testing.assert_close(net.features(x), hidden.reshape(3, -1))
    torch.testing.assert_close(net(x), hidden.reshape(3, -1) @ net.head.weight.T)


@pytest.mark.parametrize(
    ("channels", "side", "features", "count"),
    [(1, 8, 128, 8_592), (3, 8, 128, 9_392), (1, 28, 1568, 22_992), (3, 32, 2048, 28_592)],
)
def test_sizes_are_those_of_the_layout(channels, side, features, count):
    net = CNN(channels, 10, side=side)
    x = images(2, channels, side)
    halved = [side, math.ceil(side / 2), math.ceil(side / 4)]
    shapes = [(2, w, s, s) for w, s in zip((16, 16, 32), halved, strict=True)]
    assert [tuple(h.shape) for h in net.hidden(x)] == shapes
    assert net.features(x).shape == (2, features)
    assert net(x).shape == (2, 10)
    assert sum(p.numel() for p in net.parameters()) == count
    assert all(layer.bias is None for layer in net.modules() if hasattr(layer, "bias"))


@pytest.mark.parametrize("scales", [{}, {"weight_scale": 0.5, "head_scale": 3.0}])
def test_initial_scales_are_as_asked(scales):
    net = CNN(3, 100, widths=(64, 64, 64), seed=2, **scales)
    for layer in (*net.body, net.head):
        if hasattr(layer, "weight"):
            dense = isinstance(layer, nn.Linear)
            asked = scales.get("head_scale" if dense else "weight_scale")
            asked = asked or (1.0 if dense else math.sqrt(2))
            root, few = math.sqrt(layer.weight[0].numel()), 5 / math.sqrt(layer.weight.numel())
            assert root * layer.weight.std().item() == pytest.approx(asked, rel=few)
            assert root * layer.weight.mean().item() == pytest.approx(0, abs=few * asked)


def test_it_is_homogeneous_in_each_layer_and_in_the_input():
    net, x = CNN(1, 10, seed=3).double(), images(4, 1, 8, torch.float64)
    before = net(x)
    torch.testing.assert_close(net(4 * x), 4 * before, rtol=1e-13, atol=0)
    for layer in (net.body[0], net.body[2], net.body[4], net.head):
        layer.weight.data *= 4
        torch.testing.assert_close(net(x), 4 * before, rtol=1e-13, atol=0)
        layer.weight.data /= 4


def test_the_draw_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    one, same, other = (CNN(1, 3, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b, c in zip(*(net.parameters() for net in (one, same, other)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize("sizes", [(0, 3, 8), (1, 0, 8), (1, 3, 0)])
def test_bad_sizes_are_refused(sizes):
    channels, classes, side = sizes
    with pytest.raises(ValueError, match="channels, classes and side must be at least 1, got"):
        CNN(channels, classes, side=side)


@pytest.mark.parametrize("widths", [(4, 4), (4, 0, 4), (4, 4, 4, 4)])
def test_bad_widths_are_refused(widths):
    with pytest.raises(ValueError, match="widths must be 3 positive sizes, got") as error:
        CNN(1, 3, widths=widths)
    assert str(widths) in str(error.value)
