"""The quantities that gradient flow conserves in a network, found from its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.networks.chain import Layer, branches, chain, layer_of
from layerwise.networks.transformer import Transformer

__all__ = ["Conserved", "conserved_quantities", "conserved_values"]

RULE_OF = {"linear": "full", "relu": "diagonal"}  # of what a user says stands between two layers


@dataclass(frozen=True)
class Conserved:
    """One conserved quantity: weights that read some hidden units minus weights that write them.

    With R the reading and W the writing parameters, each as a matrix with a row for each unit, it
    is made of::

        D = sum_R R R^T - sum_W W W^T        (two dense layers: W2^T W2 - W1 W1^T - b1 b1^T)

    A change of the units that what follows can undo leaves the function as it was; of D gradient
    flow then conserves the part that belongs to the changes that can be undone.

    Attributes
    ----------
    name
        What it is called.
    writers, readers
        Parameters as ``(name, axis)``, the axis along which the units run. A bias of the units is a
        writer. Positive entries of D say that the readers, the later weights, are the larger ones.
    units
        Number of units h. An axis longer than that holds the positions of each unit side by side,
        as behind a flattened convolution.
    rule
        ``"full"``: all of D, where a linear map of the units can be undone; ``"diagonal"``: its
        diagonal, where only a positive factor for each can; ``"scalar"``: its trace, where only one
        factor for all can.
    heads
        Number of heads that share the units; the maps of a full rule do not mix heads.

    Notes
    -----
    Conserved by gradient flow on any loss of the network's outputs, with one learning rate for all
    of these parameters. Gradient descent changes D by ``eta^2 (sum_R G G^T - sum_W G G^T)`` a step,
    G the gradients: over a fixed training time the drift falls in proportion to the rate. Decay at
    rate lam_d of all these parameters multiplies D by ``exp(-2 lam_d t)``. Momentum, Adam, clipping
    of single entries and rates that differ by layer break it.

    References
    ----------
    Du, Hu and Lee 2018 (arXiv 1806.00900) for dense, convolutional and ReLU layers; Kunin et al.
    2021 (arXiv 2012.04728) for symmetries, decay and finite rates.
    """

    name: str
    writers: tuple[tuple[str, int], ...]
    readers: tuple[tuple[str, int], ...]
    units: int
    rule: str
    heads: int = 1

    def value(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the quantity of these parameters, by name: a state dictionary will do.

        Shape (h, h) where the rule is full, (heads, h/heads, h/heads) of more than one head; (h,)
        where it is diagonal; (1,) where it is scalar.
        """
        read = [self._rows(parameters[name], axis) for name, axis in self.readers]
        written = [self._rows(parameters[name], axis) for name, axis in self.writers]
        if self.rule != "full":
            return sum(w.square().sum(1) for w in read) - sum(w.square().sum(1) for w in written)
        D = sum(w @ w.T for w in read) - sum(w @ w.T for w in written)
        if self.heads == 1:
            return D
        k = self.units // self.heads
        return torch.stack([part[:, j * k : (j + 1) * k] for j, part in enumerate(D.split(k))])

    def as_json(self, layers: Mapping[str, str]) -> dict[str, Any]:
        """Return the rule, and the layers on either side, as plain values.

        `layers` gives the name of the weight matrix of each layer; biases are left out.

        Examples
        --------
        >>> pair = Conserved("a-b", (("a.weight", 0), ("a.bias", 0)), (("b.weight", 1),), 5, "full")
        >>> pair.as_json({"a": "a.weight", "b": "b.weight"})
        {'rule': 'full', 'writers': ['a'], 'readers': ['b']}
        """
        sides = {"writers": dict(self.writers), "readers": dict(self.readers)}
        return {"rule": self.rule} | {
            side: [layer for layer, weight in layers.items() if weight in parameters]
            for side, parameters in sides.items()
        }

    def _rows(self, weight: Tensor, axis: int) -> Tensor:
        """Return all that belongs to each unit, (units, ...); under a scalar rule there is one."""
        units = 1 if self.rule == "scalar" else self.units
        return weight.unflatten(axis, (units, -1)).movedim(axis, 0).flatten(1)


@torch.no_grad()
def conserved_values(
    model: nn.Module, pairs: Sequence[Conserved | tuple[str, str, str]] | None = None
) -> dict[str, Tensor]:
    """Return the present value of every quantity that gradient flow conserves in `model`, by name.

    `pairs` and errors are those of `conserved_quantities`, which says what each of them is.

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> net = MLP((5, 4, 3, 2), activation="relu")
    >>> {name: value.shape for name, value in conserved_values(net).items()}
    {'layers.0-layers.1': torch.Size([4]), 'layers.1-layers.2': torch.Size([3])}
    >>> linear = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2))
    >>> {name: value.shape for name, value in conserved_values(linear).items()}
    {'0-1': torch.Size([4, 4])}
    """
    parameters = dict(model.named_parameters())
    return {item.name: item.value(parameters) for item in conserved_quantities(model, pairs)}


