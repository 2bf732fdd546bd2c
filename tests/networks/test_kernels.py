"""Tangent kernels: every route is the product of Jacobians that are formed output by output."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from layerwise.networks import MLP, ResNet18, kernel_plan, ntk
from layerwise.networks.kernels import contract, plan, signals
from layerwise.networks.kernels.ntk import along
from layerwise.networks.kernels.survey import survey

from .kernel_cases import CASES, case, full_kernel, inputs, jacobian, spread, trace_kernel

METHODS = pytest.mark.parametrize("method", ["auto", "jacobian"])
ORACLES = {"trace": trace_kernel, "full": full_kernel}
KINDS = pytest.mark.parametrize("kind", ORACLES)


def assert_close(found, expected, tolerance=1e-10):
    assert found.shape == expected.shape
    assert not found.requires_grad
    difference = (found.double() - expected).abs().max() / expected.abs().max()
    assert difference < tolerance, f"relative difference {difference:.1e}"


@METHODS
@KINDS
@pytest.mark.parametrize("name", CASES)
def test_every_route_is_the_product_of_jacobians(name, kind, method):
    net, x = case(name)
    expected = ORACLES[kind](net, x)
    assert_close(ntk(net, x, kind, method), expected)
    single = x.float() if x.is_floating_point() else x
    found = ntk(net.float(), single, kind, method)
    assert found.dtype == torch.float32
    assert_close(found, expected, 1e-5)


@KINDS
@pytest.mark.parametrize("route", [True, False], ids=["pairs", "gradients"])
@pytest.mark.parametrize("name", ["dense", "cnn", "transformer", "sequence"])
def test_both_contractions_serve_every_layer(name, route, kind, monkeypatch):
    def either(kind, N, Q, factors):
        return route and factors[0] == 1, 0.0

    monkeypatch.setattr(signals, "pairs_pay", either)
    net, x = case(name)
    assert_close(ntk(net, x, kind, "layers"), ORACLES[kind](net, x))


@METHODS
@KINDS
@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("name", ["dense", "convolutions", "attention", "branching"])
def test_two_batches_give_the_block_between_them(name, cut, kind, method):
    net, x = case(name)
    whole, rows = ntk(net, x, kind), cut
    if kind == "full":
        rows *= len(whole) // len(x)
    found = ntk(net, x[:cut], kind, method, x2=x[cut:])
    assert_close(found, whole[:rows, rows:])


@KINDS
@pytest.mark.parametrize("block", [4, 60, 700])
def test_blocks_of_any_size_add_up_to_the_same(kind, block, monkeypatch):
    monkeypatch.setattr(contract, "CACHE", block)
    monkeypatch.setattr(contract, "WORK", 10 * block)
    for name in ("dense", "cnn", "convolutions"):
        net, x = case(name)
        assert_close(ntk(net, x, kind), ORACLES[kind](net, x))


@pytest.fixture
def small_blocks(monkeypatch):
    for module in (contract, plan):
        monkeypatch.setattr(module, "WORK", 1000)


@METHODS
def test_little_memory_means_a_few_outputs_at_a_time(method, small_blocks):
    net, x = spread(MLP((9, 12, 40), activation="relu")), inputs(6, 9)
    freely = kernel_plan(net, x, method=method)
    limit = freely.gigabytes / 3
    tightly = kernel_plan(net, x, method=method, limit_gb=limit)
    assert tightly.chunk < freely.chunk == 40
    assert tightly.gigabytes <= limit
    assert_close(ntk(net, x, method=method, limit_gb=limit), ntk(net, x))


def test_a_large_jacobian_is_formed_by_groups_of_parameters(small_blocks):
    net, x = spread(MLP((9, 12, 8, 5))), inputs(6, 9)
    limit = kernel_plan(net, x, "full", "jacobian").gigabytes * 0.7
    tightly = kernel_plan(net, x, "full", "jacobian", limit_gb=limit)
    assert len(tightly.by_jacobian) > 1
    names = sum(tightly.by_jacobian, ())
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())
    assert_close(ntk(net, x, "full", "jacobian", limit_gb=limit), ntk(net, x, "full"))


def test_a_whole_resnet_has_a_rule_for_every_layer():
    net, x = spread(ResNet18(1, 3, width=2)), inputs(4, 1, 8, 8)
    found = kernel_plan(net, x)
    assert (found.method, found.by_jacobian) == ("layers", ())
    assert found.parameters == sum(p.numel() for p in net.parameters())
    for kind in ORACLES:
        assert_close(ntk(net, x, kind, "layers"), ORACLES[kind](net, x))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4))
def test_kernels_are_symmetric_positive_and_blind_to_the_order_of_inputs(seed, N, C, width):
    net = spread(MLP((3, width, C), activation="relu"), seed)
    x = inputs(N, 3, seed=seed)
    K, full = ntk(net, x), ntk(net, x, "full")
    for k in (K, full):
        assert torch.equal(k, k.T)
        assert torch.linalg.eigvalsh(k).min() > -1e-12 * k.abs().max()
    assert_close(torch.einsum("icjc->ij", full.view(N, C, N, C)), K)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    assert_close(ntk(net, x[order]), K[order][:, order])


@METHODS
@pytest.mark.parametrize("name", ["dense", "convolutions", "attention"])
def test_kernels_add_up_over_groups_of_parameters(name, method):
    net, x = case(name)
    whole, parts = ntk(net, x, "full"), torch.zeros(())
    parameters = list(net.parameters())
    for k in range(3):
        for j, p in enumerate(parameters):
            p.requires_grad_(j % 3 == k)
        parts = parts + ntk(net, x, "full", method)
    assert_close(parts, whole)


@pytest.mark.parametrize("factor", [0.5, 7.0])
def test_a_scaled_last_layer_scales_the_kernel_of_all_others(factor):
    net, x = case("dense")
    net.layers[-1].weight.requires_grad_(False)
    net.layers[-1].bias.requires_grad_(False)
    K = ntk(net, x)
    net.layers[-1].weight.data *= factor
    assert_close(ntk(net, x), factor**2 * K)


def test_weight_and_bias_may_be_trained_alone():
    for trained in ("weight", "bias"):
        for name in ("dense", "cnn", "convolutions", "sequence"):
            net, x = case(name)
            for key, p in net.named_parameters():
                p.requires_grad_(key.endswith(trained) or key == "head.weight")
            for kind, oracle in ORACLES.items():
                assert_close(ntk(net, x, kind, "layers"), oracle(net, x))


def test_rows_of_the_full_kernel_hold_the_outputs_of_an_input_together():
    net, x = case("dense")
    J = jacobian(net, x)
    assert ntk(net, x, "full")[2 * 3 + 1, 4 * 3 + 2].item() == pytest.approx(
        (J[2, 1] @ J[4, 2]).item(), rel=1e-12
    )


def test_half_precision_is_summed_in_single():
    net, x = case("dense")
    found = ntk(net.bfloat16(), x.bfloat16())
    assert found.dtype == torch.float32
    assert_close(found, trace_kernel(net.double(), x.bfloat16().double()), 0.05)


def test_the_plan_says_in_words_what_will_be_done():
    net, x = case("attention")
    found = kernel_plan(net, x, "full")
    assert found.method == "layers and jacobian"
    assert set(sum(found.by_jacobian, ())) == {
        "tokens.weight", "positions", "encoder.self_attn.in_proj_weight",
        "encoder.self_attn.in_proj_bias", "encoder.self_attn.out_proj.weight",
        "encoder.self_attn.out_proj.bias",
    }  # fmt: skip
    assert "positions: there is no layer rule for Attention" in str(found)
    assert "tokens.weight: it is used more than once" in str(found)
    assert str(found).startswith(
        f"full kernel of 5 inputs, 7 outputs, {found.parameters} parameters"
    )
    assert kernel_plan(net, x, method="jacobian").reason == "asked for"


@pytest.mark.parametrize(
    ("factors", "pairs"),
    [
        ((1, 200, 1, 784), True),
        ((1, 64, 16, 576), True),
        ((1, 16, 64, 9), False),
        ((4, 16, 1, 9), False),
    ],
)
def test_pairs_are_taken_where_they_cost_less_than_gradients(factors, pairs):
    g, o, p, D = factors
    N, Q = 100, 10
    pay, flops = contract.pairs_pay("trace", N, Q, factors)
    assert pay == pairs
    by_gradient = g * (2 * N * Q * o * D * p + N * (N + 1) * Q * o * D)
    by_pairs = N * (N + 1) / 2 * p**2 * (2 * D + 2 * Q * o + contract.ELEMENTWISE)
    assert flops == (by_pairs if pairs else by_gradient)
    assert g > 1 or flops == min(by_gradient, by_pairs)


@pytest.mark.parametrize("name", ["dense", "attention", "branching"])
def test_a_survey_that_is_known_spares_its_two_runs(name):
    net, x = case(name)
    known, runs = survey(net, x), []
    with torch.no_grad():
        next(net.parameters()).add_(0.1)
    net.register_forward_hook(lambda *_: runs.append(1))
    found = along(net, x, "trace", "auto", None, 4.0, found=known)[0]
    few = len(runs)
    assert torch.equal(found, ntk(net, x))
    assert len(runs) - few == few + 2


def test_kernels_of_the_same_network_are_equal_with_and_without_unused_layers():
    net, x = case("dense")
    K = ntk(net, x)
    net.spare = nn.Linear(5, 5).double()
    assert torch.equal(ntk(net, x), K)
    assert kernel_plan(net, x).by_jacobian == ()
