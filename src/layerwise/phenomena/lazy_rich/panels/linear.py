"""Panels of linear networks on images, and of networks between linear and ReLU."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.lazy_rich.linear import exact_limits, exact_two_number
from layerwise.phenomena.lazy_rich.results import Results
from layerwise.phenomena.lazy_rich.upstream import ACTIVATIONS
from layerwise.phenomena.panel import Curve, Panel, points, setting
from layerwise.trace import Trace

__all__ = ["conserved", "dial", "limits", "motion", "two_number", "upstream", "width"]


def two_number(results: Results) -> Panel:
    """Draw the loss of the widest networks beside the exact theory."""
    one = results.plan.two_number
    balanced = int(np.argmin(np.abs(one.shares)))
    traces = results.traces(one)
    exact = exact_two_number(one, traces[0].clock)
    curves = []
    for k, size in enumerate(one.sizes):
        label = f"c = {size:g} s"
        shown = tuple(
            Trace(t.clock, {"left": t["unlearned"][:, -1, k, balanced]}, t.provenance)
            for t in traces
        )
        theory = Trace(exact.clock, {"left": exact["unlearned"][:, k, balanced]}, exact.provenance)
        curves += [Curve(label, shown, "left"), Curve(label, (theory,), "left", theory=True)]
    return Panel(
        "Two numbers say what a wide network does",
        f"Random linear networks {one.widths[-1]} wide on images, from layers of one scale: c is "
        "their mean square over the strongest mode s of the target. Far above 1 the loss falls "
        "along exponentials, far below along sigmoids, after "
        "a plateau. Dashed: exact.",
        tuple(curves),
        "time / relaxation time of the first mode",
        "share of the loss",
        log_x=False,
        log_y=True,
        x_range=(0.0, 10.0),
        y_range=(1e-5, 5.0),
    )


def width(results: Results) -> Panel:
    """Draw the error of the two-number theory over the width."""
    one = results.plan.two_number
    widths = np.array(one.widths, dtype=float)
    errors = results.map_errors
    law = errors.mean(axis=0)[-1] * np.sqrt(widths[-1] / widths)
    return Panel(
        "Its error falls as one over the root of the width",
        "Root mean square over times and starts of |map - exact map| relative to the target. "
        "Dashed: the power -1/2 through the last point.",
        (
            points("networks", widths, errors),
            Curve("networks", (setting(widths, law, "theory"),), "value", theory=True),
        ),
        "width h",
        "error of the map",
        log_y=True,
    )


def motion(results: Results) -> Panel:
    """Draw which layer moves, by the difference of their scales."""
    one = results.plan.two_number
    shares = np.array(one.shares)
    small, large = int(np.argmin(one.sizes)), int(np.argmax(one.sizes))
    curves = []
    for name, k in (("small start", small), ("large start", large)):
        moved = np.stack([
            t["moved_first"][-1, -1, k] / t["moved_second"][-1, -1, k] for t in results.traces(one)
        ])  # fmt: skip
        curves.append(points(f"{name}, c = {one.sizes[k]:g} s", shares, moved))
    return Panel(
        "The lighter layer moves",
        "Motion of the first layer over that of the second, each relative to its start. Which "
        "layer learns is decided by the difference of their scales, alpha, in lazy and in rich "
        "networks.",
        tuple(curves),
        "alpha / (2 c): above 0 the later layer is larger",
        "motion, first / second layer",
        log_x=False,
        log_y=True,
    )


def limits(results: Results) -> Panel:
    """Draw the gaps of the first mode to both limits over the imbalance."""
    one = results.plan.limits
    ratios = np.array(one.ratios)
    up = ratios > 0
    exact = exact_limits(one, results.traces(one)[0].clock)
    curves = []
    for label, name in (
        ("from the exponential", "from_exponential"),
        ("from the sigmoid", "from_sigmoid"),
    ):
        found = results.gaps(name)[:, up]
        theory = setting(ratios[up], exact[name][:, up, 0].max(axis=0), "theory")
        curves += [
            points(label, ratios[up], found),
            Curve(label, (theory,), "value", theory=True),
        ]
    return Panel(
        "Sigmoid at lam = 0, exponential at large lam",
        "Largest gap of the first mode of a balanced linear network on images to each limit. "
        "Dashed: exact. Both powers are two.",
        tuple(curves),
        "imbalance lam / strongest mode",
        "largest gap",
        log_y=True,
    )


def upstream(results: Results) -> Panel:
    """Draw how the kernels of a linear and a ReLU network turn from an upstream start."""
    curves = []
    for k, name in enumerate(ACTIVATIONS):
        traces = tuple(
            Trace(
                1 - t["loss"][1:, k, 0],
                {"distance": t["distance_centred"][1:, k, 0]},
                t.provenance,
            )
            for t in results.traces(results.plan.linear)
            if np.all(np.diff(t["loss"][1:, k, 0]) < 0)
        )
        curves.append(Curve({"linear": "linear", "relu": "ReLU"}[name], traces, "distance"))
    return Panel(
        "Upstream needs a non-linearity",
        "Centred kernel distance from an upstream start, first layer a tenth, over the share of "
        "the loss that was learned. The linear network has the same weights at the start.",
        tuple(curves),
        "share of the loss that is learned",
        "centred kernel distance",
        log_x=False,
        log_y=True,
    )


def dial(results: Results) -> Panel:
    """Draw the transfer error of each linear prediction over the dial."""
    names = {
        "half times": "modes",
        "half times, slope 1": "modes_unscaled",
        "kernel distance": "kernel",
    }
    return Panel(
        "How far linear predictions carry",
        "Activation (1 - k) z + k max(z, 0): |ln(network / exact linear network)| of the half "
        "times of the modes (rms) and of the kernel distance. The linear network has the mean "
        "slope 1 - k/2 of the activation, or, beside it, slope 1.",
        tuple(_over_dial(results, label, name) for label, name in names.items()),
        "dial k: 0 linear, 1 ReLU",
        "transfer error",
        log_x=False,
    )


def conserved(results: Results) -> Panel:
    """Draw which conserved quantities are lost over the dial."""
    return Panel(
        "What a ReLU still conserves",
        "Share in which the changes of W2^T W2 and of W1 W1^T differ, which flow keeps equal in "
        "linear networks: between neurons it is lost as the ReLU is turned on, of each neuron it "
        "stays.",
        (
            _over_dial(results, "between neurons", "off_diagonal"),
            _over_dial(results, "of each neuron", "diagonal"),
        ),
        "dial k: 0 linear, 1 ReLU",
        "share lost",
        log_x=False,
        y_range=(-0.02, 1.02),
    )


def _over_dial(results: Results, label: str, name: str) -> Curve:
    found = np.array([[getattr(one, name) for one in t] for t in results.transfers.values()])
    return points(label, np.array(list(results.transfers)), found.T)
