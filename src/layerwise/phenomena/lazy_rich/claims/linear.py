"""Claims about linear networks on images, and about how far linear predictions carry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, decide, seen, slope, weigh
from layerwise.phenomena.lazy_rich.dial import Transfer
from layerwise.phenomena.lazy_rich.results import Results
from layerwise.phenomena.lazy_rich.upstream import ACTIVATIONS, early

__all__ = ["dial", "limits", "two_number", "upstream"]

DECADES = 10.0, 1e3  # imbalances over the strongest mode at which the power of a gap is read
EXACT = 0.01  # error of half times that the steps alone may leave


def two_number(results: Results) -> Claim:
    """Two numbers of the initial scales decide what a wide random network does."""
    one = results.plan.two_number
    errors = results.map_errors
    widths = np.log(one.widths)
    return weigh(
        results,
        "lazy-rich.two-number",
        "Random networks of layer variances s1^2/h and s2^2/h follow the exact two-number theory, "
        "c = (s2^2 + s1^2)/2 and alpha = s2^2 - s1^2, up to 1/sqrt(h): slope of the ln of the rms "
        f"error of the map over ln h within -0.6 to -0.4, widths {one.widths[0]} to "
        f"{one.widths[-1]}, c from {min(one.sizes):g} to {max(one.sizes):g} times the strongest "
        f"mode. Error at the largest width {seen(errors[:, -1])}.",
        "two-valued imbalance (derived here)",
        -0.5,
        np.array([slope(widths, np.log(row)) for row in errors]),
        accept=(-0.6, -0.4),
    )


def limits(results: Results) -> Claim:
    """Balanced modes are sigmoids, strongly imbalanced ones exponentials."""
    one = results.plan.limits
    ratios = np.array(one.ratios)
    far = (ratios >= DECADES[0]) & (ratios <= DECADES[1])
    gaps, near = results.gaps("from_exponential"), results.gaps("from_sigmoid")
    small = int(np.argmin(np.abs(ratios)))
    listed = ", ".join(f"{ratios[k]:g}: {seen(gaps[:, k])}" for k in np.flatnonzero(ratios >= 1.0))
    return weigh(
        results,
        "lazy-rich.limits",
        "The first mode of a linear network on images approaches the lazy exponential as "
        "1/lam^2: slope of the ln of their largest gap over ln lam within -2.1 to -1.9. Gap by "
        f"lam over the mode: {listed}. From the sigmoid at {abs(ratios[small]):g}: "
        f"{seen(near[:, small])}.",
        "exact pair of weights; Domine et al. 2025 (arXiv 2409.14623) for the limits",
        -2.0,
        np.array([slope(np.log(ratios[far]), np.log(row[far])) for row in gaps]),
        accept=(-2.1, -1.9),
    )


def upstream(results: Results) -> Claim:
    """Without a non-linearity small early layers do not make the kernel turn."""
    one = results.plan.linear
    traces = results.traces(one)
    distance, features = (
        np.array([early(trace, name)[:, 0] for trace in traces])
        for name in ("distance_centred", "features")
    )
    linear, relu = (ACTIVATIONS.index(name) for name in ("linear", "relu"))
    return weigh(
        results,
        "lazy-rich.linear-upstream",
        f"From an upstream start (first layer x {one.factors[0]:g}) the tangent kernel of a ReLU "
        "network turns, that of the linear network of the same weights does not: ratio of their "
        f"centred distances at half the loss above 20 ({seen(distance[:, relu])} against "
        f"{seen(distance[:, linear])}). Hidden features move in both "
        f"({seen(features[:, relu])} and {seen(features[:, linear])}).",
        "arXiv 2502.21009, section on lazy and rich, after Kunin et al. 2024 (arXiv 2406.06158)",
        None,
        distance[:, relu] / distance[:, linear],
        accept=(20.0, math.inf),
        log=True,
    )


def dial(results: Results) -> Claim:
    """Exact linear predictions fade as a ReLU is turned on; the mean slope carries them further."""
    errors = results.transfers
    scaled, unscaled = (
        {k: _values(found, name) for k, found in errors.items()}
        for name in ("modes", "modes_unscaled")
    )
    listed = ", ".join(f"{k:g}: {seen(values)}" for k, values in scaled.items())
    last = max(scaled)
    claim = weigh(
        results,
        "lazy-rich.dial",
        "Activation (1 - k) z + k max(z, 0): rms of ln(half time of a mode / exact linear network "
        f"of slope 1 - k/2), by k: {listed}. Below {EXACT:g} at k = 0, and at k = {last:g} less "
        "than what the linear network of slope 1 is off: ratio below 1. Conserved quantities: of "
        "the differences between neurons that flow keeps in linear networks "
        f"{seen(_values(errors[last], 'off_diagonal'))} are lost at k = {last:g}, of those of each "
        f"neuron {seen(_values(errors[last], 'diagonal'))}.",
        "exact linear network of the activation's mean slope (derived here)",
        None,
        scaled[last] / unscaled[last],
        accept=(0.0, 1.0),
        log=True,
    )
    exact = decide(results, scaled[min(scaled)], (-math.inf, EXACT))
    return replace(claim, verdict=Verdict.worst(claim.verdict, exact))


def _values(found: tuple[Transfer, ...], name: str) -> np.ndarray:
    return np.array([getattr(one, name) for one in found])
