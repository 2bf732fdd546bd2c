"""Power-law skills: many equal-layer products that differ by their frequency, in order of rank."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
from scipy import special

from layerwise.theory.errors import NotSolvable
from layerwise.theory.laws import depth as law
from layerwise.theory.laws import shares
from layerwise.theory.model import LARGEST, Model
from layerwise.theory.models.deep import Deep

__all__ = ["Skills"]

Array = npt.NDArray[np.float64]

SUMMED = 1000  # frequencies of so few skills are normalised term by term
EPS = 0.05  # a skill emerges at this share of its target and is saturated at 1 - EPS


@final
@dataclass(frozen=True, eq=False, init=False)
class Skills(Model):
    r"""Skills of power-law frequency, each learned by a product of equal layers.

    ``f = sum_k R_k g_k`` with ``E[g_k g_l] = P_k delta_kl``, ``P_k = A k^-(alpha+1)`` and targets
    ``S_k = target k^-target_exponent``. Gradient flow on ``1/2 sum_k P_k (S_k - R_k)^2`` is

        R_k' = depth rate P_k R_k^{2 - 2/depth} (S_k - R_k).

    In shares of the target all skills follow one curve, on clocks of their own: the frequent ones
    first, then the rare ones.

    Parameters
    ----------
    alpha
        Exponent of the frequencies beyond 1, > 0. (The published code calls ``alpha + 1`` alpha.)
    n_skills
        Number of skills, or infinity (the default).
    target
        ``S_1 > 0``; of every skill, unless `target_exponent` is given.
    start
        ``R_1(0)``, between 0 and the target. All skills start at the same share of their target:
        ``R_k(0) = start k^-target_exponent``. Or, where `n_skills` is finite, R_k(0) of each.
        0 is a start for depth 1 alone: deeper products never leave it.
    rate
        Learning rate. A mean squared error *without* the 1/2 doubles it: for SGD with step lr on
        such a loss and time in steps, ``rate = 2 lr``.
    depth
        Number of layers, any real number >= 1; 1 is the linear model (see `linear`). Infinity is
        the limit of many layers on the clock ``depth x t``.
    target_exponent
        How the targets fall with rank (negative: how they rise).
    rate_divisor
        kappa, the one calibrated number that carries the clock over to a network:
        ``rate/rate_divisor`` takes the place of `rate`. It is ``1/B^2`` of the published extended
        model, whose B^2 is 1/22.

    Raises
    ------
    ValueError
        For what is outside its domain; for infinitely many skills also where the loss is infinite
        (``alpha + 2 target_exponent <= 0``).

    Notes
    -----
    Quantities: ``map`` R_k (T, n), ``error`` S_k - R_k, ``loss`` (T,), ``conserved``, ``kernel``.
    For infinitely many skills there is the ``loss`` alone, see `layerwise.theory.scaling`; the
    methods below take any rank, also one that is no whole number. An infinite depth has no weights.

    References
    ----------
    arXiv 2404.17563 (depth 2, equal targets); any depth, start and targets derived here.

    Examples
    --------
    >>> import layerwise as lw
    >>> skills = lw.Skills(alpha=0.6, n_skills=5, target=5.0, start=0.01)
    >>> lw.solve(skills, [0.0, 1.0, 4.0])["map"].round(2)
    array([[0.01, 0.01, 0.01, 0.01, 0.01],
           [2.15, 0.07, 0.03, 0.02, 0.02],
           [5.  , 4.17, 0.53, 0.13, 0.06]])
    >>> lw.Skills(alpha=0.6, start=1e-4).half_times([1, 10]).round(1)
    array([ 10.5, 419.1])
    """

    alpha: float
    n_skills: float
    target: float
    initial: Array
    rate: float
    depth: float
    target_exponent: float
    rate_divisor: float

    quantities: ClassVar[tuple[str, ...]] = ("conserved", "error", "kernel", "loss", "map")

    def __init__(
        self,
        alpha: float,
        n_skills: float = math.inf,
        target: float = 1.0,
        start: npt.ArrayLike = 1e-2,
        rate: float = 1.0,
        depth: float = 2,
        target_exponent: float = 0.0,
        *,
        rate_divisor: float = 1.0,
    ) -> None:
        numbers = {
            "alpha": alpha,
            "n_skills": n_skills,
            "target": target,
            "rate": rate,
            "depth": depth,
            "target_exponent": target_exponent,
            "rate_divisor": rate_divisor,
        }
        for name, given in numbers.items():
            object.__setattr__(self, name, _number(name, given))
        _require("alpha", self.alpha, self.alpha > 0, "must be positive")
        whole = self.n_skills == math.inf or (self.n_skills >= 1 and self.n_skills % 1 == 0)
        _require("n_skills", self.n_skills, whole, "must be a whole number >= 1, or infinity")
        if self.n_skills < math.inf:
            object.__setattr__(self, "n_skills", int(self.n_skills))
        _require("target", self.target, self.target > 0, "must be positive")
        _require("rate", self.rate, self.rate > 0, "must be positive")
        _require("depth", self.depth, self.depth >= 1, "must be at least 1")
        _require("rate_divisor", self.rate_divisor, self.rate_divisor > 0, "must be positive")
        if self.n_skills == math.inf:
            rule = f"must be above -alpha/2 = {-self.alpha / 2:g} for infinitely many skills"
            falls = min(self.alpha + 2 * self.target_exponent, self.clock_exponent) > 0
            _require("target_exponent", self.target_exponent, falls, rule)
        object.__setattr__(self, "initial", self._initial(start))

    def _initial(self, start: npt.ArrayLike) -> Array:
        given = np.array(start, dtype=np.float64)
        given.flags.writeable = False
        if given.shape not in ((), (self.n_skills,)):
            raise ValueError(
                "Skills: start must be a number, or one for each of finitely many skills; got "
                f"shape {given.shape} for n_skills = {self.n_skills:g}"
            )
        targets = self.targets(self.ranks) if given.ndim else np.asarray(self.target)
        inside = (given > 0) & (given < targets)
        if self.depth == 1:
            inside |= given == 0
        if not np.all(inside):
            at = int(np.argmin(inside))
            bad, goal = given.flat[at], targets.flat[at]
            raise ValueError(
                f"Skills: start outside (0, target): {bad:g}, target {goal:g}"
                + ("; only depth 1 leaves 0" if bad == 0 else "")
            )
        return given

    # --- one skill at a time ----------------------------------------------------------------

    @property
    def scale(self) -> float:
        """A: the factor that makes the frequencies sum to 1."""
        if self.n_skills <= SUMMED:
            return float(1 / np.sum(self.ranks ** -(self.alpha + 1)))
        total = special.zeta(self.alpha + 1)
        if self.n_skills < math.inf:
            total -= special.zeta(self.alpha + 1, self.n_skills + 1)
        return float(1 / total)

    @property
    def loss_exponent(self) -> float:
        """How a skill's part of the initial loss falls with rank, ``P_k S_k^2 ~ k^-exponent``."""
        return self.alpha + 1 + 2 * self.target_exponent

    @property
    def clock_exponent(self) -> float:
        """How a skill's pace falls with its rank, ``P_k S_k^{2 - 2/depth} ~ k^-exponent``."""
        return self.alpha + 1 + self.target_exponent * (2 - 2 / self.depth)

    @property
    def share(self) -> float:
        """R_k(0)/S_k, where it is one number for all skills."""
        if self.initial.ndim:
            raise ValueError(
                "skills whose starts were given one by one share no curve; their law is that of "
                "one number as start"
            )
        return float(self.initial) / self.target

    @property
    def ranks(self) -> Array:
        """The ranks 1 ... n of finitely many skills."""
        if self.n_skills == math.inf:
            raise NotSolvable(
                "infinitely many skills fill no array: ask strengths(k, t) for those of some "
                "ranks k, sol['loss'] for the loss, or give n_skills"
            )
        return np.arange(1.0, self.n_skills + 1)

    def frequencies(self, k: npt.ArrayLike) -> Array:
        """Return P_k at ranks k.

        Examples
        --------
        >>> Skills(alpha=0.6, n_skills=5).frequencies([1, 2, 3, 4, 5]).round(4)
        array([0.5927, 0.1955, 0.1022, 0.0645, 0.0451])
        """
        return self.scale * self._within(k) ** -(self.alpha + 1)

    def targets(self, k: npt.ArrayLike) -> Array:
        """Return S_k at ranks k."""
        return self.target * self._within(k) ** -self.target_exponent

    def starts(self, k: npt.ArrayLike) -> Array:
        """Return R_k(0) at ranks k."""
        rank = self._within(k)
        if not self.initial.ndim:
            return self.initial * rank**-self.target_exponent
        if np.any(rank % 1):
            raise ValueError("ranks must be whole numbers where each skill has its own start")
        return np.asarray(self.initial[rank.astype(np.intp) - 1])

    def paces(self, k: npt.ArrayLike) -> Array:
        """Return the speed of the skills' own clocks, ``rate P_k S_k^{2 - 2/depth}``."""
        first = self.rate / self.rate_divisor * self.scale * self.target ** (2 - 2 / self.depth)
        return np.asarray(first * self._within(k) ** -self.clock_exponent)

    def strengths(self, k: npt.ArrayLike, t: npt.ArrayLike) -> Array:
        """Return R_k(t), of the shape of t followed by that of k.

        Examples
        --------
        >>> Skills(alpha=0.6).strengths([1, 100], [0.0, 10.0]).round(4)
        array([[0.01  , 0.01  ],
               [0.9846, 0.0101]])
        """
        rank, times = self._within(k), _times(t)
        shape = (times.size, *rank.shape)
        distinct, places = np.unique(times, return_inverse=True)
        first, one = self.starts(rank) / self.targets(rank), np.ones(())
        found = law.strength(first, one, self.depth, self.paces(rank), distinct)
        found = found[places.ravel()].reshape(shape) * self.targets(rank)
        return np.asarray(found.reshape(times.shape + rank.shape))

    def errors(self, k: npt.ArrayLike, t: npt.ArrayLike) -> Array:
        """Return ``S_k - R_k(t)`` likewise; it keeps its digits however small it is."""
        rank, times = self._within(k), _times(t)
        first, one = self.starts(rank) / self.targets(rank), np.ones(())
        left = law.remainder(first, one, self.depth, self.paces(rank), times.ravel())
        return np.asarray(left.reshape(times.shape + rank.shape) * self.targets(rank))

    # --- times ------------------------------------------------------------------------------

    def time_to(self, k: npt.ArrayLike, share: npt.ArrayLike) -> Array:
        """Return when R_k reaches `share` of its target, 0 if it starts above; k, share broadcast.

        Examples
        --------
        >>> Skills(alpha=0.6).time_to(1, [0.1, 0.5, 0.9]).round(3)
        array([2.741, 5.252, 7.763])
        """
        level = _shares(share)
        begun = level <= self.starts(k) / self.targets(k)
        return np.where(begun, 0.0, self._between(k, None, np.log(level) - np.log1p(-level)))

    def half_times(self, k: npt.ArrayLike) -> Array:
        """Return when R_k reaches half of its target."""
        return self.time_to(k, 0.5)

    def emergence_times(self, k: npt.ArrayLike, eps: float = EPS) -> Array:
        """Return when R_k reaches the share `eps` of its target, tau_e(k)."""
        return self.time_to(k, eps)

    def saturation_times(self, k: npt.ArrayLike, eps: float = EPS) -> Array:
        """Return how long R_k takes from the share `eps` to ``1 - eps``, tau_s(k).

        This, like `widths`, is one interval of the primitive and no difference of two times, so it
        keeps its digits where both times are much longer.
        """
        rise = _logit(_shares(eps))
        return self._between(k, rise, -rise)

    def widths(self, k: npt.ArrayLike) -> Array:
        """Return how long R_k takes from a tenth of its target to nine tenths."""
        return self.saturation_times(k, 0.1)

    def resolved(self, eps: float = EPS, k: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_]:
        """Return whether skills k and k + 1 come one after another: in stages.

        They do if k is saturated before the next emerges, ``tau_s(k) < tau_e(k+1) - tau_e(k)``
        (arXiv 2404.17563). Of all neighbours, shape (n - 1,), or of those at ranks k.

        Examples
        --------
        >>> Skills(alpha=0.6, n_skills=5, target=5.0, start=5e-5).resolved()
        array([ True,  True, False, False])
        """
        rank = self.ranks[:-1] if k is None else self._within(k)
        wait = self.emergence_times(rank + 1, eps) - self.emergence_times(rank, eps)
        return np.asarray(self.saturation_times(rank, eps) < wait)

    @property
    def stages(self) -> float:
        """About how many skills come in stages: ``clock_exponent x half time/width``.

        Neighbours are further apart in time than they are wide up to this rank.
        """
        return float(self.clock_exponent * self.half_times(1) / self.widths(1))

    def _between(self, k: npt.ArrayLike, first: Array | None, last: Array) -> Array:
        """Return the time between two logits, from the start where `first` is None or earlier."""
        rank = self._within(k)
        start, target = self.starts(rank), self.targets(rank)
        with np.errstate(divide="ignore"):
            begin = np.log(start) - np.log(target - start)
        begin = begin if first is None else np.maximum(begin, first)
        begin, last = np.broadcast_arrays(begin, np.maximum(begin, last))
        return np.asarray(shares.time_between(begin, last, self.depth) / self.paces(rank))

    def _within(self, k: npt.ArrayLike) -> Array:
        rank = np.asarray(k, dtype=np.float64)
        if not np.all((rank >= 1) & (rank <= self.n_skills) & np.isfinite(rank)):
            bad = rank[~((rank >= 1) & (rank <= self.n_skills) & np.isfinite(rank))].flat[0]
            raise ValueError(f"Skills: there is no skill {bad:g} of {self.n_skills:g}")
        return rank

    # --- the same as a model of weights -------------------------------------------------------

    def linear(self) -> Skills:
        """Return the same skills learned by the linear model, from 0: the control."""
        return Skills(
            self.alpha,
            self.n_skills,
            self.target,
            0.0,
            self.rate,
            1,
            self.target_exponent,
            rate_divisor=self.rate_divisor,
        )

    @cached_property
    def network(self) -> Deep:
        """The skills as one `Deep`; its rate is ``rate P_k``, and with it its loss."""
        if self.depth == math.inf:
            raise NotSolvable(
                "an infinitely deep product has no weights: ask 'map', 'error' or 'loss'"
            )
        k = self.ranks
        pace = self.rate / self.rate_divisor * self.frequencies(k)
        return Deep(self.targets(k), self.starts(k) ** (1 / self.depth), self.depth, pace)

    @property
    def start(self) -> Array:
        """Initial weights, shape (n, 1): the roots of `starts`."""
        return self.network.start

    def split(self, state: Array) -> tuple[Array, ...]:
        return self.network.split(state)

    def velocity(self, state: Array) -> Array:
        return self.network.velocity(state)

    def jacobian(self, state: Array) -> Array:
        return self.network.jacobian(state)

    def fastest(self) -> float:
        return self.network.fastest()

    def parts(self) -> Iterator[Deep]:
        return self.network.parts()

    def size_of(self, name: str) -> int:
        return 1 if name == "loss" else len(self.ranks)

    @property
    def traced(self) -> tuple[str, ...]:
        if self.n_skills == math.inf:
            return ("loss",)
        return ("error", "loss", "map") if self.depth == math.inf else self.quantities

    def quantity(self, name: str, state: Array) -> Array:
        if name != "loss":
            return self.network.quantity(name, state)
        left = self.network.quantity("error", state)
        return np.asarray(np.sum(self.frequencies(self.ranks) * left**2, axis=-1) / 2)

    def config(self) -> dict[str, Any]:
        said: dict[str, Any] = {"model": "Skills", "start": self.initial.tolist()}
        for name in (
            "alpha",
            "n_skills",
            "target",
            "rate",
            "depth",
            "target_exponent",
            "rate_divisor",
        ):
            value = getattr(self, name)
            said[name] = "infinite" if value == math.inf else value  # JSON has no infinity
        return said


def _number(name: str, given: float) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise TypeError(f"Skills: {name} must be a number, got {given!r}") from None
    infinite = value == math.inf and name in ("n_skills", "depth")
    _require(name, value, infinite or abs(value) <= LARGEST, f"must be finite, below {LARGEST:g}")
    return value


def _require(name: str, value: float, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"Skills: {name} {rule}, got {value:g}")


def _times(t: npt.ArrayLike) -> Array:
    times = np.asarray(t, dtype=np.float64)
    if not np.all((times >= 0) & np.isfinite(times)):
        raise ValueError("t must be finite and not negative")
    return times


def _shares(share: npt.ArrayLike) -> Array:
    level = np.asarray(share, dtype=np.float64)
    if not np.all((level > 0) & (level < 1)):
        raise ValueError(f"a share of the target must lie between 0 and 1, got {share!r}")
    return level


def _logit(share: Array) -> Array:
    return np.asarray(np.log(share) - np.log1p(-share))
