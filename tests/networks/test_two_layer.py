"""The two-layer network: its map, its start, its mask, and the gradient written by hand."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch.nn.functional import mse_loss

from layerwise.networks import TwoLayer, blocked_gradient
from layerwise.networks import two_layer as module
from layerwise.tasks import Parity


def problem(n=47, inputs=9, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 2, (n, inputs), generator=generator).to(dtype)
    return x, torch.randn(n, 1, generator=generator, dtype=dtype)


def net(width=12, inputs=9, *, dtype=torch.float32, masked=False):
    made = TwoLayer(inputs, width, std=0.5, seed=3).to(dtype)
    if masked:
        made.restrict(torch.rand(width, inputs, generator=torch.Generator().manual_seed(1)) < 0.4)
    return made


def gradients_of_autograd(made, x, y):
    made = copy.deepcopy(made)
    made.zero_grad()
    mse_loss(made(x), y).backward()
    return {name: p.grad for name, p in made.named_parameters()}


def gradients_by_hand(made, x, y, **more):
    blocked_gradient(made, x, y, **more)
    return {name: p.grad for name, p in made.named_parameters()}


@torch.no_grad()
def test_the_map_is_the_formula():
    made, (x, _) = net(), problem()
    for row, output in zip(x, made(x), strict=True):
        hidden = [max(0.0, float(w @ row + b)) for w, b in zip(made.weight, made.bias, strict=True)]
        expected = sum(a * h for a, h in zip(made.readout.tolist(), hidden, strict=True))
        assert output.tolist() == pytest.approx([expected + made.offset.item()], abs=1e-6)


def test_all_parameters_start_normal_with_the_spread_that_was_asked_for():
    made = TwoLayer(60, 4000, std=0.02, seed=5)
    for p in (made.weight, made.bias, made.readout):
        assert p.std().item() == pytest.approx(0.02, rel=0.05)
        assert p.mean().item() == pytest.approx(0.0, abs=5 * 0.02 / p.numel() ** 0.5)
        assert (p.abs() > 0.04).float().mean().item() == pytest.approx(0.0455, abs=0.015)
    offsets = torch.cat([TwoLayer(1, 1, std=0.02, seed=s).offset.detach() for s in range(300)])
    assert offsets.std().item() == pytest.approx(0.02, rel=0.2)


def test_the_draw_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    one, same, other = (TwoLayer(8, 9, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b, c in zip(*(made.parameters() for made in (one, same, other)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_bad_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="inputs and width must be at least 1"):
        TwoLayer(*sizes)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [None, 1, 10, 46, 47, 500])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)], ids=str
)
def test_the_gradient_by_hand_is_that_of_autograd(dtype, tolerance, rows, masked):
    made, (x, y) = net(dtype=dtype, masked=masked), problem(dtype=dtype)
    expected = gradients_of_autograd(made, x, y)
    found = gradients_by_hand(made, x, y, rows=rows)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert found[name].shape == gradient.shape
        assert found[name].is_contiguous()
        gap = (found[name] - gradient).abs().max() / gradient.abs().max()
        assert gap.item() < tolerance, name


@pytest.mark.parametrize("std", [0.01, 0.3])
@pytest.mark.parametrize(("width", "n"), [(100, 250), (1000, 500), (1000, 4000)])
def test_rounding_stays_below_a_millionth_at_the_sizes_of_use(width, n, std):
    x, y = (torch.from_numpy(part) for part in Parity().fixed(n, 0))
    made = TwoLayer(37, width, std=std, seed=1)
    expected = gradients_of_autograd(made.double(), x.double(), y.double())
    found = gradients_by_hand(made.float(), x, y)
    for name, gradient in expected.items():
        gap = (found[name] - gradient).abs().max() / gradient.abs().max()
        assert gap.item() < 1e-6, name


def test_the_gradient_replaces_what_was_there_and_leaves_its_inputs_alone():
    made, (x, y) = net(), problem()
    kept = x.clone(), y.clone(), copy.deepcopy(made.state_dict())
    once = gradients_by_hand(made, x, y)
    again = gradients_by_hand(made, x, y)
    for name in once:
        assert torch.equal(once[name], again[name])
        assert once[name].data_ptr() != again[name].data_ptr()
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
    assert all(torch.equal(value, kept[2][name]) for name, value in made.state_dict().items())


def test_a_dead_layer_has_no_gradient_but_that_of_the_offset():
    made, (x, y) = net(), problem()
    with torch.no_grad():
        made.bias -= 100.0
    found = gradients_by_hand(made, x, y)
    assert found["offset"].item() == pytest.approx(2 * (made.offset - y.mean()).item(), rel=1e-5)
    assert all(not found[name].any() for name in ("weight", "bias", "readout"))


def test_the_block_follows_the_batch_and_is_no_part_of_the_state(monkeypatch):
    made = net()
    monkeypatch.setattr(module, "BLOCK", 12 * 20)
    for n in (47, 13, 20):
        x, y = problem(n)
        expected = gradients_of_autograd(made, x, y)
        found = gradients_by_hand(made, x, y)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        assert made.block.shape == (min(n, 20), 12)
    assert set(made.state_dict()) == {"weight", "bias", "readout", "offset"}


@pytest.mark.parametrize("shape", [(47,), (47, 2), (46, 1)])
def test_targets_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"targets must be \(47, 1\)"):
        blocked_gradient(net(), problem()[0], torch.zeros(shape))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="and some"):
        blocked_gradient(net(), torch.zeros(0, 9), torch.zeros(0, 1))


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_masked_weights_are_zero_and_stay_so(by_hand, optimizer):
    made, (x, y) = net(masked=True), problem()
    outside = made.mask == 0
    assert 0 < outside.sum() < outside.numel()
    inside = made.weight.detach().clone()[~outside]
    assert torch.equal(inside, net().weight[~outside])
    stepper = optimizer(made.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(5):
        if by_hand:
            blocked_gradient(made, x, y)
        else:
            stepper.zero_grad()
            mse_loss(made(x), y).backward()
        stepper.step()
    assert not made.weight[outside].any()
    assert (made.weight[~outside] != inside).all()


def test_a_mask_is_part_of_the_state():
    content = io.BytesIO()
    torch.save(net(masked=True).state_dict(), content)
    content.seek(0)
    other = net()
    other.restrict(torch.ones(12, 9))
    other.load_state_dict(torch.load(content, weights_only=True))
    assert torch.equal(other.mask, net(masked=True).mask)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask must be of shape \(12, 9\), got \(9, 12\)"):
        net().restrict(torch.ones(9, 12))
