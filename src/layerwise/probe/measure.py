"""A step as a probe sees it, and the interface of a group of measures."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from layerwise.probe.optimizer import Settings
from layerwise.probe.scene import PENULTIMATE, Scene

__all__ = ["Measure", "Memory", "NotApplicable", "Seen", "View", "norm"]

Memory = dict[str, Tensor]  # what a measure keeps: the start, and sums over the steps


class NotApplicable(ValueError):
    """A measure that this model or batch does not have; the message says why."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Outputs (N, ...), features (N, d) by name, and what the head reads, if there is a head."""

    outputs: Tensor
    features: dict[str, Tensor]
    read: Tensor | None


@dataclass(eq=False)
class View:
    """The run at one step.

    Attributes
    ----------
    scene
        What is looked at.
    step
        Number of the step.
    first
        Whether nothing was looked at before.
    settings
        Of the optimiser, if it is known.
    unchanged
        Whether the model is known to be as it was when the measures began.
    """

    scene: Scene
    step: int
    first: bool = True
    settings: Settings | None = None
    unchanged: bool = False

    @cached_property
    def _sizes(self) -> dict[str, Tensor]:
        return {}

    def sizes(self, names: Iterable[str]) -> list[Tensor]:
        """Return the norms of trained parameters, at least in float32; each is taken once."""
        for name in (names := list(names)):
            if name not in self._sizes:
                self._sizes[name] = norm(self.scene.trained[name])
        return [self._sizes[name] for name in names]

    @cached_property
    def state(self) -> tuple[list[tuple[object, ...]], list[Tensor]] | None:
        """What changes with the model: places and versions of its tensors, norms and buffers."""
        buffers = list(self.scene.model.buffers())
        tensors = [*self.scene.model.parameters(), *buffers]
        if any(t.layout is not torch.strided for t in tensors):
            return None
        places = [
            (t.device, t.data_ptr(), t.requires_grad, -1 if t.is_inference() else t._version)
            for t in tensors
        ]
        # versions know nothing of changes through .data, nor of those that batch norms make
        return places, [*self.sizes(self.scene.trained), *(buffer.clone() for buffer in buffers)]

    def take_over(self, start: View) -> None:
        """Know what was seen at the start, if no tensor of the model has changed since."""
        if self.state is None or start.state is None:
            return
        (places, values), (before, kept) = self.state, start.state
        self.unchanged = places == before and all(map(torch.equal, values, kept))
        if self.unchanged and "seen" in vars(start):
            self.seen = start.seen

    @cached_property
    def seen(self) -> Seen:
        """What passes through the model on the batch."""
        scene = self.scene
        names = tuple(name for name in scene.features if name != PENULTIMATE)
        heads = () if scene.head is None else (scene.head,)
        outputs, left, entered = scene.subject.capture(names, heads)
        read = None if scene.head is None else _rows(entered[scene.head], len(outputs), scene.head)
        features = {
            name: read if name == PENULTIMATE else _rows(left.get(name), len(outputs), name)
            for name in scene.features
        }
        return Seen(outputs, features, read)


class Measure(abc.ABC):
    """A group of measures that are taken together.

    Attributes
    ----------
    name
        What it is called.
    costly
        Whether it runs the model or forms large matrices, so that it is taken less often.
    """

    name: str
    costly: bool

    @abc.abstractmethod
    def begin(self, view: View) -> Memory:
        """Return what later values are compared with; NotApplicable where there is no measure."""

    @abc.abstractmethod
    def values(self, view: View, memory: Memory) -> dict[str, float]:
        """Return the values at this step, by the name of the series without its prefix.

        Sums over the steps are kept in `memory`.
        """

    def between(self, view: View, memory: Memory) -> dict[str, float]:
        """Return what a costly measure has at a look at which it is not due."""
        return {}


def norm(value: Tensor) -> Tensor:
    """Return ``|value|``, at least in float32."""
    dtype = torch.float32 if value.element_size() < 4 else None
    return torch.linalg.vector_norm(value.detach(), dtype=dtype)


def _rows(value: object, samples: int, name: str) -> Tensor:
    """Return features (N, d), flattened, at least in float32."""
    if value is None:
        raise ValueError(f"module {name!r} is not called when the model runs on the batch")
    if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != samples:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"module {name!r} must return a tensor with a row for each of the {samples} samples, "
            f"got {shape}"
        )
    value = value.reshape(samples, -1)
    return value if value.element_size() >= 4 else value.float()
