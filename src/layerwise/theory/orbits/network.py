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

RTOL = 1e-12
SETTLED = 4e-15  # errors below this share of the target are rounding: they move nothing
LARGEST = 20_000_000  # numbers that the check of the equation of motion may hold


@final
@dataclass(frozen=True, eq=False)
class Network(Orbit):
    """A two-layer network whose map and Grams are known in closed form.

    Its weights follow from the linear equation ``W1' = r1 W2^T E(t)``, ``W2' = r2 E(t) W1^T`` (with
    decay), whose coefficient, the error ``E = S - W Sxx``, is known exactly; it is integrated.

    Attributes
    ----------
    model
        What was solved.
    grams
        Its Grams at increasing times.
    t
        The times of the solution, whose Grams keep what they have computed.
    """

    model: Linear
    grams: Callable[[Array], Grams]
    t: Array

    def quantity(self, name: str, t: Array, out: Array | None = None) -> Array:
        if name == "conserved":
            return self.model.conserved(*self.model.split(self.states(t)))
        return quantity(self.model, name, self._at(t), out)

    def states(self, t: Array) -> Array:
        exact = self._at(t).states()
        if exact is not None:
            return exact
        from scipy.integrate import solve_ivp

        model, (r1, r2) = self.model, self.model.rates
        noise = SETTLED * float(np.max(np.abs(model.cross), initial=0.0))

        def slope(time: float, state: Array) -> Array:
            w1, w2 = model.split(state)
            error = model.regression.error(self.grams(np.array([time])).map()[0])
            error[np.abs(error) <= noise] = 0.0
            first = r1 * (w2.T @ error - model.decay * w1)
            second = r2 * (error @ w1.T - model.decay * w2)
            return np.concatenate([first.ravel(), second.ravel()])

        start = model.start
        if t[-1] == 0:
            return np.broadcast_to(start, (len(t), len(start)))
        scale = float(np.min(np.abs(start[start != 0]), initial=1.0))
        found = solve_ivp(
            slope,
            (0.0, t[-1]),
            start,
            method="DOP853",
            t_eval=t,
            rtol=RTOL,
            atol=1e-3 * RTOL * scale,
        )
        if not found.success:
            raise ArithmeticError(f"the weights could not be integrated: {found.message.strip()}")
        return np.asarray(found.y.T)

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

    def _at(self, t: Array) -> Grams:
        return self.own if t is self.t else self.grams(t)
