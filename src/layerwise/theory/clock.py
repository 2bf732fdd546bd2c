r"""The two clocks of grokking in the 1-h-1 network with decay: when it fits, when it is rich.

For ``f = (x/Z) sum_i a_i b_i`` with target S x, input variance s and decay lam, write
``k = s/Z`` and ``C^2 = Sigma^2 - Theta^2``, which falls as ``C_0 e^{-2 lam t}`` exactly. Large
weights (``Sigma_0 >> |S|``, lazy) fit the data at once,

    t_fit = ln(1/eps)/(2 k Sigma_0),

and stay near ``Theta = S - lam/k`` while their size decays; they are rich (aligned,
``|Theta|/Sigma > 1/sqrt 2``, so ``|Theta| > C``) once C has come down to it,

    t_rich = ln(C_0/(|S| - lam/k))/(2 lam).

`fit_time`, `rich_time` and `delay` are these formulas, each with its error; `crossings` are the
exact times, by root finding on the solution. All take a `Scalar`, or a batch of them.

Source: derived for this package (``Theta`` keeps to ``2 k Sigma (S - Theta) = 2 lam Theta +
Theta'``); the delay grows like ln(initial scale)/lam as in arXiv 2311.18817 and arXiv 2210.01117.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.laws import decay
from layerwise.theory.models import Scalar
from layerwise.theory.solve import solve

__all__ = ["Crossings", "Estimate", "crossings", "delay", "fit_time", "rich_time"]

Array = npt.NDArray[np.float64]

RICH = math.sqrt(0.5)  # alignment from which on a network counts as rich
LEVEL = 0.01  # error, as a share of the target, from which on data count as fitted
SLOW = 0.15  # what `rich_time` is late by, in units of 1/(k |S|), for weak decay: (1 - RICH)/2
HELD = 0.25  # decay may hold Theta off the target by this share of the level of the fit
SAMPLES = 400  # instants among which the first crossing of the fit is looked for
SETTLED = 40.0  # relaxation times after which nothing is fitted any more


@dataclass(frozen=True)
class Estimate:
    """A time by a closed formula, and how far the exact one may lie from it.

    Attributes
    ----------
    value
        The time; 0 where there is nothing to wait for, infinite where it never comes.
    error
        ``|exact - value|`` is at most this; infinite outside the formula's domain.
    """

    value: Array
    error: Array


@dataclass(frozen=True)
class Crossings:
    """The exact times of a network, or of a batch of them.

    Attributes
    ----------
    fit
        When ``|S - Theta|`` first comes down to the level of the fit; infinite if it never does.
    rich
        From when on ``|Theta|/Sigma`` stays above ``1/sqrt 2``, on the side of the target;
        infinite where the target is not learned for good (``s |S| <= lam Z``).
    """

    fit: Array
    rich: Array

    @property
    def delay(self) -> Array:
        """How much later than fitted the network becomes rich; NaN where it never does either."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.rich - self.fit)


def fit_time(model: Scalar, level: float = LEVEL) -> Estimate:
    """Return the lazy time to fit, ``ln(|S - Theta_0|/(level |S|))/(2 k Sigma_0)``.

    Domain: lazy starts, whose kernel hardly moves. The error adds what a moving kernel can change,
    ``ln(...)/2k (1/Sigma_min - 1/Sigma_max)`` at most, and twice the first order of the decay,
    ``q (1/level + ln + ln^2/2)`` with ``q = lam/(k Sigma_min)``. It is infinite where decay holds
    the network off its target (``q > level/4``).

    Parameters
    ----------
    model
        One `Scalar` or a batch.
    level
        Error that counts as fitted, as a share of the target, between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        For another model, or a level outside (0, 1).

    Examples
    --------
    >>> import layerwise as lw
    >>> lazy = lw.Scalar(target=1.0, a=[10.0, 10.0], b=[10.0, -10.0], decay=0.001)
    >>> time = fit_time(lazy)
    >>> float(time.value.round(5)), bool(time.error < 0.01 * time.value)
    (0.01151, True)
    """
    k, S, theta, size, C = _sizes(model, level)
    left = np.abs(S - theta)
    least = np.where(theta > 0, np.hypot(C, np.minimum(theta, S)), C)
    most = np.maximum(size, np.hypot(C, S))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = np.minimum(level * S / left, 1.0)
        share = np.where(left == 0, 1.0, share)
        ratio = np.where(S > 0, size / np.where(S > 0, S, 1.0), np.inf)
        value = decay.fit_time(ratio, model.rate, model.scale, np.where(S > 0, S, 1.0), share)
        logs = -np.log(share)
        unit = 1 / (2 * k)
        moved = logs * unit * np.maximum(1 / least - 1 / size, 1 / size - 1 / most)
        q = model.decay / (k * least)
        error = moved + 2 * unit / least * q * (1 / level + logs + logs**2 / 2)
    fits = np.isfinite(logs) & (size > 0) & (k > 0)
    known = fits & (q <= HELD * level) & np.isfinite(error)
    done = share == 1
    return Estimate(
        np.where(done, 0.0, np.where(fits, value, np.inf)),
        np.where(done, 0.0, np.where(known, error, np.inf)),
    )


