"""Which law a two-layer network obeys, found from its numbers, and what it would take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import aligned
from layerwise.theory.models.linear import Linear
from layerwise.theory.reduction import Reduced, reduce

__all__ = ["Assumption", "Structure", "detect"]

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-9  # of every test, relative to the largest entry involved
RANK = 4e-15
ROUNDING = 1e-14  # an imbalance below this share of the Gram matrices is none


@dataclass(frozen=True)
class Assumption:
    """What a law assumes of a model, and whether it holds.

    Attributes
    ----------
    name
        What is assumed.
    holds
        Whether `measured` is within `tolerance`.
    measured, tolerance
        The deviation, relative to the largest entry involved, and what is allowed.
    why
        Why the law needs it.
    """

    name: str
    holds: bool
    measured: float
    tolerance: float
    why: str

    def __str__(self) -> str:
        sign = "holds" if self.holds else "fails"
        return f"{self.name}: {sign} (deviation {self.measured:.2g}, allowed {self.tolerance:g})"


@dataclass(frozen=True, eq=False)
class Structure:
    """What was found: the name of the law, or None, and the numbers behind it.

    Attributes
    ----------
    law
        ``"1-h-1"``, ``"modes"``, ``"neuron"``, ``"balanced"``, ``"balanced with decay"``,
        ``"two-valued"``, or None where no law applies.
    assumptions
        Those of the law; where there is none, those of all laws.
    reduced
        The network with whitened inputs and equal rates.
    joint
        The joint modes, for the law of aligned modes.
    imbalance
        The two values of the imbalance, ``(upper, -lower)``, equal for a balanced network.
    hidden
        Orthonormal hidden directions (r, h) that `reduced` is restricted to; None for all.
    """

    law: str | None
    assumptions: tuple[Assumption, ...]
    reduced: Reduced
    joint: aligned.Modes | None = None
    imbalance: tuple[float, float] = (0.0, 0.0)
    hidden: Array | None = None


def detect(model: Linear) -> Structure:
    """Return the first law that holds, in the order of the decision table in the documentation.

    Examples
    --------
    >>> W = np.array([[0.1, 0.2], [0.3, -0.1]])
    >>> found = detect(Linear(W, W.T, cross=np.array([[1.0, 0.3], [0.2, 0.5]])))
    >>> found.law, found.assumptions[0].name, found.assumptions[0].holds
    ('balanced', 'inputs whitened on their range', True)
    """
    reduced = reduce(model)
    w1, w2 = reduced.w1, reduced.w2
    h, o = len(w1), len(w2)
    even = _even_decay(model)
    if model.w1.shape[1] == o == 1:
        return Structure("1-h-1", (even,) if model.decay else (), reduced)
    change = model.rates[1] / model.rates[0]
    whole = model.w1 * change**0.25
    joint, off = aligned.find(whole, w2, model.cross, model.input_cov)
    along = Assumption(
        "weights and inputs aligned with the modes of the target",
        joint is not None,
        off,
        aligned.TOLERANCE,
        "each mode is then a network of its own",
    )
    if joint is not None and even.holds:
        return Structure("modes", (along, even) if model.decay else (along,), reduced, joint)
    white = Assumption(
        "inputs whitened on their range",
        reduced.whitened <= TOLERANCE,
        reduced.whitened,
        TOLERANCE,
        "other inputs precondition the flow of the first layer only",
    )
    gram_in, gram_out = w1 @ w1.T, w2.T @ w2
    size = max(float(np.max(np.abs(gram_in))), float(np.max(np.abs(gram_out))))
    lam, off = _multiple(gram_out - gram_in, size)
    hidden = None
    if off > TOLERANCE or _rank_one(gram_in + gram_out):
        basis = _used(w1, w2)  # hidden directions that no weight uses do not count
        if len(basis) < h:
            hidden, w1, w2 = basis, basis @ w1, w2 @ basis.T
            reduced = replace(reduced, w1=w1, w2=w2)
            lam, off = _multiple(w2.T @ w2 - w1 @ w1.T, size)
    one = Assumption(
        "imbalance W2^T W2 - W1 W1^T a multiple of the identity",
        off <= TOLERANCE,
        off,
        TOLERANCE,
        "the flow of the Gram matrices then closes",
    )
    if model.decay:
        nothing = abs(lam) / size if size else 0.0
        zero = Assumption(
            "no imbalance",
            max(off, nothing) <= TOLERANCE,
            max(off, nothing),
            TOLERANCE,
            "decay would make the equation depend on time",
        )
        law = "balanced with decay" if white.holds and even.holds and zero.holds else None
        needed = (white, even, zero)
        return Structure(law, needed if law else (*needed, along), reduced)
    if white.holds and one.holds:
        law = "neuron" if len(w1) == 1 else "balanced"
        return Structure(law, (white, one), reduced, imbalance=(lam, lam), hidden=hidden)
    two, upper, lower = _two_valued(w1, w2)
    if white.holds and two.holds:
        return Structure("two-valued", (white, two), reduced, imbalance=(upper, -lower))
    return Structure(None, (white, one, two, along), reduced)


def _even_decay(model: Linear) -> Assumption:
    r1, r2 = model.rates
    gap = abs(r1 - r2) / max(r1, r2) if model.decay else 0.0
    why = "layers that decay at different rates close in no known form"
    return Assumption("equal decay of both layers", gap <= TOLERANCE, gap, TOLERANCE, why)


def _multiple(imbalance: Array, size: float) -> tuple[float, float]:
    """Return lam and the largest deviation of the imbalance from ``lam I``, relative to `size`."""
    h = len(imbalance)
    lam = float(np.trace(imbalance)) / h
    off = float(np.max(np.abs(imbalance - lam * np.eye(h))))
    lam = 0.0 if abs(lam) <= ROUNDING * size else lam
    return lam, off / size if size else 0.0


def _rank_one(gram: Array) -> bool:
    trace = float(np.trace(gram))
    return trace**2 - float(np.sum(gram**2)) <= ROUNDING * trace**2


def _used(w1: Array, w2: Array) -> Array:
    """Return an orthonormal basis of the hidden directions that any weight uses, as rows."""
    _, size, directions = np.linalg.svd(np.concatenate([w1.T, w2]), full_matrices=False)
    return np.asarray(directions[: max(1, int(np.sum(size > RANK * size[0])))])


def _two_valued(w1: Array, w2: Array) -> tuple[Assumption, float, float]:
    (h, i), o = w1.shape, w2.shape[0]
    values = np.linalg.eigvalsh(w2.T @ w2 - w1 @ w1.T)
    below, above = values[:i], values[h - o :]
    largest = float(np.max(np.abs(values)))
    full = h == i + o and below[-1] < 0 < above[0]
    spread = max(float(np.ptp(below)), float(np.ptp(above))) / largest if full else np.inf
    upper, lower = float(np.mean(above)), float(-np.mean(below))
    assumption = Assumption(
        "imbalance of two values, one for each layer, weights of full rank",
        spread <= TOLERANCE,
        spread,
        TOLERANCE,
        "the flow of the Gram matrices then closes with a constant term",
    )
    return assumption, upper, lower
