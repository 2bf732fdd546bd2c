"""Estimates of the trace kernel: what they are, that they are unbiased, what their error says."""

from __future__ import annotations

import math

import pytest
import torch

from layerwise.networks import MLP, KernelEstimate, ntk, ntk_random, ntk_summed

from .kernel_cases import case, inputs, jacobian, spread, trace_kernel

NAMES = pytest.mark.parametrize("name", ["dense", "convolutions", "attention", "loose"])
METHODS = pytest.mark.parametrize("method", ["auto", "jacobian"])


def signs(probes, C, seed):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(2, (probes, C), generator=generator).double() - 1


@METHODS
@NAMES
def test_a_probe_is_the_kernel_of_one_combination_of_outputs(name, method):
    net, x = case(name)
    J = jacobian(net, x)
    combined = torch.einsum("kc,icp->kip", signs(5, J.shape[1], seed=3), J)
    kernels = combined @ combined.mT
    found = ntk_random(net, x, 5, seed=3, method=method)
    torch.testing.assert_close(found.kernel, kernels.mean(dim=0))
    torch.testing.assert_close(found.error, kernels.std(dim=0) / math.sqrt(5))
    assert found.probes == 5


@METHODS
@NAMES
def test_the_summed_outputs_have_the_kernel_of_the_summed_gradients(name, method):
    net, x = case(name)
    g = jacobian(net, x).sum(dim=1)
    torch.testing.assert_close(ntk_summed(net, x, method=method), g @ g.T)


def test_two_batches_give_the_block_between_them():
    net, x = case("convolutions")
    for whole, block in (
        (ntk_random(net, x, 4).kernel, ntk_random(net, x[:2], 4, x2=x[2:]).kernel),
        (ntk_random(net, x, 4).error, ntk_random(net, x[:2], 4, x2=x[2:]).error),
        (ntk_summed(net, x), ntk_summed(net, x[:2], x2=x[2:])),
    ):
        torch.testing.assert_close(block, whole[:2, 2:])


def test_random_probes_are_unbiased_and_as_uncertain_as_they_say():
    net, x = spread(MLP((4, 6, 8))), inputs(5, 4)
    K, draws, probes = trace_kernel(net, x), 300, 12
    found = [ntk_random(net, x, probes, seed=seed) for seed in range(draws)]
    kernels = torch.stack([estimate.kernel for estimate in found])
    errors = torch.stack([estimate.error for estimate in found])
    spread_of_mean = kernels.std(dim=0) / math.sqrt(draws)
    assert ((kernels.mean(dim=0) - K).abs() < 4 * spread_of_mean).all()
    # the variance is that of its formula, and the square of the stated error on average
    J = jacobian(net, x)
    full = torch.einsum("icp,jdp->ijcd", J, J)
    even = (full + full.mT) / 2
    even.diagonal(dim1=2, dim2=3).zero_()
    variance = 2 * even.square().sum(dim=(2, 3)) / probes
    torch.testing.assert_close(kernels.var(dim=0), variance, rtol=0.4, atol=0)
    torch.testing.assert_close(errors.square().mean(dim=0), variance, rtol=0.15, atol=0)
    covered = ((kernels - K).abs() < 2 * errors).double().mean().item()
    assert 0.85 < covered < 0.99
    relative = torch.tensor([estimate.relative_error for estimate in found]).square().mean().sqrt()
    actual = ((kernels - K).square().sum(dim=(1, 2)).mean().sqrt() / K.norm()).item()
    assert relative.item() == pytest.approx(actual, rel=0.15)


def test_with_one_output_both_are_the_kernel_itself():
    net, x = case("loose")
    K = ntk(net, x)
    found = ntk_random(net, x)
    torch.testing.assert_close(found.kernel, K)
    assert found.relative_error < 1e-12
    torch.testing.assert_close(ntk_summed(net, x), K)


def test_the_bias_of_the_summed_outputs_falls_with_the_width_at_the_start():
    def bias(width):
        found = []
        for seed in range(4):
            net = MLP((6, width, 10), activation="relu", weight_scale=2**0.5, seed=seed)
            x = inputs(8, 6, seed=seed).float()
            K = ntk(net, x)
            found.append(((ntk_summed(net, x) - K).norm() / K.norm()).item())
        return sum(found) / len(found)

    assert bias(1600) < bias(100) / 2  # a quarter at the rate width^(-1/2)


def test_the_seed_alone_decides_the_draw():
    net, x = case("dense")
    one, same, other = (ntk_random(net, x, 4, seed=seed) for seed in (1, 1, 2))
    assert isinstance(one, KernelEstimate)
    assert torch.equal(one.kernel, same.kernel)
    assert not torch.equal(one.kernel, other.kernel)


@pytest.mark.parametrize("probes", [1, 0, -3])
def test_one_probe_has_no_error(probes):
    net, x = case("dense")
    with pytest.raises(ValueError, match=f"at least 2, else there is no error, got {probes}"):
        ntk_random(net, x, probes)
