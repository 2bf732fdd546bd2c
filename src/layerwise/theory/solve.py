"""`solve`: from a model to its solution, exactly or by flow, and which of the two it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.theory.errors import NotSolvable
from layerwise.theory.flow import descend, flow
from layerwise.theory.grams import Grams
from layerwise.theory.laws import (
    decay,
    deep_aligned,
    low_rank,
    neuron,
    pair,
    riccati,
    shallow,
    two_valued,
)
from layerwise.theory.model import Model
from layerwise.theory.models import (
    Deep,
    DeepLinear,
    Diagonal,
    Features,
    Linear,
    Scalar,
    Shallow,
    Skills,
)
from layerwise.theory.models.deep import EQUAL
from layerwise.theory.orbits.aligned import AlignedGrams
from layerwise.theory.orbits.balanced import BalancedGrams
from layerwise.theory.orbits.deep import EqualChains, TwoLayers, chains, one_layer
from layerwise.theory.orbits.depth import EqualLayers
from layerwise.theory.orbits.features import Collapsed, Weighted
from layerwise.theory.orbits.low_rank import LowRankGrams
from layerwise.theory.orbits.network import Network
from layerwise.theory.orbits.orbit import Orbit, States
from layerwise.theory.orbits.pairs import Pairs
from layerwise.theory.orbits.skills import Learned
from layerwise.theory.orbits.two_valued import TwoValuedGrams
from layerwise.theory.solution import Solution, increasing
from layerwise.theory.structure import Assumption, Structure, detect

__all__ = ["solve"]

Array = npt.NDArray[np.float64]
Method = Literal["auto", "exact", "flow", "descent"]

UNUSED = 1e-12  # weights below this share are rounding
METHODS = ("auto", "exact", "flow", "descent")


@dataclass(frozen=True, eq=False)
class Exact:
    """A law found for a model, and the trajectory it gives."""

    law: str
    orbit: Orbit
    assumptions: tuple[Assumption, ...] = ()
    unexcited: int = 0


def solve(
    model: Model, t: npt.ArrayLike, method: Method = "auto", *, step: float | None = None
) -> Solution:
    """Solve a layerwise linear model.

    Parameters
    ----------
    model
        A `Shallow`, `Diagonal`, `Scalar`, `Deep`, `Linear`, `DeepLinear`, `Skills` or `Features`.
    t
        Times in units of the gradient flow: a number or an increasing sequence, not negative.
    method
        ``"exact"``: closed form, or a `NotSolvable` that lists what every law would need.
        ``"flow"``: numerical gradient flow (relative tolerance 1e-13). ``"descent"``: gradient
        descent with a finite step. ``"auto"``: exact if there is a law, else flow;
        ``solution.method`` and ``solution.law`` say which it was.
    step
        Learning rate of the descent (default: 1 % of the fastest relaxation time).

    Returns
    -------
    Solution
        Quantities by name (``solution["map"]``), weights, residual, citation, trace.

    Raises
    ------
    NotSolvable
        For ``method="exact"`` where no law applies: each assumption with the number that breaks
        it.
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
    times = increasing(t)
    if method not in METHODS:
        raise ValueError(nearest(str(method), METHODS, kind="method"))
    if step is not None and method != "descent":
        raise ValueError(f"step belongs to method='descent', got method={method!r}")
    if method == "descent":
        return _descended(model, times, step)
    if method == "flow":
        return Solution(model, times, "flow", None, _flowing(model, times))
    found, assumptions = _exact(model, times)
    if found is not None:
        return Solution(
            model, times, "exact", found.law, found.orbit, found.assumptions, found.unexcited
        )
    if method == "exact":
        raise NotSolvable(_refusal(model, assumptions))
    return Solution(model, times, "flow", None, _flowing(model, times), assumptions)


def _flowing(model: Model, t: Array) -> States:
    return _remembering(model, t, lambda times: flow(model, times))


def _descended(model: Model, t: Array, step: float | None) -> Solution:
    rate, counts, state = descend(model, t, step)

    def at(times: Array) -> Array:
        _, reached, states = descend(model, times, rate)
        return states[np.searchsorted(reached, np.rint(times / rate))]

    clock = rate * counts.astype(float)
    orbit = _remembering(model, clock, at, state)
    return Solution(model, clock, "descent", None, orbit, step=rate)


def _remembering(
    model: Model, t: Array, at: Callable[[Array], Array], known: Array | None = None
) -> States:
    """Return a trajectory that computes the states at its own times once."""
    own = at(t) if known is None else known
    return States(model, lambda times: own if times is t else at(times))


