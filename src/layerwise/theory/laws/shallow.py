r"""The shallow linear model: ``theta(t) = S - (S - theta_0) e^{-rate t}``.

Domain: any sign, any start, rate >= 0. It is the depth-1 member of the family, without feedback
and therefore without a plateau. Source: textbook; arXiv 2502.21009, eq. 10.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["time_to", "weights"]

Array = npt.NDArray[np.float64]


def weights(theta: Array, target: Array, rate: Array, t: Array) -> Array:
    """Return theta(t); all arguments broadcast, t carries the time axis.

    Examples
    --------
    >>> weights(np.array(0.0), np.array(2.0), np.array(1.0), np.array([0.0, 1.0])).round(4)
    array([0.    , 1.2642])
    """
    first, fade = target - theta, -rate * t
    # what has changed by less than half is counted from the start, the rest from the target: the
    # larger of the two would else drown the digits of the other
    return np.where(
        fade > -math.log(2), theta - first * np.expm1(fade), target - first * np.exp(fade)
    )


def time_to(theta: Array, target: Array, rate: Array, error: Array) -> Array:
    """Return the time at which ``target - theta`` equals `error`; infinity if it never does.

    Examples
    --------
    >>> time_to(np.array(0.0), np.array(2.0), np.array(1.0), np.array([1.0, -1.0])).round(4)
    array([0.6931,    inf])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first = target - theta
        share = error / first
        # near the start the difference is exact, and the logarithm of the share is not
        log = np.where(share > 0.5, np.log1p((error - first) / first), np.log(share))
        times = -log / rate
    reached = (share > 0) & (share <= 1) & (rate > 0)
    return np.where(error == first, 0.0, np.where(reached, times, np.inf))
