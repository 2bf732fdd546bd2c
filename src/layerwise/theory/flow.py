"""Numerical gradient flow and plain gradient descent, for any model.

The flow is the independent check of every closed form, and the answer where there is none.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import Model

__all__ = ["descend", "flow"]

Array = npt.NDArray[np.float64]

# A plateau is left exponentially, so an error made on it is multiplied by target/start: the
# absolute tolerance must scale with the start.
RTOL = 1e-12
ATOL_SHARE = 1e-3
# An explicit solver needs about one step per relaxation time: beyond this many, go implicit.
STIFF = 1e3
MAX_STEPS = 20_000_000
STEP_SHARE = 0.01  # default descent step, in units of the fastest relaxation time


def flow(model: Model, t: Array, rtol: float = RTOL) -> Array:
    """Return the states of the gradient flow at times `t`, shape (T, *blocks, d).

    Independent parts are integrated apart: stacked, their root-mean-square error would let the
    one that moves be wrong by many tolerances. DOP853 is used where the fastest relaxation rate
    times the horizon is below 1e3, LSODA with the analytic Jacobian beyond.

    Raises
    ------
    ArithmeticError
        If the solver gives up; its message is passed on.
    """
    start = model.start
    out = np.empty((len(t), *start.shape))
    for k, part in zip(np.ndindex(start.shape[:-1]), model.parts(), strict=True):
        out[(slice(None), *k)] = _integrate(part, t, rtol)
    return out


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


def _integrate(part: Model, t: Array, rtol: float) -> Array:
    from scipy.integrate import solve_ivp  # slow to import, needed by flows alone

    start = part.start.ravel()
    horizon = float(t[-1])
    if horizon == 0 or not np.any(part.velocity(start)):
        return np.broadcast_to(start, (len(t), start.size))
    solver: dict[str, Any] = {"method": "DOP853"}
    if part.fastest() * horizon > STIFF:
        solver = {"method": "LSODA", "jac": lambda time, state: part.jacobian(state)}
    scale = np.min(np.abs(start[start != 0]), initial=1.0)
    with warnings.catch_warnings():  # LSODA also warns of what is raised below
        warnings.simplefilter("ignore", UserWarning)
        solution = solve_ivp(
            lambda time, state: part.velocity(state),
            (0.0, horizon),
            start,
            t_eval=t,
            rtol=rtol,
            atol=ATOL_SHARE * rtol * scale,
            **solver,
        )
    if not solution.success:
        raise ArithmeticError(
            f"the flow of {type(part).__name__} failed ({solution.message.strip()}); the fastest "
            f"rate times the horizon is {part.fastest() * horizon:.2g}"
        )
    return np.asarray(solution.y.T)
