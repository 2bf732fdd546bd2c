"""Networks of one architecture side by side, so that one step takes all of them forward."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Ensemble", "Loss"]

Loss = Callable[[Tensor, Tensor], Tensor]  # of outputs (n, ...) and targets (n, ...), a number


class Ensemble(nn.Module):
    """Networks that differ in their parameters alone, evaluated and trained at once.

    The parameters of the networks become views of the stacked ones: an update of the ensemble is
    one of every member, and a member can be looked at as before.

    Parameters
    ----------
    members
        Networks of one class with parameters of one shape, on one device, without buffers.

    Attributes
    ----------
    members
        The networks, in order.
    stacked
        Their parameters in the order of ``parameters()``, each of shape (K, ...).

    Raises
    ------
    ValueError
        If there are none, they do not have the same parameters, or there are buffers (batch norm),
        which would need an order of the updates.

    Examples
    --------
    >>> from layerwise.networks import Quadratic
    >>> ensemble = Ensemble([Quadratic(4, 8, 2, seed=k) for k in range(3)])
    >>> ensemble(torch.ones(5, 4).expand(3, 5, 4)).shape
    torch.Size([3, 5, 2])
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not len(members):
            raise ValueError("an ensemble needs at least one network")
        shapes = [
            (type(one), {name: tuple(p.shape) for name, p in one.named_parameters()})
            for one in members
        ]
        for k, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ValueError(
                    f"networks must be of one architecture: number 0 is {shapes[0]}, number {k} is "
                    f"{shape}"
                )
        if any(True for one in members for _ in one.buffers()):
            raise ValueError("networks with buffers, as of batch norm, cannot be stacked")
        self.members = tuple(members)  # no submodules: their parameters are those of `stacked`
        self.names = tuple(shapes[0][1])
        self._template = (copy.deepcopy(members[0]).to("meta"),)
        self.stacked = nn.ParameterList(
            torch.stack([one.get_parameter(name).detach() for one in members])
            for name in self.names
        )
        for k, one in enumerate(members):
            for name, values in zip(self.names, self.stacked, strict=True):
                one.get_parameter(name).data = values.data[k]

    def forward(self, x: Tensor) -> Tensor:
        """Map the inputs of each network (K, n, ...) to the outputs of each, shape (K, n, ...)."""
        return self._each(lambda output: output, x)

    def losses(self, loss: Loss, x: Tensor, y: Tensor) -> Tensor:
        """Return ``loss(outputs, y)`` of each network, shape (K,); x (K, n, ...), y (K, n, ...)."""
        return self._each(loss, x, y)

    def _each(self, what: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
        (template,) = self._template

        def of_one(values: tuple[Tensor, ...], x: Tensor, *others: Tensor) -> Tensor:
            named = dict(zip(self.names, values, strict=True))
            return what(torch.func.functional_call(template, named, (x,)), *others)

        return torch.func.vmap(of_one)(tuple(self.stacked), x, *others)
