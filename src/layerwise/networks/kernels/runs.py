"""Runs of a module that leave no trace in it, with what passes through its layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call

__all__ = ["Call", "evaluate", "need_batch", "need_deterministic", "recorded"]


@dataclass(frozen=True)
class Call:
    """One call of a layer: its input, and where the gradient at its output is to be had.

    An edge of the graph and not the output itself, which the next layer may change in place.
    """

    module: nn.Module
    inputs: Tensor
    version: int
    outputs: torch.Size
    edge: GradientEdge

    @property
    def intact(self) -> bool:
        """Return whether nobody changed the input since the call."""
        return self.inputs._version == self.version


@contextmanager
def recorded(modules: Collection[nn.Module]) -> Iterator[list[Call]]:
    """Record the calls of modules while the context is open."""
    calls: list[Call] = []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], z: Any) -> None:
        inputs = (*args, *kwargs.values())
        if len(inputs) == 1 and isinstance(z, Tensor) and z.requires_grad:
            edge, A = get_gradient_edge(z), inputs[0].detach()
            calls.append(Call(module, A, A._version, z.shape, edge))

    handles = [m.register_forward_hook(hook, with_kwargs=True, prepend=True) for m in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def evaluate(model: nn.Module, x: Tensor, instead: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the model's output with its graph; nothing else changes, random numbers included.

    Other values may stand instead of some parameters.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [x.device] if x.is_cuda else []
    with torch.enable_grad(), torch.random.fork_rng(devices):
        y = functional_call(model, {**(instead or {}), **buffers}, (x.detach().clone(),))
    if not isinstance(y, Tensor):
        raise TypeError(
            f"the model must return one tensor (N, ...), got {type(y).__name__}; wrap it in a "
            "module that returns the outputs whose kernel is wanted"
        )
    if y.ndim == 0 or len(y) != len(x) or not y.is_floating_point():
        raise ValueError(
            f"the model must map {len(x)} inputs to real outputs ({len(x)}, ...), got "
            f"{tuple(y.shape)} of {y.dtype}"
        )
    return y


def need_batch(x: Tensor, name: str = "x") -> None:
    """Raise unless x is a batch (N, ...) that is not empty."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor of inputs (N, ...), got {type(x).__name__}")
    if x.ndim == 0 or 0 in x.shape:
        raise ValueError(f"{name} must be inputs (N, ...), not none, got {tuple(x.shape)}")


def need_deterministic(model: nn.Module) -> None:
    """Raise for a layer that mixes the samples of a batch or draws random numbers."""
    for name, module in model.named_modules():
        where = f"{name or 'the model'} ({type(module).__name__})"
        if isinstance(module, nn.modules.batchnorm._NormBase):
            if module.running_mean is None and isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise ValueError(
                    f"{where} has no running statistics and mixes the samples of a batch in every "
                    "mode: an input has no gradient of its own. Use track_running_stats=True and "
                    "model.eval(), or a GroupNorm"
                )
            if module.training and module.running_mean is not None:
                raise ValueError(
                    f"{where} is in training mode: it mixes the samples of a batch and changes "
                    "its running statistics; call model.eval() first"
                )
        rate = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else 0.0
        rate = getattr(module, "dropout", rate)
        random = isinstance(rate, float | int) and rate > 0
        if module.training and (random or isinstance(module, nn.RReLU)):
            raise ValueError(
                f"{where} is in training mode and draws random numbers; call model.eval() first"
            )
