"""What an optimiser says of itself at a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

__all__ = ["Rates", "Settings", "settings_of"]

DESCENT = ("SGD", "Descent")  # whose decay is part of the gradient, and goes through the momentum
DECOUPLED = ("AdamW", "Muon")  # whose decay multiplies the weights beside the step


@dataclass(frozen=True)
class Rates:
    """What an optimiser does to the parameters of one group at a step.

    Attributes
    ----------
    learning_rate, weight_decay
        As in ``torch.optim``.
    momentum
        The same; for Adam it is its first beta.
    gain
        What a step makes of decay, in units of rate times decay: 1, but after some steps
        ``(1 - dampening)/(1 - momentum)`` where decay goes through a momentum; NaN, for not known,
        where it is coupled to an adaptive step.
    """

    learning_rate: float
    weight_decay: float
    momentum: float
    gain: float

    @property
    def shrink(self) -> float:
        """E-foldings a step by which decay alone shrinks the weights; NaN where it is not known."""
        decay = self.learning_rate * self.weight_decay
        return decay * self.gain if decay else 0.0


@dataclass(frozen=True)
class Settings:
    """Settings of an optimiser at a step.

    Attributes
    ----------
    kind
        Its class, as ``"SGD"`` or ``"AdamW"``.
    of
        Rates of the trained parameters by name, of those that the optimiser has.
    main
        Rates of the weight matrices: where they differ those of the one in the middle, in the order
        of rate times decay, the upper one of two. Biases and gains of norms have no say.
    uniform
        Whether one rate holds for all trained parameters, and one decay for all weight matrices;
        biases and gains often have none.
    """

    kind: str
    of: Mapping[str, Rates]
    main: Rates
    uniform: bool

    def shrink(self, names: Iterable[str]) -> float:
        """E-foldings a step of all these parameters; NaN where they differ or are not known."""
        found = {self.of[name].shrink if name in self.of else math.nan for name in names}
        return found.pop() if len(found) == 1 else math.nan

    def plain_rate(self, names: Iterable[str]) -> float | None:
        """Return the rate if updates of all these are ``-rate (gradient + weight_decay W)``."""
        found = {self.of.get(name) for name in names}
        rates = found.pop()
        if self.kind not in DESCENT or found or rates is None or rates.momentum:
            return None
        return rates.learning_rate

    def as_json(self) -> dict[str, Any]:
        """Return what does not change from step to step, as plain values."""
        return {
            "kind": self.kind,
            "momentum": self.main.momentum,
            "decoupled": not math.isnan(self.main.gain),
            "uniform": self.uniform,
        }


def settings_of(
    optimizer: Optimizer, trained: Mapping[str, nn.Parameter], matrices: Iterable[str]
) -> Settings:
    """Return the settings of an optimiser over the trained parameters of a model.

    Parameters
    ----------
    optimizer
        Anything with ``param_groups`` will do.
    trained, matrices
        Trained parameters by name, and the names of the weight matrices.

    Examples
    --------
    >>> import torch
    >>> net = nn.Linear(3, 2)
    >>> groups = [{"params": [net.weight]}, {"params": [net.bias], "weight_decay": 0.0}]
    >>> optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01)
    >>> found = settings_of(optimizer, dict(net.named_parameters()), ["weight"])
    >>> found.main.weight_decay, found.main.shrink, found.uniform
    (0.01, 0.001, True)
    >>> found.shrink(["weight", "bias"])
    nan
    """
    kind = type(optimizer).__name__
    groups = [(_rates(kind, group), group.get("params")) for group in optimizer.param_groups]
    by_id = {
        id(p): rates
        for rates, own in groups
        for p in (trained.values() if own is None else own)
    }  # fmt: skip
    of = {name: by_id[id(p)] for name, p in trained.items() if id(p) in by_id}
    matrices = list(matrices)
    held = [of[name] for name in matrices if name in of] or [rates for rates, _ in groups]
    order = sorted(held, key=lambda r: (r.learning_rate * r.weight_decay, r.learning_rate))
    one_rate = len({rates.learning_rate for rates in of.values()}) == 1
    return Settings(
        kind=kind,
        of=of,
        main=order[len(order) // 2],
        uniform=one_rate and len(set(held)) == 1 and len(of) == len(trained),
    )


def _rates(kind: str, group: Mapping[str, Any]) -> Rates:
    momentum = float(group.get("momentum", group.get("betas", (0.0,))[0]))
    if kind in DECOUPLED or group.get("decoupled_weight_decay", False):
        gain = 1.0
    elif kind not in DESCENT or momentum >= 1:
        gain = math.nan
    else:
        gain = (1.0 - float(group.get("dampening", 0.0))) / (1.0 - momentum) if momentum else 1.0
    return Rates(
        learning_rate=float(group["lr"]),
        weight_decay=float(group.get("weight_decay", 0.0)),
        momentum=momentum,
        gain=gain,
    )
