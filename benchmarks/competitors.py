"""What `theory_speed` compares with: ODE solvers as competitors, and references for the errors.

Each competitor integrates the weights and keeps only what is asked. It takes a `Flow` and returns
a function of the relative tolerance (the absolute one is a tenth of it); what can be done before
the tolerance is known, above all compiling, is done before that function is returned. DOP853 and
diffrax store no weights: at every time asked the quantity is formed from the interpolated weights.

The references share no code with the library: short exact steps for matrices, extended precision
for pairs, quadrature and bisection for depth.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import integrate, linalg

__all__ = [
    "THEIRS",
    "Arrays",
    "Flow",
    "Run",
    "balanced",
    "bdf",
    "cpu",
    "deep",
    "dop853",
    "dopri8",
    "error",
    "lsoda",
    "pair",
    "short",
    "trial",
    "tsit5",
]

Array = npt.NDArray[np.float64]
Arrays = tuple[Array, ...]
Run = Callable[[float], Arrays]

ABSOLUTE = 0.1  # absolute over relative tolerance
TOLERANCES = tuple(float(f"{c}e-{n}") for n in range(6, 14) for c in (1, 0.3))
THEIRS = 1e-7  # the error a competitor must reach
SHORT = 0.2  # seconds below which a run is repeated
CACHED = 100_000  # numbers: interpolated weights are formed in blocks that stay in the cache
GROWTH = 1e4  # of the matrix that an exact step of `balanced` inverts
LEARNED, HALVINGS = 60.0, 60  # logit(u/S) beyond which u = S in float64; 60/2^60 is rounding


@dataclass(frozen=True, eq=False)
class Flow:
    """Weights under gradient flow, and what is asked of them.

    `velocity` and `asked` are written with operators only: numpy runs them with times as leading
    axes, jax compiles the same source.
    """

    start: Arrays
    data: Arrays
    times: Array
    velocity: Callable[[Arrays, Arrays], Arrays]
    asked: Callable[[Arrays, Arrays], Arrays]
    jacobian: Callable[[Arrays, Arrays], Array] | None = None  # (n, n), or (1, n) if diagonal

    def split(self, y: Array) -> Arrays:
        """Return the weights of a state (..., n)."""
        lead, sizes = y.shape[:-1], [w.size for w in self.start]
        parts = np.split(y, np.cumsum(sizes)[:-1], axis=-1)
        return tuple(p.reshape(*lead, *w.shape) for p, w in zip(parts, self.start, strict=True))

    def slope(self, t: float, y: Array) -> Array:
        """Return the velocity as one vector, the form scipy wants."""
        return np.concatenate([w.ravel() for w in self.velocity(self.split(y), self.data)])

    def tangent(self, t: float, y: Array) -> Array:
        """Return the Jacobian of `slope`."""
        return self.jacobian(self.split(y), self.data)

    @property
    def origin(self) -> Array:
        """The start as one vector."""
        return np.concatenate([w.ravel() for w in self.start])


def dop853(flow: Flow) -> Run:
    """Scipy's DOP853, stepped by hand so that it stores only what is asked."""
    return partial(_stepped, flow)


def _stepped(flow: Flow, rtol: float) -> Arrays:
    times, y = flow.times, flow.origin
    solver = integrate.DOP853(flow.slope, 0.0, y, times[-1], rtol=rtol, atol=ABSOLUTE * rtol)
    shapes = [q.shape for q in flow.asked(flow.start, flow.data)]
    kept = tuple(np.empty((len(times), *shape)) for shape in shapes)
    done, block = 0, max(1, CACHED // y.size)
    while solver.status == "running":
        message = solver.step()
        if solver.status == "failed":
            raise RuntimeError(message)
        reached = int(np.searchsorted(times, solver.t, side="right"))
        if reached == done:
            continue
        between = solver.dense_output()
        for first in range(done, reached, block):
            some = slice(first, min(first + block, reached))
            values = flow.asked(flow.split(between(times[some]).T), flow.data)
            for into, value in zip(kept, values, strict=True):
                into[some] = value
        done = reached
    return kept


def tsit5(flow: Flow) -> Run:
    """Diffrax's Tsit5, compiled."""
    return _compiled(flow, "Tsit5")


def dopri8(flow: Flow) -> Run:
    """Diffrax's Dopri8, compiled."""
    return _compiled(flow, "Dopri8")


def _compiled(flow: Flow, solver: str) -> Run:
    import diffrax
    import jax

    def solve(start, data, times, rtol):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, weights, data: flow.velocity(weights, data)),
            getattr(diffrax, solver)(),
            t0=0.0,
            t1=times[-1],
            dt0=None,
            y0=start,
            args=data,
            saveat=diffrax.SaveAt(ts=times, fn=lambda t, weights, data: flow.asked(weights, data)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=ABSOLUTE * rtol),
            max_steps=10_000_000,
        ).ys

    given = jax.device_put((flow.start, flow.data, flow.times))
    run = jax.jit(solve).lower(*given, 1e-8).compile()
    return lambda rtol: jax.block_until_ready(run(*given, rtol))


