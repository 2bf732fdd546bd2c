"""The MLP: its map, its explicit initial scales, its seed."""

from __future__ import annotations

import math

import pytest
import torch

from layerwise.networks import MLP


def test_the_map_is_the_formula():
    net = MLP((5, 7, 6, 3), weight_scale=2.0, output_scale=0.3, seed=1)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    hidden = x
    for layer in net.layers[:-1]:
        hidden = torch.tanh(hidden @ layer.weight.T + layer.bias)
    wanted = 0.3 * (hidden @ net.layers[-1].weight.T + net.layers[-1].bias)
    torch.testing.assert_close(net(x), wanted)


# weights, biases and last bias of the first network below
RECORDED = [
    -0.0847522,
    0.4538789,
    0.5466477,
    -0.6433668,
    0.9761781,
    -0.5166291,
    -0.2461371,
    -0.3391131,
    0.6645667,
]


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_initial_scales_are_as_asked(scale):
    net = MLP((400, 300, 200), weight_scale=scale, seed=3)
    assert net.scales().tolist() == pytest.approx([scale, scale], rel=0.02)
    for layer in net.layers:
        bound = 1 / math.sqrt(layer.in_features)
        assert layer.bias.abs().max() <= bound
        assert layer.bias.abs().max() > 0.9 * bound


def test_the_draw_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    one, same, other = (MLP((8, 9, 2), seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.layers[0].weight, same.layers[0].weight)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_weight_scale_only_rescales_the_weights():
    small, large = MLP((8, 9, 2), seed=4), MLP((8, 9, 2), weight_scale=5.0, seed=4)
    for one, other in zip(small.layers, large.layers, strict=True):
        torch.testing.assert_close(5.0 * one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_bias_scale_only_rescales_the_biases(scale):
    plain, scaled = MLP((8, 9, 2), seed=4), MLP((8, 9, 2), bias_scale=scale, seed=4)
    for one, other in zip(plain.layers, scaled.layers, strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(scale * one.bias, other.bias)


def test_the_draw_is_the_one_that_records_were_made_with():
    first, second = MLP((3, 2, 1), seed=7).layers
    found = [*first.weight.flatten().tolist(), *first.bias.tolist(), second.bias.item()]
    assert found == pytest.approx(RECORDED, abs=1e-7)


@pytest.mark.parametrize("widths", [(3,), (3, 0, 2), ()])
def test_bad_widths_are_refused(widths):
    with pytest.raises(ValueError, match="two or more positive sizes"):
        MLP(widths)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"relu.*tanh.*got 'gelu'"):
        MLP((3, 2), activation="gelu")
