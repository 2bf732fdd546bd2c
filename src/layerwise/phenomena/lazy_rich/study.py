"""What the report shows of lazy and rich: the panels, the settings and the sentence above them."""

from __future__ import annotations

import numpy as np

from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim
from layerwise.phenomena.lazy_rich.claims import CLAIMS
from layerwise.phenomena.lazy_rich.panels import cnn, linear, maps
from layerwise.phenomena.lazy_rich.results import Results

__all__ = ["study"]


def study(results: Results) -> Study:
    """Return the phenomenon as the report shows it."""
    claims = tuple(claim(results) for claim in CLAIMS)
    return Study(
        name="lazy-rich",
        title="Lazy and rich",
        summary=_summary(results, {claim.id: claim for claim in claims}),
        data=results.data,
        size=results.size,
        settings=_settings(results),
        panels=(
            *maps.balanced(results),
            cnn.pictures(results),
            cnn.signs(results),
            cnn.filters(results),
            cnn.features(results),
            cnn.kernel(results),
            cnn.accuracy(results),
            *maps.unbalanced(results),
            maps.funnels(results),
            linear.two_number(results),
            linear.width(results),
            linear.motion(results),
            linear.limits(results),
            linear.upstream(results),
            linear.dial(results),
            linear.conserved(results),
            cnn.imbalance(results),
        ),
        claims=claims,
        stand_in=results.size == "paper" and results.plan.data == "digits",
        runs=tuple(results.runs.values()),
        tables=(cnn.table(results),),
    )


def _summary(results: Results, claims: dict[str, Claim]) -> str:
    one = {name: claims[f"lazy-rich.{name}"] for name in ("map.balanced", "cnn.accuracy")}
    off = np.median([found.modes for found in results.transfers[results.plan.dials[-1].k]])
    better = one["cnn.accuracy"]
    return (
        "A network is lazy where its tangent kernel stays as it was, and rich where it turns. In "
        "linear networks the balance of the layers and the size of the target decide, and theory "
        f"draws the boundary ({one['map.balanced'].verdict}). In a CNN, from one and the same "
        "function, early layers learn if they start small and stay if they start large; but "
        f"learning most of them need not be best: the balanced start is {better.measured:+.1%} "
        f"better on test images ({better.verdict}). Exact linear predictions of when a mode is "
        f"learned are off by {np.expm1(off):.0%} once the activation is a full ReLU."
    )


def _settings(results: Results) -> dict[str, str]:
    plan = results.plan
    one, dial = plan.balanced, plan.dials[-1]
    return {
        "maps": f"{one.points} x {one.points} networks, descent of rate {one.learning_rate:g}, "
        f"{one.steps} updates; balanced 2-2-2 on {one.samples} white inputs, from zero "
        f"{plan.unbalanced.inputs}-{plan.unbalanced.hidden}-{plan.unbalanced.outputs} on "
        f"{plan.unbalanced.samples}",
        "CNN": f"three convolutions, ReLU, no biases, He start; first layer x a tau, head x tau/a, "
        f"tau = {plan.even.tau:g}, a = {plan.upstream.a:g} (upstream), {plan.even.a:g}, "
        f"{plan.downstream.a:g}",
        "CNN training": f"{plan.even.train_size} images, SGD, batch {plan.even.batch}, "
        f"{plan.even.steps} steps, rate {plan.even.margin:g} over the top eigenvalue of the "
        "traced tangent kernel at the start",
        "linear networks": f"{plan.two_number.components} white principal components of "
        f"{plan.two_number.train_size} images, one-hot labels less their mean",
        "dial": f"{dial.inputs}-{dial.hidden}-10, start {dial.start:g}, rate "
        f"{dial.learning_rate:g}, until t = {dial.time:g}",
        "seeds": f"0 to {results.seeds - 1}",
    }
