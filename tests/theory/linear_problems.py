"""Named two-layer problems, always the same: every row of the decision table, and hard cases."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from layerwise.theory import starts

LAMBDAS = (0.0, 1e-9, 0.5, -0.5, 2.0, -2.0, 1e3, -1e3)
EARLY, LATE = np.array([0.0, 0.1, 1.0]), np.array([0.4, 1.5, 8.0])
TIMES = np.array([0.0, 0.1, 0.4, 1.0, 2.5, 8.0])
LONGEST = 1000.0  # in units of the fastest motion: further an explicit solver does not go


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, the times to look at it, and a law that covers it.

    Attributes
    ----------
    name
        Unique.
    law
        ``"1-h-1"``, ``"modes"``, ``"neuron"``, ``"balanced"``, ``"balanced with decay"``,
        ``"two-valued"``, or None where there is none.
    fastest
        Rate of the fastest motion.
    mixed
        Whether W1 acts on inputs without variance, so that the map holds more than R does.
    settled
        Whether it ends in the same place whatever the rounding of the start.
    """

    name: str
    law: str | None
    w1: np.ndarray
    w2: np.ndarray
    cross: np.ndarray
    t: np.ndarray
    input_cov: np.ndarray | None = None
    rates: tuple[float, float] = (1.0, 1.0)
    decay: float = 0.0
    fastest: float = 1.0
    mixed: bool = False
    settled: bool = True

    @property
    def training(self):
        """What there is beside weights, target and times, as keyword arguments."""
        return {"input_cov": self.input_cov, "rates": self.rates, "decay": self.decay}

    @property
    def stiff(self):
        """Whether an explicit solver would need too many steps."""
        return self.fastest * self.t[-1] > LONGEST


def problems() -> Iterator[Problem]:
    """Yield all problems."""
    for row in (
        balanced,
        hard_targets,
        narrow_and_wide,
        degenerate_starts,
        tiny_starts,
        covariances,
        layer_rates,
        decayed,
        two_valued,
        neurons,
        aligned,
        one_h_one,
        unsolvable,
    ):
        yield from row()


def balanced():
    for index, lam in enumerate(LAMBDAS):
        for seed in range(3):
            rng = np.random.default_rng([1, index, seed])
            i, o = rng.permutation(np.arange(1, 9))[:2]
            h = int(rng.integers(1, {-1: i, 0: 8, 1: o}[int(np.sign(lam))] + 1))
            w1, w2 = starts.balanced((i, h, o), lam, 10 ** rng.uniform(-2, 0), seed=rng)
            name = f"balanced, lambda {lam:g}, {i}-{h}-{o}"
            rank = h if lam else min(i, h, o)
            law = "neuron" if rank == 1 else "balanced"
            yield white(name, law, w1, w2, rng.standard_normal((o, i)), lam)


def hard_targets():
    values = {
        "zero": [0.0, 0.0, 0.0],
        "rank one": [2.0, 0.0, 0.0],
        "rank two": [2.0, 1.0, 0.0],
        "two alike": [2.0, 2.0, 1.0],
        "all alike": [1.5, 1.5, 1.5],
        "nearly alike": [2.0, 2.0 - 1e-10, 1.0],
    }
    for index, (name, s) in enumerate(values.items()):
        for shape, lam in (
            ((3, 3, 3), 0.0),
            ((5, 4, 3), 0.0),
            ((3, 2, 5), 0.7),
            ((4, 3, 3), 0.7),
            ((5, 4, 3), -0.7),
        ):
            rng = np.random.default_rng([2, index, *shape])
            i, h, o = shape
            u, v = orthogonal(rng, o), orthogonal(rng, i)
            w1, w2 = starts.balanced(shape, lam, 0.2, seed=rng)
            cross = u[:, :3] * s @ v[:, :3].T
            name_here = f"target {name}, lambda {lam:g}, {i}-{h}-{o}"
            yield white(name_here, "balanced", w1, w2, cross, lam)
    rng = np.random.default_rng(2)
    w1, w2 = starts.balanced((3, 3, 3), 0.0, 0.2, seed=rng)
    yield white("target exactly the identity", "balanced", w1, w2, np.eye(3))


