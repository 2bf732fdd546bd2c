"""What hosts log, under the names that `layerwise.diagnose` knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any, Final

from torch import Tensor

from layerwise.names import PREFIX

__all__ = ["known_as", "measured", "renamed"]

PHASES: Final = {
    "train": "train", "training": "train",
    "val": "test", "valid": "test", "validation": "test", "eval": "test", "test": "test",
}  # fmt: skip
QUANTITIES: Final = {"loss": "loss", "acc": "accuracy", "accuracy": "accuracy"}


def known_as(name: str) -> str | None:
    """Return how `layerwise.diagnose` calls a number of a host; None if it knows none such.

    What is not trained on counts as test data. A plain ``loss`` is that of training, and behind
    ``eval_`` may stand the name of one of several data sets, both as in Hugging Face's Trainer.

    Examples
    --------
    >>> [known_as(name) for name in ("val_acc", "train/loss", "loss", "eval_train_accuracy")]
    ['test_accuracy', 'train_loss', 'train_loss', 'train_accuracy']
    >>> known_as("train_loss_step"), known_as("learning_rate")
    (None, None)
    """
    words = re.split(r"[_/.\s-]+", name.lower())
    if words == ["loss"]:
        words = ["train", "loss"]
    if len(words) == 3 and words[0] == "eval":
        words = words[1:]
    if len(words) != 2 or words[0] not in PHASES or words[1] not in QUANTITIES:
        return None
    return f"{PHASES[words[0]]}_{QUANTITIES[words[1]]}"


def renamed(logged: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the numbers among `logged` that `names` renames or that are known anyhow.

    Examples
    --------
    >>> renamed({"val_top1": 0.5, "val_loss": 2.0, "epoch": 3}, {"val_top1": "test_accuracy"})
    {'test_accuracy': 0.5, 'test_loss': 2.0}
    """
    found = {names.get(name) or known_as(name): value for name, value in logged.items()}
    return {
        name: value
        for name, value in found.items()
        if name is not None and isinstance(value, Real | Tensor)
    }


def measured(row: Mapping[str, float]) -> dict[str, float]:
    """Return what a probe measured itself: the host has logged the rest already."""
    return {name: value for name, value in row.items() if name.startswith(PREFIX)}
