"""What an optimiser says of itself at a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

__all__ = ["Settings", "settings_of"]

DECOUPLED = ("AdamW", "SGD", "Descent")  # whose decay multiplies the weights, whatever the gradient


@dataclass(frozen=True)
class Settings:
    """Settings of an optimiser at a step, those of the group with most parameters.

    Attributes
    ----------
    kind
        Its class, as ``"SGD"`` or ``"AdamW"``.
    learning_rate, weight_decay, momentum
        As in ``torch.optim``; for Adam the momentum is its first beta.
    decoupled
        Whether decay multiplies the weights whatever the gradient is: AdamW and SGD.
    uniform
        Whether one rate and decay hold for every trained parameter of the model.
    """

    kind: str
    learning_rate: float
    weight_decay: float
    momentum: float
    decoupled: bool
    uniform: bool

    @property
    def plain(self) -> bool:
        """Whether every update is ``-learning_rate (gradient + weight_decay W)``."""
        return self.kind in ("SGD", "Descent") and not self.momentum and self.uniform

    @property
    def decay_rate(self) -> float:
        """E-foldings a step by which decay alone shrinks the weights; 0 where that is not known."""
        if not (self.decoupled and self.uniform):
            return 0.0
        lag = 1.0 if self.kind == "AdamW" else 1.0 - self.momentum
        return self.learning_rate * self.weight_decay / lag

    def as_json(self) -> dict[str, Any]:
        """Return what does not change from step to step, as plain values."""
        return {
            "kind": self.kind,
            "momentum": self.momentum,
            "decoupled": self.decoupled,
            "uniform": self.uniform,
        }


def settings_of(optimizer: Optimizer, trained: Iterable[nn.Parameter]) -> Settings:
    """Return the settings of an optimiser over the trained parameters of a model.

    Anything with ``param_groups`` will do.

    Examples
    --------
    >>> import torch
    >>> net = nn.Linear(3, 2)
    >>> found = settings_of(torch.optim.AdamW(net.parameters(), lr=0.1), net.parameters())
    >>> found.kind, found.weight_decay, found.decay_rate, found.plain
    ('AdamW', 0.01, 0.001, False)
    """
    trained = list(trained)
    groups = [(list(group.get("params", trained)), group) for group in optimizer.param_groups]
    _, main = max(groups, key=lambda pair: sum(p.numel() for p in pair[0]))
    ours = {id(p) for p in trained}
    rates = {
        (float(group["lr"]), float(group.get("weight_decay", 0.0)))
        for own, group in groups
        if not ours.isdisjoint(map(id, own))
    }
    missed = ours.difference(id(p) for own, _ in groups for p in own)
    kind = type(optimizer).__name__
    return Settings(
        kind=kind,
        learning_rate=float(main["lr"]),
        weight_decay=float(main.get("weight_decay", 0.0)),
        momentum=float(main.get("momentum", main.get("betas", (0.0,))[0])),
        decoupled=kind in DECOUPLED or bool(main.get("decoupled_weight_decay", False)),
        uniform=len(rates) == 1 and not missed,
    )
