"""When a map reaches a level: inverse laws, and bisection along a trajectory without one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerwise.theory.errors import NotSolvable
from layerwise.theory.laws import depth, pair, shallow
from layerwise.theory.model import Model
from layerwise.theory.models import (
    Deep,
    DeepLinear,
    Diagonal,
    Features,
    Linear,
    Scalar,
    Shallow,
    Skills,
)
from layerwise.theory.orbits.orbit import Orbit

__all__ = ["moments", "time_to"]

Array = npt.NDArray[np.float64]

BISECTIONS = 60
NO_TARGET = 1e-12  # singular values below this share of the largest are rounding


def time_to(
    model: Model, *, level: npt.ArrayLike | None = None, error: npt.ArrayLike | None = None
) -> Array:
    """Return when the map reaches a level, by the inverse of the closed form.

    Parameters
    ----------
    model
        A `Shallow`, `Diagonal`, `Deep` of equal layers, `Skills`, or `Scalar` without decay.
    level
        The value of ``map`` to reach; or
    error
        the remaining ``target - map``, which keeps every digit of "within 1e-12 of the target".
        Either broadcasts against the modes (or the batch) of the model.

    Returns
    -------
    Array
        Times, 0 at the start's own level, infinity where the flow never gets there.

    Raises
    ------
    NotSolvable
        If no inverse law is known; `Solution.emergence_times` then finds the time on a solution.

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Scalar(target=1.0, a=[0.1, 0.1], b=[0.1, 0.1])
    >>> float(lw.time_to(net, level=0.5).round(4))
    1.9459
    """
    if (level is None) == (error is None):
        raise ValueError("time_to takes either level= or error=")
    if isinstance(model, Skills):
        model = model.network
    if isinstance(model, (Linear, DeepLinear)) or not hasattr(model, "target"):
        raise NotSolvable(
            f"no inverse law for {type(model).__name__}; solve it and ask emergence_times()"
        )
    left = np.asarray(error if level is None else model.target - np.asarray(level), dtype=float)
    if not np.all(np.isfinite(left)):
        raise ValueError("the level to reach must be finite")
    one = np.ones(())
    match model:
        case Shallow():
            return shallow.time_to(model.theta, model.target, model.rate, left)
        case Diagonal():
            a, b = model.a[..., None], model.b[..., None]
            return pair.time_to(a, b, model.target, one, model.rate, left)
        case Deep() if np.all(model.equal_layers):
            return _deep(model, left)
        case Scalar() if not np.any(model.decay):
            return pair.time_to(model.a, model.b, model.target, model.scale, model.rate, left)
        case Scalar():
            raise NotSolvable(
                "no inverse law for Scalar with decay; solve it and read the crossing with "
                "measures.crossing_time, or use theory.laws.decay.rich_time for the grokking clock"
            )
    raise NotSolvable(f"no inverse law for {type(model).__name__} of unequal layers")


def _deep(model: Deep, left: Array) -> Array:
    start = model.quantity("map", model.start[None])[0]
    *parts, rate, L, left = np.broadcast_arrays(start, model.target, model.rate, model.depth, left)
    found = np.empty(L.shape)
    for one in np.unique(L):
        same = one == L
        u0, S = (part[same] for part in parts)
        found[same] = depth.time_to(u0, S, float(one), rate[same], left[same])
    return found


def moments(model: Model, orbit: Orbit, t: Array, share: float) -> Array:
    """Return when each mode of a trajectory reaches `share` of its target, infinity if never.

    By `time_to` where that has an inverse law, else by bisection between the times t.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    if isinstance(model, Skills):
        return model.time_to(model.ranks, share)
    if isinstance(model, Features):
        if model.solvable:
            return model.learning_times(share)
        name, goal = model.milestone(share)
    elif not isinstance(model, (Linear, DeepLinear)):
        try:
            return time_to(model, level=share * model.target)  # type: ignore[attr-defined]
        except NotSolvable:
            goal, name = share * np.asarray(model.target), "map"  # type: ignore[attr-defined]
    else:
        s = model.regression.modes[1]
        goal, name = np.where(s > NO_TARGET * s[0], share * s, 0.0), "modes"

    def missing(times: Array) -> Array:
        return goal - orbit.quantity(name, times)

    gap = missing(t).reshape(len(t), -1)
    found = np.full(gap.shape[1], np.inf)
    reached = (gap * np.sign(goal).ravel() <= 0) & (np.abs(goal).ravel() > 0)
    first = np.argmax(reached, axis=0)
    crossed = reached[first, np.arange(len(found))]
    found[crossed & (first == 0)] = t[0]
    modes = np.flatnonzero(crossed & (first > 0))
    low, high = t[first[modes] - 1].copy(), t[first[modes]].copy()
    for _ in range(BISECTIONS if len(modes) else 0):
        middle = (low + high) / 2
        distinct, place = np.unique(middle, return_inverse=True)
        left = missing(distinct).reshape(len(distinct), -1)[place, modes]
        under = left * np.sign(goal).ravel()[modes] > 0
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    found[modes] = high
    return found.reshape(goal.shape)
