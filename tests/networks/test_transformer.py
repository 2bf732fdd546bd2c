"""The one-layer transformer: its map by loops, its start, what only the last position means."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from layerwise.networks import Transformer

SIZES = {"width": 12, "heads": 3, "hidden": 10}


def sequences(n=5, length=4, vocabulary=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (n, length), generator=generator)


@torch.no_grad()
def by_loops(net, tokens):
    """Return outputs and features of one sequence, every position and head for itself."""
    weight = {name: layer.weight for name, layer in net.named_children()}
    stream = [weight["tokens"][t] + weight["positions"][p] for p, t in enumerate(tokens.tolist())]
    k = len(stream[0]) // net.heads
    heads = []
    for j in range(net.heads):
        rows = slice(j * k, (j + 1) * k)
        query = weight["query"][rows] @ stream[-1]
        scores = [query @ (weight["key"][rows] @ x) / math.sqrt(k) for x in stream]
        total = sum(math.exp(s) for s in scores)
        values = [weight["value"][rows] @ x for x in stream]
        heads.append(sum(math.exp(s) / total * v for s, v in zip(scores, values, strict=True)))
    h = stream[-1] + weight["output"] @ torch.cat(heads)
    r = h + weight["mlp_out"] @ (weight["mlp_in"] @ h).clamp(min=0)
    return net.output_scale * weight["unembed"] @ r, r


@pytest.mark.parametrize("heads", [1, 3, 12])
def test_the_map_is_the_formula(heads):
    sizes = {**SIZES, "heads": heads}
    net = Transformer(7, 4, 6, **sizes, weight_scale=1.5, output_scale=0.3, seed=1).double()
    tokens = sequences()
    outputs, features = net(tokens), net.features(tokens)
    for k, row in enumerate(tokens):
        wanted = by_loops(net, row)
        torch.testing.assert_close((outputs[k], features[k]), wanted, rtol=1e-12, atol=1e-13)


def test_a_causal_mask_would_change_nothing():
    net, tokens = Transformer(7, 4, 6, **SIZES, seed=2).double(), sequences()
    attention = nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    attention.in_proj_weight.data = torch.cat(
        [net.query.weight, net.key.weight, net.value.weight]
    ).detach()
    attention.out_proj.weight.data = net.output.weight.detach()
    x = net.tokens(tokens) + net.positions.weight
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    for mask in (None, later):
        attended, _ = attention(x, x, x, attn_mask=mask, need_weights=False)
        h = (x + attended)[:, -1]
        r = h + net.mlp_out(torch.relu(net.mlp_in(h)))
        torch.testing.assert_close(net.features(tokens), r, rtol=1e-12, atol=1e-13)


def test_initial_scales_are_as_asked():
    net = Transformer(
        300, 100, 200, width=128, hidden=256, weight_scale=2.0, embedding_scale=0.1, seed=3
    )
    for name, layer in net.named_children():
        root, few = math.sqrt(layer.weight.shape[1]), 5 / math.sqrt(layer.weight.numel())
        asked = 0.2 if name in ("tokens", "positions") else 2.0
        assert root * layer.weight.std().item() == pytest.approx(asked, rel=few), name
        assert root * layer.weight.mean().item() == pytest.approx(0, abs=few * asked), name


def test_all_parameters_are_weights_of_plain_layers():
    net = Transformer(47, 2, 47)
    counts = [p.numel() for p in net.parameters()]
    assert sum(counts) == (47 + 2 + 47) * 64 + 4 * 64 * 64 + 2 * 64 * 128 == 38_912
    assert {type(layer) for layer in net.children()} == {nn.Embedding, nn.Linear}
    assert all(name.count(".") == 1 for name, _ in net.named_parameters())


def test_layers_see_the_samples_apart():
    net, tokens, seen = Transformer(7, 4, 6, **SIZES), sequences(), []
    for layer in net.children():
        layer.register_forward_hook(lambda layer, x, y: seen.append((len(x[0]), len(y))))
    net(tokens)
    assert seen == [(5, 5)] * 9


def test_the_order_of_the_tokens_matters_only_for_the_last_if_positions_are_equal():
    net = Transformer(7, 4, 6, **SIZES, seed=4).double()
    tokens, turned = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[3, 1, 2, 4]])
    assert not torch.allclose(net(tokens), net(turned))
    net.positions.weight.data[:] = 0.3
    torch.testing.assert_close(net(tokens), net(turned))
    assert not torch.allclose(net(tokens), net(torch.tensor([[1, 2, 4, 3]])))


def test_the_draw_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    one, same, other = (Transformer(7, 4, 6, **SIZES, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b, c in zip(*(net.parameters() for net in (one, same, other)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_bad_sizes_are_refused():
    for sizes in [(0, 4, 6), (7, 0, 6), (7, 4, 0)]:
        with pytest.raises(ValueError, match=r"must be at least 1, got \("):
            Transformer(*sizes)
    for name in SIZES:
        with pytest.raises(ValueError, match="must be at least 1"):
            Transformer(7, 4, 6, **{name: 0})
    with pytest.raises(ValueError, match="got 5 heads and width 12"):
        Transformer(7, 4, 6, width=12, heads=5)


@pytest.mark.parametrize("shape", [(5, 3), (4,), (5, 4, 1)])
def test_sequences_of_another_length_are_refused(shape):
    with pytest.raises(ValueError, match=r"tokens must be \(n, 4\), got") as error:
        Transformer(7, 4, 6, **SIZES)(torch.zeros(shape, dtype=torch.int64))
    assert str(shape) in str(error.value)
