"""Starts that the theory speaks about, for modules that exist: all change weights in place.

One sign everywhere: later layers larger is "upstream", since then the early layers learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from layerwise.networks.chain import CONVOLUTIONS, DENSE, chain

__all__ = ["downstream", "lambda_balance", "neuron_balance", "rescale", "set_weights", "upstream"]

ROUNDING = 1e-12  # factors whose product departs from one by less count as undoing each other


@torch.no_grad()
def rescale(model: nn.Module, factors: Mapping[str, float], *, preserve: bool = False) -> None:
    """Multiply the named layers of `model` by the given factors.

    Parameters
    ----------
    factors
        Factor of each module or parameter, by its name in `model`; all parameters of a module are
        multiplied, biases as well. ``{"": 0.5}`` halves the whole model.
    preserve
        Whether to demand that the function stays the same. The names are then layers of a chain
        (an MLP, TwoLayer, CNN or ``nn.Sequential``), the factors positive with product 1, and all
        between the first and the last of these layers positively homogeneous. The bias of each
        layer is multiplied by the product of the factors so far, in layers not named as well.

    Raises
    ------
    ValueError
        If a factor is not finite, or the function would change although `preserve` is set; the
        message says where.
    AttributeError, TypeError
        If there is no such module or parameter, or the order of the layers is not known.

    Examples
    --------
    >>> from layerwise.networks import CNN
    >>> net, x = CNN(1, 10), torch.ones(1, 1, 8, 8)
    >>> before = net(x)
    >>> rescale(net, {"body.0": 0.25, "head": 4.0}, preserve=True)
    >>> torch.equal(net(x), before)
    True
    """
    wrong = {name: f for name, f in factors.items() if not math.isfinite(f)}
    if wrong:
        raise ValueError(f"factors must be finite, got {wrong}")
    if preserve:
        scaled = _preserving(model, factors)
    else:
        scaled = [(p, f) for name, f in factors.items() for p in _parameters(model, name)]
    for parameter, factor in scaled:
        parameter.mul_(factor)


def upstream(model: nn.Module, alpha: float) -> None:
    """Divide the first layer by `alpha` and multiply the last by it; the function stays the same.

    With alpha > 1 the early layer is small and the late one large, so that learning happens
    upstream, in the early layer; alpha < 1 is the reverse. Biases are carried along: those before
    the last layer are divided by `alpha`. ``upstream(model, 1 / alpha)`` undoes it.

    Raises
    ------
    ValueError
        If alpha is not positive, there are not two layers, or something between them does not let
        a factor pass (tanh, a norm): then the function would change. `rescale` does that.
    TypeError
        If `model` is no MLP, TwoLayer, CNN or ``nn.Sequential``.

    References
    ----------
    Kunin et al. 2024, arXiv 2406.06158.

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> net = MLP((784, 200, 200, 10), activation="relu")
    >>> upstream(net, 10.0)
    >>> [f"{scale:.1g}" for scale in net.scales().tolist()]
    ['0.1', '1', '1e+01']
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be positive and finite, got {alpha!r}")
    layers = chain(model).layers
    if len(layers) < 2:
        raise ValueError(f"upstream needs two layers, {type(model).__name__} has {len(layers)}")
    rescale(model, {layers[0].name: 1 / alpha, layers[-1].name: alpha}, preserve=True)