def narrow_and_wide():
    for index, (shape, lam, rank) in enumerate(
        [
            ((7, 2, 6), 0.0, 2),
            ((7, 2, 6), 0.5, 2),
            ((7, 2, 6), -0.5, 2),
            ((3, 14, 4), 0.0, 3),
            ((3, 14, 4), 0.5, 4),
            ((4, 14, 3), -2.0, 3),
            ((8, 5, 3), 2.0, 2),  # dead hidden units from here on
            ((2, 6, 5), -0.5, 2),
            ((4, 8, 4), 1e3, 3),
            ((5, 6, 2), 0.0, 1),
        ]
    ):
        rng = np.random.default_rng([3, index])
        i, h, o = shape
        w1, w2 = starts.balanced(shape, lam, 0.3, rank=rank, seed=rng)
        law = "neuron" if rank == 1 else "balanced"
        name = f"rank {rank}, lambda {lam:g}, {i}-{h}-{o}"
        yield white(name, law, w1, w2, rng.standard_normal((o, i)), lam)
    rng = np.random.default_rng(3)
    w1, w2 = starts.balanced((4, 3, 5), 0.5, 0.3, seed=rng)
    w1 = np.insert(w1, [0, 2], 0.0, axis=0)
    w2 = np.insert(w2, [0, 2], 0.0, axis=1)
    cross = rng.standard_normal((5, 4))
    yield white("two hidden units that are exactly dead", "balanced", w1, w2, cross, 0.5)


def degenerate_starts():
    rng = np.random.default_rng(4)
    cross = rng.standard_normal((4, 3))
    zero = np.zeros((2, 3)), np.zeros((4, 2))
    yield white("zero start", "modes", *zero, cross)
    yield white("zero start, zero target", "modes", *zero, 0 * cross)
    w1, w2 = starts.balanced((3, 5, 4), 0.0, 0.3, rank=1, seed=rng)
    yield white("start of rank one", "neuron", w1, w2, cross)
    yield white("one layer zero", "balanced", 0 * w1, two_columns(rng, 4, 5), cross, 1.0)
    for n in (2, 3, 5):
        rng = np.random.default_rng([4, n])
        cross = rng.standard_normal((n, n))
        for width in (n, n + 2):
            w1, w2 = starts.singular(cross, 0.3, width, seed=rng)
            name = f"singular product, {n}-{width}-{n}"
            # only the target's weakest mode is missed, and it is what sets the times
            yield white(name, "balanced", w1, w2, cross)
    w1, w2 = starts.balanced((4, 4, 4), 0.0, 2.0, seed=rng)
    # of a zero-balanced map the Grams share all singular vectors: on the way to the saddle at 0
    problem = white("map against the target", "modes", w1, w2, -0.1 * w2 @ w1)
    yield replace(problem, t=TIMES / problem.fastest, settled=False)


def tiny_starts():
    for index, (shape, lam) in enumerate(
        [((4, 3, 5), 0.0), ((5, 3, 4), 1e-9), ((3, 6, 5), 1e-16), ((5, 4, 3), -1e-16)]
    ):
        rng = np.random.default_rng([5, index])
        i, h, o = shape
        w1, w2 = starts.balanced(shape, lam, 1e-8, rank=min(i, h, o), seed=rng)
        problem = white(
            f"start of 1e-8, lambda {lam:g}, {i}-{h}-{o}",
            "balanced",
            w1,
            w2,
            rng.standard_normal((o, i)),
        )
        yield replace(problem, t=np.unique(np.append(TIMES, np.log(1e8) + TIMES)))


