"""Features of classes: collapsed too early, not yet collapsed, minorities never learned."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from layerwise.diagnosis.advice import Remedy, decayed, spared
from layerwise.diagnosis.evidence import (
    all_of,
    config,
    curve,
    fitted,
    known,
    last,
    need,
)
from layerwise.diagnosis.finding import Finding, NotJudged, Premise, counted
from layerwise.measures import crossing_time
from layerwise.trace import Trace

__all__ = ["minority_below_the_threshold", "not_yet_collapsed", "rank_collapsed_too_early"]

HALF: Final = 0.5  # of the C - 1 directions that C classes need; and accuracy of a learned class
LOST: Final = 0.8  # of the largest rank so far: the rank has fallen
UNFIT: Final = 0.9  # train accuracy below which classes are still to be told apart
# Bands of neural collapse: ResNet on digits, all six runs of three seeds inside, the control
# without decay outside of NC3.
NC1: Final = 0.03
NC3: Final = 0.05
# Decay budgets B of .2 and more collapsed in those runs, at momentum .9: e-foldings B/(1 - .9).
BUDGET: Final = 2.0
MOST: Final = 10.0  # times the decay: more would be another run
WAITED: Final = 3.0  # times the predicted step of a class, before it counts as never learned
MINOR: Final = 0.5  # of the samples of the largest class: a minority has no more
NAMED: Final = 10  # of the classes that are lost


def rank_collapsed_too_early(trace: Trace) -> Finding | None:
    """Find features that lost directions before the classes were told apart.

    C classes need C - 1 directions; a rank that has fallen below half of them while the train
    accuracy is low cannot hold them. A rank that grows is a stage of learning, and no fault.
    """
    classes = config(trace, "classes")
    ranks = all_of(trace, "rank")
    if not ranks or not classes:
        raise NotJudged("needs the series rank/F and labels of classes")
    need(trace, "train_accuracy")
    accuracy = last(trace, "train_accuracy")
    found = []
    for name, series in ranks.items():
        _, values = curve(trace, series)
        if values[-1] < HALF * (classes - 1) and values[-1] <= LOST * np.max(values):
            found.append((values[-1], float(np.max(values)), name))
    if not found or accuracy >= UNFIT:
        return None
    rank, most, name = min(found)
    tau = last(trace, "decay_budget")
    decays = known(trace, "weight_decay") and last(trace, "weight_decay") > 0
    samples = config(trace, "samples")
    remedies = (decayed(last(trace, "weight_decay"), 0.1),) if decays else ()
    return Finding(
        "rank collapsed too early",
        "warning",
        f"The features {name} came down to {rank:.2g} directions from {most:.2g}, of {classes - 1} "
        f"that {classes} classes need, at a train accuracy of {accuracy:.2f}: what they have lost "
        "they can only regain slowly.",
        {"rank": rank, "largest_rank": most, "train_accuracy": accuracy},
        (
            Premise(
                "decay takes the directions away",
                None if math.isnan(tau) else tau > 0,
                "decay not known" if math.isnan(tau) else f"{tau:.2g} e-foldings so far",
            ),
            Premise(
                "the batch is large enough to show the rank",
                None if samples is None else samples >= 2 * classes,
                f"{samples} samples of {classes} classes",
            ),
        ),
        remedies,
    )


def not_yet_collapsed(trace: Trace) -> Finding | None:
    """Find fitted classes whose features have not collapsed, and the decay that is still to come.

    What collapses them is the decay budget: the e-foldings by which decay alone would have shrunk
    the weights. Where less than a tenth of it is spent at the fit, none is to be expected.
    """
    spreads = all_of(trace, "nc1")
    if not spreads:
        raise NotJudged("needs the series nc1/F: labels, and features of a batch")
    fit = fitted(trace)
    if fit is None:
        raise NotJudged("needs the series train_accuracy or train_loss")
    headed = [name for name in spreads if known(trace, f"nc3/{name}")]
    name = (headed or list(spreads))[-1]
    nc1, nc3 = last(trace, f"nc1/{name}"), last(trace, f"nc3/{name}")
    if not fit or (nc1 <= NC1 and not nc3 > NC3):
        return None
    steps, shrunk = curve(trace, "decay_budget")
    tau = last(trace, "decay_budget")
    if tau < BUDGET / MOST or (known(trace, "weight_decay") and last(trace, "weight_decay") == 0):
        return None  # nothing is on its way to collapse
    evidence = {"nc1": nc1, "nc3": nc3, "decay_budget": tau}
    pace = float(np.diff(shrunk[-2:])[0] / np.diff(steps[-2:])[0]) if len(steps) > 1 else 0.0
    left = (BUDGET - tau) / pace if pace > 0 else math.nan
    if left > 0:
        evidence["steps_left"] = left
    remedies: tuple[Remedy, ...] = ()
    if tau < BUDGET and last(trace, "weight_decay") > 0:
        remedies = (decayed(last(trace, "weight_decay"), BUDGET / tau),)
    when = f"; at this pace the budget is spent {counted(left)} steps from now" if left > 0 else ""
    done = "an unknown part" if math.isnan(tau) else f"{tau:.2g}"
    state = f"the classes are still spread in {name} (NC1 {nc1:.2g})"
    if nc1 <= NC1:
        state = f"the head is not aligned with the class means of {name} yet (NC3 {nc3:.2g})"
    return Finding(
        "not yet collapsed",
        "note",
        f"The data are fitted, but {state}: decay has done {done} of about {BUDGET:g} "
        f"e-foldings{when}.",
        evidence,
        (
            Premise(
                "decay is what is missing",
                None if math.isnan(tau) else tau < BUDGET,
                "decay not known" if math.isnan(tau) else f"{tau:.2g} e-foldings of {BUDGET:g}",
            ),
        ),
        remedies,
    )


def minority_below_the_threshold(trace: Trace) -> Finding | None:
    r"""Find classes too small for the decay: those that the loss gives up for good.

    A class of n_c samples is a mode of strength ``sqrt(n_c) - N c``, c the decay of the layers
    (their geometric mean): it is learned, in the end, iff that is positive, and at a time as
    ``1/sqrt(n_c)``. So classes in the order of their size are learned up to some size, and those
    below are never. A class that should have been learned long ago bounds ``N c``.

    Accuracies are those of a probe that knows the class_counts, or series of the user's own:
    ``class_accuracy/NAME`` (train) and ``class_count/NAME``.
    """
    accuracies = all_of(trace, "class_accuracy")
    size = {str(k): float(n) for k, n in enumerate(config(trace, "class_counts") or ())}
    size |= {name: last(trace, series) for name, series in all_of(trace, "class_count").items()}
    names = [name for name in accuracies if name in size]
    if len(names) < 2:
        raise NotJudged(
            "needs class_counts= of the probe and labels in its batch, or the series "
            "class_accuracy/NAME and class_count/NAME of each class"
        )
    learned = [name for name in names if last(trace, accuracies[name]) >= HALF]
    missed = [name for name in names if name not in learned]
    if not learned or not missed:
        return None
    times = {name: _learned_at(trace, accuracies[name]) for name in learned}
    timed = [name for name in learned if times[name] > 0]
    if not timed:
        return None
    largest = max(timed, key=size.__getitem__)
    due = {
        name: times[largest] * math.sqrt(size[largest] / size[name])
        for name in missed
        if size[name] > 0
    }
    seen = {name: curve(trace, accuracies[name])[0][-1] for name in due}
    small = [name for name in due if size[name] <= MINOR * size[largest]]
    lost = [name for name in small if seen[name] >= WAITED * due[name]]
    if not lost:
        return None
    least = min(size[name] for name in learned)
    smallest, greatest = min(size[name] for name in lost), max(size[name] for name in lost)
    sizes = f"{smallest:g}" if smallest == greatest else f"{smallest:g} to {greatest:g}"
    named = ", ".join(lost[:NAMED]) + (", ..." if len(lost) > NAMED else "")
    decay = last(trace, "weight_decay")
    remedies = (spared(decay, smallest, max(least, smallest)),) if decay > 0 else ()
    return Finding(
        "minority below the threshold",
        "warning",
        f"Classes {named} of {sizes} samples are not learned, "
        f"{WAITED:g} times after their turn: decay holds them at zero. Classes of {least:g} and "
        "more are learned.",
        {"largest_lost": greatest, "smallest_learned": least, "due": max(due[n] for n in lost)},
        (
            Premise("the smaller classes are the lost ones", greatest <= least,
                    f"lost up to {greatest:g}, learned from {least:g}"),
            Premise("decay is at work", None if math.isnan(decay) else decay > 0,
                    "decay not known" if math.isnan(decay) else f"weight decay {decay:g}"),
        ),
        remedies,
    )  # fmt: skip


def _learned_at(trace: Trace, accuracy: str) -> float:
    """Return the step by which a class was learned; 0 if a network at its start told it by chance.

    Such a class says nothing of when learning takes place.
    """
    steps, values = curve(trace, accuracy)
    return float(steps[0] if values[0] >= HALF else crossing_time(steps, values, HALF))
