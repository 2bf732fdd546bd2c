r"""The loss with few parameters: N units learn the N most frequent skills, and no others.

    L(N) = 1/2 sum_{k > N} P_k S_k^2 = (S^2/2) A zeta(p, N + 1) -> (S^2/2) A/(p - 1) N^{1-p},

``p = alpha + 1 + 2 target_exponent``. Where a skill needs N_c units (the extended model of
arXiv 2404.17563, whose N_c is 4) it is learned in proportion to those that are left for it.
A single network does not follow the ramp: it jumps, and the ramp is a mean over many (E20).

Source: arXiv 2404.17563.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.curve import EPS, PowerLaw
from layerwise.theory.scaling.sums import SUMMED, Sum

__all__ = [
    "clean",
    "must_fall",
    "parameter_law",
    "parameter_loss",
    "parameter_shares",
    "positive",
    "unseen_after",
    "unseen_loss",
]

Array = npt.NDArray[np.float64]

ROUNDINGS = 8.0


def parameter_shares(
    k: npt.ArrayLike, parameters: npt.ArrayLike, units_per_skill: float = 1.0
) -> Array:
    """Return R_k/S_k of the skills k that so many units can learn; all arguments broadcast.

    Examples
    --------
    >>> parameter_shares([1, 2, 3], 6, units_per_skill=4)
    array([1. , 0.5, 0. ])
    """
    filled = clean(parameters, "parameters") / positive(units_per_skill, "units_per_skill")
    return np.clip(filled - np.asarray(k, dtype=np.float64) + 1, 0.0, 1.0)


def parameter_loss(skills: Skills, parameters: npt.ArrayLike, units_per_skill: float = 1.0) -> Sum:
    """Return the loss at the end of training with so many units, of the shape of `parameters`.

    Examples
    --------
    >>> parameter_loss(Skills(alpha=0.6), [1, 10, 100]).value.round(4)
    array([0.2813, 0.0889, 0.0229])
    """
    n = clean(parameters, "parameters")
    filled = np.minimum(n / positive(units_per_skill, "units_per_skill"), skills.n_skills)
    rank = np.ceil(filled)
    after, error = unseen_after(skills, rank)
    part = np.maximum(rank, 1.0) ** -skills.loss_exponent * (rank - filled) ** 2
    part *= skills.scale * skills.target**2 / 2
    return Sum(after + part, error + ROUNDINGS * EPS * part, "closed form")


def parameter_law(skills: Skills, units_per_skill: float = 1.0) -> PowerLaw:
    """Return the power law of infinitely many skills.

    Examples
    --------
    >>> law = parameter_law(Skills(alpha=0.6))
    >>> round(law.exponent, 4), float(law(100.5).round(4))
    (-0.6, 0.0229)
    """
    must_fall(skills)
    falls = skills.loss_exponent - 1
    units = positive(units_per_skill, "units_per_skill")
    return PowerLaw(-falls, skills.scale * skills.target**2 / 2 / falls * units**falls)


def unseen_loss(skills: Skills) -> float:
    """Return what the skills after the last would cost, had their frequencies gone on.

    ``(S^2/2) A zeta(p, n_skills + 1)``; 0 for infinitely many. Added to the loss of finitely many
    skills it makes their power law visible, see `completed`. Mean squared errors without the 1/2
    need twice as much.

    Examples
    --------
    >>> round(unseen_loss(Skills(alpha=0.6, n_skills=12)), 4)
    0.0954
    """
    if skills.n_skills == np.inf:
        return 0.0
    must_fall(skills)
    rest = special.zeta(skills.loss_exponent, skills.n_skills + 1)
    return float(skills.scale * skills.target**2 / 2 * rest)


def unseen_after(skills: Skills, rank: Array) -> tuple[Array, Array]:
    """Return ``1/2 sum_{k > rank} P_k S_k^2`` of the skills there are, and its rounding."""
    scale, p = skills.scale * skills.target**2 / 2, skills.loss_exponent
    if skills.n_skills <= SUMMED:
        parts = scale * skills.ranks**-p
        after = np.append(np.cumsum(parts[::-1])[::-1], 0.0)[rank.astype(np.intp)]
        return after, ROUNDINGS * EPS * after
    must_fall(skills)
    begin = scale * special.zeta(p, rank + 1)
    end = scale * special.zeta(p, skills.n_skills + 1) if np.isfinite(skills.n_skills) else 0.0
    return np.maximum(begin - end, 0.0), ROUNDINGS * EPS * begin


def must_fall(skills: Skills) -> None:
    """Refuse skills whose continuation to infinitely many would have an infinite loss."""
    if min(skills.loss_exponent - 1, skills.clock_exponent) <= 0:
        raise ValueError(
            f"target_exponent {skills.target_exponent:g} must be above -alpha/2 = "
            f"{-skills.alpha / 2:g}: infinitely many such skills have an infinite loss, and no "
            "power law"
        )


def clean(values: npt.ArrayLike, name: str) -> Array:
    """Return finite numbers that are not negative, or say which one is."""
    array = np.asarray(values, dtype=np.float64)
    good = (array >= 0) & np.isfinite(array)
    if not np.all(good):
        raise ValueError(f"{name} must be finite and not negative, got {array[~good].flat[0]}")
    return array


def positive(value: float, name: str) -> float:
    """Return a finite, positive number, or say that it is none."""
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return float(value)
