"""The claims about modular arithmetic: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from layerwise.phenomena import claim as base
from layerwise.phenomena.claim import Claim, Verdict, decide, seen, whole
from layerwise.phenomena.modular.experiment import EitherModular
from layerwise.phenomena.modular.results import ON_PLATEAU, PLATEAU, Results

__all__ = ["CLAIMS", "CUT"]

GROKKING = "arXiv 2201.02177 (grokking of modular arithmetic)"
REMEDIES = "arXiv 2502.21009: a lower weight-to-target ratio removes grokking"
CUT = (2.0, 10.0)  # a remedy on images leaves less than 2


def quadratic_delay(results: Results) -> Claim:
    """The quadratic network fits long before it generalises."""
    one = results.plan.quadratic["base"]
    return weigh(
        results,
        one,
        "modular.quadratic.delay",
        f"A two-layer quadratic network fits half of the table of {one.task().formula} long before "
        "it knows the other half: t95/t_fit above 20 (test accuracy 0.95, train accuracy 0.99). "
        f"Test accuracy at t_fit: {seen(results.at_fit(one))}.",
        GROKKING,
        None,
        results.delays_at_least(one, 20.0),
        accept=(20.0, math.inf),
        log=True,
    )


def quadratic_output(results: Results) -> Claim:
    """A lower output scale cuts the delay of the quadratic network and does not remove it."""
    one = results.plan.quadratic["output x0.1"]
    return weigh(
        results,
        one,
        "modular.quadratic.output",
        "Output x1/10 cuts the delay of the quadratic network, but does not remove it as it does "
        f"on images: t95/t_fit below {CUT[1]:g} and above {CUT[0]:g}, which is what it leaves "
        f"there. Without it: {seen(results.delays(results.plan.quadratic['base']))}.",
        f"{REMEDIES}; here found to be cut only",
        None,
        results.delays_at_least(one, CUT[1]),
        accept=CUT,
        log=True,
    )


def transformer_delay(results: Results) -> Claim:
    """The transformer fits long before it generalises."""
    one = results.plan.transformer["base"]
    at_fit = results.at_fit(one)
    claim = weigh(
        results,
        one,
        "modular.transformer.delay",
        f"A one-layer transformer fits half of the table of {one.task().formula} while test "
        "accuracy is below 0.5, and knows the other half later: t95/t_fit above 5. Test accuracy "
        f"at t_fit: {seen(at_fit)}.",
        GROKKING,
        None,
        results.delays_at_least(one, 5.0),
        accept=(5.0, math.inf),
        log=True,
    )
    memorised = decide(results, at_fit, (-math.inf, 0.5))
    return replace(claim, verdict=Verdict.worst(claim.verdict, memorised))


def transformer_remedies(results: Results) -> Claim:
    """The published claim, that a lower output scale removes the delay, on the transformer."""
    runs = results.plan.transformer
    one = runs["output x0.2"]
    each = "; ".join(
        f"{name.removeprefix('output ')}: t95 {whole(np.median(results.general_steps(run)))}, "
        f"t95/t_fit {whole(np.median(results.delays(run)))}"
        for name, run in runs.items()
        if name == "base" or name.startswith("output ")
    )
    return weigh(
        results,
        one,
        "modular.transformer.remedies",
        "Output x1/5 removes the delay of the transformer, as published for grokking at large: "
        f"t95/t_fit below {CUT[0]:g}, as on images (never general: the last step instead, a lower "
        f"bound). Medians over seeds at output scales {each}.",
        REMEDIES,
        1.0,
        results.delays_at_least(one, CUT[0]),
        accept=(0.0, CUT[0]),
        log=True,
    )


def transformer_mirror(results: Results) -> Claim:
    """What the transformer gets to know first is that a + b = b + a."""
    square, one = results.plan.quadratic["base"], results.plan.transformer["base"]
    return weigh(
        results,
        one,
        "modular.transformer.mirror",
        "The transformer first gets to know the test pairs (a, b) whose mirror (b, a) it was "
        "trained on: the step at which half of them are right, over that for the other test pairs, "
        "is below 1. In the quadratic network, which has no such stage: "
        f"{seen(results.mirror_first(square))}.",
        "conjecture: first a + b = b + a is learned, then addition",
        None,
        results.mirror_first(one),
        accept=(0.0, 1.0),
        log=True,
    )


def transformer_plateau(results: Results) -> Claim:
    """On its plateau the transformer knows that a + b = b + a, and nothing else."""
    one = results.plan.transformer[ON_PLATEAU]
    mirror, other, test = (results.on_plateau(one, name) for name in ("mirror", "other", "test"))
    claim = weigh(
        results,
        one,
        "modular.transformer.plateau",
        "On the plateau of test accuracy where squared error and output x1/10 leave it, the "
        f"transformer knows that a + b = b + a and nothing else: at step {PLATEAU}, accuracy is "
        "above 0.9 on the test pairs whose mirror it was trained on, and below 0.1 on the others "
        f"(chance {1 / one.modulus:.2g}). On these: {seen(other)}; on all: {seen(test)}.",
        "conjecture: half of the test pairs have a mirror, and the plateau is at one half",
        1.0,
        mirror,
        accept=(0.9, 1.0),
    )
    ignorant = decide(results, other, (-math.inf, 0.1))
    return replace(claim, verdict=Verdict.worst(claim.verdict, ignorant))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    quadratic_delay,
    quadratic_output,
    transformer_delay,
    transformer_remedies,
    transformer_mirror,
    transformer_plateau,
)


def weigh(results: Results, one: EitherModular, *given: Any, **settings: Any) -> Claim:
    """Return the claim with the table that `one` learns as its data, see `base.weigh`."""
    data = results.traces(one)[0].provenance.data
    return replace(base.weigh(results, *given, **settings), data=str(data))