def _exact(model: Model, t: Array) -> tuple[Exact | None, tuple[Assumption, ...]]:
    """Return the law and its trajectory, or None and what the laws would have needed."""
    match model:
        case Shallow():
            return _elementwise(model, "shallow", lambda times: _shallow(model, times))
        case Diagonal():
            return Exact("pair", Pairs(model)), ()
        case Deep():
            equal = _equal_layers(model)
            return (Exact("depth", EqualLayers(model), equal) if equal[0].holds else None), equal
        case Skills():
            return Exact("skills", Learned(model)), ()
        case Scalar() if not np.any(model.decay):
            return _elementwise(model, "1-h-1", lambda times: _one_h_one(model, times))
        case Scalar():
            law, state = _decayed(model, t)
            again = _remembering(model, t, lambda times: _decayed(model, times)[1], state)
            return Exact(law, again), ()
        case Linear():
            structure = detect(model)
            return _network(model, structure, t), structure.assumptions
        case DeepLinear():
            return _deep_linear(model, t)
        case Features():
            return _features(model, t)
    return None, ()


def _elementwise(
    model: Model, law: str, at: Callable[[Array], Array]
) -> tuple[Exact, tuple[Assumption, ...]]:
    return Exact(law, States(model, at)), ()


def _shallow(model: Shallow, t: Array) -> Array:
    column = t.reshape(-1, *(1,) * model.target.ndim)
    return shallow.weights(model.theta, model.target, model.rate, column)[..., None]


def _one_h_one(model: Scalar, t: Array) -> Array:
    layers = pair.weights(model.a, model.b, model.target, model.scale, model.rate, t)
    return np.concatenate(layers, axis=-1)


def _equal_layers(model: Deep) -> tuple[Assumption, ...]:
    spread = float(np.max(model.spread))
    why = "unequal layers have no elementary law at depth 3 and beyond"
    return (
        Assumption(
            "layers equal but for signs", bool(np.all(model.equal_layers)), spread, EQUAL, why
        ),
    )


def _deep_linear(model: DeepLinear, t: Array) -> tuple[Exact | None, tuple[Assumption, ...]]:
    if len(model.weights) == 1:
        return _elementwise(model, "shallow", lambda times: one_layer(model, times))
    if len(model.weights) == 2:
        w1, w2 = model.weights
        exact, assumptions = _exact(Linear(w1, w2, model.cross, model.input_cov), t)
        return exact and replace(exact, orbit=TwoLayers(exact.orbit)), assumptions
    found, off = chains(model)
    along = Assumption(
        "layers and inputs aligned with the modes of the target",
        found is not None,
        off,
        deep_aligned.TOLERANCE,
        "each mode is then a chain of numbers",
    )
    if found is None:
        return None, (along,)
    equal = Assumption(
        "weights of each mode equal but for signs",
        found.unequal <= deep_aligned.EQUAL,
        found.unequal,
        deep_aligned.EQUAL,
        "unequal layers have no elementary law at depth 3 and beyond",
    )
    if not equal.holds:
        return None, (along, equal)
    orbit = EqualChains(model, found)
    return Exact("deep modes", orbit, (along, equal), found.unexcited), (along, equal)


def _features(model: Features, t: Array) -> tuple[Exact | None, tuple[Assumption, ...]]:
    needed = tuple(
        Assumption(name, off <= allowed, off, allowed, why)
        for name, off, allowed, why in model.needed
    )
    if not all(item.holds for item in needed):
        return None, needed
    if model.weights is None:
        law = "margin" if model.loss == "ce" else "modes"
        return Exact(law + " with decay" * any(model.decay), Collapsed(model), needed), needed
    exact, further = _exact(model.linear, t)
    needed = needed + further
    if exact is None:
        return None, needed
    orbit = Weighted(model, exact.orbit)
    return replace(exact, orbit=orbit, assumptions=needed), needed


def _decayed(model: Scalar, t: Array) -> tuple[str, Array]:
    state = np.empty((len(t), *model.start.shape))
    laws = set()
    for k, part in zip(np.ndindex(model.target.shape), model.parts(), strict=True):
        if part.decay == 0:
            law, state[(slice(None), *k)] = "1-h-1", _one_h_one(part, t)
        else:
            S, Z, s, lam = (float(x) for x in (part.target, part.scale, part.rate, part.decay))
            path = decay.weights(part.a, part.b, S, Z, s, lam, t)
            law = f"1-h-1 with decay ({'Bessel' if path.closed else 'scalar ODE'})"
            state[(slice(None), *k)] = np.concatenate([path.a, path.b], axis=-1)
        laws.add(law)
    return " + ".join(sorted(laws)), state


