"""What two runs say about a module before its kernel: which parameters have a gradient rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from layerwise.networks.kernels.layers import Layer, missing_rule
from layerwise.networks.kernels.runs import (
    Call,
    evaluate,
    need_batch,
    need_deterministic,
    recorded,
)

__all__ = ["Survey", "survey"]


@dataclass(frozen=True)
class Survey:
    """What runs of one and of two inputs say about a module.

    Attributes
    ----------
    outputs, dtype
        Shape of its output for one input, and its precision.
    layers
        Layers with parameters that have a rule.
    rest
        Names of the other trained parameters and why they have none.
    sizes
        Names and numbers of entries of all trained parameters that the output depends on.
    saved
        Bytes an input that are kept for a backward pass.
    """

    outputs: torch.Size
    dtype: torch.dtype
    layers: tuple[Layer, ...]
    rest: dict[str, str]
    sizes: dict[str, int]
    saved: int

    @property
    def work(self) -> torch.dtype:
        """Return the precision of the kernel: that of the outputs, at least float32."""
        return torch.promote_types(self.dtype, torch.float32)


@torch.inference_mode(False)
def survey(model: nn.Module, x: Tensor) -> Survey:
    """Run one and two inputs through a module and tell its parameters apart.

    A parameter has a rule if its layer has, if the output depends on it through one call of that
    layer alone, and if the first axis of the layer's input and output is that of the samples.
    """
    need_batch(x)
    need_deterministic(model)
    owners = _owners(model)
    owning = {module for _, places in owners.values() for module, _ in places}
    modules = [module for module in owning if not missing_rule(module)]
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        if value.layout is torch.strided:  # sparse ones have no storage of their own
            storage = value.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return value.detach()  # the tensor itself would hold its graph, and the graph the tensor

    with recorded(modules) as alone, saved_tensors_hooks(keep, lambda value: value):
        y = evaluate(model, x[:1])
        intact = {call.module: call.intact for call in alone}
    with recorded(modules) as paired:
        pair = evaluate(model, torch.cat([x[-1:], x[:1]]))  # the first input, but elsewhere
    _need_apart(y.detach(), pair.detach())
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.layout is torch.strided:
            kept.pop(tensor.untyped_storage().data_ptr(), None)

    uses, nodes = _uses(y)
    if any(node.name() == "CheckpointFunctionBackward" for node in nodes):
        raise ValueError(
            "reentrant checkpoints hide parameters from the graph of the output; use "
            "use_reentrant=False or none"
        )
    calls = Counter(call.module for call in alone)
    single = {call.module: call for call in alone}
    double = {call.module: call for call in paired}
    rest: dict[str, str] = {}
    ruled: dict[nn.Module, list[str]] = {}
    sizes = {name: p.numel() for name, (p, _) in owners.items() if uses[id(p)]}
    if not sizes:
        raise ValueError("the model's output depends on no parameter that requires gradients")
    for name in sizes:
        p, places = owners[name]
        module, attribute = places[0]
        if reason := missing_rule(module):
            rest[name] = reason
        elif len(places) > 1 or uses[id(p)] > 1 or calls[module] > 1:
            rest[name] = "it is used more than once"
        elif not calls[module] or single[module].edge.node not in nodes:
            rest[name] = "it is used outside of its layer"
        elif not intact[module]:
            rest[name] = "the input of its layer is changed in place afterwards"
        elif not _samples_first(single[module], double[module]):
            rest[name] = "the first axis of its layer is not that of the samples"
        else:
            ruled.setdefault(module, []).append(attribute)
    layers = tuple(
        Layer(
            module,
            tuple(single[module].inputs.shape[1:]),
            tuple(single[module].outputs[1:]),
            "weight" in attributes,
            "bias" in attributes,
        )
        for module, attributes in ruled.items()
    )
    return Survey(y.shape[1:], y.dtype, layers, rest, sizes, sum(kept.values()))


def _owners(model: nn.Module) -> dict[str, tuple[nn.Parameter, list[tuple[nn.Module, str]]]]:
    """Return each trained parameter with the modules that own it, under its first name."""
    found: dict[str, tuple[nn.Parameter, list[tuple[nn.Module, str]]]] = {}
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    if not names:
        raise ValueError("no parameter of the model requires gradients: its kernel is zero")
    for module in model.modules():
        for attribute, p in module._parameters.items():
            if p is not None and p.requires_grad:
                found.setdefault(names[id(p)], (p, []))[1].append((module, attribute))
    return found


def _need_apart(alone: Tensor, pair: Tensor) -> None:
    if not alone.isfinite().all():
        raise ValueError("the model's output for the first input is not finite")
    difference = (pair[1:] - alone).abs().max().item()
    largest = alone.abs().max().item()
    if difference > torch.finfo(alone.dtype).eps ** 0.25 * largest:
        raise ValueError(
            f"the outputs for one input change by {difference:.3g} (largest output {largest:.3g}) "
            "when another input joins the batch: the model mixes samples or draws random numbers, "
            "so an input has no gradient of its own; call model.eval() or remove what does so"
        )


def _uses(y: Tensor) -> tuple[Counter[int], set[Node]]:
    """Return how often each parameter enters the graph of y, by id, and the graph's nodes."""
    uses: Counter[int] = Counter()
    nodes: set[Node] = set()
    stack = [y.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        for parent, _ in node.next_functions:
            if hasattr(parent, "variable"):
                uses[id(parent.variable)] += 1
            stack.append(parent)
    return uses, nodes


def _samples_first(single: Call, double: Call) -> bool:
    return all(
        one[0] == 1 and two[0] == 2 and one[1:] == two[1:]
        for one, two in (
            (single.inputs.shape, double.inputs.shape),
            (single.outputs, double.outputs),
        )
    )
