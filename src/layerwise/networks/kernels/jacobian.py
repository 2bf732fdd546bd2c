"""The general route to a tangent kernel: per-sample Jacobians of any parameters, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from layerwise.networks.kernels.contract import Gram, add_gram
from layerwise.networks.kernels.runs import evaluate

__all__ = ["add_jacobian"]


@torch.no_grad()
def add_jacobian(
    gram: Gram,
    model: nn.Module,
    x: Tensor,
    groups: Sequence[Sequence[str]],
    V: Tensor,
    chunk: int,
    rows: int,
) -> None:
    """Add the share of named parameters, one group of them and `chunk` directions at a time.

    Reverse mode, vectorised over `rows` inputs, or one by one where the model does what cannot be
    vectorised. A parameter that several modules share counts once, with the sum of its gradients.
    """
    parameters = dict(model.named_parameters())
    for group in groups:
        chosen = {name: parameters[name].detach() for name in group}
        for start in range(0, len(V), chunk):
            part = V[start : start + chunk]
            try:
                J = _vectorised(model, x, chosen, part, rows)
            except RuntimeError:  # if it is the model's own, it comes again
                J = _one_by_one(model, x, chosen, part)
            for values in J.values():
                add_gram(gram.directions(start, start + chunk), values.to(V))


def _vectorised(
    model: nn.Module, x: Tensor, chosen: dict[str, Tensor], part: Tensor, rows: int
) -> dict[str, Tensor]:
    """Return the gradients (N, Q, ...) along directions (Q, C) of parameters, by name."""

    def outputs(values: dict[str, Tensor], one: Tensor) -> Tensor:
        # copies made in here, so that the model may change them
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        y = functional_call(model, values | buffers, (one[None],))
        return part.to(y) @ y.flatten()

    with sdpa_kernel(SDPBackend.MATH):  # the fused ones are not vectorised
        return vmap(jacrev(outputs), (None, 0), chunk_size=rows)(chosen, x.detach().clone())


def _one_by_one(
    model: nn.Module, x: Tensor, chosen: dict[str, Tensor], part: Tensor
) -> dict[str, Tensor]:
    """Return the same by a forward pass for every input and a backward pass for every direction.

    For what depends on the values of a tensor, draws numbers to no effect, or has no batching rule.
    """
    own = {name: value.detach().requires_grad_() for name, value in chosen.items()}
    J = {name: part.new_empty(len(x), len(part), *p.shape, dtype=p.dtype)
         for name, p in own.items()}  # fmt: skip
    for i, one in enumerate(x.split(1)):
        y = evaluate(model, one, own)
        for q, v in enumerate(part.to(y)):
            found = torch.autograd.grad(
                y, list(own.values()), v.view(y.shape), retain_graph=True, materialize_grads=True
            )
            for values, g in zip(J.values(), found, strict=True):
                values[i, q] = g
    return J
