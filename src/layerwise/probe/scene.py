"""Model, batch and targets, checked against each other before the training begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.probe.subject import Forward, Subject

__all__ = ["PENULTIMATE", "Scene", "counts_of", "layers_of", "targets_of"]

PENULTIMATE = "penultimate"
FULLY_SHARDED = "FullyShardedDataParallel"


@dataclass(frozen=True, eq=False)
class Scene:
    """What a probe looks at, the same at every step.

    Attributes
    ----------
    model, trained
        The user's own module and its trained parameters by name.
    subject
        The model with its batch; None without a batch, as all that follows.
    features
        Names of modules whose outputs are features, and ``penultimate`` for what the head reads.
    head
        Name of the linear layer that makes the outputs, None if there is none.
    targets, labels
        Targets of the shape of the outputs; and the labels, if they are labels.
    counts
        Numbers of training samples of the classes, if they are known.
    """

    model: nn.Module
    trained: dict[str, nn.Parameter]
    subject: Subject | None = None
    features: tuple[str, ...] = ()
    head: str | None = None
    targets: Tensor | None = None
    labels: Tensor | None = None
    counts: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        features: Sequence[str],
        batch: Any,
        forward: Forward | None,
        target_scale: float,
        class_counts: Any = None,
    ) -> Scene:
        """Return the scene of a module, or raise a TypeError or ValueError that says what is wrong.

        The batch is inputs or a pair of inputs and targets.
        """
        sharded = [name for name, p in model.named_parameters() if hasattr(p, "device_mesh")]
        sharded += [n for n, m in model.named_modules() if type(m).__name__ == FULLY_SHARDED]
        if sharded:  # to look at them one process would wait for the others
            raise ValueError(
                f"parameters that are sharded over processes cannot be probed: {sharded[0]!r}"
            )
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise ValueError("no parameter of the model requires gradients: nothing is trained")
        if batch is None:
            if features:
                raise ValueError("features are looked at on a batch: pass batch=")
            if class_counts is not None:
                raise ValueError("class_counts need labels: pass batch=(x, y)")
            return cls(model, trained)
        x, y = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        subject = Subject(model, x, forward)
        subject.need_modules(features, [PENULTIMATE])
        try:
            outputs, _ = subject.run(subject.index())
        except Exception as error:
            raise ValueError(
                f"the model does not run on the batch: {error}{subject.hint}"
            ) from error
        if outputs.ndim == 0 or len(outputs) != subject.samples:
            raise ValueError(
                f"the model must map the {subject.samples} samples of the batch to outputs "
                f"({subject.samples}, ...), got {tuple(outputs.shape)}"
            )
        head = subject.head(outputs.shape)
        if not features and head is not None:
            features = (PENULTIMATE,)
        if PENULTIMATE in features and head is None:
            raise ValueError(
                f"there are no features {PENULTIMATE!r}: no linear layer makes the outputs; name "
                "modules instead"
            )
        targets, labels = (None, None) if y is None else targets_of(y, outputs, target_scale)
        if class_counts is not None and labels is None:
            raise ValueError(
                f"class_counts need labels: pass batch=(x, y) with labels y (N,){subject.hint}"
            )
        counts = None if class_counts is None else counts_of(class_counts, targets.shape[1])
        return cls(model, trained, subject, tuple(features), head, targets, labels, counts)

    @cached_property
    def layers(self) -> dict[str, str]:
        """The names of the weight matrices by layer, see `layers_of`."""
        return layers_of(self.trained)

    def as_json(self) -> dict[str, Any]:
        """Return what a trace says of it, as plain values."""
        return {
            "model": type(self.model).__name__,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained": sum(p.numel() for p in self.trained.values()),
            "layers": {
                layer: list(self.trained[name].shape) for layer, name in self.layers.items()
            },
            "samples": None if self.subject is None else self.subject.samples,
            "classes": None if self.labels is None else self.targets.shape[1],
            "class_counts": None if self.counts is None else list(self.counts),
            "features": list(self.features),
            "head": self.head,
        }


def layers_of(parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the names of the weight matrices by layer: ``fc1`` for ``fc1.weight``.

    Biases and the gains of norms are left out, unless there is nothing else.

    Examples
    --------
    >>> layers_of(dict(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).named_parameters()))
    {'0': '0.weight'}
    """
    found = [name for name, p in parameters.items() if p.ndim >= 2] or list(parameters)
    return {name.removesuffix(".weight"): name for name in found}


def targets_of(y: Any, outputs: Tensor, scale: float) -> tuple[Tensor, Tensor | None]:
    """Return targets of the shape of the outputs, and the labels if y are labels.

    Labels (N,), whole numbers, of outputs (N, C) with C >= 2 become `scale` times one-hot.

    Raises
    ------
    TypeError, ValueError
        If y is no tensor, fits the outputs neither as labels nor as numbers, or a label is no
        class.

    Examples
    --------
    >>> targets, labels = targets_of(torch.tensor([0, 1]), torch.zeros(2, 2), 3.0)
    >>> targets
    tensor([[3., 0.],
            [0., 3.]])
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"the targets of the batch must be a tensor, got {type(y).__name__}")
    shapes = f"targets {tuple(y.shape)} of {y.dtype} and outputs {tuple(outputs.shape)}"
    if y.is_complex():
        raise TypeError(f"the targets of the batch must be real, got {shapes}")
    y = y.detach().clone().to(outputs.device)
    many = outputs.ndim == 2 and outputs.shape[1] > 1
    if many and not y.is_floating_point() and y.shape == outputs.shape[:1]:
        classes = outputs.shape[1]
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels must lie between 0 and {classes - 1}, as the model has {classes} "
                f"outputs, got {low} to {high}"
            )
        return scale * nn.functional.one_hot(y.long(), classes).to(outputs.dtype), y
    if [n for n in y.shape if n != 1] != [n for n in outputs.shape if n != 1]:
        raise ValueError(
            "the targets of the batch must be labels (N,) of outputs (N, C) or of the shape of the "
            f"outputs, got {shapes}"
        )
    return y.reshape(outputs.shape).to(torch.promote_types(outputs.dtype, torch.float32)), None


def counts_of(given: Any, classes: int) -> tuple[int, ...]:
    """Return the number of samples of each class, from numbers in order or a mapping of labels.

    Raises
    ------
    TypeError, ValueError
        If a class has no number, or what has one is no class, or it is no number of samples.

    Examples
    --------
    >>> counts_of({1: 20, 0: 500}, 2)
    (500, 20)
    """
    if isinstance(given, Mapping):
        unknown = [label for label in given if label not in range(classes)]
        missing = [label for label in range(classes) if label not in given]
        if unknown or missing:
            raise ValueError(
                f"class_counts must count the labels 0 to {classes - 1}: unknown labels "
                f"{unknown[:5]}, labels without a count {missing[:5]}"
            )
        given = [given[label] for label in range(classes)]
    counts = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(counts, list | tuple):
        raise TypeError(
            f"class_counts must be numbers in order or a mapping, got {type(given).__name__}"
        )
    if len(counts) != classes:
        raise ValueError(
            f"class_counts must have one number for each of the {classes} classes, got "
            f"{len(counts)}"
        )
    wrong = {
        label: count
        for label, count in enumerate(counts)
        if not isinstance(count, Real) or count < 0 or not float(count).is_integer()
    }
    if wrong:
        raise ValueError(f"class_counts must be whole numbers, at least 0, got {wrong}")
    return tuple(int(count) for count in counts)
