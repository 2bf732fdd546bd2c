"""Lazy or rich, from the start alone, and the number behind the word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.model import Model
from layerwise.theory.models import Deep, Diagonal, Linear, Scalar, Skills

__all__ = ["Regime", "regime"]

Array = npt.NDArray[np.float64]

# With nothing learned at the start, weights grow by exp(asinh(1/ratio)/2): 1.18 at 3, 2.5 at 1/3.
LAZY, RICH = 3.0, 1 / 3


@dataclass(frozen=True)
class Regime:
    """The regime of a start.

    Attributes
    ----------
    word
        ``"lazy"`` above a ratio of 3 (weights then grow by less than a fifth), ``"rich"`` below
        1/3 (they grow at least 2.5-fold), else ``"between"``.
    ratio
        Weight-to-target ratio of the largest target mode: half its tangent kernel at the start
        over its target.
    by_mode
        The same for every mode, or every model of a batch.
    """

    word: Literal["lazy", "between", "rich"]
    ratio: float
    by_mode: Array

    def __str__(self) -> str:
        return f"{self.word} (weight-to-target ratio {self.ratio:.3g})"


def regime(model: Model) -> Regime:
    """Return the regime of a model's start.

    The ratio is ``Sigma_0/|S|`` of the 1-h-1 network, ``Sigma_0 = sum (a^2 + b^2)/(2 Z)``; for each
    mode of a `Linear`, ``(v^T W1^T W1 v + u^T W2 W2^T u)/(2 s)``; for `Deep`,
    ``(u_0/|S|)^{2 - 2/L}``, kernel at the start over kernel at the end.

    Examples
    --------
    >>> import layerwise as lw
    >>> print(regime(lw.Scalar(target=1.0, a=[3.0, 3.0], b=[3.0, -3.0])))
    lazy (weight-to-target ratio 18)
    """
    if isinstance(model, Skills):
        model = model.network
    match model:
        case Scalar():
            size, target = measures.magnitude(model.a, model.b, model.scale), model.target
        case Diagonal():
            size, target = (model.a**2 + model.b**2) / 2, model.target
        case Deep():
            L, target = model.depth, np.abs(model.target)
            start = np.abs(model.quantity("map", model.start[None])[0])
            goal = np.where(target > 0, target, 1.0)
            size = np.asarray(target * (start / goal) ** (2 - 2 / L))
        case Linear():
            u, target, v = model.regression.modes
            change = (model.rates[1] / model.rates[0]) ** 0.25
            first, second = change * model.w1 @ v, model.w2.T @ u / change
            size = (np.sum(first**2, axis=0) + np.sum(second**2, axis=0)) / 2
        case _:
            raise TypeError(f"{type(model).__name__} has no lazy or rich regime")
    size, goal = np.broadcast_arrays(np.asarray(size), np.abs(target))
    ratio = np.where(goal > 0, size / np.where(goal > 0, goal, 1.0), np.inf)
    lead = float(ratio.flat[int(np.argmax(goal))])
    word: Literal["lazy", "between", "rich"] = "between"
    if lead > LAZY:
        word = "lazy"
    elif lead < RICH:
        word = "rich"
    return Regime(word, lead, ratio)