def conserved_quantities(
    model: nn.Module, pairs: Sequence[Conserved | tuple[str, str, str]] | None = None
) -> tuple[Conserved, ...]:
    """Return what gradient flow conserves in `model`; see `Conserved` for when it does.

    Of an MLP, TwoLayer, CNN or ``nn.Sequential`` it is found for each two neighbouring layers from
    what stands between them: the whole matrix if nothing does, its diagonal (an entry for each
    neuron or channel) for ReLU, leaky ReLU, dropout and max pooling, its trace where units are
    mixed by one homogeneous step, nothing for tanh, GELU, softmax or norms.

    Of a `Transformer` the units are those of the keys and queries (a matrix for each head,
    ``W_K W_K^T - W_Q W_Q^T``), of the values (``W_O^T W_O - W_V W_V^T`` for each head), of the MLP
    (an entry for each neuron) and of the residual stream: the Grams of all matrices that read it
    minus those of all that write to it.

    A factor on inputs or outputs (`ScaledInput`, `ScaledOutput`) and the difference to a frozen
    copy (`CentredOutput`) change none of them; each copy of a `SymmetrisedOutput` has its own.

    Quantities of which a parameter is frozen (``requires_grad`` False) are left out: they change.

    Parameters
    ----------
    pairs
        For any other module: names of two neighbouring layers and what stands between them,
        ``(first, second, "linear" or "relu")``, or a `Conserved` of one's own. That nothing else
        reads or writes the units between is for the caller to know.

    Raises
    ------
    TypeError
        Without `pairs`, if the order of the layers is not known of such a module.
    ValueError
        If the layers of a pair do not fit, or it says neither ``"linear"`` nor ``"relu"``.

    Examples
    --------
    >>> from layerwise.networks import CNN, Transformer
    >>> [(item.name, item.rule) for item in conserved_quantities(CNN(1, 10))]
    [('body.0-body.2', 'diagonal'), ('body.2-body.4', 'diagonal'), ('body.4-head', 'diagonal')]
    >>> [item.name for item in conserved_quantities(Transformer(7, 2, 7))]
    ['query-key', 'value-output', 'mlp_in-mlp_out', 'stream']
    """
    if pairs is not None:
        found = [p if isinstance(p, Conserved) else _named(model, *p) for p in pairs]
    else:
        found = [item for where, net in branches(model).items() for item in _of(net, where)]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    return tuple(
        item for item in found if trained.issuperset(n for n, _ in item.readers + item.writers)
    )


def _of(model: nn.Module, prefix: str) -> list[Conserved]:
    """Return what is conserved in a network, its parameters called as from outside."""
    if isinstance(model, Transformer):
        return _of_transformer(model, prefix)
    links = chain(model)
    return [
        _between(model, first, second, gap.rule, prefix)
        for (first, second), gap in zip(pairwise(links.layers), links.gaps, strict=True)
        if gap.rule != "none"
    ]


def _between(
    model: nn.Module, first: Layer, second: Layer, rule: str, prefix: str = ""
) -> Conserved:
    units = len(model.get_parameter(first.weight))
    axis = min(1, model.get_parameter(second.weight).ndim - 1)
    first, second = first.inside(prefix), second.inside(prefix)
    writers = ((first.weight, 0),) if first.bias is None else ((first.weight, 0), (first.bias, 0))
    return Conserved(f"{first.name}-{second.name}", writers, ((second.weight, axis),), units, rule)


def _named(model: nn.Module, first: str, second: str, between: str) -> Conserved:
    if between not in RULE_OF:
        raise ValueError(
            f"between {first!r} and {second!r} may stand {' or '.join(map(repr, RULE_OF))}, got "
            f"{between!r}"
        )
    layers = layer_of(model, first), layer_of(model, second)
    into, out = (model.get_submodule(name) for name in (first, second))
    grouped = getattr(into, "groups", 1) > 1  # whose channels no map of all of them may mix
    pair = _between(model, *layers, "diagonal" if grouped else RULE_OF[between])
    flattened = isinstance(out, nn.Linear) and not isinstance(into, nn.Linear)
    read = out.weight.shape[1]
    if read % pair.units if flattened else read != pair.units:
        raise ValueError(
            f"{second!r} must read the {pair.units} units of {first!r}, but it reads {read}: "
            f"weights {tuple(into.weight.shape)} and {tuple(out.weight.shape)}"
        )
    return pair


def _of_transformer(model: Transformer, prefix: str) -> list[Conserved]:
    def at(axis: int, *layers: str) -> tuple[tuple[str, int], ...]:
        return tuple((f"{prefix}{layer}.weight", axis) for layer in layers)

    width, heads, hidden = model.tokens.embedding_dim, model.heads, model.mlp_in.out_features
    readers = ("query", "key", "value", "mlp_in", "unembed")
    writers = at(1, "tokens", "positions") + at(0, "output", "mlp_out")
    return [
        Conserved(f"{prefix}{name}", *of)
        for name, *of in (
            ("query-key", at(0, "query"), at(0, "key"), width, "full", heads),
            ("value-output", at(0, "value"), at(1, "output"), width, "full", heads),
            ("mlp_in-mlp_out", at(0, "mlp_in"), at(1, "mlp_out"), hidden, "diagonal"),
            ("stream", writers, at(1, *readers), width, "full"),
        )
    ]