def lsoda(flow: Flow) -> Run:
    """LSODA with the analytic Jacobian, banded where the flow says so."""
    band = 0 if flow.tangent(0.0, flow.origin).shape[0] == 1 else None

    def run(rtol: float) -> Arrays:
        states = integrate.odeint(
            flow.slope, flow.origin, flow.times, Dfun=flow.tangent, tfirst=True, ml=band, mu=band,
            rtol=rtol, atol=ABSOLUTE * rtol, mxstep=1_000_000,
        )  # fmt: skip
        return flow.asked(flow.split(states), flow.data)

    return run


def bdf(flow: Flow) -> Run:
    """Scipy's BDF with the analytic Jacobian."""

    def run(rtol: float) -> Arrays:
        states = integrate.solve_ivp(
            flow.slope, (0.0, flow.times[-1]), flow.origin, "BDF", flow.times,
            jac=flow.tangent, rtol=rtol, atol=ABSOLUTE * rtol,
        ).y.T  # fmt: skip
        return flow.asked(flow.split(states), flow.data)

    return run


# --- which tolerance ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """A competitor at ever tighter tolerances, up to the first that reaches `THEIRS`."""

    name: str
    preparing: float  # CPU seconds
    tried: list[tuple[float, float | None, float]]  # tolerance, error, CPU seconds
    run: Callable[[], Arrays] | None  # at the last of them, None if it does not reach

    def record(self) -> dict[str, object]:
        tried = [
            f"rtol {rtol:g}: {'' if gap is None else f'error {gap:.1e}, '}{1e3 * cost:.3g} ms"
            for rtol, gap, cost in self.tried
        ]
        return {
            "preparing_ms": short(1e3 * self.preparing),
            "tried": tried,
            "reaches": self.run is not None,
        }


def trial(competitor: Callable[[Flow], Run], flow: Flow, checked: Array, truth: Arrays) -> Trial:
    """Run a competitor until it reaches `THEIRS` at the times of index `checked`."""
    began = time.process_time()
    run = competitor(flow)
    preparing = time.process_time() - began
    tried: list[tuple[float, float | None, float]] = []
    for rtol in TOLERANCES:
        once = partial(run, rtol)
        cost, result = cpu(once)
        gap = error(tuple(q[checked] for q in result), truth)
        del result
        if cost < SHORT:  # the first run also touches fresh memory
            cost = statistics.median(cpu(once)[0] for _ in range(5))
        tried.append((rtol, gap, cost))
        if gap is None or gap <= THEIRS:
            return Trial(competitor.__name__, preparing, tried, once)
    return Trial(competitor.__name__, preparing, tried, None)


def cpu(run: Callable[[], Arrays]) -> tuple[float, Arrays]:
    """Return the CPU seconds of a call, and what it returned."""
    began = time.process_time()
    result = run()
    return time.process_time() - began, result


def error(values: Arrays, truth: Arrays) -> float | None:
    """Largest error of any quantity relative to max(1, its largest value); None for no answer."""
    if not values:
        return None
    return max(
        float(np.max(np.abs(got - true)) / max(1.0, np.max(np.abs(true))))
        for got, true in zip(values, truth, strict=True)
    )


