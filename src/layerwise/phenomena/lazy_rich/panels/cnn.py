"""Panels of the convolutional network from three starts of the same function."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.lazy_rich.results import Results
from layerwise.phenomena.panel import Curve, Panel, Table, Tiles, component
from layerwise.trace import Trace

__all__ = ["accuracy", "features", "filters", "imbalance", "kernel", "pictures", "signs", "table"]

STEPS = "optimiser steps"
SHOWN = 6  # first-layer filters that are drawn
FIRST = 0  # the layer next to the images


def pictures(results: Results) -> Tiles:
    """Draw filters of the first layer before and after training."""
    traces = {start: results.traces(run)[0] for start, run in results.plan.convolutions.items()}
    size = np.sum(traces["upstream"]["filters"][-1] ** 2, axis=(1, 2, 3))
    chosen = np.argsort(-size)[:SHOWN]
    rows = [("before training", traces["balanced"]["filters"][0])]
    rows += [(start, one["filters"][-1]) for start, one in traces.items()]
    return Tiles(
        "First filters before and after",
        f"The same {SHOWN} filters of one network, each on its own scale (those that are largest "
        "in the end, upstream). From a small first layer they become smooth strokes; from a large "
        "one they stay as drawn.",
        tuple((label, filters[chosen].mean(axis=1)) for label, filters in rows),
    )


def signs(results: Results) -> Panel:
    """Draw which activations of the first layer change."""
    return _over_time(
        results, "Early layers that start small learn",
        "Share of (unit, image) signs of the first layer that differ from the start. Upstream: "
        "first layer small, head large, the same function.",
        "sign_distance", "changed signs, layer 1", part=FIRST,
    )  # fmt: skip


def filters(results: Results) -> Panel:
    """Draw how the filters come to look like the images."""
    return _over_time(
        results, "Filters come to look like the images",
        "Share of the energy of the first filters in the top quarter of the principal components "
        "of the images' patches.",
        "filter_energy", "filter energy",
    )  # fmt: skip


def features(results: Results) -> Panel:
    """Draw how far the features before the head have moved."""
    return _over_time(
        results, "Features before the head",
        "One minus the centred alignment of the features with those at the start.",
        "feature_distance", "feature distance", log_y=True,
    )  # fmt: skip


def kernel(results: Results) -> Panel:
    """Draw how far the tangent kernel has turned."""
    return _over_time(
        results, "The kernel does not tell upstream from balanced",
        "Centred distance of the exact tangent kernel from its start. The gap to downstream "
        "depends on the learning rate, here the same margin over the traced kernel for each start.",
        "kernel_distance", "centred kernel distance", log_y=True,
    )  # fmt: skip


def accuracy(results: Results) -> Panel:
    """Draw the test accuracy."""
    return _over_time(
        results, "Learning the filters most is not best",
        "Accuracy on test images.", "test_accuracy", "test accuracy",
    )  # fmt: skip


def imbalance(results: Results) -> Panel:
    """Draw what flow conserves, as a check of the training."""
    runs = results.plan.convolutions
    curves = []
    for start, run in runs.items():
        traces = tuple(
            Trace(one.clock, {"imbalance": _drift(one["imbalance"])}, one.provenance)
            for one in results.traces(run)
        )
        curves.append(Curve(start, traces, "imbalance"))
    return Panel(
        "What flow conserves is nearly conserved",
        "Drift of |head|^2 - |first layer|^2 relative to its start. Steps of finite size break it; "
        "the balanced start has hardly any of it to compare with.",
        tuple(curves),
        STEPS,
        "relative drift",
        log_y=True,
    )


def table(results: Results) -> Table:
    """List what training did from each start."""
    measures = {
        "test accuracy": ("test_accuracy", None),
        "training loss": ("train_loss", None),
        "changed signs, layer 1": ("sign_distance", 0),
        "changed signs, layer 2": ("sign_distance", 1),
        "changed signs, layer 3": ("sign_distance", 2),
        "motion of the first filters": ("motion", 0),
        "energy of the first filters": ("filter_energy", None),
        "roughness of the first filters": ("filter_roughness", None),
        "participation of the first filters": ("filter_participation", None),
        "feature distance": ("feature_distance", None),
        "kernel distance, centred": ("kernel_distance", None),
        "kernel distance, plain": ("kernel_distance_plain", None),
    }
    runs = results.plan.convolutions
    rows = []
    for label, (name, part) in measures.items():
        finals = (results.final(run, name) for run in runs.values())
        values = (final if part is None else final[:, part] for final in finals)
        rows.append((label, *(f"{np.mean(one):.3g}" for one in values)))
    return Table(
        "The CNN at the end of training, by its start",
        "Means over seeds. All three starts are the same function; upstream has a small first "
        "layer and a large head.",
        ("Measure", *runs),
        tuple(rows),
    )


def _over_time(
    results: Results, title: str, caption: str, name: str, y: str, *,
    part: int | None = None, log_y: bool = False,
) -> Panel:  # fmt: skip
    curves = []
    for start, run in results.plan.convolutions.items():
        traces = results.traces(run)
        shown = traces if part is None else component(traces, name, part)
        curves.append(Curve(start, shown, name))
    return Panel(
        title, f"{caption} Median and range over seeds.", tuple(curves), STEPS, y, log_y=log_y
    )


def _drift(values: np.ndarray) -> np.ndarray:
    drift = np.abs(values - values[0]) / abs(values[0])
    return np.where(drift > 0, drift, np.nan)
