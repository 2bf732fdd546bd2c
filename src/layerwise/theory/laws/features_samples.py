"""Labelled features under a classifier at some times, and every number read off them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from layerwise import measures

__all__ = ["Samples"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Features, each standing for a number of equal ones, and a classifier; T times or none.

    Attributes
    ----------
    entropy
        Whether the loss is cross-entropy, not half the squared error.
    w, h, bias
        Shapes (..., C, d), (..., d, m) and (..., C).
    labels, copies
        Class of each column of h, sorted, and how many samples it stands for, shape (m,). Columns
        of one class stand for equally many.
    modes
        Left vectors (C, k) and right vectors (C, k) of the labels, see
        `layerwise.theory.laws.features_optimum.label_modes`.
    decay
        Of w and h.
    """

    entropy: bool
    w: Array
    h: Array
    bias: Array
    labels: npt.NDArray[np.int64]
    copies: Array
    modes: tuple[Array, Array]
    decay: tuple[float, float]

    @cached_property
    def logits(self) -> Array:
        """``W h + b``, shape (..., C, m)."""
        return np.asarray(self.w @ self.h + self.bias[..., None])

    @cached_property
    def chances(self) -> Array:
        """Probabilities of the classes, shape (..., C, m)."""
        return np.asarray(softmax(self.logits, axis=-2))

    @property
    def error(self) -> Array:
        """Minus the gradient of the loss in the logits, shape (..., C, m)."""
        made = self.chances if self.entropy else self.logits
        return np.asarray((self._hot - made) * (self.copies / np.sum(self.copies)))

    @property
    def loss(self) -> Array:
        """The mean loss, without decay terms."""
        if self.entropy:
            each = np.logaddexp(0.0, logsumexp(self._rivals - self._true[..., None, :], axis=-2))
        else:
            each = np.sum((self._hot - self.logits) ** 2, axis=-2) / 2
        return np.asarray(each @ self.copies / np.sum(self.copies))

    @property
    def penalty(self) -> Array:
        """The decay terms of the loss."""
        (lw, lh), size = self.decay, np.sum(self.h**2, axis=-2) @ self.copies
        return np.asarray(lw / 2 * np.sum(self.w**2, axis=(-1, -2)) + lh / 2 * size)

    @property
    def turn(self) -> Array:
        """Derivative of the velocity of H, W and the bias, in that order; single samples, no T."""
        (C, d), N = self.w.shape, self.h.shape[1]
        hs, ws, size = slice(0, d * N), slice(d * N, d * N + C * d), d * N + C * d + C
        logits = np.zeros((C, N, size))  # their gradients
        logits[..., hs] = np.einsum("ck,ij->cikj", self.w, np.eye(N)).reshape(C, N, -1)
        logits[..., ws] = np.einsum("ca,ki->ciak", np.eye(C), self.h).reshape(C, N, -1)
        logits[..., ws.stop :] = np.eye(C)[:, None, :]
        if self.entropy:
            p = self.chances[..., None]
            logits = p * (logits - np.sum(p * logits, axis=0))
        turn = np.empty((size, size))
        turn[hs] = np.tensordot(self.w.T, logits, 1).reshape(d * N, size)
        turn[ws] = np.einsum("cip,ki->ckp", logits, self.h).reshape(C * d, size)
        turn[ws.stop :] = np.sum(logits, axis=1)
        turn /= -N
        corner = np.einsum("ci,kl->kicl", self.error, np.eye(d)).reshape(d * N, C * d)
        turn[hs, ws] += corner
        turn[ws, hs] += corner.T
        turn[hs, hs] -= self.decay[1] * np.eye(d * N)
        turn[ws, ws] -= self.decay[0] * np.eye(C * d)
        return turn

    def quantity(self, name: str) -> Array:
        """Return a quantity of `layerwise.Features` at T times."""
        match name:
            case "loss":
                return self.loss
            case "objective":
                return self.loss + self.penalty
            case "modes":
                u, v = self.modes
                sums = np.swapaxes(self._means, -1, -2) @ (np.sqrt(self._sizes)[:, None] * v)
                return np.asarray(np.sum(u * (self.w @ sums), axis=-2))
            case "weight_norms":
                return np.asarray(np.linalg.norm(self.w, axis=-1))
            case "feature_norms":
                return np.asarray(np.linalg.norm(self._means, axis=-1))
            case "margin":
                lead = self._true - np.max(self._rivals, axis=-2)
                return np.asarray(np.minimum.reduceat(lead, self._first, axis=-1))
            case "nc1":
                return self._each(lambda w, h: measures.nc1(h, self.labels))
            case "nc2":
                return self._each(lambda w, h: measures.nc2(h, self.labels, w).angle)
            case "equinorm":
                return self._each(lambda w, h: measures.nc2(h, self.labels, w).equinorm)
            case "nc3":
                return self._each(lambda w, h: measures.nc3(h, self.labels, w))
            case "rank":
                mean = self.h @ self.copies / np.sum(self.copies)
                apart = (self.h - mean[..., None]) * np.sqrt(self.copies)
                return np.asarray(measures.effective_rank(apart))
            case "conserved":
                inner = np.swapaxes(self.w, -1, -2) @ self.w
                return np.asarray(inner - (self.h * self.copies) @ np.swapaxes(self.h, -1, -2))
        raise AssertionError(f"no quantity {name}")

    def _each(self, read: Callable[[Array, Array], float]) -> Array:
        rows = np.swapaxes(self.h, -1, -2)
        return np.array([read(w, h) for w, h in zip(self.w, rows, strict=True)], dtype=float)

    @property
    def _hot(self) -> Array:
        return np.eye(self.w.shape[-2])[:, self.labels]

    @property
    def _true(self) -> Array:
        return self.logits[..., self.labels, np.arange(len(self.labels))]

    @property
    def _rivals(self) -> Array:
        return np.where(self._hot == 1, -np.inf, self.logits)

    @cached_property
    def _first(self) -> npt.NDArray[np.intp]:
        return np.searchsorted(self.labels, np.arange(self.w.shape[-2]))

    @property
    def _sizes(self) -> Array:
        return np.asarray(np.add.reduceat(self.copies, self._first))

    @property
    def _means(self) -> Array:
        sums = np.add.reduceat(self.h * self.copies, self._first, axis=-1)
        return np.swapaxes(sums / self._sizes, -1, -2)
