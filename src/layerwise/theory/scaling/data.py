r"""The loss with few data: D samples hold skill k about ``d = D P_k`` times.

Five ways to say what a skill is learned from them, each with a name of its own:

    one_shot      once seen is learned                  R/S = 1 - (1 - P)^D
    hard          learned from D_c samples expected     R/S = 1 if d >= D_c, else 0
    binomial      learned from D_c samples seen         R/S = prob(at least D_c of D)
    linear        projection on what was seen           R/S = min(d/D_c, 1)
    square_root   as published (E12)                    R/S = 1 - sqrt(1 - min(d/D_c, 1))

All but the last cost ``(S^2/2)(1 - R/S)`` a skill: the mean over skills that are learned or not, or
the square of what a projection leaves out. The published curve inserts the same cost into
``(S - R)^2/2``, so that its strength is not that of the projection, but its loss is.

All give ``L ~ D^{-s}``, ``s = (p - 1)/(alpha + 1)``, with different constants.

Source: arXiv 2404.17563; binomial and linear, and all constants, derived here.
"""

from __future__ import annotations

from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.names import nearest
from layerwise.theory.models.skills import Skills
from layerwise.theory.scaling.curve import EPS, PowerLaw
from layerwise.theory.scaling.parameters import ROUNDINGS, clean, must_fall, positive, unseen_after
from layerwise.theory.scaling.sums import SUMMED, Sum, Terms, boundary, sum_ranks

