"""Claims about a convolutional network from three starts of the same function."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from layerwise.phenomena.claim import Claim, Verdict, decide, seen, weigh
from layerwise.phenomena.lazy_rich.results import Results

__all__ = ["accuracy", "activation", "features", "filters", "kernel"]

KUNIN = "arXiv 2502.21009, after Kunin et al. 2024 (arXiv 2406.06158)"
FIRST = 0  # the layer next to the images


def activation(results: Results) -> Claim:
    """The smaller the early layers start, the more of their activations change."""
    flips = {name: values[:, FIRST] for name, values in _finals(results, "sign_distance").items()}
    claim = weigh(
        results,
        "lazy-rich.cnn.activation",
        "Share of (unit, image) signs of the first layer that training changes: above 0.25 from "
        f"the upstream start (measured), 0.05 to 0.25 from the balanced ({seen(flips['balanced'])})"
        f", below 0.01 from the downstream one ({seen(flips['downstream'])}).",
        KUNIN,
        None,
        flips["upstream"],
        accept=(0.25, math.inf),
    )
    others = (
        decide(results, flips["balanced"], (0.05, 0.25)),
        decide(results, flips["downstream"], (-math.inf, 0.01)),
    )
    return replace(claim, verdict=Verdict.worst(claim.verdict, *others))


def filters(results: Results) -> Claim:
    """Only early layers that start small come to look like the images."""
    energy = _finals(results, "filter_energy")
    start = results.traces(results.plan.even)
    before = np.array([trace["filter_energy"][0] for trace in start])
    motion = {name: values[:, FIRST] for name, values in _finals(results, "motion").items()}
    return _ordered(
        results,
        "lazy-rich.cnn.filters",
        "Energy of the first-layer filters in the top quarter of the principal components of the "
        f"images' patches ({seen(before)} before training): upstream {seen(energy['upstream'])}, "
        f"balanced {seen(energy['balanced'])}, downstream {seen(energy['downstream'])}; in this "
        f"order in every seed. Filters move by {_listed(motion)} of their size. Shown is upstream "
        "less balanced, above 0.",
        energy["upstream"] - energy["balanced"],
        energy["balanced"] - energy["downstream"],
    )


def features(results: Results) -> Claim:
    """The features before the head change most from the upstream start, hardly from downstream."""
    found = _finals(results, "feature_distance")
    return _ordered(
        results,
        "lazy-rich.cnn.features",
        "One minus the centred alignment of the features before the head with those at the start: "
        f"{_listed(found)}; upstream above balanced, and that above ten times downstream, in every "
        "seed. Shown is upstream less balanced, above 0.",
        found["upstream"] - found["balanced"],
        found["balanced"] - 10 * found["downstream"],
    )


def kernel(results: Results) -> Claim:
    """The tangent kernel turns unless the early layers start large."""
    found = _finals(results, "kernel_distance")
    lesser = np.minimum(found["upstream"], found["balanced"])
    return weigh(
        results,
        "lazy-rich.cnn.kernel",
        f"Centred kernel distance at the end: {_listed(found)}; the lesser of upstream and "
        "balanced is above 20 times downstream. It does not tell upstream from balanced.",
        KUNIN,
        None,
        lesser / found["downstream"],
        accept=(20.0, math.inf),
        log=True,
    )


def accuracy(results: Results) -> Claim:
    """Learning the early layers most is not what generalises best."""
    found = _finals(results, "test_accuracy")
    loss = _finals(results, "train_loss")
    return weigh(
        results,
        "lazy-rich.cnn.accuracy",
        f"Test accuracy: {_listed(found)}; training loss {_listed(loss)}. The balanced start is "
        "above the upstream one: difference above 0. Learning filters most is not generalising "
        "best.",
        "measured; no theory says so",
        None,
        found["balanced"] - found["upstream"],
        accept=(0.0, math.inf),
    )


def _finals(results: Results, name: str) -> dict[str, np.ndarray]:
    return {
        start: results.final(run, name) for start, run in results.plan.convolutions.items()
    }  # fmt: skip


def _ordered(
    results: Results, name: str, statement: str, first: np.ndarray, second: np.ndarray
) -> Claim:
    """Return the claim that two differences are positive, in every seed."""
    claim = weigh(results, name, statement, KUNIN, None, first, accept=(0.0, math.inf))
    everywhere = np.all(first > 0) and np.all(second > 0)
    order = Verdict.SUPPORTED if everywhere else Verdict.REFUTED
    return replace(claim, verdict=Verdict.worst(claim.verdict, order))


def _listed(found: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{start} {seen(values)}" for start, values in found.items())