def covariances():
    for index, (shape, lam) in enumerate([((4, 3, 5), 0.0), ((5, 3, 4), 0.5), ((4, 3, 3), -2.0)]):
        rng = np.random.default_rng([6, index])
        i, h, o = shape
        w1, w2 = starts.balanced(shape, lam, 0.3, seed=rng)
        cross, name = rng.standard_normal((o, i)), f"lambda {lam:g}, {i}-{h}-{o}"
        basis = orthogonal(rng, i)
        for xi in (0.2, 3.0):
            yield covered(f"Sxx {xi:g} I, {name}", "balanced", w1, w2, cross, xi * np.eye(i), lam)
        yield from projected(rng, 2, 2 if lam < 0 else h, o, basis, cross, lam)
    rng = np.random.default_rng([6, 3])
    yield from projected(rng, 4, 2, 4, orthogonal(rng, 6), rng.standard_normal((4, 6)), 0.5)
    rng = np.random.default_rng(6)
    w1, w2 = starts.two_valued((3, 6, 2), 1.0, 0.5, seed=rng)
    cross = rng.standard_normal((2, 3))
    yield covered("Sxx 3 I, two-valued", "two-valued", w1, w2, cross, 3.0 * np.eye(3), 1.5)


def projected(rng, seen, h, o, basis, cross, lam):
    """Yield a network whose inputs vary in `seen` directions, and one that uses others too."""
    varying, still = basis[:, :seen], basis[:, seen:]
    inner, outer = starts.balanced((seen, h, o), lam, 0.3, seed=rng)
    cov, onto = 0.4 * varying @ varying.T, cross @ varying @ varying.T
    name = f"Sxx 0.4 x projector, lambda {lam:g}, {len(basis)} ({seen})-{h}-{o}"
    problem = covered(name, "balanced", inner @ varying.T, outer, onto, cov, lam)
    yield problem
    w1 = problem.w1 + rng.standard_normal((h, still.shape[1])) @ still.T
    yield replace(problem, name=f"{name}, other inputs used", w1=w1, mixed=True)


def layer_rates():
    for index, rates in enumerate([(4.0, 1.0), (0.1, 2.0), (3.0, 3.0)]):
        change = (rates[1] / rates[0]) ** 0.25
        for law, lam in (("balanced", 0.0), ("balanced", 0.5), ("two-valued", 0.5)):
            rng = np.random.default_rng([7, index])
            if law == "balanced":
                w1, w2 = starts.balanced((5, 3, 4), lam, 0.3, seed=rng)
            else:
                w1, w2 = starts.two_valued((2, 6, 4), 1.0, 0.5, seed=rng)
            cross = rng.standard_normal((4, w1.shape[1]))
            name = f"rates {rates[0]:g} and {rates[1]:g}, {law}, lambda {lam:g}"
            problem = white(name, law, w1 / change, w2 * change, cross, lam)
            yield replace(problem, rates=rates, t=problem.t / np.sqrt(rates[0] * rates[1]))


def decayed():
    for index, (shape, rank) in enumerate(
        [((4, 4, 4), None), ((5, 3, 4), None), ((3, 9, 2), 2), ((2, 3, 6), 1)]
    ):
        for share in (0.05, 0.5, 1.0, 3.0):  # of the middle singular value
            rng = np.random.default_rng([8, index])
            i, h, o = shape
            w1, w2 = starts.balanced(shape, 0.0, 0.4, rank=rank, seed=rng)
            cross = rng.standard_normal((o, i))
            decay = share * float(np.median(np.linalg.svd(cross)[1]))
            name = f"decay {share:g} of the median, {i}-{h}-{o}"
            problem = white(name, "balanced with decay", w1, w2, cross)
            yield replace(problem, decay=decay)
    rng = np.random.default_rng(8)
    w1, w2 = starts.balanced((4, 3, 5), 0.0, 0.4, seed=rng)
    cross = rng.standard_normal((5, 4))
    problem = covered(
        "decay, Sxx 3 I, rates 2", "balanced with decay", w1, w2, cross, 3.0 * np.eye(4)
    )
    yield replace(problem, decay=0.5, rates=(2.0, 2.0))
    problem = white("decay, zero target", "balanced with decay", w1, w2, 0 * cross)
    yield replace(problem, decay=0.5)
    w1, w2 = starts.singular(cross[:4], 0.4, seed=rng)
    problem = white("decay, singular product", "balanced with decay", w1, w2, cross[:4])
    yield replace(problem, decay=0.1)


