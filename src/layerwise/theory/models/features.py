"""Unconstrained features: a classifier on features that are free to move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, final

import numpy as np
import numpy.typing as npt

from layerwise.theory.errors import NotSolvable
from layerwise.theory.laws import features as margins
from layerwise.theory.laws import features_modes as law
from layerwise.theory.laws.features_optimum import (
    Optimum,
    collapsed,
    label_modes,
    optimal_margin,
)
from layerwise.theory.laws.features_samples import Samples
from layerwise.theory.model import Model
from layerwise.theory.models.features_given import checked, strengths_of, weights_of
from layerwise.theory.models.linear import Linear

__all__ = ["Features"]

Array = npt.NDArray[np.float64]
Loss = Literal["mse", "ce"]

RESTS = 1e-9  # a bias within this of its end, and features within this share of 0, rest there
TINY = 1e-300


@final
@dataclass(frozen=True, eq=False, init=False)
class Features(Model):
    r"""Unconstrained features: classifier W (C, d) and a free feature for every sample, H (d, N).

    ``(1/N) sum_i loss(W h_i + b, y_i) + (l_w/2) |W|^2 + (l_h/2) |H|^2``, by gradient flow in W, H
    and b; the squared error has a factor 1/2. It is the model of the last layer of a network that
    is rich enough to place its features anywhere, and it has neural collapse as its optimum.

    Parameters
    ----------
    n_classes
        C >= 2.
    n_per_class
        Samples of every class, or of each.
    dim
        d: at least C, or C-1 for cross-entropy and with a bias.
    loss
        ``"mse"`` or ``"ce"`` (cross-entropy).
    decay
        ``(l_w, l_h)``, weight decay of W and H.
    bias
        Whether there is a bias, free of decay. Under squared error it starts at the class
        frequencies, where it ends, else at 0.
    start
        Strength z > 0 of the modes at the start, or of each: singular values of ``W H``. Layers are
        equal there, W on the modes of the labels (a simplex, for equal classes with bias or under
        cross-entropy), features of a class at one point. Or any ``(W, H)`` or ``(W, H, b)``.

    Raises
    ------
    ValueError, TypeError
        For what is outside its domain, with the number.

    Notes
    -----
    Quantities, over time: ``modes`` (T, k), ``u_k^T W H v_k`` for the k modes of the labels (C of
    them, one a class; C-1 for cross-entropy and with a bias); ``weight_norms`` |w_c|,
    ``feature_norms`` |mu_c| of the class means, ``margin``, the least lead of the true logit among
    the samples of a class, each (T, C); ``loss`` (T,) without and ``objective`` with the decay
    terms; ``nc1``, ``nc2`` (the mean of ``|cos + 1/(C-1)|`` over centred class means),
    ``equinorm``, ``nc3`` (W as it is) by `layerwise.measures`; ``rank``, the effective rank of the
    features about their mean, which ends at C-1; ``conserved`` ``W^T W - H H^T`` (T, d, d).

    Laws. Squared error, equal decay: ``modes``, a sigmoid for each; from ``(W, H)`` that of
    `linear`. Cross-entropy, equal classes, no decay: ``margin``, an exponential integral. All else
    is a numerical flow.

    Examples
    --------
    >>> import layerwise as lw
    >>> features = lw.Features(3, [40, 10, 2], dim=4, decay=(0.01, 0.01), start=1e-3)
    >>> features.learned_by([0.0, 50.0, 500.0])
    array([[False, False, False],
           [ True, False, False],
           [ True,  True,  True]])
    >>> lw.solve(features, [0.0, 50.0, 500.0])["modes"].round(2)
    array([[0.  , 0.  , 0.  ],
           [5.36, 0.15, 0.01],
           [5.8 , 2.64, 0.89]])
    >>> features.optimum().modes.round(2)
    array([5.8 , 2.64, 0.89])
    """

    n_classes: int
    counts: npt.NDArray[np.int64]
    dim: int
    loss: Loss
    decay: tuple[float, float]
    bias: bool
    initial: Array | None
    weights: tuple[Array, Array, Array] | None

    quantities: ClassVar[tuple[str, ...]] = (
        "conserved",
        "equinorm",
        "feature_norms",
        "loss",
        "margin",
        "modes",
        "nc1",
        "nc2",
        "nc3",
        "objective",
        "rank",
        "weight_norms",
    )

    def __init__(
        self,
        n_classes: int,
        n_per_class: int | Sequence[int] | npt.NDArray[np.int64],
        dim: int,
        loss: Loss = "mse",
        decay: tuple[float, float] = (0.0, 0.0),
        bias: bool = False,
        start: Any = 1e-3,
    ) -> None:
        given = checked(n_classes, n_per_class, dim, loss, decay, bias)
        for name, value in given.items():
            object.__setattr__(self, name, value)
        k = self.n_classes - self.centred
        by_weights = isinstance(start, (tuple, list)) and len(start) > 1 and np.ndim(start[0]) == 2
        shapes = (self.n_classes, self.dim), (self.dim, self.n_samples)
        weights = weights_of(start, *shapes, self.bias, self._bias) if by_weights else None
        initial = None if by_weights else strengths_of(start, k, alike=loss == "ce")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "initial", initial)

    # --- sizes ------------------------------------------------------------------------------

    @property
    def n_samples(self) -> int:
        """N."""
        return int(np.sum(self.counts))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each sample, sorted, shape (N,)."""
        return np.repeat(np.arange(self.n_classes), self.counts)

    @property
    def balanced(self) -> bool:
        """Whether all classes have one size."""
        return bool(np.all(self.counts == self.counts[0]))

    @property
    def centred(self) -> bool:
        """Whether the modes are those of centred labels: with a bias and under cross-entropy."""
        return self.bias or self.loss == "ce"

    @cached_property
    def label_modes(self) -> tuple[Array, Array, Array]:
        """Left vectors, singular values and right vectors of the labels; see the law."""
        return label_modes(self.counts, self.centred)

    # --- optimum ----------------------------------------------------------------------------

    @property
    def threshold(self) -> Array:
        """``sqrt(l_w l_h)`` from which on each mode is not learned, shape of the modes."""
        self._need_balanced_ce("threshold")
        return np.asarray(self.label_modes[1] / self.n_samples)

    @property
    def learned(self) -> npt.NDArray[np.bool_]:
        """Whether each mode is learned, at the optimum.

        Examples
        --------
        >>> Features(3, [40, 10, 2], dim=3, decay=(0.05, 0.05)).learned
        array([ True,  True, False])
        """
        return np.asarray(self._cost < self.threshold)

    def optimum(self) -> Optimum:
        """Return the global optimum.

        Without any decay, under squared error, the one with layers that are equal, where small
        starts end.

        Raises
        ------
        NotSolvable
            For cross-entropy of unequal classes, and where a missing decay leaves no optimum.

        Examples
        --------
        >>> best = Features(5, 12, dim=5, loss="ce", decay=(5e-3, 2e-3)).optimum()
        >>> (best.weight_norms**2).round(6)[0], round(best.loss, 8)
        (np.float64(7.833226), 0.24063745)
        """
        self._need_balanced_ce("optimum")
        (lw, lh), cost = self.decay, self._cost
        if cost == 0 and (self.loss == "ce" or lw != lh):
            why = "it moves into the layer without" if lw != lh else "margins grow for ever"
            raise NotSolvable(f"decay {self.decay} leaves no optimum: {why}; solve the flow")
        u, _, v = self.label_modes
        z = self.goals
        loss = float(self.loss_of(z)) + cost * float(np.sum(z))
        ratio = math.sqrt(lh / lw) if lw else 1.0
        return collapsed(z, (u, v), self.counts.astype(float), self._bias, ratio, loss)

    def loss_of(self, modes: Array) -> Array:
        """Return the loss, without decay terms, of modes (..., k) in collapse."""
        _, s, _ = self.label_modes
        if self.loss == "mse":
            return np.asarray(np.sum((modes - s) ** 2, axis=-1) / (2 * self.n_samples))
        x = modes[..., 0] / math.sqrt(self.counts[0])
        return np.logaddexp(0.0, math.log(self.n_classes - 1) - x)

    # --- flow of the modes ------------------------------------------------------------------

    @property
    def goals(self) -> Array:
        """Strengths of the modes at the optimum; infinite for cross-entropy without decay."""
        if self.loss == "mse":
            return np.maximum(self._ends, 0.0)
        self._need_balanced_ce("optimum")
        n, cost = self.counts[0], self._cost
        x = float(optimal_margin(self.n_classes, n, cost)) if cost else math.inf
        return np.full(self.n_classes - 1, math.sqrt(n) * x)

    def strengths(self, t: npt.ArrayLike) -> Array:
        """Return the modes z(t), of the shape of t followed by that of the modes.

        Raises
        ------
        NotSolvable
            Where there is no law; `needed` says why.
        """
        first = self._lawful()
        times = np.asarray(t, dtype=float)[..., None]
        if self.loss == "mse":
            return law.strength(first, self._ends, self.n_samples, times)
        n = self.counts[0]
        x = margins.margin(first[:1] / math.sqrt(n), self.n_classes, n, times)
        return np.asarray(math.sqrt(n) * np.repeat(x, len(first), axis=-1))

    def speed(self, modes: Array) -> Array:
        """Return ``z'`` by the laws, of modes (..., k)."""
        if self.loss == "mse":
            return np.asarray(2 / self.n_samples * modes * (self._ends - modes))
        root = math.sqrt(self.counts[0])
        odds = np.exp(np.minimum(modes / root, margins.LARGEST))
        return np.asarray(2 / root * modes / (odds + self.n_classes - 1))

    def learning_times(self, share: float = 0.5) -> Array:
        """Return when each mode is learned; infinity if never, 0 if at the start.

        Under squared error: when it has `share` of its final strength. Under cross-entropy: when
        the samples of a class have it with the probability `share`, shape (C,).

        Examples
        --------
        >>> Features(3, [40, 10, 2], dim=3, start=1e-4).learning_times().round(1)
        array([ 45.4,  85.2, 175.7])
        """
        name, level = self.milestone(share)
        first = self._lawful()
        if name == "modes":
            return law.time_to(first, self._ends, self.n_samples, level)
        n = self.counts[0]
        x = first[0] / math.sqrt(n)
        return np.where(x >= level, 0.0, margins.margin_time(x, level, self.n_classes, n))

    def learned_by(self, t: npt.ArrayLike, share: float = 0.5) -> npt.NDArray[np.bool_]:
        """Return which modes are learned by t: the shape of t, then that of `learning_times`."""
        return np.asarray(np.asarray(t, dtype=float)[..., None] >= self.learning_times(share))

    def milestone(self, share: float) -> tuple[str, Array]:
        """Return the quantity, and the level of it, that `learning_times` waits for."""
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        C = self.n_classes
        if self.loss == "mse":
            return "modes", share * self.goals
        if share * C <= 1:
            raise ValueError(f"share must be above chance, 1/{C}, under cross-entropy, got {share}")
        return "margin", np.full(C, math.log((C - 1) * share / (1 - share)))

    @property
    def needed(self) -> tuple[tuple[str, float, float, str], ...]:
        """What closed forms assume of the model: name, deviation, what is allowed, and why."""
        lw, lh = self.decay
        if self.loss == "ce":
            free = float(self.weights is not None)
            return (
                ("classes of one size", float(np.ptp(self.counts)), 0.0, "the simplex is kept"),
                ("no decay", max(lw, lh), 0.0, "the margin has an elementary clock"),
                ("a start on the simplex, by its strength", free, 0.0, "the margin is all"),
            )
        equal = ("equal decay of both layers", abs(lw - lh), 0.0, "equal layers stay equal")
        if self.weights is None or not self.bias:
            return (equal,)
        _, h, b = self.weights
        off = float(np.linalg.norm(np.sum(h, axis=1)) / max(float(np.linalg.norm(h)), TINY))
        off = max(off, float(np.linalg.norm(b - self._bias)))
        rest = ("features about 0, bias at the class frequencies", off, RESTS, "the bias rests")
        return (equal, rest)

    @property
    def solvable(self) -> bool:
        """Whether the modes have a law of their own, from a start given by their strengths."""
        return self.weights is None and all(off <= allowed for _, off, allowed, _ in self.needed)

    @cached_property
    def linear(self) -> Linear:
        """The same as a two-layer network on one-hot inputs of variance 1/N: W, H without bias.

        For squared error of equal decay; with a bias that rests, on centred labels.
        """
        N = self.n_samples
        w, h, *_ = self.split(self.start)
        Y = np.eye(self.n_classes)[:, self.labels]
        if self.centred:
            Y = Y - self.counts[:, None] / N
        return Linear(h, w, Y / N, np.eye(N) / N, decay=self.decay[0])

    # --- weights ----------------------------------------------------------------------------

    @property
    def start(self) -> Array:
        """Initial weights, one array: H, W and the bias, if there is one."""
        if self.initial is not None:
            return np.asarray(self.joined(*self.collapsed(self.initial[None]))[0])
        assert self.weights is not None  # one of the two
        return self._flat(*self.weights)

    def collapsed(self, modes: Array) -> tuple[Array, Array, Array]:
        """Return W (T, C, k), class means (T, k, C) and bias (T, C) of modes (T, k)."""
        u, _, v = self.label_modes
        root = np.sqrt(modes)[:, None, :]
        means = root * (v / np.sqrt(self.counts)[:, None])
        return root * u, np.swapaxes(means, 1, 2), np.tile(self._bias, (len(modes), 1))

    def joined(self, w: Array, means: Array, bias: Array) -> Array:
        """Return the state of `collapsed` weights, in the first k of the d dimensions."""
        more = self.dim - w.shape[-1]
        w = np.pad(w, [(0, 0), (0, 0), (0, more)])
        means = np.pad(means, [(0, 0), (0, more), (0, 0)])
        return self._flat(w, means[..., self.labels], bias)

    def split(self, state: Array) -> tuple[Array, ...]:
        """Return W, H and, if there is one, the bias."""
        C, d, N = self.n_classes, self.dim, self.n_samples
        lead, ends = state.shape[:-1], (d * N, d * N + C * d)
        h, w, b = np.split(state, ends, axis=-1)
        layers = w.reshape(*lead, C, d), h.reshape(*lead, d, N)
        return (*layers, b) if self.bias else layers

    def points(self, w: Array, means: Array, bias: Array) -> Samples:
        """Return the samples of `collapsed` weights, one point a class."""
        return self._samples(w, means, bias, np.arange(self.n_classes), self.counts.astype(float))

    def samples(self, state: Array) -> Samples:
        """Return the samples of weights (..., D)."""
        w, h, *b = self.split(state)
        bias = b[0] if b else np.zeros(w.shape[:-1])
        return self._samples(w, h, bias, self.labels, np.ones(self.n_samples))

    def _samples(
        self, w: Array, h: Array, bias: Array, labels: npt.NDArray[np.int64], copies: Array
    ) -> Samples:
        u, _, v = self.label_modes
        return Samples(self.loss == "ce", w, h, bias, labels, copies, (u, v), self.decay)

    def _flat(self, w: Array, h: Array, bias: Array) -> Array:
        lead = w.shape[:-2]
        parts = [h.reshape(*lead, -1), w.reshape(*lead, -1)]
        return np.concatenate([*parts, bias] if self.bias else parts, axis=-1)

    def velocity(self, state: Array) -> Array:
        seen, (lw, lh) = self.samples(state), self.decay
        error = seen.error
        h = np.swapaxes(seen.w, -1, -2) @ error - lh * seen.h
        w = error @ np.swapaxes(seen.h, -1, -2) - lw * seen.w
        return self._flat(w, h, np.sum(error, axis=-1))

    def jacobian(self, state: Array) -> Array:
        turn = self.samples(state).turn
        return turn if self.bias else turn[: len(state), : len(state)]

    def fastest(self) -> float:
        # the layers stay within their imbalance and the largest logits that are still pulled at
        N, root = self.n_samples, math.sqrt(np.max(self.counts))
        if self.initial is not None:
            apart, first, loss = 0.0, float(np.max(self.initial)), self.loss_of(self.initial)
        else:
            w, h, *_ = self.split(self.start)
            apart = float(np.linalg.norm(w.T @ w - h @ h.T, 2))
            first, loss = float(np.linalg.norm(w @ h, 2)), self.samples(self.start).loss
        grown = 2 + math.log(self.n_classes)
        if self.loss == "mse":
            grown = 1 + math.sqrt(2 * N * loss) / root
        pull = (2 * apart + 4 * max(first, root * grown)) / N
        return pull + 2 * max(self.decay) + self.bias

    def parts(self) -> Iterator[Features]:
        yield self

    @property
    def fade(self) -> Array:
        lw, lh = self.decay
        return np.asarray(2 * lw if lw == lh else np.nan)

    def penalty(self, state: Array) -> Array:
        return self.samples(state).penalty

    def size_of(self, name: str) -> int:
        return self.dim**2 if name == "conserved" else self.n_classes

    @property
    def traced(self) -> tuple[str, ...]:
        return tuple(name for name in self.quantities if name != "conserved")

    def quantity(self, name: str, state: Array) -> Array:
        if name not in self.quantities:
            raise self.unknown(name)
        return self.samples(state).quantity(name)

    def config(self) -> dict[str, Any]:
        start = self.initial if self.weights is None else None
        return {
            "model": "Features",
            "n_classes": self.n_classes,
            "n_per_class": self.counts.tolist(),
            "dim": self.dim,
            "loss": self.loss,
            "decay": list(self.decay),
            "bias": self.bias,
            "start": [part.tolist() for part in self.weights or ()]
            if start is None
            else start.tolist(),
        }

    @property
    def _bias(self) -> Array:
        rests = self.bias and self.loss == "mse"
        return self.counts / self.n_samples if rests else np.zeros(self.n_classes)

    @property
    def _ends(self) -> Array:
        return np.asarray(self.label_modes[1] - self.n_samples * self._cost)

    @property
    def _cost(self) -> float:
        return math.sqrt(self.decay[0]) * math.sqrt(self.decay[1])

    def _lawful(self) -> Array:
        if self.solvable and self.initial is not None:
            return self.initial
        failed = [
            f"{name} (deviation {off:.2g})" for name, off, most, _ in self.needed if off > most
        ]
        raise NotSolvable(
            "Features: the modes have no law of their own without "
            + ", ".join(failed or ["a start given by their strengths"])
            + "; solve it"
        )

    def _need_balanced_ce(self, what: str) -> None:
        if self.loss == "ce" and not self.balanced:
            raise NotSolvable(
                f"the {what} of cross-entropy is known for classes of one size, got "
                f"{self.counts.tolist()}"
            )
