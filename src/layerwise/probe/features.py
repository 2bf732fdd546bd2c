"""Measures of features and outputs on the batch: rank, motion, signs, collapse, accuracies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layerwise.measures import (
    centred_spectrum,
    d_lr,
    kernel_distance,
    nc1,
    neural_collapse,
    rank_of_spectrum,
    sign_distance,
)
from layerwise.probe.measure import Measure, Memory, NotApplicable, Seen, View

__all__ = ["Classes", "Collapse", "Features", "headed"]


@dataclass(frozen=True)
class Features(Measure):
    """Effective rank, motion of the kernel and of signs of each of the features, and their D_LR.

    Keeps the features of the start. Signs tell ReLUs that turned on or off, of what enters or
    leaves one.
    """

    name = "features"
    costly = True

    def begin(self, view: View) -> Memory:
        if not view.scene.features:
            raise NotApplicable("no linear layer makes the outputs; name the features=")
        return {name: h.clone() for name, h in view.seen.features.items()}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        outputs = view.seen.outputs
        found: dict[str, float] = {}
        for name, h in view.seen.features.items():
            start, narrow = memory[name], _narrow(h)
            found[f"rank/{name}"] = float(rank_of_spectrum(centred_spectrum(narrow)))
            found[f"feature_distance/{name}"] = float(kernel_distance(start @ start.T, h @ h.T))
            found[f"sign_distance/{name}"] = float(sign_distance(start, h))
            if outputs.ndim == 2 and outputs.shape[1] > 1:
                found[f"d_lr/{name}"] = float(d_lr(narrow, outputs))
        return found


@dataclass(frozen=True)
class Collapse(Measure):
    """NC1 of each of the features; NC2 to NC4 of those that the head reads.

    Attributes
    ----------
    headed
        Names of the features that the head reads.
    """

    headed: tuple[str, ...]

    name = "collapse"
    costly = True

    def begin(self, view: View) -> Memory:
        if len(view.scene.labels.unique()) < 2:
            raise NotApplicable("all samples of the batch are of one class")
        return {}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        labels = view.scene.labels
        found: dict[str, float] = {}
        for name, h in view.seen.features.items():
            if name not in self.headed:
                found[f"nc1/{name}"] = float(nc1(h, labels))
                continue
            head = view.scene.model.get_submodule(view.scene.head)
            bias = None if head.bias is None else head.bias.detach()
            all_of = neural_collapse(h, labels, head.weight.detach(), bias)
            found |= {
                f"nc1/{name}": float(all_of.nc1),
                f"nc2_norm/{name}": all_of.nc2.equinorm,
                f"nc2_angle/{name}": all_of.nc2.angle,
                f"nc3/{name}": float(all_of.nc3),
                f"nc4/{name}": float(all_of.nc4),
            }
        return found


@dataclass(frozen=True)
class Classes(Measure):
    """Accuracy on the batch of single classes: the share whose own output is the largest.

    Attributes
    ----------
    labels
        The classes.
    """

    labels: tuple[int, ...]

    name = "classes"
    costly = True

    def begin(self, view: View) -> Memory:
        return {}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        outputs, labels = view.seen.outputs, view.scene.labels.long()
        if not outputs.isfinite().all():
            raise ValueError("an output is not finite")
        right = labels[outputs.argmax(dim=1) == labels]
        known, every = (torch.bincount(y, minlength=outputs.shape[1]) for y in (right, labels))
        shares = (known / every).tolist()
        return {f"class_accuracy/{label}": shares[label] for label in self.labels}


def headed(seen: Seen, labels: Tensor) -> tuple[str, ...]:
    """Return the names of the features that the head reads.

    Raises
    ------
    NotApplicable
        If there are none, or a class has no sample: NC2 to NC4 then have no meaning.
    """
    found = tuple(name for name, h in seen.features.items() if _same(h, seen.read))
    if not found:
        raise NotApplicable("no linear layer makes the outputs from these features")
    classes = len(labels.unique())
    if classes < seen.outputs.shape[1]:
        raise NotApplicable(
            f"the batch has samples of {classes} of the {seen.outputs.shape[1]} classes"
        )
    return found


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _narrow(h: Tensor) -> Tensor:
    """Return features no wider than the samples are many, with the kernel of the centred ones."""
    if h.shape[1] <= h.shape[0]:
        return h
    return torch.linalg.qr((h.double() - h.double().mean(dim=0)).T).R.T
