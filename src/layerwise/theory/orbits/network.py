"""Trajectories of a two-layer network of which a law gives the Gram matrices alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from layerwise.theory.grams import Grams, quantity
from layerwise.theory.models.linear import Linear
from layerwise.theory.orbits.orbit import Orbit, defect

__all__ = ["Network"]

Array = npt.NDArray[np.float64]

RTOL = 1e-13
SPAN = 5.0  # relaxation times between two corrections of the integrated weights
SPANS = 200  # at least so many of them, however long it takes
SETTLED = 1e-14  # motion below this share of the fastest is rounding
HELD = 1e-12  # share of the Grams from which on they tell more of the weights than integration
SQUARES = 400  # inputs and outputs up to which the weights are corrected
ROUNDING, TINY = 1e-13, 1e-300
LARGEST = 20_000_000  # numbers that the check of the equation of motion may hold


@final
@dataclass(frozen=True, eq=False)
class Network(Orbit):
    """A two-layer network whose map and Grams are known in closed form.

    Its weights follow from the linear equation ``W1' = r1 W2^T E(t)``, ``W2' = r2 E(t) W1^T`` (with
    decay), whose coefficient, the error ``E = S - W Sxx``, is known exactly. It is integrated, and
    now and then turned back to the exact Grams, so that only the hidden rotation is numerical.

    Attributes
    ----------
    model
        What was solved.
    grams
        Its Grams at increasing times.
    t
        The times of the solution, whose Grams keep what they have computed.
    blind
        Projector (i, i) on inputs without variance where W1 has weights there, which the Grams do
        not hold; else None.
    """

    model: Linear
    grams: Callable[[Array], Grams]
    t: Array
    blind: Array | None = None

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        if name == "conserved":
            return self.model.conserved(*self.model.split(self.states(t)))
        return quantity(self.model, name, self._at(t), out)

    def states(self, t: Array) -> Array:
        return self._own_states if t is self.t else self._states(t)

    @cached_property
    def _own_states(self) -> Array:
        return self._states(self.t)

    def _states(self, t: Array) -> Array:
        exact = self._at(t).states()
        if exact is not None:
            return exact
        model, fastest = self.model, self.model.fastest()
        found = np.empty((len(t), model.start.size))
        here, state, moving = 0.0, model.start, fastest > 0
        for k, wanted in enumerate(t):
            while moving and here < wanted:
                there = min(float(wanted), here + max(SPAN / fastest, here / SPANS))
                state = self._turned(self._moved(state, here, there), there)
                here = there
                pull = float(np.max(np.abs(self._slope(here, state))))
                moving = pull > SETTLED * fastest * float(np.max(np.abs(state)))
            # once at rest, only directions too slow to be integrated go on
            found[k] = state if moving or here == wanted else self._turned(state, float(wanted))
        return found

    def _slope(self, time: float, state: Array) -> Array:
        model, (r1, r2) = self.model, self.model.rates
        w1, w2 = model.split(state)
        error = model.regression.error(self.grams(np.array([time])).map()[0])
        first = r1 * (w2.T @ error - model.decay * w1)
        second = r2 * (error @ w1.T - model.decay * w2)
        return np.concatenate([first.ravel(), second.ravel()])

    def _moved(self, state: Array, first: float, last: float) -> Array:
        from scipy.integrate import solve_ivp

        scale = float(np.min(np.abs(state[state != 0]), initial=1.0))
        moved = solve_ivp(
            self._slope,
            (first, last),
            state,
            method="DOP853",
            rtol=RTOL,
            atol=1e-3 * RTOL * scale,
        )
        if not moved.success:
            raise ArithmeticError(f"the weights could not be integrated: {moved.message.strip()}")
        return np.asarray(moved.y[:, -1])

    def _turned(self, state: Array, time: float) -> Array:
        """Return the weights nearest to these that have exactly the Grams of the law."""
        w1, w2 = self.model.split(state)
        o, i = self.model.cross.shape
        if i + o > SQUARES:
            return state
        still = np.zeros_like(w1) if self.blind is None else w1 @ self.blind
        grams = self.grams(np.array([time]))
        W = grams.map()[0]
        stacked = np.block([[grams.gram_in()[0], W.T], [W, grams.gram_out()[0]]])
        size, vectors = np.linalg.eigh(stacked)
        held = size > HELD * size[-1]
        inside, integrated = vectors[:, held], np.concatenate([(w1 - still).T, w2])
        root = inside * np.sqrt(size[held])
        left, _, right = np.linalg.svd(root.T @ integrated, full_matrices=False)
        turned = root @ left @ right + integrated - inside @ (inside.T @ integrated)
        columns = grams.span()
        if columns is not None:  # what has left the span of the weights is noise, and would grow
            columns = columns / np.maximum(np.linalg.norm(columns, axis=0), TINY)
            basis, length, _ = np.linalg.svd(columns, full_matrices=False)
            basis = basis[:, length > ROUNDING * length[0]]
            turned = basis @ (basis.T @ turned)
        return np.concatenate([(turned[:i].T + still).ravel(), turned[i:].ravel()])

    def residual(self, t: Array) -> float:
        o, i = self.model.cross.shape
        (r1, r2), decay = self.model.rates, self.model.decay
        size = i * i + o * o + o * i
        t = t[:: max(1, len(t) * 8 * size // LARGEST)]

        def at(times: Array) -> Array:
            grams = self.grams(times)
            parts = grams.map(), grams.gram_in(), grams.gram_out()
            return np.concatenate([part.reshape(len(times), -1) for part in parts], axis=1)

        def velocity(x: Array) -> Array:
            lead = x.shape[:-1]
            W = x[..., : o * i].reshape(*lead, o, i)
            inner = x[..., o * i : o * i + i * i].reshape(*lead, i, i)
            outer = x[..., o * i + i * i :].reshape(*lead, o, o)
            error = self.model.regression.error(W)
            left, right = error @ np.swapaxes(W, -1, -2), np.swapaxes(W, -1, -2) @ error
            changes = (
                r2 * error @ inner + r1 * outer @ error - (r1 + r2) * decay * W,
                r1 * (right + np.swapaxes(right, -1, -2) - 2 * decay * inner),
                r2 * (left + np.swapaxes(left, -1, -2) - 2 * decay * outer),
            )
            return np.concatenate([change.reshape(*lead, -1) for change in changes], axis=-1)

        return defect(at, velocity, t, self.model.fastest())

    @cached_property
    def own(self) -> Grams:
        """The Grams at the times of the solution."""
        return self.grams(self.t)

    @property
    def interpolation_error(self) -> float:
        return self.own.interpolation_error

    def _at(self, t: Array) -> Grams:
        return self.own if t is self.t else self.grams(t)
