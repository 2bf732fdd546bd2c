"""Deep linear networks, solvable and not: what the tests of `DeepLinear` share."""

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

import layerwise as lw
from layerwise.theory import starts

from . import linear_oracles as oracles

EXACT = 1e-9  # relative to the largest entry of the map, or to 1
T = np.array([0.0, 0.05, 0.4, 1.0, 2.5, 6.0])
FOR_EVER = 1e12
ALIGNED = "layers and inputs aligned with the modes of the target"
EQUAL = "weights of each mode equal but for signs"


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, its law (None if there is none), and how many modes it never learns."""

    name: str
    law: str | None
    weights: list
    cross: np.ndarray
    input_cov: np.ndarray | None = None
    unexcited: int = 0

    @property
    def t(self):
        """Times to look at; weights that follow from Grams are dear."""
        return T[:3] if len(self.weights) == 2 else T

    @property
    def model(self):
        return lw.DeepLinear(self.weights, self.cross, self.input_cov)


def orthogonal(rng, n, k=None):
    return np.linalg.qr(rng.standard_normal((n, n)))[0][:, :k]


def target(rng, o, i, s):
    """Return a target of singular values s, and its vectors."""
    u, v = orthogonal(rng, o, len(s)), orthogonal(rng, i, len(s))
    return u * s @ v.T, u, v


def chain(rng, u, v, links, widths=()):
    """Return layers ``R_l diag(w_l) R_{l-1}^T``, of equal hidden sizes unless widths are given."""
    k = links.shape[1]
    widths = widths or [k + 1] * (len(links) - 1)
    sides = [v, *(orthogonal(rng, width, k) for width in widths), u]
    return [q * w @ p.T for w, (p, q) in zip(links, pairwise(sides), strict=True)]


def random_chain(rng, sizes, scale=0.6):
    return [
        scale * rng.standard_normal((n, m)) / np.sqrt(max(m, n)) * 2 for m, n in pairwise(sizes)
    ]


def covariance(rng, i, rank=None):
    q = orthogonal(rng, i, rank)
    return q * 10 ** rng.uniform(-0.6, 0.6, q.shape[1]) @ q.T


def one_layer():
    for seed, (o, i, rank) in enumerate([(3, 2, 2), (1, 4, None), (4, 1, 1), (2, 5, 3), (6, 6, 6)]):
        rng = np.random.default_rng([1, seed])
        cov = None if rank is None else covariance(rng, i, rank)
        cross = rng.standard_normal((o, i))
        cross = cross if cov is None else cross @ cov
        yield Problem(f"{i}-{o}, rank {rank}", "shallow", [rng.standard_normal((o, i))], cross, cov)
    yield Problem("no variance", "shallow", [np.ones((2, 2))], np.zeros((2, 2)), np.zeros((2, 2)))


def two_layers():
    rng = np.random.default_rng(2)
    cross, cov = rng.standard_normal((3, 4)), covariance(rng, 4)
    even = list(starts.balanced((4, 3, 3), 0.0, 0.4, seed=rng))
    yield Problem("zero-balanced", "balanced", even, cross)
    lam = list(starts.balanced((4, 3, 3), 0.7, 0.4, seed=rng))
    yield Problem("lambda-balanced, Sxx 2 I", "balanced", lam, cross, 2 * np.eye(4))
    two = list(starts.two_valued((2, 4, 1), 1.0, 0.5, seed=rng))
    yield Problem("two-valued", "two-valued", two, rng.standard_normal((1, 2)))
    plain = random_chain(rng, (1, 5, 1))
    yield Problem("1-5-1", "1-h-1", plain, np.array([[1.3]]), np.array([[0.7]]))
    narrow = list(starts.balanced((4, 1, 3), -0.5, 0.4, seed=rng))
    yield Problem("one neuron", "neuron", narrow, cross)
    pairs = list(starts.aligned(cross, [0.3, -0.2, 0.1], [0.5, 0.2, 0.1], 5, seed=rng))
    yield Problem("aligned", "modes", pairs, cross)
    yield Problem("any imbalance", None, random_chain(rng, (4, 3, 3)), cross)
    yield Problem("any inputs", None, even, cross, cov)


def aligned():
    for L in (3, 4):
        shapes = [(3, 3), (4, 2), (2, 5), (1, 4), (1, 1), (6, 6)]
        for seed, (o, i) in enumerate(shapes):
            rng = np.random.default_rng([3, L, seed])
            k = min(o, i)
            cross, u, v = target(rng, o, i, np.sort(rng.uniform(0.3, 2.5, k))[::-1])
            signs = rng.choice([-1.0, 1.0], (L, k))
            signs[-1] *= np.prod(signs, axis=0)
            links = signs * rng.uniform(0.3, 1.0, k)  # far past a target rounding grows
            widths = [int(n) for n in rng.integers(k, 8, L - 1)]
            weights = chain(rng, u, v, links, widths)
            yield Problem(f"{i}-{widths}-{o}", "deep modes", weights, cross)
            xi = 10 ** rng.uniform(-0.6, 0.6, k)
            rest = np.eye(i) - v @ v.T
            cov = v * xi @ v.T + 0.8 * rest
            yield Problem(f"{i}-{widths}-{o}, any spectrum", "deep modes", weights, cross * 1, cov)
        yield from special(L)


def special(L):
    rng = np.random.default_rng([4, L])
    full = np.array([2.0, 1.2, 0.5])
    cross, u, v = target(rng, 4, 5, full)
    same = np.ones((L, 1))

    def problem(name, cross, links, unexcited=0, cov=None):
        weights = chain(rng, u, v, links)
        return Problem(f"{name}, depth {L}", "deep modes", weights, cross, cov, unexcited)

    opposed = same * [0.6, 0.5, 0.4]
    opposed[1, 1] *= -1
    yield problem("one mode opposed", cross, opposed, 1)
    yield problem("overshoot", cross, same * [2.0, 0.5, 1.7])
    yield problem("at its target", cross, same * full ** (1 / L))
    yield problem("one mode dead", cross, same * [0.6, 0.0, 0.4], 1)
    yield problem("all dead", cross, 0 * opposed, 3)
    yield problem("zero target", 0 * cross, opposed)
    yield problem("target of rank one", u * [2.0, 0.0, 0.0] @ v.T, opposed)
    yield problem(
        "target of rank two, weights alike", u * [2.0, 1.0, 0.0] @ v.T, 0.5 * same + 0 * full
    )
    yield problem("two values alike", u * [2.0, 2.0, 1.0] @ v.T, same * [0.6, 0.3, 0.4])
    yield problem("all alike", u * [1.5, 1.5, 1.5] @ v.T, same * [0.6, 0.6, 0.4])
    mixed = same * [0.6, 0.6, 0.4]
    mixed[0, 0] *= -1
    yield problem("alike, one opposed", u * [1.5, 1.5, 1.5] @ v.T, mixed, 1)
    yield problem("small beside large", cross, same * [1.5, 0.3, 0.4])
    two = same * [0.6, 0.5, 0.4]
    two[[0, L - 1], 1] = 0.0
    yield problem("two layers of one mode 0, others not", cross, two, 1)
    narrow = chain(rng, u[:, :2], v[:, :2], same * [0.6, 0.5], [2] * (L - 1))
    yield Problem(f"too narrow for all modes, depth {L}", "deep modes", narrow, cross, unexcited=1)
    # hidden directions that no input reaches and no output hears
    weights = chain(rng, u, v, same * [0.6, 0.5, 0.4], [6] * (L - 1))
    lost = [np.linalg.svd(side)[2][-1] for side in (weights[0].T, weights[1].T)]
    weights[1] = weights[1] + 0.9 * np.outer(lost[1], lost[0])
    if L == 4:
        yield Problem("a detached link", "deep modes", weights, cross)
    # inputs without variance, used and not
    seen = orthogonal(rng, 5, 4)
    cross, u, v = target(rng, 4, 4, full)
    cov = seen @ (v * [0.5, 2.0, 1.0] @ v.T + 0.7 * (np.eye(4) - v @ v.T)) @ seen.T
    weights = chain(rng, u, seen @ v, same * [0.6, 0.5, 0.4])
    yield Problem(f"blind inputs, depth {L}", "deep modes", weights, cross @ seen.T, cov)
    blind = np.eye(5) - seen @ seen.T
    used = [weights[0] + rng.standard_normal(weights[0].shape) @ blind, *weights[1:]]
    yield Problem(f"blind inputs used, depth {L}", "deep modes", used, cross @ seen.T, cov)


def unsolvable():
    rng = np.random.default_rng(5)
    cross, u, v = target(rng, 3, 4, np.array([2.0, 1.2, 0.5]))
    for L in (3, 4):
        links = np.ones((L, 1)) * [0.6, 0.5, 0.4]
        unequal, broken = links.copy(), links.copy()
        unequal[1, 1] *= 1.3
        broken[1, 1] = 0.0
        yield Problem(f"unequal layers, depth {L}", None, chain(rng, u, v, unequal), cross)
        yield Problem(f"one layer 0, depth {L}", None, chain(rng, u, v, broken), cross)
        turned = chain(rng, u, v, links)
        yield Problem(f"other inputs, depth {L}", None, turned, cross, covariance(rng, 4))
        inside = chain(rng, u, v, links)
        inside[1] = orthogonal(rng, len(inside[1])) @ inside[1]
        yield Problem(f"turned inside, depth {L}", None, inside, cross)
        # hidden vectors of their own for what comes and for what is passed on
        detour = chain(rng, u, v, links)
        aside = np.linalg.svd(detour[-1])[2][3:].T
        detour[-2] = detour[-2] + 0.5 * aside @ np.linalg.svd(detour[-2])[2][:1]
        yield Problem(f"a detour, depth {L}", None, detour, cross)
        sizes = (4, *rng.integers(1, 7, L - 1), 3)
        yield Problem(f"random, depth {L}", None, random_chain(rng, sizes), cross)
    # the one unit between hears both modes, so that the second moves though it is last in line
    shared = [np.eye(2), [[1.0, 0.5]], np.zeros((2, 1)), [[0.0, 0.0], [0.0, 1.0]]]
    shared = [np.array(layer) for layer in shared]
    yield Problem("a hidden unit shared", None, shared, np.diag([2.0, 1.0]))


PROBLEMS = {
    f"{row.__name__}, {p.name}": p
    for row in (one_layer, two_layers, aligned, unsolvable)
    for p in row()
}
DEEP = {name: p for name, p in PROBLEMS.items() if p.law == "deep modes"}


def named(choice):
    return pytest.mark.parametrize("problem", choice.values(), ids=choice.keys())


@pytest.fixture(autouse=True)
def _no_floating_point_trouble():
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def followed(problem, t=None):
    """Return the states (T, d) by the order-8 solver."""
    t = problem.t if t is None else t
    layers = oracles.integrate_deep(problem.weights, problem.cross, t, problem.input_cov)
    return np.concatenate([layer.reshape(len(t), -1) for layer in layers], axis=1)


def error(found, wanted):
    assert found.shape == wanted.shape
    return np.max(np.abs(found - wanted)) / max(1.0, np.max(np.abs(wanted)))
