"""What the report shows of neural collapse: the panels and the sentence above them."""

from __future__ import annotations

import math

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim
from layerwise.phenomena.collapse.claims import CLAIMS
from layerwise.phenomena.collapse.experiment import Collapse
from layerwise.phenomena.collapse.results import Results
from layerwise.phenomena.collapse.twin import trace, twin
from layerwise.phenomena.panel import Curve, Panel, component, points, setting
from layerwise.theory import Features
from layerwise.trace import Provenance, Trace

__all__ = ["folded", "study"]

EPOCHS, TIME = "epochs", "gradient-flow time"
MEASURES = {
    "NC1": "nc1",
    "NC2 norms": "equinorm",
    "NC2 angles": "angle",
    "NC3": "nc3",
}
SOME = (1e-6, 1e-6)  # decay that leaves the optimum as it is without any
LOW = 1e-3  # bottom of the panels of measures


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    plan = results.plan
    return Study(
        name="collapse",
        title="Neural collapse",
        summary=_summary(results, {claim.id: claim for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            _measures(results, plan.decayed, "With decay: everything falls"),
            _measures(results, plan.control, "Control: as many epochs, no decay"),
            _simplex(results),
            _spectrum(results),
            _shuffled(results),
            _accuracy(results),
            _modes(results),
            _minority(results),
            _starts(results),
            _duality(results),
        ),
        claims=claims,
        stand_in=results.size == "paper" and results.plan.data == "digits",
        runs=tuple(results.runs.values()),
    )


def _summary(results: Results, claims: dict[str, Claim]) -> str:
    one = {name: claims[f"collapse.{name}"] for name in ("nc1", "simplex", "random-labels")}
    budget = claims["collapse.decay-budget"]
    return (
        "Trained on after its last error, a ResNet18 draws the features of each class together "
        f"(NC1 {_short(one['nc1'].measured)}), and their means to the corners of a simplex "
        f"(cosines off by {_short(one['simplex'].measured)}). Weight decay does it: as many "
        f"epochs without leave classifier and means {_short(budget.measured)} times further "
        "apart. Features of shuffled labels collapse too "
        f"({one['random-labels'].verdict}), so it is no sign of generalisation. In the exactly "
        "solved model the features are free, every class is one mode, and small classes come last "
        "or, with decay, never."
    )


def _measures(results: Results, run: Collapse, title: str) -> Panel:
    fitted = results.when_fitted(run, "decay_budget")
    budget = results.final(run, "decay_budget")
    caption = (
        f"Measures on the training set, sum of rate x decay {np.median(budget):.2g}; median and "
        "range over seeds. All are 0 at the optimum of the exact model with decay."
    )
    if np.all(np.isfinite(fitted)):
        when = [one.clock[np.argmax(one["train_accuracy"] == 1)] for one in results.traces(run)]
        caption += f" No training error from epoch {np.median(when):.0f}."
    return Panel(
        title,
        caption,
        tuple(Curve(label, results.traces(run), name) for label, name in MEASURES.items()),
        EPOCHS,
        "distance from collapse",
        log_y=True,
        x_range=(1.0, float(run.epochs)),
        y_range=(LOW, 10.0),
    )


def _simplex(results: Results) -> Panel:
    """Draw class means in the frame of the simplex, folded to a regular polygon."""
    run = results.plan.decayed
    one = results.traces(run)[0]
    fitted = int(np.argmax(one["train_accuracy"] == 1.0))
    classes = one["means_gram"].shape[1]
    corners = _cloud(*folded(np.eye(classes) - 1 / classes))
    curves = [Curve("perfect simplex", (corners,), "value", points=True)]
    for label, index in (
        ("at the start", 0),
        (f"epoch {one.clock[fitted]:.0f}, first without error", fitted),
        (f"epoch {one.clock[-1]:.0f}", -1),
    ):
        curves.append(
            Curve(label, (_cloud(*folded(one["means_gram"][index])),), "value", points=True)
        )
    return Panel(
        "The means approach the simplex",
        f"The {classes} centred class means of one network, folded to the plane so that the "
        "corners of a perfect simplex are those of a regular polygon, on the circle of radius 1.",
        tuple(curves),
        "first folded direction",
        "second folded direction",
        log_x=False,
        x_range=(-1.6, 1.6),
        y_range=(-1.6, 1.6),
    )


def folded(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two coordinates of each mean, from the Gram matrix of the centred means.

    The root of the Gram matrix holds the means in the frame closest to a simplex; its rows are
    folded by ``e^(2 pi i c/C)``, which takes a perfect simplex to a regular polygon of radius 1.
    """
    values, vectors = np.linalg.eigh(gram)
    means = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    C = len(gram)
    means *= math.sqrt((C - 1) / np.trace(gram))
    folded = means @ np.exp(2j * np.pi * np.arange(C) / C)
    return folded.real, folded.imag


def _cloud(x: np.ndarray, y: np.ndarray) -> Trace:
    """Return points of the plane as a trace, whose clock has to increase strictly."""
    order = np.argsort(x)
    apart = np.maximum.accumulate(x[order]) + 1e-9 * np.arange(len(x))
    return setting(apart, y[order])


def _spectrum(results: Results) -> Panel:
    run = results.plan.decayed
    traces = results.traces(run)
    classes = traces[0]["means_gram"].shape[1]
    shares = tuple(
        Trace(one.clock, {"spectrum": one["spectrum"] / one["spectrum"][:, :1]}, one.provenance)
        for one in traces
    )
    return Panel(
        "Features fill C - 1 directions",
        f"Singular values of the centred features over the largest: with {classes} classes "
        f"{classes - 1} stay, and the next one falls.",
        tuple(
            Curve(f"sigma_{k}", component(shares, "spectrum", k - 1), "spectrum")
            for k in (2, classes - 1, classes, classes + 2)
        ),
        EPOCHS,
        "share of the largest",
        log_y=True,
        x_range=(1.0, float(run.epochs)),
    )


def _shuffled(results: Results) -> Panel:
    plan = results.plan
    return Panel(
        "Decay does it, labels need not mean anything",
        f"NC1 with decay, without, and with decay on shuffled labels ({plan.shuffled.train_size} "
        "images).",
        (
            Curve("decay", results.traces(plan.decayed), "nc1"),
            Curve("no decay", results.traces(plan.control), "nc1"),
            Curve("decay, shuffled labels", results.traces(plan.shuffled), "nc1"),
        ),
        EPOCHS,
        "NC1",
        log_y=True,
        x_range=(1.0, float(max(plan.decayed.epochs, plan.shuffled.epochs))),
    )


def _accuracy(results: Results) -> Panel:
    plan = results.plan
    return Panel(
        "Collapse and generalisation are two things",
        "Accuracy on training and test images. On shuffled labels the network fits, collapses and "
        "has learned nothing.",
        (
            Curve("train", results.traces(plan.decayed), "train_accuracy"),
            Curve("test", results.traces(plan.decayed), "test_accuracy"),
            Curve("train, shuffled labels", results.traces(plan.shuffled), "train_accuracy"),
            Curve("test, shuffled labels", results.traces(plan.shuffled), "test_accuracy"),
        ),
        EPOCHS,
        "accuracy",
        x_range=(1.0, float(max(plan.decayed.epochs, plan.shuffled.epochs))),
        y_range=(0.0, 1.02),
    )


def _modes(results: Results) -> Panel:
    run = results.plan.modes
    traces = results.traces(run)
    last = 1.3 * float(np.max(twin(run).learning_times(0.5)))
    t = np.linspace(0, last, 300)
    exact = (trace(run, t),)
    labels = [f"{count} samples" for count in run.n_per_class]
    return Panel(
        "Free features: classes are modes",
        "How well each class is fitted, w_c . h_c, when the features are free and the start is "
        "small. Dashed: exact, a sigmoid of rate sqrt(n_c) from the start of one seed.",
        (
            *(Curve(label, component(traces, "strength", c), "strength")
              for c, label in enumerate(labels)),
            *(Curve(label, component(exact, "strength", c), "strength", theory=True)
              for c, label in enumerate(labels)),
        ),
        TIME,
        "w_c . h_c",
        log_x=False,
        x_range=(0.0, last),
        y_range=(-0.02, 1.05),
    )  # fmt: skip


def _minority(results: Results) -> Panel:
    runs = results.plan.minorities
    counts = runs[0].n_per_class
    levels = np.array([sum(run.n_per_class) * run.decay[0] for run in runs])
    fine = np.linspace(0.0, levels[-1] * 1.1, 200)
    curves = []
    for c, count in enumerate(counts):
        label = f"{count} samples"
        measured = np.stack([results.final(run, "strength")[:, c] for run in runs], axis=1)
        exact = np.maximum(1 - fine / math.sqrt(count), 0)
        curves += [
            points(label, levels, measured),
            Curve(label, (setting(fine, exact, "theory"),), "value", theory=True),
        ]
    return Panel(
        "Minority collapse",
        "The same, at the end of a training with decay: the class of n_c samples vanishes at "
        "N decay = sqrt(n_c). Dashed: the exact optimum.",
        tuple(curves),
        "N x decay",
        "w_c . h_c at the end",
        log_x=False,
        y_range=(-0.02, 1.02),
    )


def _starts(results: Results) -> Panel:
    runs = results.plan.starts
    starts = np.array([run.start for run in runs])
    finals = np.stack([results.final(run, "nc1") for run in runs], axis=1)
    return Panel(
        "Without decay, the start decides",
        "NC1 of free features at the end of a training without decay: what the start put into "
        "directions that are not learned stays there.",
        (points("free features", starts, np.maximum(finals, 1e-20)),),
        "scale of the start",
        "NC1 at the end",
        log_y=True,
    )


def _duality(results: Results) -> Panel:
    run = results.plan.starts[1]
    traces = results.traces(run)
    t = traces[0].clock[1:].astype(float)
    classes, samples = len(run.n_per_class), run.n_per_class[0]
    level = Trace(
        t,
        {"nc3": np.full(len(t), Features(classes, samples, run.dim, decay=SOME).optimum().nc3)},
        Provenance("theory", TIME),
    )
    return Panel(
        "NC3 has an offset without bias",
        "Squared error without bias ends with orthogonal class means, and the classifier is dual "
        "to them before they are centred: NC3 stays at 2 - 2 sqrt((C-1)/C) unless the classifier "
        "is centred too.",
        (
            Curve("NC3", traces, "nc3"),
            Curve("NC3, centred classifier", traces, "nc3_centred"),
            Curve("NC3", (level,), "nc3", theory=True),
        ),
        TIME,
        "NC3",
        log_y=True,
        x_range=(float(t[0]), float(t[-1])),
    )


def _settings(results: Results) -> dict[str, str]:
    plan = results.plan
    free = plan.modes
    return plan.decayed.settings("shuffled_labels") | {
        "seeds": f"0 to {results.seeds - 1}",
        "optimizer": "SGD, cross-entropy, the rate falls to a tenth after 1/3 and 2/3 of the steps",
        "shuffled labels": f"{plan.shuffled.train_size} images, {plan.shuffled.epochs} epochs",
        "free features": f"classes of {', '.join(map(str, free.n_per_class))}, {free.dim} "
        f"dimensions, full-batch gradient descent, start {free.start:g}",
    }


def _short(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2g}"
