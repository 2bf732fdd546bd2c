"""The two-layer linear network, of any sizes, inputs, layer rates and decay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.grams import Weighted, quantity
from layerwise.theory.model import Model, matrix
from layerwise.theory.regression import Regression

__all__ = ["Linear"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, init=False)
class Linear(Model):
    """Two-layer linear network ``f(x) = W2 W1 x``, trained on ``E[y x^T]`` and ``E[x x^T]``.

    ``W1' = r1 (W2^T (S - W Sxx) - decay W1)``, ``W2' = r2 ((S - W Sxx) W1^T - decay W2)`` with
    ``W = W2 W1``. With equal rates and no decay the imbalance ``W2^T W2 - W1 W1^T`` is conserved.

    Parameters
    ----------
    w1, w2
        Initial layers, shapes (h, i) and (o, h).
    cross
        ``S = E[y x^T]``, shape (o, i). (For targets ``y = A x`` it is ``A Sxx``.)
    input_cov
        ``Sxx = E[x x^T]``, shape (i, i), symmetric, no negative eigenvalue; None for whitened
        inputs, ``Sxx = I``.
    rates
        Learning rates r1 > 0, r2 > 0 of the two layers, in units of the clock.
    decay
        Weight decay: the loss gains ``(decay/2) (|W1|^2 + |W2|^2)``.

    Raises
    ------
    ValueError
        If shapes do not fit (both are named), a number is not finite, `input_cov` is not a
        covariance, or `cross` sees inputs that have no variance.

    Notes
    -----
    Quantities: ``map`` W (T, o, i); ``error`` ``S - W Sxx`` (T, o, i); ``loss`` (T,),
    ``1/2 E|W* x - W x|^2`` with the best map ``W* = S Sxx^+``, that is without the irreducible
    ``1/2 E|y - W* x|^2`` and without the decay term; ``modes`` ``u_k^T W v_k`` (T, k), what the map
    holds of each singular mode of W*; ``singular_values`` of W; ``effective_rank`` of W;
    ``gram_in`` W1^T W1 (T, i, i); ``gram_out`` W2 W2^T (T, o, o); ``conserved`` W2^T W2 / r2 -
    W1 W1^T / r1, times sqrt(r1 r2) (T, h, h); ``ntk_trace`` ``E tr K(x, x)`` of the tangent
    kernel ``K(x, x') = x^T W1^T W1 x' I + x^T x' W2 W2^T``; ``kernel_distance`` of that kernel
    from its start, over the inputs' distribution.

    Examples
    --------
    >>> import numpy as np
    >>> import layerwise as lw
    >>> W = 0.1 * np.eye(2)
    >>> sol = lw.solve(lw.Linear(W, W, cross=np.diag([2.0, 1.0])), [0.0, 1.0, 9.0])
    >>> sol["modes"].round(3)
    array([[0.01 , 0.01 ],
           [0.431, 0.069],
           [2.   , 1.   ]])
    """

    w1: Array
    w2: Array
    cross: Array
    input_cov: Array | None
    rates: tuple[float, float]
    decay: float

    quantities: ClassVar[tuple[str, ...]] = (
        "conserved",
        "effective_rank",
        "error",
        "gram_in",
        "gram_out",
        "kernel_distance",
        "loss",
        "map",
        "modes",
        "ntk_trace",
        "singular_values",
    )
    traced = (
        "effective_rank",
        "loss",
        "modes",
        "ntk_trace",
        "singular_values",
    )

    def __init__(
        self,
        w1: npt.ArrayLike,
        w2: npt.ArrayLike,
        cross: npt.ArrayLike,
        input_cov: npt.ArrayLike | None = None,
        rates: tuple[float, float] = (1.0, 1.0),
        decay: float = 0.0,
    ) -> None:
        first, second = matrix("Linear", "w1", w1), matrix("Linear", "w2", w2)
        target = Regression("Linear", cross, input_cov)
        (h, i), o = first.shape, second.shape[0]
        if second.shape[1] != h:
            raise ValueError(
                f"Linear: w1 (h, i) and w2 (o, h) do not fit: {first.shape} and {second.shape}"
            )
        if target.cross.shape != (o, i):
            raise ValueError(
                f"Linear: cross (o, i) must have shape {(o, i)} for w1 {first.shape} and w2 "
                f"{second.shape}, got {target.cross.shape}"
            )
        for name, given in (("rates", rates), ("decay", decay)):
            values = np.asarray(given)
            if values.dtype.kind not in "biuf" or values.shape != ((2,) if name == "rates" else ()):
                wanted = "two real numbers" if name == "rates" else "one real number"
                raise TypeError(f"Linear: {name} must be {wanted}, got {given!r}")
            if not np.all(np.isfinite(values)) or np.any(values < 0):
                raise ValueError(f"Linear: {name} must be finite and not negative, got {given!r}")
        if min(rates) == 0:
            raise ValueError(f"Linear: rates must be positive, got {rates!r}; freeze no layer")
        object.__setattr__(self, "w1", first)
        object.__setattr__(self, "w2", second)
        object.__setattr__(self, "cross", target.cross)
        object.__setattr__(self, "input_cov", target.input_cov)
        object.__setattr__(self, "rates", (float(rates[0]), float(rates[1])))
        object.__setattr__(self, "decay", float(decay))

    @cached_property
    def regression(self) -> Regression:
        """What the network is trained on."""
        return Regression("Linear", self.cross, self.input_cov)

    def config(self) -> dict[str, Any]:
        cov = None if self.input_cov is None else self.input_cov.tolist()
        return {
            "model": "Linear",
            "w1": self.w1.tolist(),
            "w2": self.w2.tolist(),
            "cross": self.cross.tolist(),
            "input_cov": cov,
            "rates": list(self.rates),
            "decay": self.decay,
        }

    def size_of(self, name: str) -> int:
        (h, i), o = self.w1.shape, len(self.w2)
        square = {"conserved": h, "gram_in": i, "gram_out": o}
        return int(i * o if name in ("map", "error") else square.get(name, 1) ** 2)

    @property
    def start(self) -> Array:
        return np.concatenate([self.w1.ravel(), self.w2.ravel()])

    def split(self, state: Array) -> tuple[Array, ...]:
        size, lead = self.w1.size, state.shape[:-1]
        first = state[..., :size].reshape(*lead, *self.w1.shape)
        return first, state[..., size:].reshape(*lead, *self.w2.shape)

    def velocity(self, state: Array) -> Array:
        w1, w2 = self.split(state)
        error = self.regression.error(w2 @ w1)
        first = self.rates[0] * (np.swapaxes(w2, -1, -2) @ error - self.decay * w1)
        second = self.rates[1] * (error @ np.swapaxes(w1, -1, -2) - self.decay * w2)
        lead = state.shape[:-1]
        return np.concatenate([first.reshape(*lead, -1), second.reshape(*lead, -1)], axis=-1)

    def jacobian(self, state: Array) -> Array:
        w1, w2 = self.split(state)
        (h, i), o = w1.shape, w2.shape[0]
        cov = np.eye(i) if self.input_cov is None else self.input_cov
        seen = w1 @ cov
        # axes: hidden, input of W1; output, hidden of W2
        turn = np.einsum("cb,ad->abcd", self.regression.error(w2 @ w1), np.eye(h))
        turn -= np.einsum("ca,db->abcd", w2, seen)
        corner = turn.reshape(h * i, o * h)
        first = np.hstack([-np.kron(w2.T @ w2, cov), corner])
        second = np.hstack([corner.T, -np.kron(np.eye(o), seen @ w1.T)])
        matrix = np.vstack([self.rates[0] * first, self.rates[1] * second])
        fall = np.repeat(np.array(self.rates) * self.decay, [h * i, o * h])
        return np.asarray(matrix - np.diag(fall))

    def fastest(self) -> float:
        # no layer outgrows its imbalance and the largest map that the loss allows on the way
        least, most, _ = self.regression.extent
        if most == 0:
            return 2 * max(self.rates) * self.decay
        start = self.w2 @ self.w1
        gap = math.sqrt(2 * float(self.regression.loss(start)) / least)
        largest = float(self.regression.modes[1][0]) + max(gap, float(np.linalg.norm(start, 2)))
        apart = float(np.linalg.norm(self.conserved(self.w1, self.w2), 2))
        r1, r2 = self.rates
        pull = 2 * (2 * apart + math.sqrt(2) * largest) + 2 * largest
        return math.sqrt(r1 * r2) * most * pull + 2 * max(r1, r2) * self.decay

    def parts(self) -> Iterator[Linear]:
        yield self

    @property
    def fade(self) -> Array:
        r1, r2 = self.rates
        return np.asarray(2 * self.decay * r1 if r1 == r2 or self.decay == 0 else np.nan)

    def penalty(self, state: Array) -> Array:
        return np.asarray(self.decay / 2 * np.sum(state**2, axis=-1))

    def quantity(self, name: str, state: Array) -> Array:
        layers = self.split(state)
        return (
            self.conserved(*layers)
            if name == "conserved"
            else quantity(self, name, Weighted(self, *layers))
        )

    def conserved(self, w1: Array, w2: Array) -> Array:
        """Return ``sqrt(r1 r2) (W2^T W2/r2 - W1 W1^T/r1)``, what the flow conserves (..., h, h)."""
        r1, r2 = self.rates
        change = (r1 / r2) ** 0.25
        return np.asarray(measures.imbalance(w1 / change, w2 * change))
