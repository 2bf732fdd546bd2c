r"""The loss over time, ``L(t) = 1/2 sum_k P_k (S_k - R_k(t))^2``, and its power law.

For infinitely many skills, with p, q and phi as in `scaling.curve`,

    L(t) -> A S^2/(2 q) (c t)^{-s} int_0^inf u^{s-1} phi(u)^2 du,      s = (p - 1)/q:

``alpha/(alpha + 1)`` for equal targets, whatever the curve. This exponent is no evidence of layers
(E21); where targets vary with rank it depends on depth,
``(alpha + 2b)/(alpha + 1 + b (2 - 2/depth))`` for ``S_k ~ k^-b``.

Source: arXiv 2404.17563 for depth 2 and equal targets; general form derived here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import shares
from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.curve import EPS, ROUNDINGS, PowerLaw, curve
from layerwise.theory.scaling.parameters import clean, must_fall
from layerwise.theory.scaling.sums import Sum

__all__ = ["time_law", "time_loss"]

Array = npt.NDArray[np.float64]

BLOCK = 1_000_000  # terms at a time


def time_loss(skills: Skills, t: npt.ArrayLike) -> Sum:
    """Return the loss of skills at times t, of the shape of t.

    Up to 1000 skills, and skills whose starts were given one by one, are added term by term; more,
    and infinitely many, by panels (`scaling.sums`), in milliseconds however many they are.
    The error is about 1e-14 of the loss; where the escape from a tiny start is what is being timed
    it is the rounding of that time, and the estimate says so.

    Raises
    ------
    ValueError
        For times that are negative or not finite.

    Examples
    --------
    >>> loss = time_loss(Skills(alpha=0.6), [0.0, 1e3, 1e6])
    >>> loss.value.round(5), bool(np.all(loss.error < 1e-13)), loss.method
    (array([0.49005, 0.045  , 0.00337]), True, 'panels')
    """
    times = clean(t, "t")
    flat = times.ravel()
    if skills.initial.ndim:
        found = _one_by_one(skills, flat)
    else:
        found = curve(skills).sum(flat, np.full(flat.shape, skills.n_skills))
    value, error = found.value.reshape(times.shape), found.error.reshape(times.shape)
    return Sum(value, error, found.method)


def time_law(skills: Skills) -> PowerLaw:
    """Return the power law that the loss of infinitely many skills tends to.

    For finitely many skills it is the law of their completed loss, see `completed`.

    Examples
    --------
    >>> law = time_law(Skills(alpha=0.6))
    >>> round(law.exponent, 4), round(2 * law.prefactor, 4)  # in units of S^2/2
    (-0.375, 1.2001)
    """
    one = curve(skills)
    must_fall(skills)
    prefactor = one.scale / one.q * one.pace**-one.s * one.moment()
    return PowerLaw(-one.s, prefactor)


def _one_by_one(skills: Skills, t: Array) -> Sum:
    k = skills.ranks
    value, error = np.zeros(len(t)), np.zeros(len(t))
    length = max(1, BLOCK // max(1, len(t)))
    for begin in range(0, len(k), length):
        rank = k[begin : begin + length]
        weight, left = skills.frequencies(rank) / 2, skills.errors(rank, t)
        term = weight * left**2
        clock = shares.layers(skills.depth) * skills.paces(rank) * t[:, None]
        value += np.sum(term, axis=1)
        error += ROUNDINGS * EPS * np.sum(term * (1 + clock), axis=1)
    return Sum(value, error, "exact sum")
