"""A balanced two-layer network at given times, by its exact law or between exact nodes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory import panels
from layerwise.theory.grams import Grams
from layerwise.theory.laws.halves import Halves
from layerwise.theory.laws.riccati import Balanced
from layerwise.theory.models.linear import Linear
from layerwise.theory.reduction import Reduced

__all__ = ["BalancedGrams"]

Array = npt.NDArray[np.float64]

# Interpolation pays where there are many more times than nodes; below this many times the search
# for panels costs more than it saves.
MANY = 150
# Of the interpolation, relative to the largest singular value of the target: aimed at, accepted.
TOLERANCE, ACCEPTED = 3e-11, 1e-10
GUESS = 3.2  # length of the first panel, in units of the fastest growth: poles are pi/2 away
NODES = panels.DEGREE + 1
SAFETY = 5.0  # the error is a sum of what follows the last coefficients
BLOCK = 300_000  # numbers of one temporary


@dataclass(frozen=True, eq=False)
class Core:
    """The products of `Halves` that all quantities but the inputs' Gram matrix need."""

    alpha: Array
    c: Array | None
    gram: Array


@dataclass(frozen=True)
class Summary:
    """What most quantities need, without any matrix over time, and the interpolation's error."""

    loss: Array
    modes: Array
    trace_in: Array
    trace_out: Array
    error: float


