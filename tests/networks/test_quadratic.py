"""The quadratic network: its function by loops, its initial scale, its symmetry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.networks import Quadratic


def test_it_is_the_sum_of_squares_it_says():
    net = Quadratic(3, 4, 2, output_scale=0.3, seed=1).double()
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = net(x)
    for n in range(5):
        for o in range(2):
            hidden = [sum(float(w) * float(v) for w, v in zip(row, x[n], strict=True))
                      for row in net.weight.detach()]  # fmt: skip
            readout = net.readout.detach()[o]
            expected = 0.3 * sum(float(v) * h**2 for v, h in zip(readout, hidden, strict=True))
            assert found[n, o].item() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.floats(0.01, 10), st.integers(0, 99))
def test_it_is_homogeneous_of_degree_three_in_its_weights_and_two_in_its_input(scale, seed):
    one, scaled = Quadratic(4, 6, 3, seed=seed), Quadratic(4, 6, 3, weight_scale=scale, seed=seed)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(scaled(x), scale**3 * one(x), rtol=1e-4, atol=1e-4 * scale**3)
    torch.testing.assert_close(one(scale * x), scale**2 * one(x), rtol=1e-4, atol=1e-4 * scale**2)


@pytest.mark.parametrize("weight_scale", [1.0, 0.3])
def test_every_weight_has_the_scale_of_its_fan_in(weight_scale):
    net = Quadratic(46, 2000, 400, weight_scale=weight_scale, seed=0)
    assert net.weight.std().item() == pytest.approx(weight_scale / 46**0.5, rel=0.02)
    assert net.readout.std().item() == pytest.approx(weight_scale / 2000**0.5, rel=0.02)


def test_weights_depend_on_the_seed_alone_and_scales_do_not_change_the_draw():
    torch.manual_seed(5)
    one, other = Quadratic(4, 6, 3, seed=2), Quadratic(4, 6, 3, seed=3)
    before = torch.get_rng_state()
    again = Quadratic(4, 6, 3, weight_scale=2.0, output_scale=0.1, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(again.weight, 2 * one.weight)
    assert not torch.equal(one.weight, other.weight)


def test_two_neurons_and_opposite_signs_make_a_product():
    net = Quadratic(2, 2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        net.readout.copy_(torch.tensor([[0.25, -0.25]]))
    x = torch.tensor([[2.0, 3.0], [-1.0, 4.0], [0.0, 7.0]])
    assert net(x)[:, 0].tolist() == [6.0, -4.0, 0.0]


@pytest.mark.parametrize("sizes", [(0, 2, 3), (2, 0, 3), (2, 3, -1)])
def test_sizes_that_are_none_are_refused(sizes):
    numbers = ", ".join(map(str, sizes))
    with pytest.raises(ValueError, match=f"must be at least 1, got {numbers}"):
        Quadratic(*sizes)
