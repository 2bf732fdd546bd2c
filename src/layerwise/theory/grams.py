"""The function of a two-layer network and its Gram matrices over time, formed only as asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import numpy.typing as npt

from layerwise import measures

if TYPE_CHECKING:
    from layerwise.theory.models.linear import Linear

__all__ = ["Grams", "Weighted", "quantity"]

Array = npt.NDArray[np.float64]

BLOCK = 8_000_000  # numbers of one temporary


class Grams(ABC):
    """Map ``W = W2 W1`` and Gram matrices ``W1^T W1``, ``W2 W2^T`` of a network at T times.

    What follows from them has a default that forms the matrices, some times at once; laws that
    know a cheaper way override it.
    """

    model: Linear

    @property
    def interpolation_error(self) -> float:
        """Estimated error of interpolation between exact nodes, relative to the target."""
        return 0.0

    @abstractmethod
    def times(self) -> int:
        """Return T."""

    @abstractmethod
    def part(self, times: slice) -> Grams:
        """Return the same at some of the times."""

    @abstractmethod
    def map(self, out: Array | None = None) -> Array:
        """Return W, shape (T, o, i), in `out` if it is given."""

    @abstractmethod
    def gram_in(self) -> Array:
        """Return ``W1^T W1``, shape (T, i, i)."""

    @abstractmethod
    def gram_out(self) -> Array:
        """Return ``W2 W2^T``, shape (T, o, o)."""

    def states(self) -> Array | None:
        """Return the weights as one array (T, d) where the law gives them, else None."""
        return None

    def span(self) -> Array | None:
        """Return columns (i + o, n) that span ``[W1^T; W2]`` at the first time; None for all."""
        return None

    def loss(self) -> Array:
        """Return the loss without its irreducible part, shape (T,)."""
        return self.each(lambda grams: self.model.regression.loss(grams.map()))

    def modes(self) -> Array:
        """Return ``u_k^T W v_k``, shape (T, k)."""
        return self.each(lambda grams: self.model.regression.strengths(grams.map()))

    def singular_values(self) -> Array:
        """Return the singular values of W, shape (T, k), descending."""
        return self.each(lambda grams: np.asarray(np.linalg.svd(grams.map(), compute_uv=False)))

    def traces(self) -> tuple[Array, Array]:
        """Return ``tr(Sxx W1^T W1)`` and ``tr(W2 W2^T)``, each of shape (T,)."""
        inner = self.each(lambda g: np.trace(_seen(g.model, g.gram_in()), axis1=1, axis2=2))
        return inner, self.each(lambda g: np.trace(g.gram_out(), axis1=1, axis2=2))

    def each(self, of: Callable[[Grams], Array]) -> Array:
        """Return `of` all times, taken of so few at once that the matrices stay small."""
        (h, i), o = self.model.w1.shape, self.model.w2.shape[0]
        step = max(1, BLOCK // max(i, o, h) ** 2)
        firsts = range(0, self.times(), step)
        return np.concatenate([of(self.part(slice(k, k + step))) for k in firsts])


@final
@dataclass(frozen=True, eq=False)
class Weighted(Grams):
    """The same from the weights themselves, W1 (T, h, i) and W2 (T, o, h)."""

    model: Linear
    w1: Array
    w2: Array

    def times(self) -> int:
        return len(self.w1)

    def part(self, times: slice) -> Weighted:
        return Weighted(self.model, self.w1[times], self.w2[times])

    def map(self, out: Array | None = None) -> Array:
        return np.matmul(self.w2, self.w1, out=out)

    def gram_in(self) -> Array:
        return np.swapaxes(self.w1, 1, 2) @ self.w1

    def gram_out(self) -> Array:
        return np.asarray(self.w2 @ np.swapaxes(self.w2, 1, 2))

    def traces(self) -> tuple[Array, Array]:
        seen = _seen(self.model, self.w1)
        return np.sum(seen * self.w1, axis=(1, 2)), np.sum(self.w2**2, axis=(1, 2))


def quantity(model: Linear, name: str, grams: Grams, out: Array | None = None) -> Array:
    """Return a quantity of `model` by its name; `out` may hold the map."""
    match name:
        case "map":
            return grams.map(out)
        case "error":
            return model.regression.error(grams.map())
        case "loss":
            return grams.loss()
        case "modes":
            return grams.modes()
        case "singular_values":
            return grams.singular_values()
        case "effective_rank":
            return np.asarray(measures.rank_of_spectrum(grams.singular_values()))
        case "gram_in":
            return grams.gram_in()
        case "gram_out":
            return grams.gram_out()
        case "ntk_trace":
            inner, outer = grams.traces()
            return len(model.cross) * inner + model.regression.extent[2] * outer
        case "kernel_distance":
            return _kernel_distance(model, grams)
    raise model.unknown(name)


def _kernel_distance(model: Linear, grams: Grams) -> Array:
    """Return ``1 - <K_0, K_t>/(|K_0| |K_t|)`` of ``K = I x A + B x Sxx`` as an operator.

    ``A = Sxx^{1/2} W1^T W1 Sxx^{1/2}``, ``B = W2 W2^T``. Inputs of mean zero make the kernel
    centred. Taken as ``|K_0/|K_0| - K_t/|K_t||^2/2``, which keeps the digits of small distances.
    """
    o, cov = len(model.cross), model.input_cov
    values, vectors = model.regression.variances
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    square = float(np.sum(values**2))

    def seen(part: Grams) -> tuple[Array, Array]:
        A = part.gram_in()
        return (A if cov is None else root @ A @ root), part.gram_out()

    def inner(one: tuple[Array, Array], other: tuple[Array, Array]) -> Array:
        (A, B), (C, D) = one, other
        weight = A if cov is None else A @ cov
        against = C if cov is None else C @ cov
        crossed = np.trace(weight, axis1=-2, axis2=-1) * np.trace(D, axis1=-2, axis2=-1)
        crossed += np.trace(against, axis1=-2, axis2=-1) * np.trace(B, axis1=-2, axis2=-1)
        own = o * np.sum(A * C, axis=(-2, -1)) + square * np.sum(B * D, axis=(-2, -1))
        return np.asarray(own + crossed)

    first = seen(grams.part(slice(0, 1)))
    norm = np.sqrt(inner(first, first))

    def distance(part: Grams) -> Array:
        now = seen(part)
        size = np.sqrt(inner(now, now))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = tuple(
                here / size[:, None, None] - start / norm[:, None, None]
                for here, start in zip(now, first, strict=True)
            )
            return inner(change, change) / 2  # type: ignore[arg-type]

    return grams.each(distance)


def _seen(model: Linear, matrices: Array) -> Array:
    return matrices if model.input_cov is None else matrices @ model.input_cov
