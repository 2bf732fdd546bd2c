"""`solve`: from a model to its solution, exactly or by flow, and which of the two it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.theory import sources
from layerwise.theory.flow import descend, flow
from layerwise.theory.laws import decay, pair, shallow
from layerwise.theory.model import Model
from layerwise.theory.models import Diagonal, Scalar, Shallow
from layerwise.trace import Provenance, Trace, versions

__all__ = ["NotSolvable", "Solution", "solve", "time_to"]

Array = npt.NDArray[np.float64]
Method = Literal["auto", "exact", "flow", "descent"]

METHODS = ("auto", "exact", "flow", "descent")
# `residual` looks at this many of the solution's times, over a tenth of the fastest relaxation
# time, by a Gauss-Legendre rule that is then exact to rounding.
RESIDUAL_TIMES = 64
RESIDUAL_SPAN = 0.1
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)


class NotSolvable(ValueError):
    """No closed form covers the request; the message says why and what to do instead."""


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
    state
        The weights as one array of shape (T, ...), see `Model`.
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
    method: Literal["exact", "flow", "descent"]
    law: str | None
    state: Array
    step: float | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names that ``solution[name]`` understands."""
        return self.model.quantities

    def __getitem__(self, name: str) -> Array:
        return self.model.quantity(name, self.state)

    def weights(self, t: npt.ArrayLike | None = None) -> tuple[Array, ...]:
        """Return the weights, one array per layer, at the solution's own times or at any `t`.

        Each array has the shape of `t` followed by that of the weights. For a descent `t` is taken
        to the nearest whole step.
        """
        if t is None:
            return self.model.split(self.state)
        asked = np.asarray(t, dtype=float)
        distinct, places = np.unique(asked, return_inverse=True)
        states = self._states(_times(distinct))
        return self.model.split(states[places.reshape(asked.shape)])

    def residual(self) -> float:
        """Return how far the trajectory violates its equation of motion: an a posteriori check.

        The largest of ``|w(t+h) - w(t) - int_t^{t+h} velocity(w) dt|``, h a tenth of the fastest
        relaxation time, relative to ``h`` times the fastest rate times the largest weight. About
        1e-14 for a closed form, the solver's tolerance for a flow. For a descent the integral is
        that of the flow (trapezium rule), so the residual is the effect of the finite step.
        """
        fastest, largest = self.model.fastest(), float(np.max(np.abs(self.state), initial=0.0))
        if fastest == 0 or largest == 0:
            return 0.0
        sample = np.unique(np.linspace(0, len(self.t) - 1, RESIDUAL_TIMES).astype(int))
        if self.step is not None:
            here = self.state[sample]
            before = self.model.velocity(here)
            after = self.model.velocity(here + self.step * before)
            defect = self.step * (after - before) / 2
            return float(np.max(np.abs(defect)) / (self.step * fastest * largest))
        h = RESIDUAL_SPAN / fastest
        at = self.t[sample, None] + h * np.concatenate([[0.0], (NODES + 1) / 2, [1.0]])
        distinct, places = np.unique(at, return_inverse=True)
        states = self._states(distinct)[places.reshape(at.shape)]
        velocity = self.model.velocity(states[:, 1:-1])
        moved = h / 2 * np.tensordot(velocity, WEIGHTS, axes=(1, 0))
        defect = states[:, -1] - states[:, 0] - moved
        return float(np.max(np.abs(defect)) / (h * fastest * largest))

    def cite(self) -> str:
        """Return BibTeX of the law that was used, or of the solver, and of this package."""
        match self.law:
            case None:
                used = [sources.SCIPY] if self.method == "flow" else []
            case "shallow":
                used = []
            case "pair":
                used = [sources.SAXE, sources.POSITION]
            case _:
                used = [sources.POSITION]
        return "\n\n".join([*used, sources.SOFTWARE])

    def trace(self) -> Trace:
        """Return all quantities as a `Trace`, with the model and the law as provenance."""
        clock = "gradient-flow time" if self.step is None else "steps x learning rate"
        config = self.model.config() | {"method": self.method, "law": self.law, "step": self.step}
        provenance = Provenance("theory", clock, config, versions=versions("scipy"))
        return Trace(self.t, {name: self[name] for name in self.quantities}, provenance)

    def _states(self, t: Array) -> Array:
        match self.method:
            case "exact":
                return _exact(self.model, t)[1]
            case "flow":
                return flow(self.model, t)
            case "descent":
                step, counts, states = descend(self.model, t, self.step)
                return states[np.searchsorted(counts, np.rint(t / step))]
            case _:
                assert_never(self.method)


