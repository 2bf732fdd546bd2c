"""Exponents fitted to losses, and the ways in which such a fit may deceive.

A sum over finitely many skills falls faster than its law, and the fewer there are the faster: its
raw slope measures where the sum was cut (E22). `completed` adds what was cut off. And a window that
holds few skills measures their steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.parameters import unseen_loss

__all__ = ["ExponentFit", "completed", "fit_exponent"]

Array = npt.NDArray[np.float64]

DECADES = 1.0  # of time that a window has to span
RESOLVED = 5  # skills whose half times it has to hold
POINTS = 3


@dataclass(frozen=True)
class ExponentFit:
    """A straight line through ``ln loss`` over ``ln t``.

    Attributes
    ----------
    slope, prefactor
        ``loss = prefactor t^slope``.
    window
        First and last time of the points that were used.
    points
        How many there were.
    completed
        Whether the loss of the skills that are not there was added.
    """

    slope: float
    prefactor: float
    window: tuple[float, float]
    points: int
    completed: bool


def completed(skills: Skills, loss: npt.ArrayLike) -> Array:
    """Return the loss as if the skills went on beyond the last: with `unseen_loss` added (E22).

    Examples
    --------
    >>> completed(Skills(alpha=0.6, n_skills=12), [0.1, 0.01]).round(4)
    array([0.1954, 0.1054])
    """
    return np.asarray(loss, dtype=np.float64) + unseen_loss(skills)


def fit_exponent(
    t: npt.ArrayLike,
    loss: npt.ArrayLike,
    window: tuple[float, float],
    skills: Skills | None = None,
    *,
    raw: bool = False,
) -> ExponentFit:
    """Return the power law fitted to a loss within a window of times, by least squares.

    Parameters
    ----------
    t, loss
        Times and losses (with the 1/2), shape (T,).
    window
        First and last time. It has to span a decade and to hold the half times of five skills,
        and without `raw` to lie between those of the first and of the last.
    skills
        Which skills the loss is a sum over, on the clock of t. If they are finitely many the loss
        is completed.
    raw
        Fit the loss as it is, truncated or not.

    Raises
    ------
    ValueError
        Without `skills` unless `raw`, and for windows that show no exponent.

    Examples
    --------
    >>> from layerwise.theory.scaling import time_loss
    >>> few = Skills(alpha=0.6, n_skills=100, start=1e-5)
    >>> t = np.geomspace(10, 2e4, 100)
    >>> loss = time_loss(few, t).value
    >>> window = (50, 1e4)
    >>> [round(fit_exponent(t, loss, window, few, raw=raw).slope, 2) for raw in (False, True)]
    [-0.38, -0.59]
    """
    times, losses = np.asarray(t, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if times.ndim != 1 or times.shape != losses.shape:
        raise ValueError(
            f"t and loss must have one shape (T,), got {times.shape} and {losses.shape}"
        )
    if skills is None and not raw:
        raise ValueError(
            "a loss that is summed over finitely many skills has no exponent: say over which "
            "(skills=...), and it is completed; or ask for the slope as it is by raw=True"
        )
    first, last = (float(end) for end in window)
    if not 0 < first < last < math.inf:
        raise ValueError(f"a window is (first, last) with 0 < first < last, got {window}")
    _wide_enough(first, last, skills, raw)
    inside = (times >= first) & (times <= last)
    if np.sum(inside) < POINTS:
        raise ValueError(
            f"the window {first:g} ... {last:g} holds {np.sum(inside)} of the {len(times)} times; "
            f"it needs {POINTS}"
        )
    adds = skills is not None and not raw and math.isfinite(skills.n_skills)
    values = losses[inside] + (unseen_loss(skills) if skills is not None and adds else 0.0)
    if not np.all((values > 0) & np.isfinite(values)):
        raise ValueError("losses in the window must be positive and finite")
    x, y = np.log(times[inside]), np.log(values)
    centred = x - np.mean(x)
    slope = float(np.sum(centred * y) / np.sum(centred**2))
    prefactor = math.exp(float(np.mean(y)) - slope * float(np.mean(x)))
    used = times[inside]
    return ExponentFit(slope, prefactor, (float(used[0]), float(used[-1])), len(used), adds)


def _wide_enough(first: float, last: float, skills: Skills | None, raw: bool) -> None:
    decades = math.log10(last / first)
    if decades < DECADES - 1e-9:
        raise ValueError(
            f"the window {first:g} ... {last:g} spans {decades:.2f} decades of time, and an "
            f"exponent needs {DECADES:g}: to {first * 10**DECADES:g} at least"
        )
    if skills is None:
        return
    begin = float(skills.half_times(1))
    end = math.inf
    if math.isfinite(skills.n_skills):
        end = float(skills.half_times(skills.n_skills))
    held = skills_between(skills, first, last)
    if held < RESOLVED:
        raise ValueError(
            f"the window {first:g} ... {last:g} holds the half times of {held} skills, and an "
            f"exponent needs {RESOLVED}; those of all skills lie in {begin:g} ... {end:g}"
        )
    if not raw and (first < begin or last > end):
        raise ValueError(
            f"the window {first:g} ... {last:g} leaves the half times of the first and the last "
            f"skill, {begin:g} ... {end:g}, outside which the completed loss follows no power law"
        )


def skills_between(skills: Skills, first: float, last: float) -> int:
    """Return how many skills have their half time between two times."""
    if skills.initial.ndim:
        times = skills.half_times(skills.ranks)
        return int(np.sum((times >= first) & (times <= last)))
    unit, power = float(skills.half_times(1)), 1 / skills.clock_exponent
    ends = np.minimum((np.array([first, last]) / unit) ** power, skills.n_skills)
    return int(math.floor(ends[1]) - max(math.ceil(ends[0]), 1) + 1)
