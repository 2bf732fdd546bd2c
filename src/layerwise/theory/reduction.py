"""Reductions: what turns a two-layer network into one with whitened inputs and equal rates.

All are exact (arXiv 2502.21009 and works cited there use them one at a time):

* layer rates: ``W1 -> (r2/r1)^{1/4} W1``, ``W2 -> (r1/r2)^{1/4} W2``, ``t -> sqrt(r1 r2) t``;
* inputs of variance xi on a subspace (``Sxx = xi Pi``): ``S -> S/xi``, ``t -> xi t``, inputs
  restricted to the range of Pi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise.theory.models.linear import Linear

__all__ = ["Reduced", "reduce"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reduced:
    """A network with whitened inputs, equal rates and its way back.

    Attributes
    ----------
    w1, w2, cross
        Its layers (h, i'), (o, h) and target (o, i').
    clock
        Its time is ``clock * t``.
    xi
        Variance of every input that it keeps; the loss is xi times its own.
    decay
        Weight decay in its time.
    stretch
        ``W1^T W1`` and its own differ by this factor, ``W2 W2^T`` by its inverse.
    into
        The inputs that it keeps as orthonormal columns (i, i'); None for all.
    whitened
        Largest deviation of Sxx from ``xi Pi``, relative to xi.
    """

    w1: Array
    w2: Array
    cross: Array
    clock: float
    xi: float
    decay: float
    stretch: float
    into: Array | None
    whitened: float


def reduce(model: Linear) -> Reduced:
    """Return the reduced network; `Reduced.whitened` says whether the inputs allow it."""
    r1, r2 = model.rates
    change = (r2 / r1) ** 0.25
    w1, w2, best = change * model.w1, model.w2 / change, model.regression.best
    speed = float(np.sqrt(r1 * r2))
    xi, whitened, into = 1.0, 0.0, None
    if model.input_cov is not None:
        least, most, trace = model.regression.extent
        values, vectors = model.regression.variances
        seen = values > least / 2
        xi = trace / max(int(np.sum(seen)), 1)
        whitened = max(most - xi, xi - least) / xi if xi else 0.0
        if not np.all(seen):
            into = vectors[:, seen]
            w1, best = w1 @ into, best @ into
    decay = model.decay / xi if xi else 0.0
    return Reduced(w1, w2, best, speed * xi, xi, decay, change**-2, into, whitened)