@final
@dataclass(frozen=True, eq=False)
class BalancedGrams(Grams):
    """Grams of a balanced network at times t.

    Attributes
    ----------
    model
        The network as it was given.
    reduced
        The same with whitened inputs.
    law
        Its law, of the transposed network where `mirrored`.
    t
        Times of `model`.
    """

    model: Linear
    reduced: Reduced
    law: Balanced
    mirrored: bool
    t: Array
    _tails: list[float] = field(default_factory=list, repr=False)

    def times(self) -> int:
        return len(self.t)

    def part(self, times: slice) -> BalancedGrams:
        return BalancedGrams(self.model, self.reduced, self.law, self.mirrored, self.t[times])

    @property
    def interpolation_error(self) -> float:
        """Estimated error of interpolation, relative to the target; 0 if exact.

        Until the map has been asked for, what would be accepted for it.
        """
        if self._ends is None:
            return 0.0
        return max([self._summary.error, *(self._tails or [SAFETY * ACCEPTED])])

    def map(self, out: Array | None = None) -> Array:
        law, into = self.law, self.reduced.into
        right = law.v.T if law.seen is None else np.concatenate([law.v.T, law.seen])
        left = law.u if into is None or not self.mirrored else into @ law.u
        if into is not None and not self.mirrored:
            right = right @ into.T
        shape = (right.shape[1], len(left)) if self.mirrored else (len(left), right.shape[1])
        found = np.empty((len(self.t), *shape)) if out is None else out

        def exact(t: Array) -> Array:
            maps = np.empty((len(t), *shape))
            for times in law.blocks(t):
                found = law.at(t[times])
                inner = found.alpha
                if found.c is not None:
                    inner = np.concatenate([inner, found.c], axis=2)
                if self.mirrored:
                    np.matmul(right.T, np.swapaxes(left @ inner, 1, 2), out=maps[times])
                else:
                    np.matmul(left @ inner, right, out=maps[times])
            return maps.reshape(len(t), -1)

        t = self.t * self.reduced.clock
        flat = found.reshape(len(t), -1)
        if self._ends is None:
            for times in law.blocks(t):
                flat[times] = exact(t[times])
            return found
        together = max(1, BLOCK // (NODES * flat.shape[1]))
        for piece in panels.pieces(exact, self._ends, self._accepted, together):
            times = piece.times(t)
            np.matmul(panels.weights(piece.panel, t[times]), piece.values, out=flat[times])
            self._tails.append(SAFETY * piece.tail / max(law.s[0], TOLERANCE))
        return found

    def gram_in(self) -> Array:
        gram = self._gram_left() if self.mirrored else self._gram_right()
        into = self.reduced.into
        return self.reduced.stretch * (gram if into is None else into @ gram @ into.T)

    def gram_out(self) -> Array:
        gram = self._gram_right() if self.mirrored else self._gram_left()
        return gram / self.reduced.stretch

    def span(self) -> Array | None:
        inputs, outputs = self.law.span(float(self.t[0]) * self.reduced.clock)
        if self.mirrored:
            inputs, outputs = outputs, inputs
        into, change = self.reduced.into, math.sqrt(self.reduced.stretch)
        inputs = inputs if into is None else into @ inputs
        return np.concatenate([inputs * change, outputs / change])

    def loss(self) -> Array:
        return self.reduced.xi * self._summary.loss

    def modes(self) -> Array:
        return self._summary.modes.copy() if self.reduced.into is None else Grams.modes(self)

    def traces(self) -> tuple[Array, Array]:
        found, stretch = self._summary, self.reduced.stretch
        inner, outer = found.trace_in, found.trace_out
        if self.mirrored:
            inner, outer = outer, inner
        return self.reduced.xi * stretch * inner, outer / stretch

    def singular_values(self) -> Array:
        law = self.law
        # inputs without variance that the reduced network leaves out add zeros
        found = np.zeros((len(self.t), min(self.model.cross.shape)))
        root = None if law.seen is None else np.asarray(np.linalg.qr(law.seen.T, mode="r")).T
        for times, core, _ in self._cores():
            inner = core.alpha
            if core.c is not None and root is not None:
                inner = np.concatenate([core.alpha, core.c @ root], axis=2)
            found[times, : len(law.s)] = np.linalg.svd(inner, compute_uv=False)
        return found

    @cached_property
    def _summary(self) -> Summary:
        law = self.law
        k = len(law.s)
        loss, modes, outer = (
            np.empty(len(self.t)),
            np.empty((len(self.t), k)),
            np.empty(len(self.t)),
        )
        error = 0.0
        squares = None if law.seen is None else law.seen @ law.seen.T
        for times, core, tail in self._cores():
            error = max(error, tail)
            modes[times] = np.diagonal(core.alpha, axis1=1, axis2=2)
            left = core.alpha.copy()
            left[:, np.arange(k), np.arange(k)] -= law.s
            loss[times] = np.einsum("tij,tij->t", left, left) / 2
            if core.c is not None and squares is not None:
                loss[times] += np.einsum("tij,tij->t", core.c @ squares, core.c) / 2
            outer[times] = np.trace(core.gram, axis1=1, axis2=2)
        inner = outer + law.gap
        return Summary(loss, modes, inner, outer, error)

    def _gram_left(self) -> Array:
        u = self.law.u
        return np.concatenate([u @ core.gram @ u.T for _, core, _ in self._cores(whole=True)])

    def _gram_right(self) -> Array:
        law, v = self.law, self.law.v
        grams = np.empty((len(self.t), len(v), len(v)))
        for times in law.blocks(self.t):
            A, x, y = law.at(self.t[times] * self.reduced.clock).inputs
            grams[times] = v @ A @ v.T
            if law.seen is None or law.unseen is None:
                continue
            side = v @ x @ law.seen
            fade = np.exp(-2 * law.decay * self.reduced.clock * self.t[times])[:, None, None]
            still = law.unseen.T @ law.unseen - law.seen.T @ law.seen
            grams[times] += side + np.swapaxes(side, 1, 2)
            grams[times] += law.seen.T @ y @ law.seen + fade * still
        return grams

    def _cores(self, whole: bool = False) -> Iterator[tuple[slice, Core, float]]:
        """Yield the network at some times after others, exact or interpolated, and the error."""
        law, t = self.law, self.t * self.reduced.clock
        if self._ends is None:
            for times in law.blocks(t):
                yield times, _core(law.at(t[times]), whole), 0.0
            return
        k, o, rho = len(law.s), law.u.shape[1], len(law.pivots)
        shapes: list[tuple[int, ...]] = [(o, k), (o, o) if whole else (1, 1)]
        shapes += [] if law.seen is None else [(o, rho)]
        size = sum(math.prod(shape) for shape in shapes)

        def exact(nodes: Array) -> Array:
            values = np.empty((len(nodes), size))
            for times in law.blocks(nodes):
                core = _core(law.at(nodes[times]), whole)
                parts = [core.alpha, core.gram, *([] if core.c is None else [core.c])]
                first = 0
                for part in parts:
                    flat = part.reshape(len(part), -1)
                    values[times, first : first + flat.shape[1]] = flat
                    first += flat.shape[1]
            return values

        reach = 1.0 if law.seen is None else max(1.0, float(np.linalg.norm(law.seen, 2)))
        scale = SAFETY * reach / max(law.s[0], TOLERANCE)
        together = max(1, BLOCK // (NODES * size))
        for piece in panels.pieces(exact, self._ends, self._accepted, together):
            times = piece.times(t)
            step = max(1, BLOCK // size)
            for first in range(times.start, times.stop, step):
                some = slice(first, min(first + step, times.stop))
                values = panels.weights(piece.panel, t[some]) @ piece.values
                yield some, _unpacked(values, shapes), scale * piece.tail

    @property
    def _accepted(self) -> float:
        return ACCEPTED * max(float(self.law.s[0]), TOLERANCE)

    @cached_property
    def _ends(self) -> Array | None:
        """Return ends of the panels to interpolate on; None where that does not pay."""
        law, t = self.law, self.t * self.reduced.clock
        if len(t) < MANY or not len(law.pivots):
            return None
        last = float(np.nextafter(t[-1], np.inf))  # so that the last time falls into a panel
        guess = GUESS / max(float(np.max(law.f)), 1 / last)
        ends = panels.edges(law.surrogate, float(t[0]), last, TOLERANCE, guess)
        return ends if (len(ends) - 1) * NODES < len(t) / 2 else None


def _core(halves: Halves, whole: bool) -> Core:
    """Return the products, the Gram matrix `whole` or as a 1 x 1 matrix of the same trace."""
    if whole:
        return Core(halves.alpha, halves.c, halves.gram)
    trace = np.einsum("tro,tro->t", halves.out, halves.out)
    return Core(halves.alpha, halves.c, trace[:, None, None])


def _unpacked(values: Array, shapes: list[tuple[int, ...]]) -> Core:
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = [
        part.reshape(len(values), *shape)
        for part, shape in zip(np.split(values, cuts, axis=1), shapes, strict=True)
    ]
    alpha, gram, *rest = parts
    return Core(alpha, rest[0] if rest else None, gram)
