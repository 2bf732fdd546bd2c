"""Two-layer linear networks on real data, where the theory of lazy and rich is exact.

They learn which digit an image shows from its whitened principal components, by gradient descent
on the squared error. Full-batch descent sees the data only through ``E[y x^T]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from layerwise.measures import kernel_distance, kernel_growth
from layerwise.phenomena.base import Experiment
from layerwise.phenomena.lazy_rich.descent import descend, folded, triangular
from layerwise.phenomena.lazy_rich.white import white_images
from layerwise.theory import Linear, solve, starts
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Limits", "TwoNumber", "exact_limits", "exact_two_number"]

BRIEF = 20  # steps that are timed
MODES = 1e-10  # a smaller share of the strongest mode is none
RELAXATIONS = "relaxation times of the first mode"


@dataclass(frozen=True)
class TwoNumber(Experiment):
    """Wide random networks, of several widths, beside the exact two-number theory.

    The first layer has entries of variance ``lower/h``, the second of ``upper/h``. The infinitely
    wide network is solved exactly, and two numbers decide what it does: ``c = (upper + lower)/2``,
    lazy where it is far above the target, and ``alpha = upper - lower``, whose sign says which
    layer learns. Networks are trained at every width, size and share; the series of the trace are
    (T, widths, sizes, shares), its clock is time in units of ``1/hypot(c, s_1)``, s_1 the
    strongest mode of the target.

    Series: `map_error`, |W - W_exact|/|target|; `unlearned`, the share of the loss that is left;
    `growth` and `distance` of the tangent kernel from its start; `moved_first`, `moved_second`,
    the motion of the layers relative to their start.

    Attributes
    ----------
    data, train_size, components
        See `layerwise.phenomena.lazy_rich.white.white_images`.
    widths
        Hidden sizes h.
    sizes
        Values of ``c/s_1``.
    shares
        Values of ``alpha/(2 c)``, between -1 and 1.
    rate
        Learning rate in units of ``1/hypot(c, s_1)``.
    end
        Time at the end, on the clock of the trace.
    points
        About how many times are looked at, evenly spaced.
    """

    data: str = "digits"
    train_size: int = 800
    components: int = 10
    widths: tuple[int, ...] = (64, 256, 1024, 4096, 16384)
    sizes: tuple[float, ...] = (0.1, 1.0, 10.0)
    shares: tuple[float, ...] = (-0.8, 0.0, 0.8)
    rate: float = 0.005
    end: float = 20.0
    points: int = 40

    def __post_init__(self) -> None:
        if min(self.widths, default=0) < 1:
            raise ValueError(f"widths must be one or more positive sizes, got {self.widths}")
        if not self.sizes or not all(0 < size < math.inf for size in self.sizes):
            raise ValueError(f"sizes must be one or more positive numbers, got {self.sizes}")
        if not self.shares or not all(-1 < share < 1 for share in self.shares):
            raise ValueError(f"shares must be numbers between -1 and 1, got {self.shares}")
        _need_times(self)

    @property
    def name(self) -> str:
        return f"two-number-{self.data}"

    @cached_property
    def task(self) -> tuple[np.ndarray, str]:
        """``E[y x^T]``, shape (classes, components), and the data set really used."""
        return _cross(self)

    @property
    def imbalances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``upper``, ``lower`` and the relaxation rate, each of shape (sizes, shares)."""
        strongest = np.linalg.norm(self.task[0], 2)
        c, share = np.meshgrid(strongest * np.array(self.sizes), self.shares, indexing="ij")
        return c * (1 + share), c * (1 - share), np.hypot(c, strongest)

    def start(self) -> np.ndarray:
        """Return the stacked weights (widths, sizes, shares, i + o, ...) as they start."""
        rng, (o, i) = np.random.default_rng(self.seed), self.task[0].shape
        upper, lower, _ = self.imbalances
        size = i + o
        stacked = np.zeros((len(self.widths), *upper.shape, size, size))
        for w, *k in np.ndindex(stacked.shape[:3]):
            first, second = math.sqrt(lower[tuple(k)]), math.sqrt(upper[tuple(k)])
            network = triangular(*starts.wide((i, self.widths[w], o), first, second, seed=rng))
            stacked[w, *k, :, : network.shape[1]] = network
        return stacked

    def work(self) -> int:
        return round(self.end / self.rate)

    def brief(self) -> TwoNumber:
        return replace(self, widths=(8,) * len(self.widths), end=BRIEF * self.rate, points=2)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        cross, source = self.task
        i, due = cross.shape[1], _due(self)
        exact = exact_two_number(self, self.rate * due)
        start = self.start()
        first = _kernel(start, i)  # white inputs of mean zero: it is centred
        stacked, rows = start.copy(), []
        rates = self.rate / self.imbalances[2][..., None, None]
        for step in descend(stacked, cross, np.ones(i), rates, self.work()):
            tick(step)
            if step in due:
                W = stacked[..., i:, :] @ stacked[..., :i, :].mT
                kernel = _kernel(stacked, i)
                rows.append({
                    "map_error": _size(W - exact["map"][len(rows)]) / _size(cross),
                    "unlearned": (_size(cross - W) / _size(cross)) ** 2,
                    "growth": kernel_growth(first, kernel),
                    "distance": kernel_distance(first, kernel, centred=False),
                    "moved_first": _size((stacked - start)[..., :i, :]) / _size(start[..., :i, :]),
                    "moved_second": _size((stacked - start)[..., i:, :]) / _size(start[..., i:, :]),
                })  # fmt: skip
        return _trace(self, rows, due, source)