def downstream(model: nn.Module, alpha: float) -> None:
    """Multiply the first layer by `alpha` and divide the last by it; the reverse of `upstream`.

    With alpha > 1 the early layer is large and hardly moves.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be positive and finite, got {alpha!r}")
    upstream(model, 1 / alpha)


@torch.no_grad()
def lambda_balance(first: nn.Linear, second: nn.Linear, lam: float = 0.0) -> None:
    """Make two linear layers lam-balanced, ``W2^T W2 - W1 W1^T = lam I``; their product stays.

    A bias of the first layer counts as one more column of W1. With the singular values s of
    ``W2 W1 = U diag(s) V^T``, the layers become::

        W1 = R diag(a) V^T    W2 = U diag(b) R^T    a b = s    b^2 - a^2 = lam

    where R, which the product leaves free, is chosen to move the weights least. Two layers with
    nothing between them keep their function. Across a ReLU it changes; see `neuron_balance`.

    Parameters
    ----------
    first, second
        W1 (h, i) and W2 (o, h).
    lam
        Imbalance; positive makes the second layer the larger one. 0 is balanced.

    Raises
    ------
    ValueError
        If the layers do not share h, lam is not finite, or lam asks for more directions than there
        are: lam > 0 needs ``h <= o`` and lam < 0 needs ``h <= i``, a bias being one of the i.

    References
    ----------
    lam-balanced starts: Domine et al. 2025, arXiv 2409.14623.

    Examples
    --------
    >>> first, second = nn.Linear(5, 2, bias=False), nn.Linear(2, 3)
    >>> lambda_balance(first, second, 0.5)
    >>> W1, W2 = first.weight.detach(), second.weight.detach()
    >>> torch.allclose(W2.T @ W2 - W1 @ W1.T, 0.5 * torch.eye(2), atol=1e-6)
    True
    """
    W1, W2 = first.weight.double(), second.weight.double()
    if first.bias is not None:
        W1 = torch.cat([W1, first.bias.double()[:, None]], dim=1)
    (h, i), (o, read) = W1.shape, W2.shape
    if read != h:
        raise ValueError(f"layers must share h, got weights {(h, i)} and {(o, read)}")
    if not math.isfinite(lam):
        raise ValueError(f"lam must be finite, got {lam!r}")
    if (lam > 0 and h > o) or (lam < 0 and h > i):
        raise ValueError(
            f"lam > 0 needs h <= o and lam < 0 needs h <= i, got lam = {lam} with i = {i}, "
            f"h = {h}, o = {o}; change the sizes or the sign of lam, or use neuron_balance"
        )
    U, found, Vt = torch.linalg.svd(W2 @ W1)
    s = W1.new_zeros(h)
    s[: len(found)] = found[:h]
    larger = ((torch.hypot(2 * s, torch.full_like(s, lam)) + abs(lam)) / 2).sqrt()
    smaller = torch.where(larger > 0, s / larger, 0.0)
    a, b = (smaller, larger) if lam >= 0 else (larger, smaller)
    A, B = W1.new_zeros(h, i), W1.new_zeros(o, h)
    A.diagonal().copy_(a[: min(h, i)])
    B.diagonal().copy_(b[: min(h, o)])
    P, _, Qt = torch.linalg.svd(W1 @ Vt.T @ A.T + W2.T @ U @ B)
    R = P @ Qt
    W1 = R @ A @ Vt
    first.weight.copy_(W1[:, : first.in_features])
    if first.bias is not None:
        first.bias.copy_(W1[:, -1])
    second.weight.copy_(U @ B @ R.T)


@torch.no_grad()
def neuron_balance(first: nn.Module, second: nn.Module, lam: float = 0.0) -> None:
    """Give every unit between two layers the imbalance `lam`; the function stays the same.

    That is squared outgoing minus squared incoming weights, biases among these. The weights into
    unit j are multiplied by c_j > 0 and those out of it divided by c_j, which a ReLU, leaky ReLU or
    nothing lets pass. With norms a_j and b_j of incoming and outgoing weights c_j solves
    ``(b_j / c_j)^2 - (a_j c_j)^2 = lam``, for which there is no limit on sizes.

    Parameters
    ----------
    first, second
        Dense layers or convolutions; a unit of a convolution is a channel. A dense layer may follow
        a convolution that is flattened.
    lam
        Imbalance of each unit; positive makes the second layer the larger one.

    Raises
    ------
    ValueError
        If the layers do not share their units, lam is not finite, or a unit has no weights in or
        none out, so that no factor balances it; such units are counted.

    References
    ----------
    Du, Hu and Lee 2018, arXiv 1806.00900; Neyshabur et al. 2015, arXiv 1506.02617.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    >>> neuron_balance(net[0], net[2], -0.5)
    >>> from layerwise.networks import conserved_values
    >>> torch.allclose(conserved_values(net)["0-2"], torch.full((7,), -0.5))
    True
    """
    if not math.isfinite(lam):
        raise ValueError(f"lam must be finite, got {lam!r}")
    units, width = len(first.weight), second.weight.shape[1]
    flattened = type(first) in CONVOLUTIONS and type(second) in DENSE
    if width % units if flattened else width != units:
        raise ValueError(
            f"layers must share their units, got weights {tuple(first.weight.shape)} and "
            f"{tuple(second.weight.shape)}"
        )
    readers = second.weight.reshape(len(second.weight), units, -1)
    into = first.weight.double().flatten(1).square().sum(1)
    if first.bias is not None:
        into += first.bias.double().square()
    out = readers.double().square().sum((0, 2))
    dead = int(((into == 0) | (out == 0)).sum())
    if dead:
        raise ValueError(f"{dead} of {units} units have no weights in or none out")
    # the larger root of x^2 - |lam| x - into out = 0 has all its digits
    larger = (torch.hypot(2 * (into * out).sqrt(), torch.full_like(into, lam)) + abs(lam)) / 2
    factor = ((larger / into) if lam < 0 else (out / larger)).sqrt().to(readers)
    first.weight.mul_(factor.view(-1, *[1] * (first.weight.ndim - 1)))
    if first.bias is not None:
        first.bias.mul_(factor)
    second.weight.copy_((readers / factor[:, None]).reshape(second.weight.shape))


@torch.no_grad()
def set_weights(layers: Sequence[nn.Module], weights: Sequence[ArrayLike]) -> None:
    """Copy arrays into the weights of layers, in order, and set their biases to zero.

    So any start of `layerwise.theory.starts` is one of a torch network, such as
    ``set_weights(net.layers, two_valued((i, h, o), upper, lower))``.

    Raises
    ------
    ValueError
        If numbers of layers or shapes differ; nothing is changed then.

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> from layerwise.theory.starts import balanced
    >>> net = MLP((5, 2, 3), activation="relu")
    >>> set_weights(net.layers, balanced((5, 2, 3), lam=0.5))
    >>> net.layers[1].bias.tolist()
    [0.0, 0.0, 0.0]
    """
    arrays = [torch.as_tensor(weight) for weight in weights]
    wanted = [tuple(layer.weight.shape) for layer in layers]
    given = [tuple(array.shape) for array in arrays]
    if wanted != given:
        raise ValueError(f"weights must have the shapes {wanted} of the layers, got {given}")
    for layer, array in zip(layers, arrays, strict=True):
        layer.weight.copy_(array)
        if layer.bias is not None:
            layer.bias.zero_()


def _parameters(model: nn.Module, name: str) -> list[Tensor]:
    owner, _, last = name.rpartition(".")
    own = dict(model.get_submodule(owner).named_parameters(recurse=False))
    return [own[last]] if last in own else list(model.get_submodule(name).parameters())


def _preserving(model: nn.Module, factors: Mapping[str, float]) -> list[tuple[Tensor, float]]:
    """Return parameters and factors that leave the function as it is, biases included."""
    links = chain(model)
    names = [layer.name for layer in links.layers]
    unknown = sorted(set(factors) - set(names))
    if unknown:
        raise ValueError(f"{unknown} are not among the layers {names}")
    each = [factors.get(name, 1.0) for name in names]
    if min(each) <= 0:
        raise ValueError(f"factors must be positive to pass a ReLU, got {dict(factors)}")
    so_far = list(accumulate(each, lambda x, y: x * y))
    if abs(so_far[-1] - 1.0) > ROUNDING:
        raise ValueError(f"the function stays the same for factors of product 1, got {so_far[-1]}")
    for k, gap in enumerate(links.gaps):
        if gap.rule == "none" and abs(so_far[k] - 1.0) > ROUNDING:
            raise ValueError(
                f"no factor passes from {names[k]!r} to {names[k + 1]!r} through "
                f"{', '.join(gap.modules)}: the function would change; preserve=False allows it"
            )
    weights = [(layer.weight, f) for layer, f in zip(links.layers, each, strict=True)]
    biases = [(layer.bias, f) for layer, f in zip(links.layers, so_far, strict=True) if layer.bias]
    return [(model.get_parameter(name), f) for name, f in weights + biases]
