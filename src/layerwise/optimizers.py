"""Plain gradient descent, without the overhead of `torch.optim`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["Descent", "Optimizer"]


class Descent:
    """Plain gradient descent ``w <- w - rate (gradient + decay w)``, as ``torch.optim.SGD``.

    `torch.optim` wraps every step in hooks and profiling, which take a sixth of the time of a whole
    step of a network of two layers of a few hundred neurons.
    """

    def __init__(self, net: nn.Module, learning_rate: float, weight_decay: float) -> None:
        self.parameters = list(net.parameters())
        self.param_groups = [{"lr": learning_rate, "weight_decay": weight_decay}]

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its gradient."""
        (group,) = self.param_groups
        for p in self.parameters:
            if group["weight_decay"]:
                p.grad.add_(p, alpha=group["weight_decay"])
            p.add_(p.grad, alpha=-group["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to know."""
        return {"param_groups": self.param_groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.param_groups = state["param_groups"]


Optimizer = torch.optim.Optimizer | Descent