def short(x: float | None) -> float | None:
    """Three digits, for the record."""
    return None if x is None else float(f"{x:.3g}")


# --- references ---------------------------------------------------------------------------------


def balanced(w1: Array, w2: Array, target: Array, lam: float, times: Array) -> Iterator[Arrays]:
    """Yield the weights, up to a rotation of hidden space, of a lambda-balanced start.

    With ``Q = [W1^T; W2]``, ``F = [[-lam/2, S^T], [S, lam/2]]`` and C the components of Q in the
    eigenvectors of F, a step of any length is exact, ``C <- e^{f t} C L^{-T}`` with
    ``L L^T = I + C^T p(f, t) C``; it is accurate row by row while it grows nothing by much.
    """
    outputs, inputs = target.shape
    diagonal = np.repeat([-lam / 2, lam / 2], [inputs, outputs])
    F = np.diag(diagonal)
    F[inputs:, :inputs], F[:inputs, inputs:] = target, target.T
    f, basis = np.linalg.eigh(F)
    C = basis.T @ np.concatenate([w1.T, w2])
    now = 0.0
    for t in times:
        while now < t:
            size = np.linalg.norm(C, 2) ** 2
            longest = np.log1p(2 * f[-1] * GROWTH / size) / (2 * f[-1])
            step = min(t - now, longest)
            now = t if step == t - now else now + step
            p = np.where(f == 0, step, np.expm1(2 * f * step) / np.where(f == 0, 1.0, 2 * f))
            L = np.linalg.cholesky(np.eye(C.shape[1]) + (C.T * p) @ C)
            C = linalg.solve_triangular(L, (np.exp(f * step)[:, None] * C).T, lower=True).T
        Q = basis @ C
        yield Q[:inputs].T, Q[inputs:]


def pair(a: Array, b: Array, target: Array, times: Array) -> Array:
    """Return a(t) b(t), shape (T, modes), for targets > 0: eigenvectors, extended precision."""
    a, b, S, t = (np.asarray(x, dtype=np.longdouble) for x in (a, b, target, times[:, None]))
    half = (b - a) * (b + a) / 2
    w = np.hypot(S, half)
    va, vb = np.where(half >= 0, S, w - half), np.where(half >= 0, w + half, S)
    va, vb = va / np.hypot(va, vb), vb / np.hypot(va, vb)
    plus, minus, e = va * a + vb * b, vb * a - va * b, np.exp(-2 * w * t)
    p = -np.expm1(-2 * w * t) / (2 * w)
    first, second = va * plus + vb * e * minus, vb * plus - va * e * minus
    return (first * second / (e * (1 + minus**2 * p) + plus**2 * p)).astype(float)


def deep(target: Array, weight: Array, depth: int, times: Array) -> Array:
    """Return w(t)^L, shape (T, modes), for depth L > 2 and 0 < w^L < S.

    With ``x = w/S^{1/L}`` the flow is ``S^{2-2/L} t = G(x) - G(x_0)``,
    ``G = x^{2-L}/(2-L) - ln(1 - x^L)/L + int_0^x s (1 - s^{L-2})/(1 - s^L) ds``.
    """
    nodes, weights = np.polynomial.legendre.leggauss(24)
    nodes, weights = (nodes + 1) / 2, weights / 2
    above, below = np.ones(depth - 2), np.ones(depth)

    def clock(y: Array) -> Array:  # G, of y = logit(x^L)
        x = np.exp(-np.logaddexp(0.0, -y) / depth)
        smooth = np.zeros_like(x)
        for node, weight in zip(nodes, weights, strict=True):
            s = node * x
            smooth += weight * x * s * np.polyval(above, s) / np.polyval(below, s)
        return x ** (2 - depth) / (2 - depth) + np.logaddexp(0.0, y) / depth + smooth

    start = weight**depth / target
    y = np.log(start / (1 - start))
    wanted = target ** (2 - 2 / depth) * times[:, None] + clock(y)
    low, high = np.broadcast_to(y, wanted.shape), np.full(wanted.shape, LEARNED)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = clock(middle) < wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return target / (1 + np.exp(-low))
