"""Measures of the weights alone: their norms, their motion, and what gradient flow conserves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layerwise.networks import Conserved
from layerwise.probe.measure import Measure, Memory, NotApplicable, View, norm

__all__ = ["Balance", "Decay", "Motion", "Norms"]

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Norms(Measure):
    """``|W|`` of every weight matrix, in the Frobenius norm."""

    name = "norms"
    costly = False

    def begin(self, view: View) -> Memory:
        return {}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        layers = view.scene.layers
        return _by_layer("norm", layers, torch.stack(view.sizes(layers.values())))


@dataclass(frozen=True)
class Motion(Measure):
    """``|W - W_0| / |W_0|`` of every weight matrix; keeps a copy of all of them.

    As `layerwise.measures.relative_motion`, all layers at a time.
    """

    name = "motion"
    costly = False

    def begin(self, view: View) -> Memory:
        layers = view.scene.layers
        start = {
            f"start/{name}": view.scene.trained[name].detach().clone() for name in layers.values()
        }
        return start | {"sizes": torch.stack(view.sizes(layers.values()))}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        layers = view.scene.layers
        moved = torch.stack(
            [norm(view.scene.trained[name] - memory[f"start/{name}"]) for name in layers.values()]
        )
        found = torch.where(moved > 0, moved / memory["sizes"], moved)
        return _by_layer("motion", layers, found)


@dataclass(frozen=True)
class Decay(Measure):
    """The optimiser's settings, and ``tau``, by which decay alone shrank the weights so far.

    All are those of the weight matrices, whatever biases and gains of norms have; where matrices
    differ, those of the one in the middle, see `Settings`. ``tau = sum lr x decay`` over the steps,
    times ``(1 - dampening)/(1 - momentum)`` for SGD with momentum; between two looks the mean of
    both rates counts. 0 without decay; NaN, for not known, from where on decay is coupled to an
    adaptive step (Adam).
    """

    name = "optimizer"
    costly = False

    def begin(self, view: View) -> Memory:
        if view.settings is None:
            raise NotApplicable("pass optimizer= to have its settings and the work of decay")
        return {}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        main = view.settings.main
        return {
            "learning_rate": main.learning_rate,
            "weight_decay": main.weight_decay,
            "decay_budget": _clock(view, memory, [main.shrink])[0],
        }


@dataclass(frozen=True)
class Balance(Measure):
    """The quantities that gradient flow conserves: level, drift, and what explains a drift.

    With D the quantity, h its units and ``q`` the sum of all squared weights in it::

        balance = tr D / h        share = tr D / q        drift = |D - e^(-2 tau) D_0| / q_0

    Decay of all parameters in it at one rate multiplies D by ``e^(-2 tau)``; tau is 0 without an
    optimiser. Where they decay at different rates (a bias in it without decay, say) the law does
    not hold, and where decay is coupled to an adaptive step tau is not known: the drift is NaN from
    there on. A step of plain SGD changes D by at most ``lr^2 sum |G|^2`` with the gradients G;
    summed over the steps, with the gradients found at each look, that is what is allowed, relative
    to ``q_0``.

    Attributes
    ----------
    items
        The quantities.
    """

    items: tuple[Conserved, ...]

    name = "balance"
    costly = True

    def begin(self, view: View) -> Memory:
        return {
            f"{item.name}/{what}": value
            for item in self.items
            for what, value in zip(("value", "size"), _of(item, view), strict=True)
        }

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        here = torch.tensor(view.step, dtype=torch.float64)
        waited = view.step - round(float(memory.get("looked", here)))
        memory["looked"] = here
        found: dict[str, Tensor] = {}
        for item, shrunk in zip(self.items, self._shrunk(view, memory), strict=True):
            D, size = _of(item, view)
            D0, size0 = (memory[f"{item.name}/{what}"] for what in ("value", "size"))
            trace = D.diagonal(dim1=-2, dim2=-1).sum() if item.rule == "full" else D.sum()
            found[f"balance/{item.name}"] = trace / item.units
            found[f"balance_share/{item.name}"] = trace / size
            found[f"balance_drift/{item.name}"] = norm(D - math.exp(-2 * shrunk) * D0) / size0
            allowed = _allowed(view, memory, item, waited)
            if allowed is not None:
                found[f"balance_allowed/{item.name}"] = allowed / size0
        values = torch.stack(list(found.values())).tolist()
        return dict(zip(found, values, strict=True))

    def between(self, view: View, memory: Memory) -> dict[str, float]:
        self._shrunk(view, memory)
        return {}

    def _shrunk(self, view: View, memory: Memory) -> list[float]:
        """Return tau of the parameters of each quantity."""
        settings = view.settings
        rates = [0.0 if settings is None else settings.shrink(_names(item)) for item in self.items]
        return _clock(view, memory, rates)


def _by_layer(what: str, layers: Mapping[str, str], values: Tensor) -> dict[str, float]:
    return {f"{what}/{layer}": v for layer, v in zip(layers, values.tolist(), strict=True)}


def _names(item: Conserved) -> list[str]:
    return [name for name, _ in item.readers + item.writers]


def _of(item: Conserved, view: View) -> tuple[Tensor, Tensor]:
    """Return the conserved quantity and the sum of all squared weights in it."""
    names = _names(item)
    own = {name: view.scene.trained[name].detach() for name in names}
    own = {name: p if p.element_size() >= 4 else p.float() for name, p in own.items()}
    return item.value(own), sum(size**2 for size in view.sizes(names)).clamp(min=TINY)


def _clock(view: View, memory: Memory, rates: Sequence[float]) -> list[float]:
    """Return tau up to this step for each of some rates of decay, and keep them in `memory`."""
    kept = memory["clock"].tolist() if "clock" in memory else [(view.step, r, 0.0) for r in rates]
    now = [
        (view.step, rate, shrunk + (view.step - last) * (before + rate) / 2)
        for rate, (last, before, shrunk) in zip(rates, kept, strict=True)
    ]
    memory["clock"] = torch.tensor(now, dtype=torch.float64)
    return [shrunk for *_, shrunk in now]


def _allowed(view: View, memory: Memory, item: Conserved, waited: int) -> Tensor | None:
    """Return the largest change of the quantity by finite steps so far, if it is known."""
    names = _names(item)
    step = None if view.settings is None else view.settings.plain_rate(names)
    grads = [view.scene.trained[name].grad for name in names]
    if step is None or any(grad is None for grad in grads):
        return None
    rate = step**2 * sum(norm(grad) ** 2 for grad in grads)
    before = memory.get(f"{item.name}/rate", rate)
    total = memory.get(f"{item.name}/allowed", torch.zeros_like(rate)) + waited * before
    memory[f"{item.name}/rate"], memory[f"{item.name}/allowed"] = rate, total
    return total
