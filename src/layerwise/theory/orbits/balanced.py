"""A balanced two-layer network at given times, by its exact law or between exact nodes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory import panels
from layerwise.theory.grams import Grams
from layerwise.theory.laws.riccati import Balanced, Core
from layerwise.theory.models.linear import Linear
from layerwise.theory.reduction import Reduced

__all__ = ["BalancedGrams"]

Array = npt.NDArray[np.float64]

# Interpolation pays where there are many more times than nodes; below this many times the search
# for panels costs more than it saves.
MANY = 150
# Of the interpolation, relative to the largest singular value of the target: aimed at, accepted.
TOLERANCE, ACCEPTED = 1e-12, 1e-11
SHORTEST = 1e-6  # panels shorter than this share of the time are not halved further


@dataclass(frozen=True)
class Summary:
    """What most quantities need, without any matrix over time."""

    loss: Array
    modes: Array
    trace_in: Array
    trace_out: Array


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

    def times(self) -> int:
        return len(self.t)

    def part(self, times: slice) -> BalancedGrams:
        return BalancedGrams(self.model, self.reduced, self.law, self.mirrored, self.t[times])

    @cached_property
    def interpolation_error(self) -> float:
        """Estimated error of interpolation in the map, relative to the target; 0 if exact."""
        return max((error for *_, error in self._nodes), default=0.0)

    def map(self, out: Array | None = None) -> Array:
        law, into = self.law, self.reduced.into
        right = law.v.T if law.seen is None else np.concatenate([law.v.T, law.seen])
        if self.mirrored:
            left = law.u if into is None else into @ law.u
            shape = (len(self.t), right.shape[1], len(left))
        else:
            right = right if into is None else right @ into.T
            shape = (len(self.t), len(law.u), right.shape[1])
        found = np.empty(shape) if out is None else out
        for times, core in self._cores():
            inner = core.alpha if core.c is None else np.concatenate([core.alpha, core.c], axis=2)
            if self.mirrored:
                np.matmul(right.T, np.swapaxes(left @ inner, 1, 2), out=found[times])
            else:
                np.matmul(law.u @ inner, right, out=found[times])
        return found

    def gram_in(self) -> Array:
        gram = self._gram_left() if self.mirrored else self._gram_right()
        into = self.reduced.into
        return self.reduced.stretch * (gram if into is None else into @ gram @ into.T)

    def gram_out(self) -> Array:
        gram = self._gram_right() if self.mirrored else self._gram_left()
        return gram / self.reduced.stretch

    def loss(self) -> Array:
        return self.reduced.xi * self._summary.loss

    def modes(self) -> Array:
        return self._summary.modes if self.reduced.into is None else Grams.modes(self)

    def traces(self) -> tuple[Array, Array]:
        found, stretch = self._summary, self.reduced.stretch
        inner, outer = found.trace_in, found.trace_out
        if self.mirrored:
            inner, outer = outer, inner
        return self.reduced.xi * stretch * inner, outer / stretch

    def singular_values(self) -> Array:
        found, law = np.empty((len(self.t), len(self.law.s))), self.law
        root = None if law.seen is None else np.linalg.qr(law.seen.T, mode="r").T
        for times, core in self._cores():
            inner = core.alpha
            if core.c is not None and root is not None:
                inner = np.concatenate([core.alpha, core.c @ root], axis=2)
            found[times] = np.linalg.svd(inner, compute_uv=False)
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
        squares = None if law.seen is None else law.seen @ law.seen.T
        for times, core in self._cores():
            modes[times] = np.diagonal(core.alpha, axis1=1, axis2=2)
            left = core.alpha.copy()
            left[:, np.arange(k), np.arange(k)] -= law.s
            loss[times] = np.einsum("tij,tij->t", left, left) / 2
            if core.c is not None and squares is not None:
                loss[times] += np.einsum("tij,tij->t", core.c @ squares, core.c) / 2
            outer[times] = np.trace(core.gram, axis1=1, axis2=2)
        inner = outer + law.gap
        return Summary(loss, modes, inner, outer)

    def _gram_left(self) -> Array:
        u = self.law.u
        return np.concatenate([u @ core.gram @ u.T for _, core in self._cores()])

    def _gram_right(self) -> Array:
        law, v = self.law, self.law.v
        grams = np.empty((len(self.t), len(v), len(v)))
        for times in law.blocks(self.t):
            core = law.at(self.t[times] * self.reduced.clock, inputs=True)
            assert core.inputs is not None  # they were asked for
            A, x, y = core.inputs
            grams[times] = v @ A @ v.T
            if law.seen is None or law.unseen is None:
                continue
            side = v @ x @ law.seen
            fade = np.exp(-2 * law.decay * self.reduced.clock * self.t[times])[:, None, None]
            still = law.unseen.T @ law.unseen - law.seen.T @ law.seen
            grams[times] += side + np.swapaxes(side, 1, 2)
            grams[times] += law.seen.T @ y @ law.seen + fade * still
        return grams

    def _cores(self) -> Iterator[tuple[slice, Core]]:
        """Yield the network at some times after others, exact or interpolated."""
        law, t = self.law, self.t * self.reduced.clock
        if not self._nodes:
            for times in law.blocks(t):
                yield times, law.at(t[times])
            return
        for panel, values, shapes, _ in self._nodes:
            first, last = np.searchsorted(t, panel[0]), np.searchsorted(t, panel[1])
            last += int(panel[1] == t[-1])
            for block in law.blocks(t[first:last]):
                times = slice(first + block.start, first + block.stop)
                yield times, _unpacked(panels.weights(panel, t[times]) @ values, shapes)

    @cached_property
    def _nodes(self) -> list[tuple[panels.Panel, Array, list[tuple[int, ...]], float]]:
        """Return panels with the exact cores at their points; empty where interpolation is idle."""
        law, t = self.law, self.t * self.reduced.clock
        if len(t) < MANY or not len(law.pivots):
            return []
        ends = panels.edges(law.surrogate, t[0], t[-1], TOLERANCE)
        if (len(ends) - 1) * (panels.DEGREE + 1) > len(t) / 2:
            return []
        waiting = [*pairwise(ends.tolist())][::-1]
        found = []
        while waiting:
            panel = waiting.pop()
            points = panels.lobatto(panel)
            values, shapes = _packed([law.at(points[times]) for times in law.blocks(points)])
            error = float(panels.tail(values)) / max(law.s[0], TOLERANCE)
            if error > ACCEPTED and panel[1] - panel[0] > SHORTEST * panel[1]:
                middle = (panel[0] + panel[1]) / 2
                waiting += [(middle, panel[1]), (panel[0], middle)]
                continue
            found.append((panel, values, shapes, error))
        return found


def _packed(cores: list[Core]) -> tuple[Array, list[tuple[int, ...]]]:
    names = ("alpha", "gram") if cores[0].c is None else ("alpha", "gram", "c")
    parts = [np.concatenate([getattr(core, name) for core in cores]) for name in names]
    flat = [part.reshape(len(part), -1) for part in parts]
    return np.concatenate(flat, axis=1), [part.shape[1:] for part in parts]


def _unpacked(values: Array, shapes: list[tuple[int, ...]]) -> Core:
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = [
        part.reshape(len(values), *shape)
        for part, shape in zip(np.split(values, cuts, axis=1), shapes, strict=True)
    ]
    alpha, gram, *rest = parts
    return Core(alpha, rest[0] if rest else None, gram, None)
