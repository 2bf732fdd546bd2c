"""The claims about neural collapse: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, decide, seen, weigh
from layerwise.phenomena.collapse.results import Results
from layerwise.phenomena.collapse.twin import twin

__all__ = ["CLAIMS"]

PAPYAN = "arXiv 2008.08186; position paper arXiv 2502.21009, appendix E"
FREE = "unconstrained features, squared error without bias: one mode a class (derived here)"
ALIVE = 0.05  # w_c . h_c above which a class counts as learned
FITTED, CHANCE = 0.99, 0.2


def falls(results: Results, name: str, series: str, what: str, bound: float) -> Claim:
    """A measure falls below its bound, and falls after the training error is zero."""
    run = results.plan.decayed
    final, before = results.final(run, series), results.when_fitted(run, series)
    claim = weigh(
        results,
        f"collapse.{name}",
        f"{what} ends below {bound:g}, and below its value at the first look without a training "
        f"error ({seen(before)}). Test accuracy at the end: "
        f"{seen(results.final(run, 'test_accuracy'))}.",
        PAPYAN,
        0.0,
        final,
        accept=(-math.inf, bound),
    )
    fell = Verdict.SUPPORTED if np.all(final < before) else Verdict.UNDECIDED
    return replace(claim, verdict=Verdict.worst(claim.verdict, fell))


def nearest_mean(results: Results) -> Claim:
    """The classifier gives every sample to the nearest class mean."""
    run = results.plan.decayed
    before = results.when_fitted(run, "nc4")
    return weigh(
        results,
        "collapse.nc4",
        "NC4, the share of samples that the classifier does not give to the nearest mean, ends "
        f"below 0.005 (at the first look without a training error {seen(before)}).",
        PAPYAN,
        0.0,
        results.final(run, "nc4"),
        accept=(-math.inf, 0.005),
    )


def rank(results: Results) -> Claim:
    """Centred features fill as many directions as a simplex of the classes."""
    run = results.plan.decayed
    spectrum = results.final(run, "spectrum")
    classes = results.traces(run)[0]["means_gram"].shape[1]
    gap = spectrum[:, classes - 1] / spectrum[:, classes - 2]
    return weigh(
        results,
        "collapse.rank",
        f"The {classes - 1} largest directions hold more than 0.99 of the energy of the centred "
        f"features; sigma_{classes}/sigma_{classes - 1} is {seen(gap)}.",
        PAPYAN,
        1.0,
        results.final(run, "top_energy"),
        accept=(0.99, math.inf),
    )


def decay_budget(results: Results) -> Claim:
    """What counts is the decay that was spent, not the epochs."""
    decayed, control = results.plan.decayed, results.plan.control
    ratio = results.final(control, "nc3") / results.final(decayed, "nc3")
    return weigh(
        results,
        "collapse.decay-budget",
        f"After as many epochs without decay NC3 stands at {seen(results.final(control, 'nc3'))}, "
        f"with it (sum of rate x decay {seen(results.final(decayed, 'decay_budget'))}) at "
        f"{seen(results.final(decayed, 'nc3'))}: ratio above 2. NC1 "
        f"{seen(results.final(control, 'nc1'))} against {seen(results.final(decayed, 'nc1'))}.",
        "decay makes the optimum of unconstrained features the collapsed one; B is the knob "
        "(measured here)",
        None,
        ratio,
        accept=(2.0, math.inf),
        log=True,
    )


def linear_modes(results: Results) -> Claim:
    """Classes of free features are learned as the exact modes say; stages need unequal classes."""
    run, equal = results.plan.modes, results.plan.balanced
    measured = results.half_times(run)
    twins = [twin(replace(run, seed=seed)) for seed in range(results.seeds)]
    predicted = np.array([one.learning_times(0.5) for one in twins])
    together = results.half_times(equal)
    return weigh(
        results,
        "collapse.linear-modes",
        f"Free features of classes of {', '.join(map(str, run.n_per_class))} samples learn them "
        "one after another, when the exact modes say: root mean square of ln(measured/predicted) "
        f"half time below 0.1. Last over first half time {seen(_spread(measured))}; with equal "
        f"classes, without stages, {seen(_spread(together))}.",
        FREE,
        0.0,
        np.sqrt(np.mean(np.log(measured / predicted) ** 2, axis=1)),
        accept=(-math.inf, 0.1),
    )


def minority(results: Results) -> Claim:
    """Small classes collapse to nothing, at the predicted decay."""
    agree = []
    for run in results.plan.minorities:
        alive = results.final(run, "strength") > ALIVE
        limits = twin(run).optimum().modes / np.sqrt(run.n_per_class)
        agree.append(np.mean(alive == (limits > ALIVE), axis=1))
    decays = ", ".join(
        f"{sum(run.n_per_class) * run.decay[0]:g}" for run in results.plan.minorities
    )
    return weigh(
        results,
        "collapse.minority",
        "Decay removes a class of free features where sqrt(n_c) <= N decay, the small ones first: "
        f"share of classes and decays (N decay = {decays}) where a class is there, or gone, as "
        "predicted; all of them.",
        FREE,
        1.0,
        np.mean(agree, axis=0),
        accept=(1.0, 1.0),
    )


def small_start(results: Results) -> Claim:
    """Without decay free features collapse from small starts alone."""
    runs = results.plan.starts
    nc1 = {run.start: results.final(run, "nc1") for run in runs}
    listed = ", ".join(f"{start:g}: {seen(values)}" for start, values in nc1.items())
    small, large = runs[1].start, runs[-1].start
    return weigh(
        results,
        "collapse.small-start",
        f"Without decay, free features collapse from a small start and do not from a large one: "
        f"log10 of NC1 from start {large:g} over that from {small:g}, above 3. NC1 by start: "
        f"{listed}.",
        "balanced layers conserve W1^T W1 - W2 W2^T: what the start put there stays",
        None,
        np.log10(nc1[large] / nc1[small]),
        accept=(3.0, math.inf),
    )


def random_labels(results: Results) -> Claim:
    """Features collapse on labels that mean nothing, so collapse is no sign of generalisation."""
    run = results.plan.shuffled
    claim = weigh(
        results,
        "collapse.random-labels",
        f"On shuffled labels of {run.train_size} images the features collapse too, NC1 below 0.1, "
        f"with training accuracy {seen(results.final(run, 'train_accuracy'))} and test accuracy "
        f"{seen(results.final(run, 'test_accuracy'))}.",
        "unconstrained features do not see the images",
        0.0,
        results.final(run, "nc1"),
        accept=(-math.inf, 0.1),
    )
    fitted = decide(results, results.final(run, "train_accuracy"), (FITTED, math.inf))
    useless = decide(results, results.final(run, "test_accuracy"), (-math.inf, CHANCE))
    return replace(claim, verdict=Verdict.worst(claim.verdict, fitted, useless))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    partial(
        falls, name="nc1", series="nc1", bound=0.03,
        what="NC1, the variability within classes over that between them,",
    ),
    partial(
        falls, name="nc2", series="equinorm", bound=0.1,
        what="NC2, the spread of the norms of the centred class means over their mean,",
    ),
    partial(
        falls, name="nc3", series="nc3", bound=0.05,
        what="NC3, the distance of the classifier from the class means, both of norm 1,",
    ),
    nearest_mean,
    partial(
        falls, name="simplex", series="angle", bound=0.08,
        what="The mean deviation of the cosines between class means from the simplex's -1/(C-1)",
    ),
    rank,
    decay_budget,
    linear_modes,
    minority,
    small_start,
    random_labels,
)  # fmt: skip


def _spread(halves: np.ndarray) -> np.ndarray:
    return halves.max(axis=1) / halves.min(axis=1)
