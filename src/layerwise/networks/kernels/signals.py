"""The layer route to a tangent kernel: one forward pass, one backward pass for each direction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from layerwise.networks.kernels.contract import Gram, by_gradients, by_pairs, pairs_pay
from layerwise.networks.kernels.layers import Layer
from layerwise.networks.kernels.runs import evaluate, recorded

__all__ = ["add_layers"]


def add_layers(
    gram: Gram, model: nn.Module, x: Tensor, layers: Sequence[Layer], V: Tensor, chunk: int
) -> None:
    """Add the share of layers with a rule, `chunk` directions V (Q, C) at a time.

    The backward passes stop at the outputs of the layers: no gradient of a parameter is formed.
    """
    with recorded({layer.module for layer in layers}) as calls:
        y = evaluate(model, x)
    if set(Counter(call.module for call in calls).values()) != {1} or len(calls) != len(layers):
        raise ValueError(
            f"for {len(x)} inputs the model calls its layers otherwise than for one; use "
            'method="jacobian"'
        )
    of = {call.module: call for call in calls}
    edges = [of[layer.module].edge for layer in layers]
    for start in range(0, len(V), chunk):
        part = V[start : start + chunk].to(y)
        signals = [y.new_empty(len(x), len(part), *layer.outputs) for layer in layers]
        for q, v in enumerate(part):
            along = v.view(y.shape[1:]).expand_as(y)
            found = torch.autograd.grad(y, edges, along, retain_graph=True)
            for G, g in zip(signals, found, strict=True):
                G[:, q] = g
        for layer, signal in zip(layers, signals, strict=True):
            G = layer.signals(signal).to(V)
            A = layer.patches(of[layer.module].inputs).to(V) if layer.weight else None
            _add(gram.directions(start, start + chunk), layer, A, G)


def _add(gram: Gram, layer: Layer, A: Tensor | None, G: Tensor) -> None:
    N, Q = G.shape[:2]
    if pairs_pay(gram.kind, N, Q, layer.factors(N))[0]:
        by_pairs(gram, None if A is None else A[:, 0], G[:, :, 0], layer.bias)
    else:
        by_gradients(gram, A, G, layer.bias)