@dataclass(frozen=True)
class Limits(Experiment):
    """Balanced networks over their imbalance lam, beside the limits of lam = 0 and of large lam.

    The start has the target's singular vectors and holds the share `start` of each of its modes;
    all the imbalance is ``lam = ratio s_1``, s_1 the strongest mode. Every network has two
    companions, trained at its own learning rate: the same start without imbalance, whose modes are
    sigmoids, and the linear model that has only the lighter layer of an infinitely imbalanced
    network, whose modes decay as ``e^{-|lam| t}``. A gap between two descents at one rate is free
    of the rate's own error to leading order.

    The clock of the trace is time in units of ``1/hypot(s_1, lam/2)``; its series are
    (T, ratios, modes), all relative to the mode's target: `modes`, the share learned;
    `from_sigmoid` and `from_exponential`, the gap to either limit.

    Attributes
    ----------
    data, train_size, components
        See `layerwise.phenomena.lazy_rich.white.white_images`.
    ratios
        Values of ``lam/s_1``, increasing, not 0.
    start
        Share of every mode that the start holds, between 0 and 1.
    rate
        Learning rate in units of ``1/hypot(s_1, lam/2)``.
    end
        Time at the end, on the clock of the trace.
    points
        About how many times are looked at, evenly spaced.
    """

    data: str = "digits"
    train_size: int = 800
    components: int = 10
    ratios: tuple[float, ...] = (
        -1e3, -1e2, -10.0, -1.0, -0.1, -1e-2, 1e-2, 0.1, 1.0, 10.0, 1e2, 1e3
    )  # fmt: skip
    start: float = 0.1
    rate: float = 0.005
    end: float = 15.0
    points: int = 150

    def __post_init__(self) -> None:
        finite = all(0 < abs(ratio) < math.inf for ratio in self.ratios)
        if not self.ratios or not finite or list(self.ratios) != sorted(set(self.ratios)):
            raise ValueError(f"ratios must be increasing numbers without 0, got {self.ratios}")
        if not 0 < self.start < 1:
            raise ValueError(f"start must lie between 0 and 1, got {self.start}")
        _need_times(self)

    @property
    def name(self) -> str:
        return f"limits-{self.data}"

    @cached_property
    def task(self) -> tuple[np.ndarray, str]:
        """``E[y x^T]``, on the modes it has, and the data set really used."""
        return _cross(self)

    @property
    def lams(self) -> np.ndarray:
        """The imbalances, shape (ratios,)."""
        return np.array(self.ratios) * np.linalg.norm(self.task[0], 2)

    def layers(self, lam: float) -> tuple[np.ndarray, np.ndarray]:
        """Return W1 and W2 of imbalance `lam` as they start."""
        cross = self.task[0]
        root = np.hypot(lam, 2 * self.start * np.linalg.svdvals(cross))
        a, b = (np.sqrt(np.maximum(root + sign * lam, 0) / 2) for sign in (-1, 1))
        return starts.aligned(cross, a, b, seed=self.seed)

    def work(self) -> int:
        return round(self.end / self.rate)

    def brief(self) -> Limits:
        return replace(self, end=BRIEF * self.rate, points=2)

    def measure(self, checkpoint: Path, device: str, tick: Callable[[int], None]) -> Trace:
        (cross, source), lams, due = self.task, self.lams, _due(self)
        i = cross.shape[1]
        u, s, vt = np.linalg.svd(cross, full_matrices=False)
        learned = s > MODES * s[0]
        # the network and its companion without imbalance
        stacked = np.stack([
            [triangular(*self.layers(size)) for size in (lam, 0.0)] for lam in lams
        ])  # fmt: skip
        rates = self.rate / np.hypot(s[0], lams / 2)
        fall = (1 - rates * np.abs(lams))[:, None]
        rows = []
        updates = descend(stacked, cross, np.ones(i), rates[:, None, None, None], self.work())
        for step in updates:
            tick(step)
            if step in due:
                W = stacked[..., i:, :] @ stacked[..., :i, :].mT
                shares = np.einsum("...oi,ok,ki->...k", W, u, vt)[..., learned] / s[learned]
                modes, sigmoid = shares[:, 0], shares[:, 1]
                exponential = 1 - (1 - self.start) * fall**step
                rows.append({
                    "modes": modes,
                    "from_sigmoid": np.abs(modes - sigmoid),
                    "from_exponential": np.abs(modes - exponential),
                })  # fmt: skip
        return _trace(self, rows, due, source)


