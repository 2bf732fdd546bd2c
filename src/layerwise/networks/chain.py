"""The layers of a feedforward network in order, and what passes through the gap between two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import nn

from layerwise.networks.cnn import CNN
from layerwise.networks.mlp import MLP
from layerwise.networks.outputs import CentredOutput, SymmetrisedOutput
from layerwise.networks.scaled import Scaled
from layerwise.networks.two_layer import TwoLayer

__all__ = ["Chain", "Gap", "Layer", "branches", "chain", "layer_of"]

RULES: Final = ("none", "scalar", "diagonal", "full")  # each passes what those before it pass

DENSE: Final = (nn.Linear,)
CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
UNITWISE: Final = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
MEANS: Final = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
MAXIMA: Final = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """Names of the parameters of one layer: its own, of its weight and of its bias, if any."""

    name: str
    weight: str
    bias: str | None

    def inside(self, prefix: str) -> Layer:
        """Return the layer as it is called from outside, where `prefix` stands before its names."""
        bias = None if self.bias is None else prefix + self.bias
        return Layer(prefix + self.name, prefix + self.weight, bias)


@dataclass(frozen=True)
class Gap:
    """What stands between two layers, and which change of the hidden units passes through it.

    Attributes
    ----------
    rule
        ``"full"``: any linear map of the units; ``"diagonal"``: a positive factor for each unit;
        ``"scalar"``: one positive factor for all; ``"none"``. A change that passes can be undone by
        the next layer, which leaves the function as it was. A unit of a convolution is a channel.
    modules
        Names of the kinds of modules between the layers, in order.
    """

    rule: str
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """Layers of a network in the order of the forward pass, and the gaps between them."""

    layers: tuple[Layer, ...]
    gaps: tuple[Gap, ...]


def branches(model: nn.Module) -> dict[str, nn.Module]:
    """Return the networks inside of wrappers, by what stands before the names of their parameters.

    A factor on inputs or outputs and the difference to a copy, frozen or trained, stand outside of
    a network: what passes through the gaps between its layers passes still.

    Examples
    --------
    >>> list(branches(CentredOutput(nn.Linear(3, 2)))), list(branches(nn.Linear(3, 2)))
    (['net.'], [''])
    """
    if isinstance(model, Scaled | CentredOutput):
        inside = {"net.": model.net}
    elif isinstance(model, SymmetrisedOutput):
        inside = {"plus.": model.plus, "minus.": model.minus}
    else:
        return {"": model}
    return {
        outer + inner: net
        for outer, part in inside.items()
        for inner, net in branches(part).items()
    }


def chain(model: nn.Module) -> Chain:
    """Return the layers of `model` in order: of an MLP, TwoLayer, CNN or ``nn.Sequential``.

    Layers are ``nn.Linear`` and convolutions. ReLU, leaky ReLU and dropout pass a factor for each
    unit, and so does max pooling for each channel; average pooling and flattening pass any map of
    the channels. Through everything else, a module of the user's own as well, passes nothing. A
    factor on the network's or a layer's inputs or outputs (`Scaled`) and the difference to a frozen
    copy (`CentredOutput`) take nothing away.

    Raises
    ------
    TypeError
        If the order of the layers of such a module is not known, or it has several chains.
    ValueError
        If there is no layer at all, or a layer appears twice or has a parametrised weight.
    """
    found = branches(model)
    if len(found) > 1:
        raise TypeError(
            f"{type(model).__name__} has {len(found)} chains of layers, "
            f"{', '.join(name.rstrip('.') for name in found)}; take one of them"
        )
    ((prefix, net),) = found.items()
    links = _chain_of(net)
    return Chain(tuple(layer.inside(prefix) for layer in links.layers), links.gaps)


def layer_of(model: nn.Module, name: str) -> Layer:
    """Return the layer of `model` with this name, a dense one or a convolution."""
    module = model.get_submodule(name)
    if type(module) not in (*DENSE, *CONVOLUTIONS):
        raise TypeError(
            f"{name!r} must be nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d, got "
            f"{type(module).__name__}"
        )
    if "weight" not in dict(module.named_parameters(recurse=False)):
        raise ValueError(f"the weight of {name!r} is no parameter of its own (is it parametrised?)")
    return Layer(name, f"{name}.weight", None if module.bias is None else f"{name}.bias")


def _chain_of(model: nn.Module) -> Chain:
    if isinstance(model, TwoLayer):
        layers = (Layer("weight", "weight", "bias"), Layer("readout", "readout", "offset"))
        return Chain(layers, (Gap("diagonal", ("ReLU",)),))
    if isinstance(model, MLP):
        layers = tuple(layer_of(model, f"layers.{k}") for k in range(len(model.layers)))
        relu = model.activation is torch.relu
        gap = Gap("diagonal", ("ReLU",)) if relu else Gap("none", (model.activation.__name__,))
        return Chain(layers, (gap,) * (len(layers) - 1))
    if isinstance(model, CNN):
        return _walk(model, [*_leaves(model.body, "body."), ("head", model.head)])
    if _is_sequence(model):
        return _walk(model, list(_leaves(model, "")))
    raise TypeError(
        f"the order of the layers of {type(model).__name__} is not known, only that of MLP, "
        f"TwoLayer, CNN and nn.Sequential; name the layers instead"
    )


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _leaves(sequence: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, module in sequence._modules.items():  # named_children leaves out repetitions
        if _is_sequence(module) or isinstance(module, Scaled):
            yield from _leaves(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _walk(model: nn.Module, leaves: list[tuple[str, nn.Module]]) -> Chain:
    places = [k for k, (_, m) in enumerate(leaves) if type(m) in (*DENSE, *CONVOLUTIONS)]
    if not places:
        raise ValueError(f"{type(model).__name__} has no linear layer and no convolution")
    if len({id(leaves[k][1].weight) for k in places}) < len(places):
        raise ValueError(f"{type(model).__name__} uses a weight twice: its layers are tied")
    modules = [m for _, m in leaves]
    gaps = [
        _gap(modules[k], modules[k + 1 : after], modules[after]) for k, after in pairwise(places)
    ]
    return Chain(tuple(layer_of(model, leaves[k][0]) for k in places), tuple(gaps))


def _gap(first: nn.Module, between: list[nn.Module], second: nn.Module) -> Gap:
    maps = type(first) in CONVOLUTIONS  # channels with positions, until they are flattened
    # a map of all channels would leave a grouped convolution's groups
    passed = ["full" if getattr(first, "groups", 1) == 1 else "diagonal"]
    for module in between:
        kind = type(module)
        if kind is nn.Flatten and module.start_dim == 1 and module.end_dim == -1:
            maps = False
        elif kind in UNITWISE:
            passed.append("diagonal")
        elif kind in MEANS:
            passed.append("full" if maps else "scalar")
        elif kind in MAXIMA:
            passed.append("diagonal" if maps else "scalar")
        elif kind is not nn.Identity:
            passed.append("none")
    if not _reads_units(first, second, maps):
        passed.append("scalar")
    names = tuple(type(module).__name__ for module in between)
    return Gap(min(passed, key=RULES.index), names)


def _reads_units(first: nn.Module, second: nn.Module, maps: bool) -> bool:
    """Whether the inputs of `second` are the units of `first`, a unit's positions side by side."""
    units = len(first.weight)
    if type(second) in CONVOLUTIONS:
        return maps and second.groups == 1
    return not maps and (type(first) in CONVOLUTIONS or second.in_features == units)
