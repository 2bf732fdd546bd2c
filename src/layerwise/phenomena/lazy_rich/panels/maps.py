"""Panels of the phase maps, trained and exact."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.lazy_rich.funnel import Funnel
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.results import FLOOR, Results
from layerwise.phenomena.lazy_rich.twin import LEVEL, boundary, exact_funnel, lazy_map
from layerwise.phenomena.panel import Boundary, Curve, Map, Panel, points, setting
from layerwise.trace import Trace

__all__ = ["LAM", "balanced", "funnels", "unbalanced"]

DISTANCE = "log10(kernel distance + 1e-6)"
LAM = "imbalance lam (above 0: later layer larger)"
SCALE = "scale (the target is divided by it)"
CONTOURS = (-5.0, -3.0)
LIMITS = -6.0, -0.5
LOW = 1e-7  # bottom of the panel of funnels


def balanced(results: Results) -> tuple[Map, Map]:
    """Draw the map of balanced networks, trained and exact."""
    one = results.plan.balanced
    exact = np.log10(results.exact[0] + FLOOR)
    said = (
        "Distance of the tangent kernel from its start, plain, one draw: bright is rich. Dashed: "
        f"where theory expects {LEVEL:g}, |lam| in proportion to 1/scale."
    )
    return (
        _map(one, results.map(one)[0], "Balanced networks, trained", said),
        _map(one, exact, "Balanced networks, exact", f"The same networks, solved. {said}"),
    )


def unbalanced(results: Results) -> tuple[Map, Map]:
    """Draw the map of networks that start at zero, trained and to second order."""
    one = results.plan.unbalanced
    lazy = np.log10(lazy_map(one)["distance"] + FLOOR)
    said = "Wide networks that start at the zero map, one draw; a large scale is a small target."
    return (
        _map(
            one, results.map(one)[0], "Networks from zero, trained",
            f"{said} Dashed: where theory expects {LEVEL:g} on average over draws.",
        ),
        _map(
            one, lazy, "Networks from zero, second order",
            f"{said} Theory to second order in the target, from each network's own start: right "
            "where learning is lazy, without meaning where it is rich.",
        ),
    )  # fmt: skip


def funnels(results: Results) -> Panel:
    """Draw the end of funnels and anti-funnels over their imbalance."""
    curves = []
    for label, one in (("funnel", results.plan.funnel), ("anti-funnel", results.plan.antifunnel)):
        name = f"{label} {one.inputs}-{one.hidden}-{one.outputs}"
        found = np.maximum(results.final(one, "distance"), LOW)
        curves += [
            points(name, one.lams, found),
            Curve(name, (_ends(one),), "value", theory=True),
        ]
    early = f"{results.plan.funnel.early:g}"
    return Panel(
        "A funnel is rich late, from a heavy early layer",
        "Kernel distance in the end, over the imbalance; dashed: exact, one draw. What is rich on "
        f"one side only was lazy at t = {early}: those networks first have to turn. The paper "
        "prints the opposite signs.",
        tuple(curves),
        LAM,
        "kernel distance, end",
        log_x=False,
        log_y=True,
    )


def _map(one: BalancedMap | UnbalancedMap, values: np.ndarray, title: str, caption: str) -> Map:
    scales, lams = one.axes
    edge = boundary(one)
    both = Boundary(
        "boundary of theory",
        np.concatenate([scales, [np.nan], scales]),
        np.concatenate([edge, [np.nan], -edge]),
    )
    return Map(
        title, caption, scales, lams, np.clip(values.T, *LIMITS), SCALE, LAM, DISTANCE,
        levels=CONTOURS, boundaries=(both,), limits=LIMITS,
    )  # fmt: skip


def _ends(one: Funnel) -> Trace:
    found = exact_funnel(one, np.array([0.0, one.end]))["distance"][-1]
    return setting(one.lams, np.maximum(found, LOW), "theory")
