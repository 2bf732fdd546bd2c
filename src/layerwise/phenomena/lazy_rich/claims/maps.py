"""Claims about the phase maps of linear networks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, decide, seen, weigh
from layerwise.phenomena.lazy_rich.networks import DATA
from layerwise.phenomena.lazy_rich.results import FLOOR, Results
from layerwise.phenomena.lazy_rich.twin import LEVEL, agreement, lazy_map

__all__ = ["balanced", "funnel", "unbalanced"]

SEPARATED = 0.95  # mean share of rich and of lazy points that a boundary has on the right side
RICH, LAZY = -3.5, -5.0  # log10 of the distances that count as rich and as lazy in figure 6(a)
FAR = 4.5  # |lam| from which it is lazy


def balanced(results: Results) -> Claim:
    """Balanced networks are rich around lam = 0, and lazy where theory draws the boundary."""
    one, found = results.plan.balanced, results.map(results.plan.balanced)
    scales, lams = one.axes
    mean = found.mean(axis=0)
    least = float(mean[:, np.argmin(np.abs(lams))].min())
    far = mean[:, np.abs(lams) >= FAR].max(axis=1)
    lazy = scales[np.flatnonzero(far >= LAZY)[-1] + 1 :] if np.any(far >= LAZY) else scales
    since = f"from scale {lazy[0]:.3g} on" if len(lazy) else "at no scale"
    gap = np.abs(np.log10(results.exact + FLOOR) - found).max(axis=(1, 2))
    claim = weigh(
        results,
        "lazy-rich.map.balanced",
        f"The boundary at a kernel distance of {LEVEL:g}, |lam| in proportion to 1/scale, has rich "
        f"and lazy networks on its right sides: mean share of both above {SEPARATED:g}; and at "
        f"lam = 0 log10 of the mean distances stays above {RICH:g} at every scale (least "
        f"{least:.2f}). For |lam| >= {FAR:g} it is below {LAZY:g} {since}. Trained and exact maps "
        f"differ by at most {seen(gap)} decades, the error of the steps.",
        "arXiv 2502.21009, figure 6(a), its sweep as in the published code; boundary derived here",
        1.0,
        np.array([
            agreement(seed, trace["distance"])
            for seed, trace in zip(results.seeded(one), results.traces(one), strict=True)
        ]),
        accept=(SEPARATED, math.inf),
    )  # fmt: skip
    shape = Verdict.SUPPORTED if least > RICH else Verdict.REFUTED
    return replace(claim, data=DATA, verdict=Verdict.worst(claim.verdict, shape))


def unbalanced(results: Results) -> Claim:
    """Networks from zero are rich for large targets, lazy for small ones, sooner off balance."""
    one = results.plan.unbalanced
    mean = results.map(one).mean(axis=0)
    least, most = float(mean[0].min()), float(mean[-1].max())
    scales = one.axes[0]
    right = []
    for seed, trace in zip(results.seeded(one), results.traces(one), strict=True):
        above, predicted = trace["distance"] > LEVEL, lazy_map(seed)["distance"] > LEVEL
        right.append((np.mean(predicted[above]) + np.mean(~predicted[~above])) / 2)
    claim = weigh(
        results,
        "lazy-rich.map.unbalanced",
        f"Second-order theory, from each network's own start, says which turn their kernel by more "
        f"than {LEVEL:g}: mean share of both kinds above {SEPARATED:g}; log10 of the mean "
        f"distances is above -2 at scale {scales[0]:g} for every lam (least {least:.2f}) and below "
        f"-4.5 at scale {scales[-1]:g} (greatest {most:.2f}).",
        "arXiv 2502.21009, figure 6(b), sign of lam corrected (E8); theory derived here",
        1.0,
        np.array(right),
        accept=(SEPARATED, math.inf),
    )
    shape = Verdict.SUPPORTED if least > -2.0 and most < -4.5 else Verdict.REFUTED
    return replace(claim, data=DATA, verdict=Verdict.worst(claim.verdict, shape))


def funnel(results: Results) -> Claim:
    """A funnel is rich late from a heavy early layer, an anti-funnel from a heavy later one."""
    rich, lazy, early = [], [], []
    for one, delayed in ((results.plan.funnel, 0), (results.plan.antifunnel, -1)):
        ends = results.final(one, "distance")
        at = np.argmin(np.abs(results.traces(one)[0].clock - one.early))
        early.append([trace["distance"][at, delayed] for trace in results.traces(one)])
        rich.append(ends[:, delayed])
        lazy.append(ends[:, -1 - delayed])
    least, most, before = np.min(rich, axis=0), np.max(lazy, axis=0), np.max(early, axis=0)
    lam = results.plan.funnel.lam
    claim = weigh(
        results,
        "lazy-rich.map.funnel",
        f"A funnel at lam = -{lam:g} and an anti-funnel at +{lam:g} are lazy at first and rich in "
        f"the end: kernel distance below 0.01 at t = {results.plan.funnel.early:g} (greatest "
        f"{seen(before)}) and above 0.3 in the end (the lesser of both); at the other end of lam "
        f"they stay lazy, below 1e-4 ({seen(most)}). The paper prints the opposite signs.",
        "arXiv 2502.21009, figure 10, signs corrected (E3)",
        None,
        least,
        accept=(0.3, math.inf),
    )
    parts = [claim.verdict]
    for values, bound in ((before, 0.01), (most, 1e-4)):
        parts.append(decide(results, values, (-math.inf, bound)))
    return replace(claim, data=DATA, verdict=Verdict.worst(*parts))
