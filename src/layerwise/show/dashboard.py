"""The dashboard: what a reader wants of a probed run, each thing one panel."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from layerwise.diagnosis.evidence import FIT, STILL, all_of, config, curve, first, known, last
from layerwise.diagnosis.rules.balance import SHARE
from layerwise.diagnosis.rules.collapse import BUDGET, NC1, NC3
from layerwise.phenomena.panel import Curve, Mark, Panel
from layerwise.show.number import number
from layerwise.show.thin import thinned
from layerwise.theory.regime import LAZY
from layerwise.trace import Provenance, Trace

if TYPE_CHECKING:
    from layerwise.diagnosis.diagnosis import Diagnosis

__all__ = ["dashboard"]

FEW: Final = 5  # layers, or classes, that are drawn one by one
ENDS: Final = 2  # of more of them so many of either end are, and the others as a band
EARLY: Final = 1 / 3  # of a run: where half of its looks lie before, they are log-spaced
MOST: Final = 150  # points of a curve; of more looks medians are drawn, and the range as a band
AHEAD: Final = 3.0  # times the run: a forecast beyond has no room on a linear clock
SHARES: Final = (-0.02, 1.02)  # so that lines at 0 and at 1 are seen whole
STAGES: Final = "learning in stages"  # the finding whose forecast is of a skill
COLLAPSE: Final = {
    "nc1": "NC1, within classes",
    "nc2_norm": "NC2, lengths",
    "nc2_angle": "NC2, angles",
    "nc3": "NC3, head",
    "nc4": "NC4, decisions",
}


def dashboard(trace: Trace, diagnosis: Diagnosis | None = None) -> tuple[Panel, ...]:
    """Return the panels that show a run, each if its series were measured; perhaps none.

    Accuracies and losses, motion and balance of the layers, how far features and kernel moved,
    effective rank, neural collapse, the work of decay, skills and classes. Of many layers those
    that end lowest and highest are drawn, and the others as a band. What was measured at some looks
    only is joined by lines.

    Parameters
    ----------
    trace
        Of a probe, or any with series of its names.
    diagnosis
        What was found in it: its forecasts are marked, as the step of the fit always is.

    Notes
    -----
    The clock is logarithmic, but for its start, where the looks are log-spaced or a forecast lies
    far ahead.

    Examples
    --------
    >>> series = {"train_accuracy": [0.1, 0.8, 1.0], "test_accuracy": [0.1, 0.3, 0.4]}
    >>> (panel,) = dashboard(Trace([0, 50, 100], series, Provenance("probe", "optimiser steps")))
    >>> panel.title, [mark.label for mark in panel.marks]
    ('Accuracy', ['fitted, step 100'])
    """
    drawn = (
        _accuracy(trace, diagnosis),
        _loss(trace),
        _motion(trace),
        _balance(trace),
        _distance(trace),
        _rank(trace),
        _collapse(trace),
        _decay(trace),
        _skills(trace, diagnosis),
        _classes(trace),
    )
    return tuple(panel for panel in drawn if panel is not None)


def _accuracy(trace: Trace, diagnosis: Diagnosis | None) -> Panel | None:
    steps, values = curve(trace, "train_accuracy")
    marks = tuple(Mark(f"fitted, step {number(at)}", float(at)) for at in steps[values >= FIT][:1])
    return _panel(
        trace,
        "Accuracy",
        f"Train at 1 and test far below it is memorisation. Fitted is a train accuracy of {FIT:g}.",
        _named(trace, {"train_accuracy": "train", "test_accuracy": "test"}),
        "accuracy",
        y_range=SHARES,
        marks=marks + _forecasts(diagnosis, lambda rule: rule != STAGES),
    )


def _loss(trace: Trace) -> Panel | None:
    return _panel(
        trace,
        "Loss",
        "A test loss that rises while the train loss falls is memorisation. A flat stretch is no "
        "end of learning where skills come one after the other.",
        _named(trace, {"train_loss": "train", "test_loss": "test"}),
        "loss",
        log_y=True,
    )


def _motion(trace: Trace) -> Panel | None:
    return _panel(
        trace,
        "How far each layer has moved",
        "0 is where it started, 1 as far as it was large. A line that stays at 0 is a layer that "
        "does not learn.",
        _of_each(trace, "motion"),
        "|W − W₀| / |W₀|",
    )


def _balance(trace: Trace) -> Panel | None:
    return _panel(
        trace,
        "Which of two layers is the larger",
        f"At 0 they are balanced and both learn. Beyond ±{SHARE:.2g} the larger one hardly moves: "
        "the later one above, the earlier one below.",
        _of_each(trace, "balance_share"),
        "imbalance, share of squares",
        y_range=(-SHARES[1], SHARES[1]),
    )


def _distance(trace: Trace) -> Panel | None:
    ratio = first(trace, "weight_to_target")
    said = f" The weight-to-target ratio was {number(ratio)} at the start (lazy above {LAZY:g})."
    found = {name: f"features {f}" for f, name in all_of(trace, "feature_distance").items()}
    return _panel(
        trace,
        "How far features and kernel moved",
        f"Below {STILL:g} once the data are fitted, the run is lazy: it fits with the features of "
        f"its start.{'' if math.isnan(ratio) else said}",
        _named(_begun(trace), found | {"kernel_distance": "tangent kernel"}),
        "distance from the start",
        level=(f"lazy below {STILL:g}", STILL),
        log_y=True,
    )


def _rank(trace: Trace) -> Panel | None:
    classes = config(trace, "classes")
    return _panel(
        trace,
        "Directions that features use",
        "A rank that grows is learning in stages; one that falls below what the classes need before"
        " they are told apart is collapse too early.",
        _of_each(trace, "rank"),
        "effective rank",
        level=(f"{classes} classes need {classes - 1}", classes - 1.0) if classes else None,
    )


def _collapse(trace: Trace) -> Panel | None:
    features = all_of(trace, "nc3") or all_of(trace, "nc1")
    if not features:
        return None
    name = list(features)[-1]
    return _panel(
        trace,
        f"Neural collapse of {name}",
        f"Collapsed: NC1 below {NC1:g} and NC3 below {NC3:g}. What has reached 0 leaves the axis.",
        _named(trace, {f"{kind}/{name}": label for kind, label in COLLAPSE.items()}),
        "from collapse",
        log_y=True,
    )


def _decay(trace: Trace) -> Panel | None:
    if not np.any(curve(trace, "decay_budget")[1]):
        return None
    return _panel(
        trace,
        "Work of weight decay",
        "By how many factors e decay alone has shrunk the weights: it ends a delay after about the "
        f"logarithm of their scale, and collapses classes after about {BUDGET:g}.",
        _named(trace, {"decay_budget": "so far"}),
        "e-foldings",
        level=(f"classes collapse at {BUDGET:g}", BUDGET),
    )


def _skills(trace: Trace, diagnosis: Diagnosis | None) -> Panel | None:
    if "strength" in trace and trace["strength"].ndim == 2:  # as the experiments have them
        each = {f"skill/skill {k}": v for k, v in enumerate(trace["strength"].T, start=1)}
        trace = Trace(trace.clock, each, trace.provenance)
    return _panel(
        trace,
        "Skills",
        "0 is unknown, 1 learned; a skill emerges at a half. One after the other is learning in "
        "stages.",
        _of_each(trace, "skill"),
        "strength",
        y_range=SHARES,
        marks=_forecasts(diagnosis, lambda rule: rule == STAGES),
    )


def _classes(trace: Trace) -> Panel | None:
    return _panel(
        trace,
        "Accuracy of each class",
        "Small classes are learned last, and with decay perhaps never.",
        _of_each(trace, "class_accuracy"),
        "accuracy",
        y_range=SHARES,
    )


def _panel(
    trace: Trace,
    title: str,
    caption: str,
    curves: Sequence[Curve],
    y: str,
    *,
    level: tuple[str, float] | None = None,
    log_y: bool = False,
    y_range: tuple[float, float] | None = None,
    marks: tuple[Mark, ...] = (),
) -> Panel | None:
    """Return a panel on the clock of the trace, with a dashed line at a level; None if empty."""
    if not curves:
        return None
    start, end = float(trace.clock[0]), float(trace.clock[-1])
    if level is not None:
        ends = Trace(np.unique([start, end]), {}, Provenance("theory", trace.provenance.clock))
        line = Trace(ends.clock, {"value": np.full(len(ends), level[1])}, ends.provenance)
        curves = (*curves, Curve(level[0], (line,), "value", theory=True))
    latest = max((mark.at if mark.high is None else mark.high for mark in marks), default=end)
    log = _rarer_and_rarer(trace) or latest > AHEAD * end > 0
    return Panel(
        title,
        caption,
        tuple(thinned(one, MOST, log=log) for one in curves),
        trace.provenance.clock,
        y,
        log_x=log,
        log_y=log_y,
        y_range=y_range,
        log_from=float(trace.clock[1]) if log and start == 0 else None,
        marks=marks,
    )


def _rarer_and_rarer(trace: Trace) -> bool:
    """Whether most looks at some series lie early, on a clock that has no negative instants."""
    looks = (curve(trace, name)[0] for name in trace if trace.clock[0] >= 0)
    return any(len(steps) > 2 and np.median(steps) < EARLY * steps[-1] for steps in looks)


def _begun(trace: Trace) -> Trace:
    """Return the trace without its first look, whose distance from the start is 0, or rounding."""
    later = {name: values[1:] for name, values in trace.series.items()}
    return trace if len(trace) == 1 else Trace(trace.clock[1:], later, trace.provenance)


def _named(trace: Trace, labels: Mapping[str, str]) -> tuple[Curve, ...]:
    """Return a curve of each of these series that was measured, by label."""
    return tuple(
        Curve(label, (_measured(trace, name),), "value")
        for name, label in labels.items()
        if known(trace, name)
    )


def _of_each(trace: Trace, kind: str) -> tuple[Curve, ...]:
    """Return a curve of each series ``kind/THING``; of many, of the ends, and one of the others."""
    names = all_of(trace, kind)
    if len(names) <= FEW:
        return _named(trace, {name: thing for thing, name in names.items()})
    order = sorted(names.values(), key=lambda name: last(trace, name), reverse=True)
    things = {name: thing for thing, name in names.items()}
    between = tuple(_measured(trace, name) for name in order[ENDS:-ENDS])
    return (
        *_named(trace, {name: things[name] for name in order[:ENDS]}),
        Curve(f"{len(between)} between them (median, range)", between, "value"),
        *_named(trace, {name: things[name] for name in order[-ENDS:]}),
    )


def _measured(trace: Trace, name: str) -> Trace:
    """Return a series where it was measured, as ``value``."""
    steps, values = curve(trace, name)
    return Trace(steps, {"value": values}, trace.provenance)


def _forecasts(diagnosis: Diagnosis | None, of: Callable[[str], bool]) -> tuple[Mark, ...]:
    """Return the forecasts of the findings of some rules."""
    told = [f.forecast for f in diagnosis.findings if of(f.rule)] if diagnosis else []
    return tuple(
        Mark(
            f"forecast, step {number(one.time)} ({number(one.low)} to {number(one.high)})",
            one.time,
            one.low,
            one.high,
        )
        for one in told
        if one is not None and math.isfinite(one.high)
    )
