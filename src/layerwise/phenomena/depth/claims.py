"""The claims about depth and tickets: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import nan

import numpy as np
from scipy.optimize import minimize_scalar

from layerwise.phenomena.claim import Claim, seen, slope, weigh
from layerwise.phenomena.depth.results import Results

__all__ = ["CLAIMS"]

LAW = "exact product of L equal layers, each e at the start: "
TWO = LAW + "for L = 2 t_half = ln(S/e^2 - 1)/(2 rate S)"
DEEP = LAW + "t_half = e^-(L-2)/((L-2) rate S) for small e"
TICKET = "arXiv 2502.21009 (verbal: deep products are greedy, few weights carry the function)"


def log_two(results: Results) -> Claim:
    """Two layers wait the logarithm of their initial scale, no power of it."""
    folds = np.log(1 / results.scales(2))
    halves = results.half_times(2)
    ratios = [
        _left_by_line(folds, row) / _left_by_power(folds, row) if np.all(np.isfinite(row)) else nan
        for row in halves
    ]
    steps = [slope(folds, row) for row in halves]
    return weigh(
        results,
        "depth.log-2",
        "The half time of two layers is a straight line in ln(1/s), not a power of the initial "
        "scale s: least squares in steps of the line leave less than those of the power law, at "
        f"scales {_listed(results.scales(2))}. Steps per e-fold: {seen(np.array(steps))}. Shown is "
        "the ratio of what they leave.",
        TWO,
        0.0,
        np.array(ratios),
        accept=(0.0, 1.0),
        log=True,
    )


def power(results: Results, layers: int, accept: tuple[float, float]) -> Claim:
    """Deeper networks wait a power of their initial scale."""
    scales = results.scales(layers)
    slopes = [_exponent(scales, row) for row in results.half_times(layers)]
    return weigh(
        results,
        f"depth.slope-{layers}",
        f"The half time of {layers} layers grows as s^-{layers - 2} as the initial scale s goes "
        f"to 0: slope of ln t_half over ln s within {accept[0]:g} to {accept[1]:g}, at scales "
        f"{_listed(results.scales(layers))}.",
        DEEP,
        2.0 - layers,
        np.array(slopes),
        accept=accept,
    )


def width(results: Results) -> Claim:
    """The jump itself takes as long from any start."""
    slopes = {
        layers: np.array([
            _exponent(results.scales(layers), row) for row in results.widths(layers)
        ])
        for layers in results.plan.depths
    }  # fmt: skip
    each = "; ".join(f"{layers} layers {seen(found)}" for layers, found in slopes.items())
    return weigh(
        results,
        "depth.width",
        "How long the strength takes from 0.1 to 0.9 does not depend on the initial scale, so that "
        "the jump is the sharper the longer the wait: slope of ln(width) over ln s within -0.25 "
        f"to 0.25, mean over depths. {each}.",
        LAW + "t90 - t10 does not depend on e",
        0.0,
        np.mean(list(slopes.values()), axis=0),
        accept=(-0.25, 0.25),
    )


def magnitude(results: Results) -> Claim:
    """The largest weights, rewound, learn everything, and sooner."""
    ticket, table = results.plan.ticket, results.tickets()
    last = f"magnitude {ticket.rounds}"
    return weigh(
        results,
        "ticket.magnitude",
        f"The {ticket.kept(last):.1%} largest first-layer weights, rewound to their start, learn "
        f"all {ticket.n_skills} skills, and sooner than the dense network: half time of the last "
        "skill over that of the dense network, below 1.",
        TICKET,
        None,
        _ratio(table[last][:, -1:], table["dense"][:, -1:]),
        accept=(0.0, 1.0),
        log=True,
    )


def random(results: Results) -> Claim:
    """As many random weights learn nothing."""
    ticket = results.plan.ticket
    last = f"random {ticket.rounds}"
    return weigh(
        results,
        "ticket.random",
        f"A random mask of the same size ({ticket.kept(last):.1%}) learns none of the skills to "
        f"one half within {ticket.steps} steps: number of skills learned.",
        TICKET,
        0.0,
        np.sum(np.isfinite(results.tickets()[last]), axis=1),
        accept=(0.0, 0.0),
    )


def fresh_init(results: Results) -> Claim:
    """The mask matters, its initial values matter little."""
    ticket, table = results.plan.ticket, results.tickets()
    last = f"magnitude {ticket.rounds}"
    rewound = _ratio(table["fresh"], table[last])
    dense = _ratio(table["fresh"], table["dense"])
    return weigh(
        results,
        "ticket.fresh-init",
        "A new draw of the initial weights under the same mask does as well, to within a factor "
        "1.5: its half times over those of the rewound ticket, geometric mean over skills (over "
        f"those of the dense network: {seen(dense)}). It is the mask that wins, not the "
        "initial values.",
        "measured; no theory says so",
        1.0,
        rewound,
        accept=(1 / 1.5, 1.5),
        log=True,
    )


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    log_two,
    partial(power, layers=3, accept=(-1.15, -0.9)),
    partial(power, layers=4, accept=(-2.1, -1.7)),
    width,
    magnitude,
    random,
    fresh_init,
)


def _left_by_line(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2))


def _left_by_power(x: np.ndarray, y: np.ndarray) -> float:
    """Return what ``y = C exp(p x)`` leaves at its best: C by least squares, p by search."""

    def left(p: float) -> float:
        shape = np.exp(p * (x - x[-1]))
        return float(np.sum((y - shape * (shape @ y) / (shape @ shape)) ** 2))

    return left(minimize_scalar(left, bounds=(0.0, 3.0), method="bounded").x)


def _ratio(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the geometric mean over skills of their ratio per seed, NaN where one never came."""
    came = np.isfinite(times) & np.isfinite(others)
    logs = [np.log(np.where(came, values, nan)) for values in (times, others)]
    return np.exp(np.mean(logs[0] - logs[1], axis=1))


def _exponent(x: np.ndarray, y: np.ndarray) -> float:
    """Return the least-squares slope of ln y over ln x, NaN where a y was never reached."""
    return slope(np.log(x), np.log(np.where(y > 0, y, nan)))


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
