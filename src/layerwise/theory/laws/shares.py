r"""The depth law in shares of the target: one curve, on one clock, for every skill.

With ``z = u/S`` and ``T = rate S^{2-2/L} t`` every product of L equal layers obeys

    dz/dT = L z^{2-2/L} (1 - z)        (without the factor L where L is infinite),

so modes that start at the same share of their target differ by their clocks alone. Shares are given
by their logits ``y = ln(z/(1 - z))`` where they may be close to 0 or 1.

Domain: 0 < z < 1, any real depth >= 1 and infinity; z = 0 is a start for depth 1. Source: the depth
law, see `laws.depth`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.theory.laws import depth as law
from layerwise.theory.laws.incomplete_beta import beta

__all__ = ["layers", "left", "speed", "time_between"]

Array = npt.NDArray[np.float64]


def layers(depth: float) -> float:
    """Return the factor L of the clock, which is 1 for infinitely many layers."""
    return depth if math.isfinite(depth) else 1.0


def left(start: float, depth: float, clock: Array) -> Array:
    """Return ``1 - z(T)`` from the share `start`, to all digits; `clock` may have any shape.

    Examples
    --------
    >>> left(0.01, 2, np.array([0.0, 1.0, 9.0])).round(4)
    array([0.99  , 0.9305, 0.    ])
    """
    if depth == 1:
        return np.asarray((1 - start) * np.exp(-clock))
    if depth == 2:
        with np.errstate(over="ignore"):  # to 1/inf; special.expit is slower
            return np.asarray(1 / (1 + np.exp(2 * clock + special.logit(start))))
    one = np.ones(())
    found = law.remainder(np.asarray(start), one, depth, one, clock.ravel())
    return found.reshape(clock.shape)


def speed(share: npt.ArrayLike, depth: float) -> Array:
    """Return ``dy/dT`` at a share, y its logit: ``L z^{1-2/L}``.

    Examples
    --------
    >>> speed(np.array([0.25]), 4)
    array([2.])
    """
    return np.asarray(layers(depth) * np.asarray(share) ** (1 - 2 / depth))


def time_between(first: Array, last: Array, depth: float) -> Array:
    """Return the clock's reading from the logit `first` to `last`, which lies ahead.

    Computed as one interval, so that a short one late on a long way keeps all its digits.

    Examples
    --------
    >>> rise = time_between(np.array(-np.log(9)), np.array(np.log(9)), 2)
    >>> float(rise.round(4)) == float((np.log(81) / 2).round(4))
    True
    """
    first, last = np.broadcast_arrays(first, last)
    if depth == 1:
        return np.asarray(np.logaddexp(0.0, last) - np.logaddexp(0.0, first))
    start, end = first.ravel(), last.ravel()
    L = layers(depth)
    ln_share = -np.logaddexp(0.0, -start)
    early = L * np.exp((1 - 2 / depth) * ln_share)
    course = beta(2 / depth - 1, 0.0).course(
        start, np.full(start.shape, L), np.where(start < 0, early, L)
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # of a half that is not on the way
        times = course.time_to(end)
    return np.asarray(np.maximum(times, 0.0).reshape(first.shape))
