"""Changes to a run that decide between lazy and rich, waiting and generalising.

Each can be undone: scaling by the inverse factor, `upstream` by ``1 / alpha``, `balance` by loading
the parameters it returns, `set_decay` by setting the decay it returns. `upstream` and `balance`
keep the function. What each will do is predicted by `layerwise.diagnosis`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from layerwise.networks.chain import branches, chain, layer_of
from layerwise.networks.conserved import conserved_values
from layerwise.networks.init import neuron_balance, rescale, upstream
from layerwise.networks.inputs import ScaledInput
from layerwise.networks.outputs import ScaledOutput
from layerwise.networks.scaled import Scaled
from layerwise.networks.two_layer import TwoLayer

__all__ = [
    "balance",
    "scale_input",
    "scale_output",
    "scale_targets",
    "scale_weights",
    "set_decay",
    "upstream",
]

SWEEPS = 1000  # over the gaps between layers; each sweep brings the balance nearer by a factor
BALANCED = 1e-5  # imbalance of a unit over the mean of all squared weights of units, at most


def scale_weights(model: nn.Module, factor: float) -> None:
    """Multiply every parameter of `model` by a positive factor, in place; undone by the inverse.

    Below 1 it takes a network from lazy to rich: of L layers the weight-to-target ratio is
    multiplied by ``factor^L``. A network with norms behind every layer has no such scale.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> before = net.weight.clone()
    >>> scale_weights(net, 0.5)
    >>> torch.equal(net.weight, before / 2)
    True
    """
    rescale(model, {"": _positive(factor)})


def scale_output(model: nn.Module, factor: float) -> nn.Module:
    """Return the network times a positive factor; by the inverse factor, the network itself.

    Train what is returned. The speed of plain descent is multiplied by ``factor^2`` at first, what
    a learning rate divided by that makes up for.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> scaled = scale_output(net, 0.1)
    >>> scaled.factor, scale_output(scaled, 10.0) is net
    (0.1, True)
    """
    return _wrapped(ScaledOutput, model, factor)


def scale_input(model: nn.Module, factor: float) -> nn.Module:
    """Return the network that multiplies its inputs by a positive factor; as `scale_output`.

    Examples
    --------
    >>> float(scale_input(nn.Identity(), 0.5)(torch.tensor(4.0)))
    2.0
    """
    return _wrapped(ScaledInput, model, factor)


def scale_targets(targets: Tensor, factor: float, classes: int | None = None) -> Tensor:
    """Return targets times a positive factor; of labels, one-hot targets times it.

    Parameters
    ----------
    targets
        Numbers of any shape, or labels (N,), whole numbers, for which `classes` is to be given.
    factor
        Above 1 it takes a network from lazy to rich under squared error. A cross-entropy has no
        such scale.
    classes
        Number of classes.

    Raises
    ------
    ValueError
        If the factor is not positive, or labels come without the number of classes.

    Examples
    --------
    >>> scale_targets(torch.tensor([0, 1]), 3.0, classes=2)
    tensor([[3., 0.],
            [0., 3.]])
    """
    _positive(factor)
    if targets.is_floating_point():
        return factor * targets
    if classes is None:
        raise ValueError(f"labels of {targets.dtype} have no scale: pass classes= for one-hot ones")
    return factor * nn.functional.one_hot(targets, classes).to(torch.get_default_dtype())


@torch.no_grad()
def balance(model: nn.Module) -> dict[str, Tensor]:
    """Give every hidden unit as much weight in as out, in place; the function stays the same.

    Then all layers learn at one speed: what is lazy by imbalance is no more. Of all weights of the
    same function that units can be rescaled to, these have the least norm. Undone by loading what
    is returned: ``model.load_state_dict(before)``.

    Raises
    ------
    TypeError
        If `model` is no MLP, CNN or ``nn.Sequential``, nor one of them with a factor on its inputs
        or outputs or minus a frozen copy.
    ValueError
        If something between two layers lets no factor of a unit pass (tanh, a norm), or a unit has
        no weights in or none out; nothing is changed then.

    References
    ----------
    Neyshabur et al. 2015, arXiv 1506.02617; Stock et al. 2019, arXiv 1902.10416 (the sweeps).

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> net, x = MLP((3, 20, 20, 2), activation="relu", seed=0), torch.ones(1, 3)
    >>> outputs = net(x)
    >>> before = balance(net)
    >>> torch.allclose(net(x), outputs, atol=1e-6), max(v.abs().max() for v in
    ...     conserved_values(net).values()) < 1e-4
    (True, tensor(True))
    """
    if any(isinstance(net, TwoLayer) for net in branches(model).values()):
        raise TypeError("layers of TwoLayer are no modules; build it as an MLP")
    links = chain(model)
    names = [layer.name for layer in links.layers]
    for (one, other), gap in zip(pairwise(names), links.gaps, strict=True):
        if gap.rule not in ("diagonal", "full"):
            raise ValueError(
                f"no factor of a unit passes from {one!r} to {other!r} through "
                f"{', '.join(gap.modules)}: the function would change"
            )
        for name in (one, other):
            layer_of(model, name)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = [model.get_submodule(name) for name in names]
    try:
        for _ in range(SWEEPS):
            for first, second in pairwise(layers):
                neuron_balance(first, second)
            if _imbalance(model) <= BALANCED:
                break
    except ValueError:
        model.load_state_dict(before)
        raise
    return before


def set_decay(optimizer: Optimizer, decay: float | Sequence[float]) -> tuple[float, ...]:
    """Set the weight decay of every group of parameters, and return what it was.

    Parameters
    ----------
    decay
        One number for all groups, or one for each, as it is returned.

    Raises
    ------
    ValueError
        If a number is negative or not finite, there is not one for each group, or the optimiser
        has no weight decay.

    Examples
    --------
    >>> optimizer = torch.optim.AdamW(nn.Linear(2, 1).parameters(), weight_decay=0.1)
    >>> set_decay(optimizer, 0.3)
    (0.1,)
    """
    groups = optimizer.param_groups
    decays = tuple(decay) if isinstance(decay, Sequence) else (decay,) * len(groups)
    if len(decays) != len(groups) or not all(0 <= one < math.inf for one in decays):
        raise ValueError(
            f"decay must be one number >= 0, or one for each of the {len(groups)} groups, got "
            f"{decay!r}"
        )
    if any("weight_decay" not in group for group in groups):
        raise ValueError(f"{type(optimizer).__name__} has no weight_decay")
    before = tuple(float(group["weight_decay"]) for group in groups)
    for group, one in zip(groups, decays, strict=True):
        group["weight_decay"] = one
    return before


def _positive(factor: float) -> float:
    if not 0 < factor < math.inf:
        raise ValueError(f"factor must be positive and finite, got {factor!r}")
    return factor


def _wrapped(kind: type[Scaled], model: nn.Module, factor: float) -> nn.Module:
    """Return the wrapped model, with one wrapper at most, and none that multiplies by 1."""
    _positive(factor)
    net = model
    if type(model) is kind:
        net, factor = model.net, model.factor * factor
    return net if math.isclose(factor, 1.0, rel_tol=1e-12) else kind(net, factor)


def _imbalance(model: nn.Module) -> float:
    """Return the largest imbalance of a unit over the mean of all squared weights of units."""
    worst = 0.0
    for D in conserved_values(model).values():
        own = D.diagonal() if D.ndim == 2 else D
        worst = max(worst, float(own.abs().max()))
    weights = [model.get_parameter(layer.weight).detach() for layer in chain(model).layers]
    sizes = [float(w.double().square().sum()) / len(w) for w in weights]
    return worst / max(max(sizes), torch.finfo(torch.float32).tiny)
