"""The claims about emergence: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, interval, judge, seen, slope, weigh
from layerwise.phenomena.emergence.experiment import Emergence
from layerwise.phenomena.emergence.results import Results
from layerwise.phenomena.emergence.twin import PUBLISHED_DIVISOR, twin
from layerwise.theory import scaling
from layerwise.trace import Trace

__all__ = ["CLAIMS"]

PAPER = "arXiv 2404.17563"
TIMES = f"multilinear model of the skills ({PAPER}), exact sigmoid"
ABRUPT = 0.1  # a skill emerges at this share of its target and is saturated at 1 - ABRUPT
HIDDEN = (1e-3, 0.05)  # strengths between which hidden progress is read


def order(results: Results) -> Claim:
    """Skills emerge in the order of their frequency."""
    halves = results.crossings(results.plan.staged)
    earlier = halves[:, :-1] < halves[:, 1:]
    return weigh(
        results,
        "emergence.order",
        f"{halves.shape[1]} skills emerge one after another, the frequent ones first: share of "
        "neighbouring ranks whose half times are in that order, all of them.",
        TIMES,
        1.0,
        earlier.mean(axis=1),
        accept=(1.0, 1.0),
    )


def times_calibrated(results: Results) -> Claim:
    """One number, read off networks with a single skill, predicts when all skills emerge."""
    staged = results.plan.staged
    predicted = [_half_times(staged, divisor) for divisor in results.divisors]
    ratios = np.log(results.crossings(staged) / predicted)
    return weigh(
        results,
        "emergence.times.calibrated",
        f"The rate divisor of single-skill networks ({seen(results.divisors)}, "
        f"{len(results.plan.calibrations)} draws a seed) predicts the half times of all skills: "
        "root mean square of ln(measured/predicted) below 0.25. Measured/predicted by rank: "
        f"{_listed(np.exp(ratios.mean(axis=0)))}; late skills are known to be late.",
        TIMES,
        0.0,
        np.sqrt(np.mean(ratios**2, axis=1)),
        accept=(-math.inf, 0.25),
    )


def times_published(results: Results) -> Claim:
    """The published constant predicts the times with nothing fitted."""
    run, skills = results.plan.published, results.plan.published_skills
    predicted = _half_times(run, PUBLISHED_DIVISOR)[:skills]
    ratios = np.log(results.crossings(run)[:, :skills] / predicted)
    some = f"the first {skills} of {run.n_skills} skills"
    which = some if skills < run.n_skills else "all skills"
    return weigh(
        results,
        "emergence.times.published",
        f"With nothing fitted, the published rate divisor 22 (three bits a skill, width "
        f"{run.width}) predicts the half times of {which}: root mean square of "
        f"ln(measured/predicted) below 0.25. Measured/predicted by rank: "
        f"{_listed(np.exp(ratios.mean(axis=0)))}.",
        f"{PAPER}, extended model, B^2 = 1/22",
        0.0,
        np.sqrt(np.mean(ratios**2, axis=1)),
        accept=(-math.inf, 0.25),
    )


def stages(results: Results) -> Claim:
    """So many skills come in stages, and no more."""
    staged = results.plan.staged
    predicted = int(np.sum(twin(staged, float(np.mean(results.divisors))).resolved(ABRUPT)))
    done, begun = (results.crossings(staged, share) for share in (1 - ABRUPT, ABRUPT))
    return weigh(
        results,
        "emergence.stages",
        f"The number of skills that are saturated (strength {1 - ABRUPT:g}) before the next one "
        f"emerges (strength {ABRUPT:g}) is the predicted one, to within a half.",
        f"stage criterion of {PAPER}, on the exact sigmoids",
        predicted,
        np.sum(done[:, :-1] < begun[:, 1:], axis=1),
        accept=(predicted - 0.5, predicted + 0.5),
    )


def data(results: Results) -> Claim:
    """A skill is learned once its share of the data is large enough."""
    sizes = results.plan.data_sizes
    shares = np.log(sizes[0].task.frequencies)
    halves = results.half_data(sizes)
    counts = halves * sizes[0].task.frequencies
    single = results.half_data(results.plan.single_data)[:, 0]
    exponents = [slope(shares, np.log(row)) for row in halves]
    return weigh(
        results,
        "emergence.data",
        "On a fixed data set a skill is half learned when its share of the samples reaches one "
        "count for all ranks: slope of ln D_half over ln P_k within -1.25 to -0.8. Samples of the "
        f"skill at that point by rank: {_listed(np.mean(counts, axis=0))}; in single-skill "
        f"networks {seen(single)}.",
        f"data-limited model of {PAPER}: R_k depends on D P_k alone",
        -1.0,
        np.array(exponents),
        accept=(-1.25, -0.8),
    )


def parameters(results: Results) -> Claim:
    """Neurons are given to the frequent skills first."""
    run = results.plan.widths
    widths, skills = np.array(run.widths)[:, None], np.arange(1, run.n_skills + 1)
    curves = [trace["strength"] for trace in results.traces(run)]
    gaps = [
        math.sqrt(np.mean((curve - scaling.parameter_shares(skills, widths, per_skill)) ** 2))
        if math.isfinite(per_skill)
        else math.nan
        for curve, per_skill in zip(curves, results.per_skill, strict=True)
    ]
    early = np.mean([curve[:, 0] >= curve[:, -1] for curve in curves])
    return weigh(
        results,
        "emergence.parameters",
        "The mean strength of two skills over the width is the ramp that gives each skill "
        f"N_c neurons in turn, N_c from single-skill networks ({seen(results.per_skill)}, "
        f"published 4): root mean square deviation below 0.15; means of {run.nets} networks a "
        f"width. The frequent skill is the stronger one at {early:.0%} of the widths.",
        f"parameter-limited model of {PAPER}, N_c = 4",
        0.0,
        np.array(gaps),
        accept=(-math.inf, 0.15),
    )


def exponent_completed(results: Results) -> Claim:
    """The loss falls as the predicted power of time, once the unseen skills are added."""
    fits = [results.exponents(run) for run in results.plan.scaling]
    ratios = np.mean([fit.completed / fit.theory for fit in fits], axis=0)
    alphas = "; ".join(
        f"alpha {fit.alpha:g}: completed {seen(fit.completed)}, raw {seen(fit.raw)}, theory "
        f"{fit.theory:.3f}"
        for fit in fits
    )
    return weigh(
        results,
        "emergence.exponent.completed",
        f"The loss of a {results.plan.scaling[0].n_skills}-skill network, completed by the loss of "
        "the skills it was never asked for, falls as T^(-alpha/(alpha+1)): fitted exponent over "
        f"the predicted one within 0.85 to 1.15. {alphas}. The raw slope measures only where the "
        "list of skills ends.",
        f"{PAPER}, time law; completed sum derived here",
        1.0,
        ratios,
        accept=(0.85, 1.15),
    )


def exponent_not_evidence(results: Results) -> Claim:
    """A linear model has the same exponent, so the exponent shows no layers."""
    fits = [results.exponents(run) for run in results.plan.linear]
    return weigh(
        results,
        "emergence.exponent.not-evidence",
        "A linear model of the same skills, without layers, has the same exponent: its completed "
        "one over the prediction is within 0.85 to 1.15 too. The exponent of the loss is therefore "
        "no evidence of layerwise dynamics; the abruptness of single skills is.",
        "any saturating curve of P_k t gives -alpha/(alpha+1) (derived here)",
        1.0,
        np.mean([fit.completed / fit.theory for fit in fits], axis=0),
        accept=(0.85, 1.15),
    )


def exponent_differs(results: Results) -> Claim:
    """Where target sizes vary with rank, layers do change the exponent."""
    staged, rising = results.plan.staged, results.plan.rising
    change = results.slopes(rising) - results.slopes(staged)
    beta = rising.target_exponent
    return weigh(
        results,
        "emergence.exponent.differs",
        f"With targets that grow as rank^{-beta:g} the half times t_k ~ k^x lose {-beta:g} of "
        "their exponent x, as layers predict (rate P_k S_k); a linear model keeps it (rate P_k). "
        f"Change of x within a factor 1.5 of {beta:g}.",
        "rates P_k S_k^(2-2/L) of a product of L layers (derived here)",
        beta,
        change,
        accept=(1.5 * beta, beta / 1.5),
    )


def hidden_progress(results: Results) -> Claim:
    """Progress is exponential from the start, long before the loss shows it."""
    staged = results.plan.staged
    rates, fits, left = np.array([_hidden(trace) for trace in results.traces(staged)]).T
    predicted = 2 * twin(staged, 1.0).paces(1) / results.divisors
    claim = weigh(
        results,
        "emergence.hidden-progress",
        f"While the first skill grows from {HIDDEN[0]:g} to {HIDDEN[1]:g} of its target, ln R_1 is "
        "a straight line over steps (R^2 above 0.95) whose slope is within 1.25 of the predicted "
        f"rate, and the loss keeps {seen(left)} of its value. R^2: {seen(fits)}. Shown is the "
        "ratio of the slopes.",
        f"{TIMES}; the growth of ln R_k is linear from t = 0",
        1.0,
        rates / predicted,
        accept=(0.8, 1.25),
    )
    _, low, high = interval(fits.tolist())
    straight = judge(low, high, (0.95, math.inf), results.seeds)
    return replace(claim, verdict=Verdict.worst(claim.verdict, straight))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    order,
    times_calibrated,
    times_published,
    stages,
    data,
    parameters,
    exponent_completed,
    exponent_not_evidence,
    exponent_differs,
    hidden_progress,
)


def _half_times(experiment: Emergence, divisor: float) -> np.ndarray:
    model = twin(experiment, divisor)
    return model.half_times(model.ranks)


def _hidden(trace: Trace) -> tuple[float, float, float]:
    """Return slope and R^2 of ln R_1 over steps in the hidden window, and the loss left there."""
    first = trace["strength"][:, 0]
    begin, end = (int(np.argmax(first > level)) for level in HIDDEN)
    window = slice(begin, end + 1)
    if not first[-1] > HIDDEN[1]:
        return math.nan, math.nan, math.nan
    steps, grown = trace.clock[window], np.log(np.maximum(first[window], HIDDEN[0]))
    fit = np.polynomial.Polynomial.fit(steps, grown, 1)
    unexplained = np.var(grown - fit(steps)) / np.var(grown)
    return fit.convert().coef[1], 1 - unexplained, trace["loss"][end] / trace["loss"][0]


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" if math.isfinite(value) else "never" for value in values)