def two_valued():
    for index, (shape, upper, lower, mixing) in enumerate(
        [
            ((3, 5, 2), 1.0, 0.5, 1.0),
            ((2, 5, 3), 0.2, 3.0, 1.0),
            ((2, 8, 3), 1.0, 1.0, 0.3),
            ((4, 24, 3), 1.0, 1.0, 0.0),  # infinitely wide
            ((4, 24, 3), 9.0, 0.01, 0.0),
            ((4, 8, 2), 1e-8, 1e-8, 1.0),
            ((2, 6, 4), 1e-16, 3e-16, 1.0),
            ((3, 6, 3), 50.0, 20.0, 0.5),
        ]
    ):
        rng = np.random.default_rng([9, index])
        i, h, o = shape
        w1, w2 = starts.two_valued(shape, upper, lower, mixing, seed=rng)
        name = f"two-valued, {upper:g} and {lower:g}, mixing {mixing:g}, {i}-{h}-{o}"
        problem = white(name, "two-valued", w1, w2, rng.standard_normal((o, i)), upper + lower)
        # unlike a balanced network, it has no direction without weight: all modes learn at once
        slowest = max(np.sqrt(upper * lower), 0.1)
        yield replace(problem, t=np.unique(np.append(EARLY / problem.fastest, LATE / slowest)))
    rng = np.random.default_rng(9)
    w1, w2 = starts.two_valued((3, 7, 3), 1.0, 0.5, seed=rng)
    yield white("two-valued, target zero", "two-valued", w1, w2, np.zeros((3, 3)), 1.5)
    cross = np.outer(rng.standard_normal(3), rng.standard_normal(3))
    yield white("two-valued, target of rank one", "two-valued", w1, w2, cross, 1.5)


def neurons():
    for index, (i, o, first, second) in enumerate(
        [
            (2, 3, 0.3, 0.3),
            (5, 1, 1e-8, 1e-8),
            (1, 6, 2.0, 0.01),
            (8, 4, 0.01, 3.0),
            (4, 4, 1.0, 0.0),
            (3, 2, 30.0, 0.1),
        ]
    ):
        rng = np.random.default_rng([10, index])
        w1 = first * rng.standard_normal((1, i))
        w2 = second * rng.standard_normal((o, 1))
        lam = float(np.sum(w2**2) - np.sum(w1**2))
        cross = rng.standard_normal((o, i))
        name = f"one neuron, {i}-1-{o}, layers {first:g} and {second:g}"
        yield white(name, "neuron", w1, w2, cross, lam)
    rng = np.random.default_rng(10)
    w1, w2 = rng.standard_normal((1, 3)), rng.standard_normal((4, 1))
    cross = -3 * w2 @ w1 + 0.1 * rng.standard_normal((4, 3))
    yield white("one neuron against its target", "neuron", w1, w2, cross, 2.0)
    problem = white("one neuron, rates 3 and 0.5", "neuron", w1, w2, cross, 5.0)
    yield replace(problem, rates=(3.0, 0.5))


def aligned():
    for index, (i, h, o) in enumerate([(3, 3, 3), (5, 6, 3), (2, 4, 6)]):
        rng = np.random.default_rng([11, index])
        k = min(i, o)
        s, xi = np.sort(rng.uniform(0.3, 3.0, k))[::-1], 10 ** rng.uniform(-0.5, 0.5, i)
        u, v = orthogonal(rng, o), orthogonal(rng, i)
        cross, cov = u[:, :k] * s @ v[:, :k].T, v * xi @ v.T
        a, b = rng.standard_normal((2, k))
        name = f"{i}-{h}-{o}"
        for said, one, other, decay in (
            ("any signs", a, b, 0.0),
            ("opposed", a, -np.sign(a), 0.0),
            ("tiny", 1e-8 * a, 1e-8 * np.abs(b), 0.0),
            ("one layer zero", a, 0 * b, 0.0),
            ("with decay", a, b, 0.1),
        ):
            w1, w2 = starts.aligned(cross, one, other, h, cov, seed=rng)
            problem = covered(f"aligned, {said}, {name}", "modes", w1, w2, cross, cov)
            yield replace(problem, decay=decay, t=TIMES * 3 / s.min())
        problem = covered(f"aligned, rates 3 and 0.5, {name}", "modes", w1, w2, cross, cov)
        yield replace(problem, rates=(3.0, 0.5))
        # each mode on hidden units of its own, its two vectors not parallel
        w1, w2 = np.zeros((2 * k, i)), np.zeros((o, 2 * k))
        for mode in range(k):
            units = slice(2 * mode, 2 * mode + 2)
            w1[units] = np.outer(rng.standard_normal(2), v[:, mode])
            w2[:, units] = np.outer(u[:, mode], rng.standard_normal(2))
        name = f"aligned, independent vectors, {i}-{2 * k}-{o}"
        yield covered(name, "modes", w1, w2, cross, cov)