def solve(
    model: Model, t: npt.ArrayLike, method: Method = "auto", *, step: float | None = None
) -> Solution:
    """Solve a layerwise linear model.

    Parameters
    ----------
    model
        A `Shallow`, `Diagonal` or `Scalar`.
    t
        Times in units of the gradient flow: a number or an increasing sequence, not negative.
    method
        ``"exact"``: closed form. ``"flow"``: numerical gradient flow (relative tolerance 1e-12).
        ``"descent"``: gradient descent with a finite step. ``"auto"``: exact if there is a law,
        else flow; ``solution.method`` and ``solution.law`` say which it was.
    step
        Learning rate of the descent (default: 1 % of the fastest relaxation time).

    Returns
    -------
    Solution
        Quantities by name (``solution["map"]``), weights, residual, citation, trace.

    Raises
    ------
    ValueError
        For times that are negative, unsorted or not finite, and for an unknown method.

    Examples
    --------
    >>> import layerwise as lw
    >>> model = lw.Diagonal(target=[2.0, -1.0], a=0.1, b=[0.1, -0.3])
    >>> lw.solve(model, [0.0, 1.0, 30.0])["map"].round(4)
    array([[ 0.01  , -0.03  ],
           [ 0.4306, -0.2355],
           [ 2.    , -1.    ]])
    """
    if not isinstance(model, Model):
        raise TypeError(f"solve takes a layerwise model, got {type(model).__name__}")
    times = _times(t)
    if method not in METHODS:
        raise ValueError(nearest(str(method), METHODS, kind="method"))
    if step is not None and method != "descent":
        raise ValueError(f"step belongs to method='descent', got method={method!r}")
    match method:
        case "exact" | "auto":
            law, state = _exact(model, times)
            return Solution(model, times, "exact", law, state)
        case "flow":
            return Solution(model, times, "flow", None, flow(model, times))
        case "descent":
            rate, counts, state = descend(model, times, step)
            return Solution(model, rate * counts.astype(float), "descent", None, state, rate)
        case _:
            assert_never(method)


def time_to(
    model: Model, *, level: npt.ArrayLike | None = None, error: npt.ArrayLike | None = None
) -> Array:
    """Return when the map reaches a level, by the inverse of the closed form.

    Parameters
    ----------
    model
        A `Shallow`, `Diagonal`, or `Scalar` without decay.
    level
        The value of ``map`` to reach; or
    error
        the remaining ``target - map``, which keeps every digit of "within 1e-12 of the target".
        Either broadcasts against the modes (or the batch) of the model.

    Returns
    -------
    Array
        Times, 0 at the start's own level, infinity where the flow never gets there.

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Scalar(target=1.0, a=[0.1, 0.1], b=[0.1, 0.1])
    >>> float(lw.time_to(net, level=0.5).round(4))
    1.9459
    """
    if (level is None) == (error is None):
        raise ValueError("time_to takes either level= or error=")
    target = getattr(model, "target", None)
    left = np.asarray(error if level is None else target - np.asarray(level), dtype=float)
    if not np.all(np.isfinite(left)):
        raise ValueError("the level to reach must be finite")
    match model:
        case Shallow():
            return shallow.time_to(model.theta, model.target, model.rate, left)
        case Diagonal():
            a, b, one = model.a[..., None], model.b[..., None], np.ones(())
            return pair.time_to(a, b, model.target, one, model.rate, left)
        case Scalar() if not np.any(model.decay):
            return pair.time_to(model.a, model.b, model.target, model.scale, model.rate, left)
    raise NotSolvable(
        f"no inverse law for {type(model).__name__} with decay; solve it and read the crossing "
        "with measures.crossing_time, or use theory.laws.decay.rich_time for the grokking clock"
    )


def _exact(model: Model, t: Array) -> tuple[str, Array]:
    """Return the name of the law and the states (T, *blocks, d)."""
    match model:
        case Shallow():
            column = t.reshape(-1, *(1,) * model.target.ndim)
            theta = shallow.weights(model.theta, model.target, model.rate, column)
            return "shallow", theta[..., None]
        case Diagonal():
            a, b, one = model.a[..., None], model.b[..., None], np.ones(())
            first, second = pair.weights(a, b, model.target, one, model.rate, t)
            return "pair", np.concatenate([first, second], axis=-1)
        case Scalar() if not np.any(model.decay):
            layers = pair.weights(model.a, model.b, model.target, model.scale, model.rate, t)
            return "1-h-1", np.concatenate(layers, axis=-1)
        case Scalar():
            return _decayed(model, t)
    raise NotSolvable(f"no closed form is known for {type(model).__name__}; use method='flow'")


def _decayed(model: Scalar, t: Array) -> tuple[str, Array]:
    state = np.empty((len(t), *model.start.shape))
    laws = set()
    for k, part in zip(np.ndindex(model.target.shape), model.parts(), strict=True):
        if part.decay == 0:
            law, state[(slice(None), *k)] = _exact(part, t)
        else:
            S, Z, s, lam = (float(x) for x in (part.target, part.scale, part.rate, part.decay))
            path = decay.weights(part.a, part.b, S, Z, s, lam, t)
            law = f"1-h-1 with decay ({'Bessel' if path.closed else 'scalar ODE'})"
            state[(slice(None), *k)] = np.concatenate([path.a, path.b], axis=-1)
        laws.add(law)
    return " + ".join(sorted(laws)), state


def _times(t: npt.ArrayLike) -> Array:
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