def _network(model: Linear, found: Structure, t: Array) -> Exact | None:
    """Return the trajectory of a two-layer network by the law that its structure allows."""
    reduced = found.reduced
    match found.law:
        case None:
            return None
        case "1-h-1":
            xi = reduced.xi
            same = Scalar(
                float(model.cross[0, 0]) / xi if xi else 0.0,
                (model.rates[1] / model.rates[0]) ** 0.25 * model.w1[:, 0],
                (model.rates[0] / model.rates[1]) ** 0.25 * model.w2[0],
                rate=xi * np.sqrt(np.prod(model.rates)),
                decay=model.decay * model.rates[0],
            )
            return _as_scalar(model, same, t, found.assumptions)
        case "modes":
            joint = found.joint
            assert joint is not None  # the law was found by it
            return Exact(
                "modes with decay" if model.decay else "modes",
                Network(model, lambda times: AlignedGrams(model, joint, times), t),
                found.assumptions,
            )
        case "neuron":
            return Exact(
                "neuron",
                States(model, lambda times: _neuron(model, found, times)),
                found.assumptions,
            )
        case "balanced" | "balanced with decay":
            return _balanced(model, found, t)
        case "two-valued":
            upper, lower = found.imbalance
            law = two_valued.prepare(reduced.w1, reduced.w2, reduced.cross, upper, -lower)
            return Exact(
                found.law,
                _of_grams(model, lambda times: TwoValuedGrams(model, reduced, law, times), t),
                found.assumptions,
            )
    raise AssertionError(f"no trajectory for the law {found.law}")


def _balanced(model: Linear, found: Structure, t: Array) -> Exact:
    reduced, lam = found.reduced, found.imbalance[0]
    modes = model.regression.modes if reduced.into is None else _modes(reduced.cross)
    o, i = reduced.cross.shape
    mirrored = lam > 0 or (lam == 0 and o > i)
    w1, w2 = (reduced.w2.T, reduced.w1.T) if mirrored else (reduced.w1, reduced.w2)
    network = w1, w2, modes[::-1] if mirrored else modes, -abs(lam), reduced.decay
    few = low_rank.prepare(*network) if low_rank.suits(modes[1], w1, w2) else None
    law = cache(lambda: riccati.prepare(*network))

    def grams(times: Array) -> Grams:
        if few is not None and few.holds(float(times[-1]) * reduced.clock):
            return LowRankGrams(model, reduced, few, mirrored, times)
        return BalancedGrams(model, reduced, law(), mirrored, times)

    unexcited = 0 if few is not None else law().unexcited
    return Exact(found.law or "", _of_grams(model, grams, t), found.assumptions, unexcited)


def _of_grams(model: Linear, grams: Callable[[Array], Grams], t: Array) -> Orbit:
    """Return the trajectory, of weights where the map needs them: on inputs without variance."""
    if model.input_cov is None:
        return Network(model, grams, t)
    values, vectors = model.regression.variances
    blind = vectors[:, values <= model.regression.extent[0] / 2]
    if np.linalg.norm(model.w1 @ blind) <= UNUSED * np.linalg.norm(model.w1):
        return Network(model, grams, t)
    network = Network(model, grams, t, blind @ blind.T)
    own = cache(lambda: network.states(t))
    return States(model, lambda times: own() if times is t else network.states(times))


def _modes(cross: Array) -> tuple[Array, Array, Array]:
    u, s, vt = np.linalg.svd(cross, full_matrices=False)
    return u, s, vt.T


def _as_scalar(model: Linear, same: Scalar, t: Array, assumptions: tuple[Assumption, ...]) -> Exact:
    change = (model.rates[1] / model.rates[0]) ** 0.25
    h = len(model.w1)
    undo = np.concatenate([np.full(h, 1 / change), np.full(h, change)])

    def at(times: Array) -> Array:
        return undo * (_decayed(same, times)[1] if model.decay else _one_h_one(same, times))

    law = _decayed(same, t)[0] if model.decay else "1-h-1"
    return Exact(law, States(model, at), assumptions)


def _neuron(model: Linear, found: Structure, t: Array) -> Array:
    """Return the weights of a network with one hidden direction."""
    reduced, hidden = found.reduced, found.hidden
    first, second = neuron.weights(reduced.w1, reduced.w2, reduced.cross, reduced.clock * t)
    change = math.sqrt(math.sqrt(model.rates[1] / model.rates[0]))
    still = np.zeros_like(model.w1)
    if reduced.into is not None:
        first = first @ reduced.into.T
        still = model.w1 - model.w1 @ reduced.into @ reduced.into.T
    if hidden is not None:
        first, second = hidden.T @ first, second @ hidden
    layers = still + first / change, second * change
    return np.concatenate([layer.reshape(len(t), -1) for layer in layers], axis=1)


def _refusal(model: Model, assumptions: tuple[Assumption, ...]) -> str:
    said = "".join(f"\n  {item}; {item.why}" for item in assumptions)
    return f"no closed form covers this {type(model).__name__}; use method='flow'" + (
        f". What the laws would need:{said}" if said else ""
    )