def one_h_one():
    for index, h in enumerate([1, 2, 7, 30]):
        for decay in (0.0, 0.2):
            for target in (1.5, -1.5, 0.0):
                rng = np.random.default_rng([12, index])
                w1, w2 = rng.standard_normal((h, 1)), rng.standard_normal((1, h))
                name = f"1-{h}-1, target {target:g}, decay {decay:g}"
                cross = np.array([[target]])
                problem = covered(name, "1-h-1", w1, w2, cross, np.array([[0.7]]))
                yield replace(problem, decay=decay, t=TIMES)


def unsolvable():
    for index, (i, h, o) in enumerate([(3, 2, 4), (4, 6, 2), (2, 3, 3)]):
        rng = np.random.default_rng([13, index])
        w1, w2 = 0.5 * rng.standard_normal((h, i)), 0.5 * rng.standard_normal((o, h))
        cross, name = rng.standard_normal((o, i)), f"{i}-{h}-{o}"
        basis = orthogonal(rng, i)
        cov = basis * 10 ** rng.uniform(-0.5, 0.5, i) @ basis.T
        yield white(f"any imbalance, {name}", None, w1, w2, cross)
        yield covered(f"any inputs, {name}", None, w1, w2, cross, cov)
        even = starts.balanced((i, h, o), 0.0, 0.5, seed=rng)
        yield covered(f"any inputs, zero-balanced, {name}", None, *even, cross, cov)
        for said, start, rates in (
            ("imbalance", (w1, w2), (1.0, 1.0)),
            ("rates", even, (2.0, 1.0)),
        ):
            problem = white(f"decay with unequal {said}, {name}", None, *start, cross)
            yield replace(problem, decay=0.3, rates=rates)
    rng = np.random.default_rng(13)
    cross = rng.standard_normal((2, 3))
    w1, w2 = starts.wide((3, 40, 2), 0.7, 1.2, seed=rng)
    yield white("iid layers of finite width", None, w1, w2, cross)


def white(name, law, w1, w2, cross, lam=0.0):
    """Return a problem on whitened inputs, from its first motion to its slowest."""
    s = np.linalg.svd(cross, compute_uv=False)
    size = s[0] or 1.0
    slow = max(np.min(s[s > 1e-9 * size], initial=size), 0.15 * size)
    fastest, half = np.hypot(size, lam / 2), abs(lam) / 2
    slowest = slow**2 / (np.hypot(slow, half) + half)
    t = np.unique(np.append(EARLY / fastest, LATE / slowest))
    return Problem(name, law, w1, w2, cross, t, fastest=fastest)


def covered(name, law, w1, w2, cross, cov, lam=0.0):
    """Return a problem on inputs of covariance `cov`."""
    variances = np.linalg.eigvalsh(cov)
    seen = variances[variances > 1e-9]
    # the target is S/xi, and time runs as xi t
    problem = white(name, law, w1, w2, cross / seen[-1], lam)
    return replace(
        problem,
        cross=cross,
        t=problem.t / seen[0],
        input_cov=cov,
        fastest=problem.fastest * seen[-1],
    )


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def two_columns(rng, o, h):
    """Return a second layer that uses two hidden units, with orthonormal columns."""
    return np.pad(orthogonal(rng, o)[:, :2], ((0, 0), (0, h - 2)))
