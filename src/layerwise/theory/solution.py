"""A solution: what was solved, which law or solver gave it, and every quantity of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory import sources
from layerwise.theory.model import Model
from layerwise.theory.models import Linear
from layerwise.theory.orbits.orbit import Orbit
from layerwise.theory.regime import Regime, regime
from layerwise.theory.structure import Assumption
from layerwise.theory.times import moments
from layerwise.trace import Provenance, Trace, versions

__all__ = ["Solution", "increasing"]

Array = npt.NDArray[np.float64]
Method = Literal["exact", "flow", "descent"]

RESIDUAL_TIMES = 64  # `residual` looks at this many of the solution's times
MEMORY_SHARE = 0.8  # of the machine's memory, that one quantity may take


@dataclass(frozen=True, eq=False)
class Solution:
    """The trajectory of a model.

    Attributes
    ----------
    model
        What was solved.
    t
        Times, shape (T,). For ``method="descent"`` these are whole numbers of steps.
    method
        ``"exact"``, ``"flow"`` or ``"descent"``: what ran.
    law
        Short name of the closed form that was used; None for a flow or a descent.
    orbit
        The trajectory at any times.
    assumptions
        What the law assumes and the numbers that show it; where ``method="auto"`` fell to the
        flow, what each law would have needed.
    unexcited_modes
        Number of target modes that the start does not excite: the exact flow never learns them,
        a numerical one leaves their saddle on rounding noise. 0 where this is not known.
    step
        The step of a descent, else None.

    Examples
    --------
    >>> import layerwise as lw
    >>> sol = lw.solve(lw.Scalar(target=1.0, a=0.1, b=0.1), [0.0, 2.0, 8.0])
    >>> sol.method, sol.law
    ('exact', '1-h-1')
    >>> sol["loss"].round(3)
    array([0.49 , 0.208, 0.   ])
    """

    model: Model
    t: Array
    method: Method
    law: str | None
    orbit: Orbit
    assumptions: tuple[Assumption, ...] = ()
    unexcited_modes: int = 0
    step: float | None = None
    _known: dict[str, Array] = field(default_factory=dict, repr=False)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the series that ``solution[name]`` understands.

        It also understands ``emergence_times``, and what the start alone decides, the model's
        `numbers` (``gamma_plus``, ``gain`` and ``weight_to_target`` of pairs and 1-h-1 networks).
        """
        return self.model.quantities

    def __getitem__(self, name: str) -> Array:
        if name not in self._known:
            if name in self.model.numbers:
                self._known[name] = self.model.number(name)
            elif name == "emergence_times":
                self._known[name] = self.emergence_times()
            else:
                self._known[name] = self.evaluate(name)
        return self._known[name]

    def evaluate(
        self, name: str, t: npt.ArrayLike | None = None, *, out: Array | None = None
    ) -> Array:
        """Return a quantity at the solution's own times or at others, not kept.

        Parameters
        ----------
        name
            One of `quantities`.
        t
            Increasing times; the solution's own if None.
        out
            For the ``map`` of a `Linear`: an array (T, o, i) to write it to.

        Raises
        ------
        MemoryError
            If the answer would take more than 80 % of the machine's memory; the message says how
            much, and which quantity is cheaper.
        """
        if name not in self.quantities:
            raise self.model.unknown(name)
        times = self.t if t is None else increasing(t)
        if out is not None:
            self._must_fit_out(name, times, out)
        else:
            self._must_fit(name, times)
        found = self.orbit.quantity(name, times, out)
        if out is None or found is out:
            return found
        out[...] = found  # of a trajectory that has the map only by its weights
        return out

    @cached_property
    def state(self) -> Array:
        """The weights at the solution's times as one array (T, ...), see `Model`."""
        return self.orbit.states(self.t)

    def weights(self, t: npt.ArrayLike | None = None) -> tuple[Array, ...]:
        """Return the weights, one array per layer, at the solution's own times or at any `t`.

        Each array has the shape of `t` followed by that of the weights. For a descent `t` is taken
        to the nearest whole step. Laws that give Gram matrices only (``balanced``,
        ``two-valued``) fix the weights up to a hidden rotation: there the linear equation that
        moves it is integrated to 1e-12, with the exact map as coefficient (`weights_are_exact`).
        """
        if t is None:
            return self.model.split(self.state)
        asked = np.asarray(t, dtype=float)
        distinct, places = np.unique(asked, return_inverse=True)
        states = self.orbit.states(increasing(distinct))
        return self.model.split(states[places.reshape(asked.shape)])

    @property
    def weights_are_exact(self) -> bool:
        """Whether `weights` are closed forms too, and not integrated."""
        return self.method == "exact" and self.law not in sources.GRAM_LAWS

    @property
    def interpolation_error(self) -> float:
        """Estimated error of interpolating the map between exact nodes; 0 where none is done.

        Relative to the largest singular value of the target. On many times a dense network is
        evaluated exactly at some and interpolated by Chebyshev polynomials between them.
        """
        return self.orbit.interpolation_error

    def regime(self) -> Regime:
        """Return whether the start is lazy or rich, and the number behind the word."""
        return regime(self.model)

    def emergence_times(self, share: float = 0.5) -> Array:
        """Return when each mode reaches `share` of its target; infinity if not by the last time.

        By the inverse law where there is one, else by bisection along the solution to 1e-12 of
        the time. See `time_to` for other levels.
        """
        return moments(self.model, self.orbit, self.t, share)

    def ntk(self, x: npt.ArrayLike, kind: Literal["trace", "full"] = "trace") -> Array:
        """Return the tangent kernel of a `Linear` on inputs x (N, i).

        ``K(x, x') = x^T W1^T W1 x' I + x^T x' W2 W2^T``; ``"trace"`` sums over outputs, shape
        (T, N, N); ``"full"`` has shape (T, N, o, N, o).
        """
        if not isinstance(self.model, Linear):
            raise TypeError(f"ntk is for Linear; {type(self.model).__name__} has a 'kernel'")
        points = np.asarray(x, dtype=float)
        o, i = self.model.cross.shape
        if points.ndim != 2 or points.shape[1] != i or not np.all(np.isfinite(points)):
            raise ValueError(f"x must be finite, of shape (N, {i}), got shape {points.shape}")
        inner = points @ self["gram_in"] @ points.T
        overlap = points @ points.T
        if kind == "trace":
            outer = np.trace(self["gram_out"], axis1=1, axis2=2)
            return np.asarray(o * inner + outer[:, None, None] * overlap)
        first = np.einsum("tmn,ab->tmanb", inner, np.eye(o))
        return np.asarray(first + np.einsum("mn,tab->tmanb", overlap, self["gram_out"]))

    def residual(self) -> float:
        """Return how far the trajectory violates its equation of motion: an a posteriori check.

        The largest of ``|w(t+h) - w(t) - int_t^{t+h} velocity(w) dt|``, h a tenth of the fastest
        relaxation time, relative to ``h`` times the fastest rate times the largest weight (where
        only Gram matrices are known, of them and the map). About 1e-14 for a closed form, the
        solver's tolerance for a flow. For a descent the integral is that of the flow (trapezium
        rule), so the residual is the effect of the finite step.
        """
        sample = np.unique(np.linspace(0, len(self.t) - 1, RESIDUAL_TIMES).astype(int))
        if self.step is None:
            return self.orbit.residual(self.t[sample])
        fastest, largest = self.model.fastest(), float(np.max(np.abs(self.state), initial=0.0))
        if fastest == 0 or largest == 0:
            return 0.0
        here = self.state[sample]
        before = self.model.velocity(here)
        after = self.model.velocity(here + self.step * before)
        defect = self.step * (after - before) / 2
        return float(np.max(np.abs(defect)) / (self.step * fastest * largest))

    def drift(self) -> float:
        """Return how far what the flow conserves has moved: a check, necessary and not sufficient.

        The `layerwise.measures.drift` of ``conserved``, less the fall that weight decay causes,
        ``exp(-2 decay rate t)``; 0 for a model that conserves nothing. A flow that is late, or
        went the wrong way from a saddle, does not move it.

        Raises
        ------
        ValueError
            With decay and unequal layer rates, where the fall follows no law.

        Examples
        --------
        >>> import layerwise as lw
        >>> sol = lw.solve(lw.Diagonal(1.0, a=0.1, b=0.5), [0.0, 2.0, 8.0], method="flow")
        >>> sol.drift() < 1e-10, sol.rise() < 1e-14
        (True, True)
        """
        if "conserved" not in self.quantities:
            return 0.0
        if np.any(np.isnan(self.model.fade)):
            raise ValueError("with decay and unequal rates of the layers nothing is conserved")
        kept = self["conserved"]
        start = self.model.quantity("conserved", self.model.start[None])
        time = self.t.reshape(-1, *(1,) * (kept.ndim - 1))
        kept = np.concatenate([start, kept - start * np.expm1(-self.model.fade * time)])
        return float(measures.drift(kept))

    def rise(self) -> float:
        """Return the largest rise of the loss from one time to the next, as a share of its largest.

        With the decay term, which the flow descends too. It falls at every moment of an exact
        flow, so more than rounding is an error; that too is necessary and not sufficient.
        """
        loss = self["loss"]
        if np.any(self.model.fade):
            loss = loss + self.model.penalty(self.state)
        largest = float(np.max(loss))
        return float(np.max(np.diff(loss, axis=0), initial=0.0)) / largest if largest else 0.0

    def cite(self) -> str:
        """Return BibTeX of the law that was used, or of the solver, and of this package."""
        return sources.cite(self.method, self.law)

    def trace(self, *names: str) -> Trace:
        """Return quantities as a `Trace`, with the model and the law as provenance.

        All of them by default; for matrix models those that are no matrices over time.
        """
        clock = "gradient-flow time" if self.step is None else "steps x learning rate"
        config = self.model.config() | {"method": self.method, "law": self.law, "step": self.step}
        provenance = Provenance("theory", clock, config, versions=versions("scipy"))
        return Trace(self.t, {name: self[name] for name in names or self.model.traced}, provenance)

    def _must_fit(self, name: str, times: Array) -> None:
        needed = 8.0 * len(times) * self.model.size_of(name)
        allowed = MEMORY_SHARE * _memory()
        if needed > allowed:
            raise MemoryError(
                f"{name!r} at {len(times)} times takes {needed / 1e9:.1f} GB, this machine has "
                f"{_memory() / 1e9:.1f} GB; ask for fewer times, for 'modes', 'loss' or "
                "'singular_values', or write the map in parts with evaluate('map', t, out=...)"
            )

    def _must_fit_out(self, name: str, times: Array, out: Array) -> None:
        if name != "map" or not isinstance(self.model, Linear):
            raise ValueError(f"out= is for the 'map' of a Linear, not for {name!r}")
        shape = (len(times), *self.model.cross.shape)
        if out.shape != shape or out.dtype != np.float64 or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be a contiguous float64 array of shape {shape}, got {out.dtype} "
                f"{out.shape}"
            )


def increasing(t: npt.ArrayLike) -> Array:
    """Return times as a float array, or raise a ValueError that says what is wrong with them."""
    given = np.asarray(t)
    if given.dtype.kind not in "biuf" or given.ndim > 1 or given.size == 0:
        raise ValueError(
            f"t must be a number or a sequence of numbers, got dtype {given.dtype} and shape "
            f"{given.shape}"
        )
    times = np.atleast_1d(given.astype(float))
    if not np.all(np.isfinite(times)):
        raise ValueError("t must be finite")
    if np.any(times < 0):
        raise ValueError(f"t must not be negative, got {times.min()}")
    if np.any(np.diff(times) <= 0):
        at = int(np.argmax(np.diff(times) <= 0))
        raise ValueError(
            f"t must increase strictly, but t[{at}] = {times[at]} and t[{at + 1}] = {times[at + 1]}"
        )
    return times


def _memory() -> float:
    """Return the machine's memory in bytes; without limit where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
