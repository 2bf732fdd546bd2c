"""A balanced two-layer network with a target of few modes, at given times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt

from layerwise.theory import panels
from layerwise.theory.grams import Grams
from layerwise.theory.laws.low_rank import LowRank, Side, State
from layerwise.theory.models.linear import Linear
from layerwise.theory.orbits.balanced import ACCEPTED, BLOCK, GUESS, MANY, NODES, TOLERANCE
from layerwise.theory.reduction import Reduced

__all__ = ["LowRankGrams"]

Array = npt.NDArray[np.float64]


class Moments(NamedTuple):
    """What the loss and the traces are made of, at T times.

    ``alpha = u^T W v`` (T, r, r). Between modes and the rest, without its decay: of the rest's
    inputs to the modes `out` (T, r, 2r) times ``P D^{-1} W1``, of which `in_metric` (T, 2r, 2r) is
    the Gram matrix; `into` and `out_metric` likewise for its outputs. `rest` (T,) is ``|W|^2``
    within the rest, without its decay; `trace` (T,) is ``tr W2 W2^T``.
    """

    alpha: Array
    out: Array
    into: Array
    in_metric: Array
    out_metric: Array
    rest: Array
    trace: Array


@final
@dataclass(frozen=True, eq=False)
class LowRankGrams(Grams):
    """Grams of a balanced network with a target of few modes at times t.

    Attributes
    ----------
    model
        The network as it was given.
    reduced
        The same with whitened inputs.
    law
        Its law, of the transposed network where `mirrored`.
    t
        Times of `model`, in the domain of the law.
    """

    model: Linear
    reduced: Reduced
    law: LowRank
    mirrored: bool
    t: Array

    def times(self) -> int:
        return len(self.t)

    def part(self, times: slice) -> LowRankGrams:
        return replace(self, t=self.t[times])

    @cached_property
    def interpolation_error(self) -> float:
        """Estimated error of interpolation, relative to the target; 0 if exact."""
        return self._moments[1]

    def map(self, out: Array | None = None) -> Array:
        return self._block(*self._sides, out)

    def gram_in(self) -> Array:
        inputs = self._sides[1]
        return self.reduced.stretch * self._gram(inputs)

    def gram_out(self) -> Array:
        return self._gram(self._sides[0]) / self.reduced.stretch

    def span(self) -> Array | None:
        if self.law.still is not None:
            return None
        into, change = self.reduced.into, math.sqrt(self.reduced.stretch)
        inputs, outputs = self.law.span(float(self._clock[0]))
        if self.mirrored:
            inputs, outputs = outputs, inputs
        inputs = inputs if into is None else into @ inputs
        return np.concatenate([inputs * change, outputs / change])

    def loss(self) -> Array:
        found, law = self._moments[0], self.law
        out, into = law.fades(self._clock)
        left = found.alpha - np.diag(law.s)
        parts = (
            np.einsum("tij,tij->t", left, left),
            into**2 * np.einsum("tij,tij->t", found.out @ found.in_metric, found.out),
            out**2 * np.einsum("tij,tij->t", found.into @ found.out_metric, found.into),
            (into * out) ** 2 * np.maximum(found.rest, 0.0),  # may be less by rounding
        )
        return np.asarray(self.reduced.xi * sum(parts) / 2)

    def modes(self) -> Array:
        if self.reduced.into is not None:
            return Grams.modes(self)
        r, (u, s, v) = len(self.law.s), self.model.regression.modes
        out, into = (
            vectors[:, r:].T @ side.beside
            for vectors, side in zip((u, v), self._sides, strict=True)
        )
        found = np.empty((len(self.t), len(s)))
        found[:, :r] = np.diagonal(self._moments[0].alpha, axis1=1, axis2=2)
        rest = np.empty((len(self.t), len(s) - r))

        def strengths(state: State, part: Array) -> None:
            part[:] = self.law.strengths(state, out, into)

        self._along(strengths, rest)
        found[:, r:] = rest
        return found

    def traces(self) -> tuple[Array, Array]:
        stretch, outer = self.reduced.stretch, self._moments[0].trace
        inner = outer + self.law.gap
        if self.mirrored:
            inner, outer = outer, inner
        return self.reduced.xi * stretch * inner, outer / stretch

    @cached_property
    def _clock(self) -> Array:
        return self.t * self.reduced.clock

    @cached_property
    def _sides(self) -> tuple[Side, Side]:
        """Return outputs and inputs of the model."""
        law, into = self.law, self.reduced.into
        outputs, inputs = (law.inputs, law.outputs) if self.mirrored else (law.outputs, law.inputs)
        if into is None:
            return outputs, inputs
        return outputs, replace(inputs, vectors=into @ inputs.vectors, beside=into @ inputs.beside)

    def _block(self, left: Side, right: Side, out: Array | None = None) -> Array:
        shape = len(left.vectors), len(right.vectors)
        found = np.empty((len(self.t), *shape)) if out is None else out

        def product(state: State, part: Array) -> None:
            self.law.product(state, left, right, part.reshape(-1, *shape))

        self._along(product, found)
        return found

    def _gram(self, side: Side) -> Array:
        gram, still = self._block(side, side), self.law.still
        if still is None or side.index == 0:
            return gram
        into = None if self.mirrored else self.reduced.into
        return gram + (still if into is None else into @ still @ into.T)

    @cached_property
    def _moments(self) -> tuple[Moments, float]:
        """Return the moments, and the error of interpolation relative to the target."""
        law = self.law
        r = len(law.s)
        # in units of the map's size, in which the tolerance is meant
        root, ratio = math.sqrt(law.start), law.scale / law.start
        units = (1.0, root, root, ratio, ratio, ratio / law.start, 1.0)
        shapes = ((r, r), (r, 2 * r), (r, 2 * r), (2 * r, 2 * r), (2 * r, 2 * r), (), ())

        def packed(state: State, out: Array) -> None:
            parts = zip(units, _moments(law, state), strict=True)
            columns = [unit * part.reshape(len(out), -1) for unit, part in parts]
            np.concatenate(columns, axis=1, out=out)

        sizes = [math.prod(shape) for shape in shapes]
        values = np.empty((len(self.t), sum(sizes)))
        error = self._along(packed, values)
        columns = np.split(values, np.cumsum(sizes)[:-1], axis=1)
        parts = [
            part.reshape(len(values), *shape) / unit
            for part, shape, unit in zip(columns, shapes, units, strict=True)
        ]
        return Moments(*parts), error

    def _along(self, fill: Callable[[State, Array], None], out: Array) -> float:
        """Let `fill` write what it makes of the network at all times; return the error."""
        law, t, flat = self.law, self._clock, out.reshape(len(out), -1)

        def exact(times: Array, found: Array) -> Array:
            for some in law.blocks(times):
                fill(law.at(times[some]), found[some])
            return found

        if self._ends is None:
            exact(t, flat)
            return 0.0

        def nodes(times: Array) -> Array:
            return exact(times, np.empty((len(times), flat.shape[1])))

        error = 0.0
        together = max(1, BLOCK // (NODES * flat.shape[1]))
        for piece in panels.pieces(nodes, self._ends, ACCEPTED * law.scale, together):
            times = piece.times(t)
            np.matmul(panels.weights(piece.panel, t[times]), piece.values, out=flat[times])
            error = max(error, piece.tail)
        return error / law.scale

    @cached_property
    def _ends(self) -> Array | None:
        """Return ends of the panels to interpolate on; None where that does not pay."""
        law, t = self.law, self._clock
        if len(t) < MANY:
            return None
        last = float(np.nextafter(t[-1], np.inf))  # so that the last time falls into a panel
        guess = GUESS / max(law.fastest, 1 / last)
        ends = panels.edges(law.surrogate, float(t[0]), last, TOLERANCE, guess)
        return ends if (len(ends) - 1) * NODES < len(t) / 2 else None


def _moments(law: LowRank, state: State) -> Moments:
    first, second = (np.swapaxes(half, 1, 2) for half in state.halves)
    d, less, gram = state.d, state.less, law.inputs.gram
    J = law.rows / d[:, None, :]
    V = (J.reshape(-1, len(gram)) @ gram).reshape(J.shape)
    over = np.swapaxes(J, 1, 2)
    in_metric, out_metric = V @ over, (J * law.g) @ over
    crossed = (V * (law.g / d)[:, None, :]) @ over
    rest = (law.g * np.diagonal(gram) / d**2).sum(axis=1)
    rest += _trace(less @ out_metric, less @ in_metric) - 2 * _trace(less, crossed)
    outside = (law.g / d).sum(axis=1) - _trace(less, out_metric)
    trace = np.sum(first**2, axis=(1, 2)) + state.fades[0] ** 2 * outside
    alpha, out, into = first @ state.halves[1], first @ state.seen, second @ state.seen
    return Moments(alpha, out, into, in_metric, out_metric, rest, trace)


def _trace(left: Array, right: Array) -> Array:
    """Return ``tr(left right)`` at every time."""
    return np.asarray(np.sum(left * np.swapaxes(right, 1, 2), axis=(1, 2)))