def rich_time(model: Scalar) -> Estimate:
    """Return ``ln(C_0/(|S| - lam/k))/(2 lam)``, when decay has made a lazy start rich.

    Domain: ``C_0 > |S|``, and a target that outlives the decay. The formula is late: Theta lags
    behind, and is larger than its end when C meets it. The error is that lag,
    ``0.15 (1 - e)^{-3/2}/(k |S|)`` with ``e = lam/(k |S|)`` (a bound of the exact
    ``ln(c/(1-e))/(2 e)`` for all e, where c, the size of C at the crossing over S, solves
    ``K_{nu+1}(x)/K_nu(x) = 1 + sqrt 2`` at ``x = c/(2 e)``, ``nu = (1/e - 1)/2``), and what is
    left by then of the start, ``|S - Theta_0|/C_0 exp(-k (C_0 - |S|)/lam)/(sqrt 2 lam)``.
    The time is 0, of infinite error, where ``C_0 <= |S|``: there decay is not what is waited for.

    Raises
    ------
    TypeError
        For another model.

    Examples
    --------
    >>> import layerwise as lw
    >>> lazy = lw.Scalar(target=1.0, a=[10.0, 10.0], b=[10.0, -10.0], decay=0.01)
    >>> time = rich_time(lazy)
    >>> float(time.value.round(1)), float(time.error.round(2))
    (265.4, 0.15)
    """
    k, S, theta, _, C = _sizes(model)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        lost = np.where(model.decay > 0, model.decay / k, 0.0)
        lasting = (lost < S) & (C > 0)
        value = decay.rich_time(C / np.where(lasting, S - lost, 1.0), model.decay)
        lag = SLOW / (k * S) * (1 - lost / S) ** -1.5
        memory = np.exp(-(C - S) / lost) * np.abs(S - theta) / (C * math.sqrt(2) * model.decay)
    value = np.where(lasting, np.where(C > S, value, 0.0), np.inf)
    known = lasting & (C > S) & (model.decay > 0)
    return Estimate(value, np.where(known, lag + memory, np.inf))


def delay(model: Scalar, level: float = LEVEL) -> Estimate:
    """Return `rich_time` less `fit_time`, 0 if negative, NaN if neither comes; the errors add.

    Examples
    --------
    >>> import layerwise as lw
    >>> sizes = np.sqrt(np.array([[3.0], [30.0]]) / 2)
    >>> lazy = lw.Scalar(1.0, sizes * [1, 1], sizes * [1, -1], decay=0.01)
    >>> delay(lazy).value.round(1)  # ln(10)/(2 lam) = 115.1 apart
    array([ 54.7, 170.5])
    """
    fit, rich = fit_time(model, level), rich_time(model)
    with np.errstate(invalid="ignore"):
        value = np.maximum(rich.value - fit.value, 0.0)
    return Estimate(value, fit.error + rich.error)


