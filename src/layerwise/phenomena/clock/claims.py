"""The claims about the clock: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, seen, weigh
from layerwise.phenomena.clock.results import Results
from layerwise.theory.clock import crossings, fit_time, rich_time

__all__ = ["CLAIMS"]

CLOCK = "exactly solved 1-h-1 network with decay: C = C0 exp(-2 decay t) (derived here)"
UNSEEN = "what gradients cannot reach decays as exp(-decay t), exactly (derived here)"
EXACT = 1e-9  # relative error up to which the unseen part keeps to its law
GROWTH = 0.15  # how far the growth of the delay may be from ln(ratio)/decay, relative


def rich(results: Results) -> Claim:
    """The network turns rich when its size has decayed to the target's."""
    off, fits, exact = [], [], []
    for one in results.plan.scalar:
        networks = results.networks(one)
        times = [rich_time(network) for network in networks]
        measured = results.scalar_rich(one)
        off.append([
            abs(at - float(time.value)) / float(time.error)
            for at, time in zip(measured, times, strict=True)
        ])  # fmt: skip
        law = np.array([float(crossings(network, one.level).rich) for network in networks])
        exact.append(np.abs(measured / law - 1))
        predicted = np.array([float(fit_time(network, one.level).value) for network in networks])
        fits.append(results.scalar_fits(one) / predicted)
    ratios = ", ".join(f"{one.ratio:g}" for one in results.plan.scalar)
    return weigh(
        results,
        "clock.rich-time",
        "1-h-1 networks trained by descent become rich (alignment above 1/sqrt 2) at t_rich = "
        f"ln(C0/(S - decay Z/s))/(2 decay), from weight-to-target ratios {ratios}: distance over "
        "the error that theory states, largest of the ratios, at most 1. Up to "
        f"{seen(np.max(exact, axis=0))} of the time, by the finite step, it is that of the exact "
        "law, which the formula overstates by nearly that error. They fit at "
        f"{seen(np.mean(fits, axis=0))} times the lazy t_fit; C keeps to its law within "
        f"{seen(results.off_clock())}.",
        CLOCK,
        0.0,
        np.max(off, axis=0),
        accept=(-math.inf, 1.0),
    )


def linear(results: Results) -> Claim:
    """The delay of a linear network is the decay of its start."""
    decays = tuple(results.plan.linear)
    growths = {decay: results.growths(decay) for decay in decays}
    each = "; ".join(f"decay {decay:g}: {seen(grown[:, -1])}" for decay, grown in growths.items())
    below = "; ".join(f"{seen(grown[:, -2])}" for grown in growths.values())
    low, middle, high = results.scales(decays[0])[-3:]
    off = results.off_law()
    claim = weigh(
        results,
        "clock.linear-demo",
        f"From initial scale {middle:g} to {high:g} the delay of a linear network grows by "
        f"ln({high:g}/{middle:g})/decay within {GROWTH:.0%}, mean over decays, and the part of its "
        "weights that no gradient reaches keeps to (1 - lr decay)^steps within "
        f"{EXACT:g} (largest error {off:.1e}). {each}. From scale {low:g}, which is not far above "
        f"the target, to {middle:g}: {below}.",
        UNSEEN,
        1.0,
        np.mean([grown[:, -1] for grown in growths.values()], axis=0),
        accept=(1 - GROWTH, 1 + GROWTH),
    )
    kept = Verdict.SUPPORTED if off <= EXACT else Verdict.REFUTED
    return replace(claim, verdict=Verdict.worst(claim.verdict, kept))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (rich, linear)