__all__ = [
    "RULES",
    "Rule",
    "binomial",
    "data_law",
    "data_loss",
    "data_shares",
    "hard",
    "linear",
    "one_shot",
    "square_root",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Rule = Literal["one-shot", "hard", "binomial", "linear", "square-root"]

RULES: tuple[Rule, ...] = ("one-shot", "hard", "binomial", "linear", "square-root")

NOISE = 1e-13  # relative error of the incomplete beta function, times expected samples
RARE = 4e-9  # expected samples of a skill whose second order is lost in rounding
EDGE = 1 + 1e-12  # a threshold that is met but for rounding is met


def one_shot(frequency: npt.ArrayLike, samples: npt.ArrayLike) -> Array:
    """Return the probability that a skill is among the samples.

    Examples
    --------
    >>> one_shot([0.5, 0.01], 10).round(4)
    array([0.999 , 0.0956])
    """
    P, D = np.asarray(frequency, dtype=np.float64), clean(samples, "samples")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(D == 0, 0.0, -np.expm1(D * np.log1p(-P)))


def hard(frequency: npt.ArrayLike, samples: npt.ArrayLike, shots: float) -> Array:
    """Return 1 where at least `shots` samples of a skill are expected, else 0.

    Examples
    --------
    >>> hard([0.5, 0.01], 2000, shots=800)
    array([1., 0.])
    """
    return (_expected(frequency, samples, shots) * EDGE >= 1).astype(np.float64)


def binomial(frequency: npt.ArrayLike, samples: npt.ArrayLike, shots: float) -> Array:
    """Return the probability that a skill is seen at least `shots` times.

    Examples
    --------
    >>> binomial([0.5, 0.4, 0.3], 2000, shots=800).round(4)
    array([1.    , 0.5085, 0.    ])
    """
    P, D = np.asarray(frequency, dtype=np.float64), clean(samples, "samples")
    shots = _whole(shots)
    seen = special.betainc(shots, np.maximum(D - shots + 1, 0.5), P)
    return np.where(shots > D, 0.0, seen)


def linear(frequency: npt.ArrayLike, samples: npt.ArrayLike, shots: float) -> Array:
    """Return the share that a projection on the samples learns, in proportion to their number.

    Examples
    --------
    >>> linear([0.5, 0.1], 2000, shots=800)
    array([1.  , 0.25])
    """
    return np.minimum(_expected(frequency, samples, shots), 1.0)


def square_root(frequency: npt.ArrayLike, samples: npt.ArrayLike, shots: float) -> Array:
    """Return the published share, which is *not* that of a projection (E12).

    Examples
    --------
    >>> square_root([0.5, 0.2], 2000, shots=800).round(4)
    array([1.    , 0.2929])
    """
    return 1 - np.sqrt(1 - linear(frequency, samples, shots))


def data_shares(
    skills: Skills,
    k: npt.ArrayLike,
    samples: npt.ArrayLike,
    rule: Rule = "linear",
    shots: float = 1.0,
) -> Array:
    """Return R_k/S_k of the skills k after training on so many samples, by the named rule."""
    P = skills.frequencies(k)
    match _known(rule):
        case "one-shot":
            _one(shots)
            return one_shot(P, samples)
        case "hard":
            return hard(P, samples, shots)
        case "binomial":
            return binomial(P, samples, shots)
        case "linear":
            return linear(P, samples, shots)
        case "square-root":
            return square_root(P, samples, shots)
        case _:
            assert_never(rule)


def data_loss(
    skills: Skills, samples: npt.ArrayLike, rule: Rule = "linear", shots: float = 1.0
) -> Sum:
    """Return the loss at the end of training on so many samples, of the shape of `samples`.

    Examples
    --------
    >>> skills = Skills(alpha=0.6)
    >>> data_loss(skills, [1e2, 1e4], "one-shot").value.round(4)
    array([0.0784, 0.014 ])
    >>> data_loss(skills, [1e2, 1e4], "hard").value.round(4)
    array([0.0889, 0.0157])
    """
    D, p = clean(samples, "samples"), skills.loss_exponent
    flat, scale = D.ravel(), skills.scale * skills.target**2 / 2
    rule = _known(rule)
    if skills.n_skills <= SUMMED:
        share = data_shares(skills, skills.ranks, flat[:, None], rule, shots)
        lost = (1 - share) ** 2 if rule == "square-root" else 1 - share
        value = scale * np.sum(skills.ranks**-p * lost, axis=1)
        error = scale * NOISE * np.sum(skills.ranks**-p) * np.ones_like(value)
        return _shaped(Sum(value, error, "exact sum"), D.shape)
    must_fall(skills)
    if rule in ("one-shot", "binomial"):
        if rule == "one-shot":
            _one(shots)
        return _shaped(_seen(skills, flat, _whole(shots)), D.shape)
    rate = _expected(skills.scale, flat, shots)  # d/D_c = rate k^-(alpha+1)
    known = np.floor((rate * EDGE) ** (1 / (skills.alpha + 1)))
    known = np.minimum(known, skills.n_skills)
    value, error = unseen_after(skills, known)
    if rule != "hard":
        power = p + skills.alpha + 1
        part = scale * special.zeta(power, known + 1)
        if np.isfinite(skills.n_skills):
            part -= scale * special.zeta(power, skills.n_skills + 1)
        value, error = value - rate * part, error + ROUNDINGS * EPS * rate * part
    return _shaped(Sum(np.maximum(value, 0.0), error, "closed form"), D.shape)


def data_law(skills: Skills, rule: Rule = "linear", shots: float = 1.0) -> PowerLaw:
    """Return the power law of infinitely many skills.

    ``(S^2/2) A/(alpha+1) (A D)^{-s} int_0^inf u^{s-1} h(u) du`` with h what is lost of a skill of
    which u samples are expected. The binomial rule has Poisson's limit.

    Examples
    --------
    >>> law = data_law(Skills(alpha=0.6), "one-shot")
    >>> round(law.exponent, 4), round(law.prefactor, 4)
    (-0.375, 0.4419)
    """
    must_fall(skills)
    r = skills.alpha + 1
    s = (skills.loss_exponent - 1) / r
    match _known(rule):
        case "one-shot":
            _one(shots)
            integral = float(special.gamma(s))
        case "hard":
            integral = positive(shots, "shots") ** s / s
        case "binomial":
            integral = float(special.poch(_whole(shots), s)) / s
        case "linear" | "square-root":
            integral = positive(shots, "shots") ** s / (s * (s + 1))
        case _:
            assert_never(rule)
    scale = skills.scale * skills.target**2 / 2
    return PowerLaw(-s, float(scale / r * skills.scale**-s * integral))


def _seen(skills: Skills, D: Array, shots: float) -> Sum:
    """Return the loss of skills that are learned from `shots` samples seen."""
    r, p, A = skills.alpha + 1, skills.loss_exponent, skills.scale
    whole = skills.n_skills == np.inf
    end = boundary((A * D / RARE) ** (1 / r)) if whole else np.full(D.shape, skills.n_skills)

    def powers(k: Array) -> tuple[Array, ...]:
        return k**-p, np.minimum(A * k**-r, 1.0)

    def missed(i: Index, P: Array) -> Array:
        rest = np.maximum(D[i] - shots + 1, 0.5)
        return np.where(D[i] < shots, 1.0, special.betaincc(shots, rest, P))

    def value(i: Index, powers: tuple[Array, ...]) -> tuple[Array, Array]:
        weight, P = powers
        term = weight * missed(i, P)
        return term, NOISE * term * (1 + D[i] * P)

    def shape(i: Index, k: Array) -> tuple[Array, Array]:
        P = powers(k)[1]
        steep = np.sqrt(shots) + np.maximum(D[i] * P - shots, 0.0)
        return np.sqrt(missed(i, P)), r * steep

    found = sum_ranks(Terms(powers, value, shape), end)
    total, error = found.value, found.error
    if whole:
        total = total + special.zeta(p, end + 1)
        if shots == 1:
            total = total - A * D * special.zeta(p + r, end + 1)
    scale = A * skills.target**2 / 2
    return Sum(scale * total, scale * (error + EPS * total), "panels" if whole else found.method)


def _expected(frequency: npt.ArrayLike, samples: npt.ArrayLike, shots: float) -> Array:
    """Return how many samples of a skill are expected, in units of `shots`."""
    expected = clean(samples, "samples") * np.asarray(frequency)
    return np.asarray(expected / positive(shots, "shots"))


def _known(rule: Rule) -> Rule:
    if rule not in RULES:
        raise ValueError(nearest(str(rule), RULES, kind="shot model"))
    return rule


def _one(shots: float) -> None:
    if shots != 1:
        raise ValueError(f"one shot is 1, got shots={shots}; for more there is 'binomial'")


def _whole(shots: float) -> float:
    if not (np.isfinite(shots) and shots >= 1 and shots % 1 == 0):
        raise ValueError(f"shots must be a whole number >= 1, got {shots}")
    return float(shots)


def _shaped(found: Sum, shape: tuple[int, ...]) -> Sum:
    return Sum(found.value.reshape(shape), found.error.reshape(shape), found.method)
