"""Which layers have a gradient rule, and what their parameters' gradients are made of.

The gradient of output q with respect to the weight of a layer is, for every sample and group of
channels, a sum over positions t of an outer product: ``sum_t G[q, :, t] A[t, :]^T``, of the signal
G = dy_q / d(output of the layer) and the patch A of the input that the weight multiplies there. A
dense layer has one position; a convolution one for every pixel of its output; a layer that scales
every channel is a convolution of size one with as many groups as channels; an embedding is a dense
layer on one-hot inputs. The gradient of the bias has ones in the place of A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Layer", "missing_rule"]

DENSE: Final = (nn.Linear,)
CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d)
CHANNEL_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)
LAST_AXES_NORMS: Final = (nn.LayerNorm, nn.RMSNorm)
RULES: Final = (*DENSE, *CONVOLUTIONS, *CHANNEL_NORMS, *LAST_AXES_NORMS, nn.Embedding)


def missing_rule(module: nn.Module) -> str:
    """Return why the parameters that a module itself owns have no rule, "" if they have one."""
    if type(module) not in RULES:  # a subclass may compute something else
        return f"there is no layer rule for {type(module).__name__}"
    if not set(module._parameters) <= {"weight", "bias"}:
        return f"its parameters {sorted(module._parameters)} are not weight and bias alone"
    if isinstance(module, nn.Embedding) and (module.max_norm or module.scale_grad_by_freq):
        return "an embedding with max_norm or scale_grad_by_freq has no layer rule"
    return ""


@dataclass(frozen=True)
class Layer:
    """A layer with a rule, as one input alone passes through it.

    Attributes
    ----------
    inputs, outputs
        Shapes of the layer's input and output for one sample.
    weight, bias
        Whether they are trained.
    """

    module: nn.Module
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weight: bool
    bias: bool

    def factors(self, N: int) -> tuple[int, int, int, int]:
        """Return groups g, outputs o of a group, positions p and numbers D in a patch.

        N samples of p tokens excite no more than N p rows of an embedding.
        """
        module = self.module
        if isinstance(module, CONVOLUTIONS):
            channels, *places = self.outputs
            patch = module.weight[0].numel()
            return module.groups, channels // module.groups, math.prod(places), patch
        if isinstance(module, CHANNEL_NORMS):
            return self.outputs[0], 1, math.prod(self.outputs[1:]), 1
        if isinstance(module, LAST_AXES_NORMS):
            channels = math.prod(module.normalized_shape)
            return channels, 1, math.prod(self.outputs) // channels, 1
        *places, outputs = self.outputs
        p = math.prod(places)
        if isinstance(module, nn.Embedding):
            return 1, outputs, p, min(module.num_embeddings, N * p)
        return 1, outputs, p, self.inputs[-1]

    def patches(self, A: Tensor) -> Tensor:
        """Return what the weight multiplies, from inputs (N, ...) to patches (N, g, p, D)."""
        module, N = self.module, len(A)
        g, _, p, D = self.factors(N)
        if isinstance(module, CONVOLUTIONS):
            return _unfolded(module, A).reshape(N, g, D, p).transpose(2, 3)
        if isinstance(module, CHANNEL_NORMS):
            return _normalised(module, A).reshape(N, g, p, 1)
        if isinstance(module, LAST_AXES_NORMS):
            return _normalised(module, A).reshape(N, p, g, 1).transpose(1, 2)
        if isinstance(module, nn.Embedding):
            return _one_hot(module, A.reshape(N, 1, p))
        return A.reshape(N, 1, p, D)

    def signals(self, G: Tensor) -> Tensor:
        """Return signals (N, Q, ...) at the layer's output in the order (N, Q, g, o, p)."""
        (N, Q), (g, o, p, _) = G.shape[:2], self.factors(len(G))
        if isinstance(self.module, CONVOLUTIONS + CHANNEL_NORMS):
            return G.reshape(N, Q, g, o, p)
        return G.reshape(N, Q, p, g, o).permute(0, 1, 3, 4, 2)


def _unfolded(module: nn.Conv1d | nn.Conv2d, A: Tensor) -> Tensor:
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    A = functional.pad(A, module._reversed_padding_repeated_twice, mode=mode)
    sizes = [module.kernel_size, module.dilation, module.stride]
    if A.ndim == 3:
        A, sizes = A[:, :, None], [(1, *size) for size in sizes]
    kernel, dilation, stride = sizes
    return functional.unfold(A, kernel, dilation=dilation, stride=stride)


def _normalised(module: nn.Module, A: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return functional.layer_norm(A, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return functional.rms_norm(A, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return functional.group_norm(A, module.num_groups, eps=module.eps)
    return functional.batch_norm(A, module.running_mean, module.running_var, eps=module.eps)


def _one_hot(module: nn.Embedding, tokens: Tensor) -> Tensor:
    found, index = torch.unique(tokens, return_inverse=True)  # tokens that never occur add nothing
    hot = functional.one_hot(index, len(found)).to(module.weight.dtype)
    if module.padding_idx is not None:
        hot[tokens == module.padding_idx] = 0
    return hot