def crossings(model: Scalar, level: float = LEVEL) -> Crossings:
    """Return the exact times of fit and of richness, by root finding on `solve`.

    The time of the fit is the first among `SAMPLES` instants, refined: a passage through the level
    and back between two of them is not seen.

    Raises
    ------
    TypeError, ValueError
        For another model, or a level outside (0, 1).

    Examples
    --------
    >>> import layerwise as lw
    >>> sizes = np.sqrt(np.array([[3.0], [10.0], [30.0], [100.0]]) / 2)
    >>> lazy = lw.Scalar(1.0, sizes * [1, 1], sizes * [1, -1], decay=0.01)
    >>> crossings(lazy).rich.round(1), rich_time(lazy).value.round(1)
    (array([ 55.3, 115.5, 170.4, 230.6]), array([ 55.4, 115.6, 170.6, 230.8]))
    """
    _sizes(model, level)
    found = np.array([_crossings(part, level) for part in model.parts()])
    fit, rich = found.T.reshape(2, *model.target.shape)
    return Crossings(fit, rich)


def _crossings(one: Scalar, level: float) -> tuple[float, float]:
    from scipy.optimize import brentq

    k, S, theta, size, C = (float(x) for x in _sizes(one))
    lam, sign = float(one.decay), math.copysign(1.0, float(one.target))
    if size == 0 or k == 0 or S == 0:
        return math.inf, math.inf
    met = max(math.log(C / S), 0.0) / (2 * lam) if C and lam else 0.0  # when C = S
    grows = k * S > lam

    def aligned(start: Scalar) -> Callable[[float], float]:
        return lambda t: sign * float(solve(start, t)["alignment"][0]) - RICH

    opposed = C == 0 and theta < 0
    rich = math.inf
    if grows and not opposed and not (lam == 0 and C >= S):
        near = _later(one, met)
        if aligned(near)(0.0) >= 0:  # while C > S only falling crossings are possible
            rich = 0.0
        else:
            wait = 1 / (k * S)
            while aligned(near)(wait) < 0:
                near, met = _later(near, wait), met + wait
                wait *= 2
            rich = met + float(brentq(aligned(near), 0.0, wait, xtol=1e-300, rtol=1e-14))

    left = abs(S - theta)
    if left <= level * S:
        return 0.0, rich
    edge = S * (1 - math.copysign(level, S - theta))

    def short(start: Scalar, t: Array | float) -> Array:
        gap = edge - sign * solve(start, t)["map"]
        return np.asarray(gap if theta < S else -gap)

    rest = SETTLED / (2 * (k * S - lam)) if grows else SETTLED / lam
    last = (rich if math.isfinite(rich) else met) + rest
    times = np.append(0.0, np.geomspace(min(1e-3 / one.fastest(), last / 2), last, SAMPLES))
    under = np.flatnonzero(short(one, times) <= 0)
    if not len(under):
        return math.inf, rich
    before, wait = times[under[0] - 1], times[under[0]] - times[under[0] - 1]
    near = _later(one, before)
    found = brentq(lambda t: float(short(near, t)[0]), 0.0, wait, xtol=1e-300, rtol=1e-14)
    return float(before + found), rich


def _later(one: Scalar, t: float) -> Scalar:
    """Return the network with its weights at time t as its start: the flow is autonomous."""
    a, b = solve(one, t).weights()
    return Scalar(one.target, a[0], b[0], one.scale, one.rate, one.decay)


def _sizes(model: Scalar, level: float = LEVEL) -> tuple[Array, Array, Array, Array, Array]:
    """Return k, |S|, Theta_0 on the side of the target, Sigma_0 and C_0."""
    if not isinstance(model, Scalar):
        raise TypeError(f"the clock is that of a Scalar, got {type(model).__name__}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    sign = np.where(model.target < 0, -1.0, 1.0)
    theta = sign * measures.product(model.a, model.b, model.scale)
    size = measures.magnitude(model.a, model.b, model.scale)
    squares = [np.sum((model.a + to * model.b) ** 2, axis=-1) for to in (1, -1)]
    C = np.sqrt(squares[0]) * np.sqrt(squares[1]) / (2 * model.scale)
    return model.rate / model.scale, np.abs(model.target), theta, size, C
