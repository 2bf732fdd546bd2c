"""The probe and the measures of collapse inside other people's training loops.

Each module imports its host when it is first used, and not before: `lightning` for PyTorch
Lightning, `huggingface` for the Trainer of Hugging Face, `torchmetrics` for TorchMetrics. Extras of
the same names bring the hosts, ``pip install 'layerwise[lightning]'``; the extra ``integrations``
brings all three.

TensorBoard, Weights & Biases, MLflow and other loggers need nothing: what a probe returns is a flat
dictionary of floats. In a loop of one's own, with a TensorBoard ``writer``:

>>> import torch
>>> from layerwise import Probe
>>> probe = Probe(torch.nn.Linear(2, 2), every=10)
>>> def add_scalar(name, value, step):  # as writer.add_scalar
...     print(name, round(value, 3), step)
>>> for name, value in probe.step(0, train_loss=0.5).items():
...     if name in ("train_loss", "layerwise/motion/weight"):
...         add_scalar(name, value, 0)
layerwise/motion/weight 0.0 0
train_loss 0.5 0
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["huggingface", "lightning", "torchmetrics"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"layerwise.integrations.{name}")
    raise AttributeError(f"module 'layerwise.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
