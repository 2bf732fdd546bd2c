"""Where the batches of training come from: a data set in epochs, or fresh samples for ever.

The batch of step k depends on k and the seed alone, never on the device or on where training was
resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor

__all__ = ["Batches", "Epochs", "Fresh"]

Batches = Callable[[int], tuple[Tensor, Tensor]]  # of step k: inputs (n, ...), targets (n, ...)

CHUNK_ROWS = 8192  # samples drawn at once, by measurement; another number is another random stream


@final
class Epochs:
    """Batches of a fixed data set, a fresh permutation every epoch.

    Parameters
    ----------
    x, y
        The data, shapes (n, ...) and (n, ...), on the device of the network.
    batch
        Batch size.
    seed
        Seed of the permutations.
    drop_last
        Whether an epoch leaves out its last, smaller batch, and not keeps it.

    Attributes
    ----------
    parts
        Batches in an epoch.

    Examples
    --------
    >>> batches = Epochs(torch.arange(5.0)[:, None], torch.zeros(5, 1), 2, seed=0)
    >>> [len(batches(k)[0]) for k in range(4)]
    [2, 2, 1, 2]
    """

    def __init__(
        self, x: Tensor, y: Tensor, batch: int, *, seed: int, drop_last: bool = False
    ) -> None:
        if len(x) != len(y) or not len(x):
            raise ValueError(f"x and y must be as many, and some, got {len(x)} and {len(y)}")
        self.x, self.y = x, y
        self.batch, self.seed = _at_least_one(batch), seed
        if drop_last and batch > len(x):
            raise ValueError(f"there is no full batch of {batch} in {len(x)} samples")
        self.parts = len(x) // batch if drop_last else math.ceil(len(x) / batch)
        self._epoch = -1

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of a step."""
        epoch, part = divmod(step, self.parts)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.x))
            index = torch.from_numpy(order).to(self.x.device)
            self._inputs, self._targets = (
                tensor[index].split(self.batch) for tensor in (self.x, self.y)
            )
            self._epoch = epoch
        return self._inputs[part], self._targets[part]


@final
class Fresh:
    """Batches of samples that are drawn once and never seen again.

    Parameters
    ----------
    sample
        ``sample(n, rng)`` returns n fresh inputs and targets as numpy arrays (n, inputs) and
        (n, outputs). It is called for several batches at once.
    batch
        Batch size.
    seed
        Seed of the samples.
    device
        Where the batches are wanted.

    Examples
    --------
    >>> batches = Fresh(lambda n, rng: (rng.random((n, 3)), np.zeros((n, 1))), 4, seed=0)
    >>> x, y = batches(1000)
    >>> x.shape, y.shape
    (torch.Size([4, 3]), torch.Size([4, 1]))
    """

    def __init__(
        self,
        sample: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]],
        batch: int,
        *,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self.sample, self.batch = sample, _at_least_one(batch)
        self.seed, self.device = seed, device
        self._chunk = -1

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of a step."""
        parts = max(1, CHUNK_ROWS // self.batch)
        chunk, part = divmod(step, parts)
        if chunk != self._chunk:
            drawn = self.sample(parts * self.batch, np.random.default_rng([self.seed, chunk]))
            self._inputs, self._targets = (
                torch.from_numpy(array).to(self.device).split(self.batch) for array in drawn
            )
            self._chunk = chunk
        return self._inputs[part], self._targets[part]


def _at_least_one(batch: int) -> int:
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    return batch