def exact_two_number(one: TwoNumber, clock: np.ndarray) -> Trace:
    """Return the infinitely wide networks of `one`, exactly, at the times of its clock.

    Series `unlearned`, `growth`, `distance` (T, sizes, shares) as in `TwoNumber`, and `map`
    (T, sizes, shares, classes, components).
    """
    cross = one.task[0]
    o, i = cross.shape
    upper, lower, rate = one.imbalances
    maps = np.empty((len(clock), *rate.shape, o, i))
    found = {name: np.empty(maps.shape[:3]) for name in ("unlearned", "growth", "distance")}
    for k in np.ndindex(rate.shape):
        layers = starts.two_valued((i, i + o, o), upper[k], lower[k], mixing=0.0)
        sol = solve(Linear(*layers, cross), clock / rate[k], method="exact")
        kernels = folded(sol["gram_in"], sol["gram_out"], np.eye(i))
        at = (slice(None), *k)
        maps[at] = sol["map"]
        found["unlearned"][at] = 2 * sol["loss"] / np.sum(cross**2)
        found["growth"][at] = kernel_growth(kernels[0], kernels)
        found["distance"][at] = sol["kernel_distance"]
    origin = Provenance("theory", RELAXATIONS, one.config(), one.seed, versions=versions())
    return Trace(clock, found | {"map": maps}, origin)


def exact_limits(one: Limits, clock: np.ndarray) -> Trace:
    """Return the exact series of `Limits`, from flows, at the times of its clock."""
    s = np.linalg.svdvals(one.task[0])
    s = s[s > MODES * s[0]]
    rows = []
    for lam in one.lams:
        t = clock / np.hypot(s[0], lam / 2)
        modes, sigmoid = (
            solve(Linear(*one.layers(size), one.task[0]), t, method="exact")["modes"][:, : len(s)]
            / s
            for size in (lam, 0.0)
        )
        exponential = 1 - (1 - one.start) * np.exp(-np.abs(lam) * t)[:, None]
        rows.append((modes, np.abs(modes - sigmoid), np.abs(modes - exponential)))
    names = ("modes", "from_sigmoid", "from_exponential")
    series = dict(zip(names, np.stack(rows, axis=2), strict=True))
    origin = Provenance("theory", RELAXATIONS, one.config(), one.seed, versions=versions())
    return Trace(clock, series, origin)


def _cross(one: TwoNumber | Limits) -> tuple[np.ndarray, str]:
    X, Y, source = white_images(one.data, one.train_size, one.components, one.seed)
    return Y.T @ X / len(X), source


def _due(one: TwoNumber | Limits) -> np.ndarray:
    """Return the steps that are looked at."""
    return np.unique(np.rint(np.linspace(0, one.work(), one.points)).astype(int))


def _trace(
    one: TwoNumber | Limits, rows: list[dict[str, np.ndarray]], due: np.ndarray, source: str
) -> Trace:
    series = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    origin = Provenance("network", RELAXATIONS, one.config(), one.seed, source, versions())
    return Trace(one.rate * due, series, origin)


def _kernel(stacked: np.ndarray, i: int) -> np.ndarray:
    first, second = stacked[..., :i, :], stacked[..., i:, :]
    return folded(first @ first.mT, second @ second.mT, np.eye(i))


def _size(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.norm(matrix, axis=(-2, -1))


def _need_times(one: TwoNumber | Limits) -> None:
    if not 0 < one.rate < 1:
        raise ValueError(f"rate must lie between 0 and 1 to be stable, got {one.rate}")
    if not one.rate <= one.end < math.inf:
        raise ValueError(f"end must be at least a step of {one.rate} and finite, got {one.end}")
    if one.points < 2:
        raise ValueError(f"points must be at least 2, got {one.points}")
