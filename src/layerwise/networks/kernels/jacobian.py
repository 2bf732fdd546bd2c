"""The general route to a tangent kernel: per-sample Jacobians of any parameters, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from layerwise.networks.kernels.contract import Gram, add_gram

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

    Reverse mode, vectorised over `rows` inputs. A parameter that several modules share counts once,
    with the sum of its gradients.
    """
    parameters = dict(model.named_parameters())
    for group in groups:
        chosen = {name: parameters[name].detach() for name in group}
        for start in range(0, len(V), chunk):
            part = V[start : start + chunk]

            def outputs(values: dict[str, Tensor], one: Tensor, part: Tensor = part) -> Tensor:
                # copies made in here, so that the model may change them
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                y = functional_call(model, values | buffers, (one[None],))
                return part.to(y) @ y.flatten()

            with sdpa_kernel(SDPBackend.MATH):  # the fused ones are not vectorised
                J = vmap(jacrev(outputs), (None, 0), chunk_size=rows)(chosen, x.detach().clone())
            for values in J.values():
                add_gram(gram.directions(start, start + chunk), values.to(V))
