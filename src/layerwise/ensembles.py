"""Many trainings of one architecture: one by one, or side by side where that costs less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layerwise.networks import Ensemble
from layerwise.networks.ensemble import Loss
from layerwise.train import Batches, History, Observation, Training, train

__all__ = ["pays", "train_each"]

# by measurement on one CPU thread (benchmarks/ensembles.py): what a step has to be smaller than,
# and how many of them it takes, for the overhead to weigh more than the arithmetic
SMALL_STEP, MANY = 4e6, 8


def pays(nets: Sequence[nn.Module], samples: int) -> bool:
    """Return whether training side by side costs less: for eight or more small networks.

    Small is a step of at most four million products of a weight and an activation, about
    parameters times samples; on other devices than a CPU every step is. Networks with buffers, as
    those of batch norm, are never trained side by side.
    """
    parameters = sum(p.numel() for p in nets[0].parameters())
    small = parameters * samples <= SMALL_STEP or next(nets[0].parameters()).device.type != "cpu"
    return len(nets) >= MANY and small and not any(True for one in nets for _ in one.buffers())


def train_each(
    nets: Sequence[nn.Module],
    batches: Sequence[Batches],
    training: Training,
    observe: Callable[[nn.Module], Observation],
    *,
    loss: Loss = nn.functional.mse_loss,
    due: Sequence[int] | None = None,
    way: Literal["auto", "one by one", "side by side"] = "auto",
) -> tuple[History, ...]:
    """Train every network on batches of its own, in place, as `layerwise.train.train` does one.

    Side by side, all networks take a step at once, as an `Ensemble` and under one optimiser whose
    update, entry by entry, is that of each alone. One by one is the reference: the two differ by
    rounding only.

    Parameters
    ----------
    nets
        Networks that differ in nothing but their parameters.
    batches
        One for each network, all of one size at every step.
    observe
        Called with each network, see `layerwise.train.train`.
    loss
        ``loss(outputs, targets)``, a number.
    way
        By default side by side where it `pays`.

    Returns
    -------
    tuple of History
        One for each network.

    Raises
    ------
    ValueError
        If there are not as many batches as networks, the way is unknown, or the networks cannot be
        trained side by side: they differ in more than their parameters, or have buffers.

    Examples
    --------
    >>> from layerwise.networks import Quadratic
    >>> nets = [Quadratic(4, 8, 2, seed=k) for k in range(3)]
    >>> batch = torch.eye(4), torch.zeros(4, 2)
    >>> histories = train_each(
    ...     nets, [lambda step: batch] * 3, Training(steps=10, points=2),
    ...     lambda net: {"size": net(batch[0]).square().mean().item()}, way="side by side")
    >>> len(histories), histories[0].steps
    (3, (0, 1, 10))
    """
    if way not in ("auto", "one by one", "side by side"):
        raise ValueError(f"way must be auto, one by one or side by side, got {way!r}")
    if len(nets) != len(batches) or not len(nets):
        raise ValueError(f"as many batches as networks, got {len(batches)} for {len(nets)}")
    if way == "auto":
        way = "side by side" if pays(nets, len(batches[0](0)[0])) else "one by one"
    if way == "one by one":

        def gradient(net: nn.Module, x: Tensor, y: Tensor) -> None:
            net.zero_grad(set_to_none=True)
            loss(net(x), y).backward()

        return tuple(
            train(net, own, training, observe, gradient=gradient, due=due)
            for net, own in zip(nets, batches, strict=True)
        )
    shared = all(own is batches[0] for own in batches)

    def stacked(step: int) -> tuple[Tensor, ...]:
        if shared:
            return tuple(part.expand(len(nets), *part.shape) for part in batches[0](step))
        parts = zip(*(own(step) for own in batches), strict=True)
        return tuple(torch.stack(part) for part in parts)

    def gradients(ensemble: Ensemble, x: Tensor, y: Tensor) -> None:
        ensemble.zero_grad(set_to_none=True)
        ensemble.losses(loss, x, y).sum().backward()

    def look(ensemble: Ensemble) -> dict[str, Any]:
        return {"each": [observe(net) for net in ensemble.members]}

    ensemble = Ensemble(nets)
    _need_alike(ensemble, stacked(0)[0])
    history = train(ensemble, stacked, training, look, gradient=gradients, due=due)
    return tuple(
        History(history.steps, tuple(row["each"][k] for row in history.rows))
        for k in range(len(nets))
    )


@torch.no_grad()
def _need_alike(ensemble: Ensemble, x: Tensor) -> None:
    """Raise a ValueError if a network is more than its parameters in the place of the first's."""
    found = ensemble(x)
    for k, (net, own, output) in enumerate(zip(ensemble.members, x, found, strict=True)):
        alone = net(own)
        gap = (output - alone).abs().max().item()
        if not gap <= 1e-3 * (1e-6 + alone.abs().max().item()):
            raise ValueError(
                f"networks must differ in their parameters alone: with the parameters of network "
                f"{k}, network 0 is off from it by {gap:.3g}; train them one by one"
            )
