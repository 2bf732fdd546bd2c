"""Numerical gradient flow and plain gradient descent, for any model.

The flow is the independent check of every closed form, and the answer where there is none.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import Model

__all__ = ["descend", "flow"]

Array = npt.NDArray[np.float64]
Velocity = Callable[[float, Array], Array]

RTOL = 1e-13  # of a part by itself
GROWN = 3.0  # growth of the weights after which the absolute tolerance is renewed
# An explicit solver needs about one step per relaxation time: beyond this many go implicit, later
# where the matrix to be factored has more than 100 x 100 numbers.
STIFF, CHEAP = 1e3, 100
BULKY = 500  # weights of which a Jacobian is formed only after the explicit solver had its share
MANY = 3000  # weights of which none is formed
# LSODA predicts a step by h times the velocity, whose rounding limits h to RTOL/eps relaxation
# times. Radau damps it, if what is small beside its part may be as wrong as the rest.
LATE, LATE_RTOL = 1e7, 1e-10
NEXT = 10.0  # from one late look for rest to the next, in time
EPS = float(np.finfo(np.float64).eps)
LEAST_RTOL = 100 * EPS  # scipy goes no further
REST = 2 * EPS  # of the largest weight, in a relaxation time: a smaller velocity is rounding
LEAVES = 5.0  # growths, in units of e, by which what rounding hides in a state at rest stays hidden
FEW, TOGETHER = 16, 256  # parts that are solved one by one; parts, of more, solved as one
MAX_EVALUATIONS, MAX_WORK = 1e6, 1e10  # of the velocity; times weights
MAX_STEPS = 20_000_000
STEP_SHARE = 0.01  # default descent step, in units of the fastest relaxation time


def flow(model: Model, t: Array) -> Array:
    """Return the states of the gradient flow at times `t`, shape (T, *blocks, d).

    Up to 16 independent parts are solved apart, with a relative tolerance of 1e-13. More are solved
    256 at a time with that over the root of their number (2.2e-14 at least), since a solver keeps
    only the root mean square of the errors below its tolerance. The absolute tolerance is that
    share of what moves each weight in a relaxation time, and is renewed when the weights have
    grown threefold.

    DOP853 where the fastest rate times the horizon is below 1e3 (more where the Jacobian is large);
    beyond, LSODA with the Jacobian, banded for many parts, to 1e7 relaxation times, and then Radau
    at 1e-10, sparse for many parts. A part of more than 3000 weights stays with DOP853. A part that
    only rounding moves, and that has no growing direction, is at rest and held.

    The map is within 1e-9 relative to ``max(1, largest)``, from starts of 1e-8 too, with one
    exception: errors of learned modes, of rounding at least, disturb those of the same matrices
    that still wait. With targets 1e4 apart, from 1e-8, that is an error of 3e-9 of the largest.

    Raises
    ------
    ArithmeticError
        If the horizon is not reached in 1e6 evaluations of the velocity, fewer above 1e4 weights
        (the time that was reached is named), or if a solver gives up (its message is passed on).
    """
    parts = list(model.parts())
    states = np.repeat(model.start.reshape(1, len(parts), -1), len(t), axis=0)
    together = TOGETHER if len(parts) > FEW else 1
    for group in np.array_split(np.arange(len(parts)), -(-len(parts) // together)):
        _integrate(model, parts, group, t, states)
    return states.reshape(len(t), *model.start.shape)


def descend(
    model: Model, t: Array, step: float | None = None
) -> tuple[float, npt.NDArray[np.int64], Array]:
    """Return step, step counts and states of gradient descent with a finite step.

    Its clock is steps x learning rate: the counts are the distinct whole numbers of steps nearest
    to `t`. Default step: 1 % of the fastest relaxation time.

    Raises
    ------
    ValueError
        If the step is not positive, or more than 2e7 steps would be needed (the message says what
        step would do).
    """
    fastest = model.fastest()
    if step is None:
        step = STEP_SHARE / fastest if fastest else max(float(t[-1]), 1.0)
    if not np.isfinite(step) or step <= 0:
        raise ValueError(f"the descent step must be positive and finite, got {step}")
    needed = float(t[-1]) / step
    if needed > MAX_STEPS:
        raise ValueError(
            f"descent to t = {t[-1]:g} needs {needed:.3g} steps of {step:.3g}, more than "
            f"{MAX_STEPS:.0e}; pass step >= {t[-1] / MAX_STEPS:.3g}, or use method='flow'"
        )
    counts = np.unique(np.rint(t / step).astype(np.int64))
    state, done = model.start, 0
    out = np.empty((len(counts), *state.shape))
    with np.errstate(over="ignore", invalid="ignore"):  # a divergence is said below, in words
        for index, count in enumerate(counts):
            for _ in range(count - done):
                state = state + step * model.velocity(state)
            out[index], done = state, count
    if not np.all(np.isfinite(state)):
        raise ArithmeticError(
            f"gradient descent diverged with step {step:.3g}; the fastest relaxation rate is about "
            f"{fastest:.3g}, so use a step well below {2 / fastest:.3g}"
        )
    return step, counts, out


def _integrate(
    model: Model, parts: list[Model], moving: npt.NDArray[np.intp], t: Array, states: Array
) -> None:
    """Write the trajectory of the `moving` parts to `states` (T, parts, d), all at their start."""
    now, begin, horizon, quiet = states[0].copy(), 0.0, float(t[-1]), False
    evaluations, allowed = count(), min(MAX_EVALUATIONS, MAX_WORK // now.size)

    def velocity(time: float, state: Array) -> Array:
        if next(evaluations) >= allowed:
            raise ArithmeticError(
                f"the flow of {type(model).__name__} was at t = {time:.3g} of {horizon:.3g} after "
                f"{allowed:.0e} evaluations of its velocity; ask for times up to that"
            )
        now[moving] = state.reshape(len(moving), -1)
        return model.velocity(now.reshape(model.start.shape)).reshape(now.shape)[moving].ravel()

    while begin < horizon:
        moving = moving[[not _rests(parts[k], now[k], horizon - begin) for k in moving]]
        if not len(moving):
            return
        group = [parts[k] for k in moving]
        method, end = _choose(group, begin, horizon, quiet)
        inside = t[(t > begin) & (t <= end)]
        end, found, quiet = _solve(velocity, group, now[moving], method, begin, end, inside)
        first, last = np.searchsorted(t, [begin, end], side="right")
        states[first:last, moving] = found[: last - first]
        states[last:, moving] = now[moving] = found[-1]
        begin = end


def _choose(group: list[Model], begin: float, horizon: float, quiet: bool) -> tuple[str, float]:
    """Return the solver to go on with and the time up to which it is the best."""
    d = group[0].start.size
    fastest = max(part.fastest() for part in group)
    explicit = STIFF * max(1.0, (d / CHEAP) ** 2)
    if d > MANY:
        return "DOP853", horizon
    if quiet:
        return "Radau", min(horizon, NEXT * begin)
    if d > BULKY or horizon * fastest <= explicit:
        return "DOP853", min(horizon, explicit / fastest)
    return "LSODA", min(horizon, LATE / fastest)


def _solve(
    velocity: Velocity,
    group: list[Model],
    start: Array,
    method: str,
    begin: float,
    end: float,
    t: Array,
) -> tuple[float, Array, bool]:
    """Return the time reached, the states at times `t` up to it and at it, and if all is quiet.

    All is quiet unless the weights have grown threefold, which ends a piece as rest does.
    """
    from scipy.integrate import solve_ivp  # slow to import, needed by flows alone

    n, d = start.shape
    rates = np.array([part.fastest() for part in group])
    rtol = max((LATE_RTOL if method == "Radau" else RTOL) / math.sqrt(n), LEAST_RTOL)
    scale = np.array([_scale(part, w) for part, w in zip(group, start, strict=True)])
    highest = GROWN * max(float(np.max(np.abs(start))), float(np.max(scale)))

    def grown(time: float, state: Array) -> float:
        return highest - float(np.max(np.abs(state)))

    def still(time: float, state: Array) -> bool:
        speed = np.max(np.abs(velocity(time, state)).reshape(n, d), axis=1)
        return bool(np.all(speed <= REST * rates * np.max(np.abs(state).reshape(n, d), axis=1)))

    rested, watched = math.inf, not still(begin, start)

    def left(time: float, state: Array) -> float:
        # the first step at rest ends the piece: between two steps there is no root but rounding's
        nonlocal rested
        if watched and rested == math.inf and still(time, state):
            rested = time
        return rested - time

    for event in (grown, left):
        event.terminal, event.direction = True, -1  # type: ignore[attr-defined]
    if method == "Radau":
        scale = np.maximum(scale, np.max(np.abs(start), axis=1, keepdims=True))
    settings: dict[str, Any] = {"method": method, "rtol": rtol, "atol": rtol * scale.ravel()}
    if method != "Radau":
        settings["events"] = grown, left
    if method == "LSODA" and n > 1:
        settings |= {"lband": d - 1, "uband": d - 1}
    elif method != "DOP853":
        settings["jac"] = lambda time, state: _jacobian(group, state.reshape(n, d))
    with warnings.catch_warnings():  # LSODA also warns of what is raised below
        warnings.simplefilter("ignore", UserWarning)
        asked = np.union1d(t, end)
        found: Any = solve_ivp(velocity, (begin, end), start.ravel(), t_eval=asked, **settings)
    if not found.success:
        raise ArithmeticError(
            f"the flow of {type(group[0]).__name__} failed ({found.message.strip()}); the fastest "
            f"rate times the horizon is {np.max(rates) * end:.2g}"
        )
    states = np.reshape(np.transpose(found.y), (-1, n, d))
    if found.status == 0:
        return end, states, True
    last = 0 if len(found.t_events[0]) else 1
    states = np.concatenate([states, found.y_events[last].reshape(1, n, d)])
    return float(found.t_events[last][0]), states, last == 1


def _jacobian(group: list[Model], states: Array) -> Any:
    if len(group) == 1:
        return group[0].jacobian(states[0])
    from scipy.sparse import block_diag

    blocks = [part.jacobian(state) for part, state in zip(group, states, strict=True)]
    return block_diag(blocks, format="csc")


def _scale(part: Model, state: Array) -> Array:
    """Return for each weight the size of what moves it, in a relaxation time.

    A plateau is left exponentially, so an error made on it is multiplied by target/start: the
    absolute tolerance must scale with the start. It cannot be less than rounding.
    """
    speed = np.abs(part.velocity(state))
    if state.size > MANY:
        speed = np.full(state.size, np.max(speed))
    else:
        speed += np.abs(part.jacobian(state)) @ np.abs(state)
    scale = speed / part.fastest()
    size = max(np.max(np.abs(state)), EPS * np.max(np.abs(part.start)))
    return np.asarray(np.maximum(scale, EPS / RTOL * size))


def _rests(part: Model, state: Array, left: float) -> bool:
    """Return whether a part moves by rounding alone, and what rounding hides does not grow."""
    velocity = part.velocity(state)
    if not np.any(velocity):
        return True
    if np.max(np.abs(velocity)) > REST * part.fastest() * np.max(np.abs(state)):
        return False
    if state.size > MANY:
        return True
    matrix = part.jacobian(state)
    symmetric = np.allclose(matrix, matrix.T, rtol=1e-12, atol=0)
    rates = np.linalg.eigvalsh(matrix) if symmetric else np.linalg.eigvals(matrix).real
    return bool(np.max(rates) * left <= LEAVES)
