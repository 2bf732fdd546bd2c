r"""The shallow linear model: ``theta(t) = S - (S - theta_0) e^{-rate t}``.

Domain: any sign, any start, rate >= 0. It is the depth-1 member of the family, without feedback
and therefore without a plateau. Source: textbook; arXiv 2502.21009, eq. 10.
"""

from __future__ import annotations

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
    # expm1 keeps the digits of an early, small change
    return theta - (target - theta) * np.expm1(-rate * t)


def time_to(theta: Array, target: Array, rate: Array, error: Array) -> Array:
    """Return the time at which ``target - theta`` equals `error`; infinity if it never does.

    Examples
    --------
    >>> time_to(np.array(0.0), np.array(2.0), np.array(1.0), np.array([1.0, -1.0])).round(4)
    array([0.6931,    inf])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = error / (target - theta)
        times = -np.log(share) / rate
    reached = (share > 0) & (share <= 1) & (rate > 0)
    return np.where(error == target - theta, 0.0, np.where(reached, times, np.inf))
