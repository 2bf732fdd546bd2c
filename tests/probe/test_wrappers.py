"""A probe sees the same network inside of the wrappers of the remedies and of the theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.networks import CentredOutput, ScaledInput, ScaledOutput, SymmetrisedOutput, remedies

from .runs import Net, data, mlp

OUTPUTS = {"layerwise/weight_to_target", "layerwise/gamma_plus"}
# a wrapper, the factors on outputs and inputs, and what stands before the names inside
WRAPPED = {
    "less output": (lambda net: remedies.scale_output(net, 0.05), 0.05, 1.0, "net."),
    "more output": (lambda net: remedies.scale_output(net, 8.0), 8.0, 1.0, "net."),
    "less input": (lambda net: remedies.scale_input(net, 0.3), 1.0, 0.3, "net."),
    "both": (
        lambda net: remedies.scale_input(remedies.scale_output(net, 0.2), 3.0), 0.2, 3.0, "net.net."
    ),
}  # fmt: skip
BUILDS = {
    "mlp": (lambda: mlp(bias_scale=0.5), (), "layers.2", None),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)), ("1",), "2", None
    ),
    "own": (Net, ("act",), "head", [("fc1", "fc2", "relu"), ("fc2", "head", "relu")]),
}  # fmt: skip


def attached(net, x, y, optimizer, features, pairs, prefix=""):
    given = pairs and [(prefix + one, prefix + two, rule) for one, two, rule in pairs]
    return lw.Probe(
        net, [prefix + name for name in features], batch=(x, y), every=5, batch_every=5,
        optimizer=optimizer, pairs=given, class_counts=(9, 5, 2),
    )  # fmt: skip


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", WRAPPED)
def test_the_network_inside_is_seen_as_if_it_stood_alone(name, build):
    wrap, outputs, inputs, prefix = WRAPPED[name]
    make, features, head, pairs = BUILDS[build]
    torch.manual_seed(0)
    inner, (x, y) = make().double(), data()
    x = x.double()
    Y = nn.functional.one_hot(y, 3).double()
    theta = float((Y * inner(inputs * x).detach()).sum() / Y.square().sum())
    net = wrap(inner)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05 / max(outputs, inputs) ** 2)
    whole = attached(net, x, y, optimizer, features, pairs, prefix)
    alone = attached(inner, inputs * x, y, optimizer, features, pairs)
    assert whole.notes == alone.notes == ()
    for step in range(11):
        optimizer.zero_grad()
        (net(x) - Y).square().mean().backward()
        assert bool(whole.step(step)) == bool(alone.step(step))
        optimizer.step()
    whole, alone = whole.trace(), alone.trace()
    config = whole.provenance.config
    assert config["head"] == prefix + head
    assert config["features"] == ([prefix + name for name in features] or ["penultimate"])
    assert config["degree"] == pytest.approx(alone.provenance.config["degree"], rel=1e-6)
    inside = alone.provenance.config["conserved"]
    assert [item["rule"] for item in config["conserved"].values()] == [
        item["rule"] for item in inside.values()
    ]
    assert {series.replace(prefix, "") for series in whole} == set(alone)
    assert {"layerwise/nc4/", "layerwise/balance_allowed/"} <= {
        series[: series.rindex("/") + 1] for series in whole
    }
    for series in whole:
        if series not in OUTPUTS:
            np.testing.assert_allclose(
                whole[series], alone[series.replace(prefix, "")], rtol=1e-6, atol=1e-12
            )
    sigma = outputs * alone["layerwise/weight_to_target"][0]
    assert whole["layerwise/weight_to_target"][0] == pytest.approx(sigma, rel=1e-6)
    theta *= outputs
    grown = (1 + math.sqrt(sigma**2 - theta**2 + 1)) / (sigma + theta)
    assert whole["layerwise/gamma_plus"][0] == pytest.approx(grown, rel=1e-6)


def test_modules_inside_have_the_names_from_outside():
    with pytest.raises(ValueError, match=r"module 'layers.1'; did you mean 'net.layers.1'"):
        lw.Probe(remedies.scale_output(mlp(), 0.1), "layers.1", batch=data())


@pytest.mark.parametrize(
    ("wrap", "pairs"),
    [
        (CentredOutput, ["net.layers.0-net.layers.1", "net.layers.1-net.layers.2"]),
        (
            lambda net: ScaledInput(ScaledOutput(CentredOutput(net), 3.0), 0.5),
            [
                "net.net.net.layers.0-net.net.net.layers.1",
                "net.net.net.layers.1-net.net.net.layers.2",
            ],
        ),
        (
            SymmetrisedOutput,
            [f"{own}.layers.{k}-{own}.layers.{k + 1}" for own in ("plus", "minus") for k in (0, 1)],
        ),
    ],
)
def test_networks_that_begin_at_zero_keep_their_balance_and_have_no_head(wrap, pairs):
    net, (x, y) = wrap(mlp()), data()
    first = pairs[0].split("-")[0]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    probe = lw.Probe(net, first, batch=(x, y), every=10, batch_every=10, optimizer=optimizer)
    assert probe.notes == ("NC2 to NC4: no linear layer makes the outputs from these features",)
    for step in range(21):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        probe.step(step)
        optimizer.step()
    trace = probe.trace()
    assert len(probe.notes) == 1
    assert list(trace.provenance.config["conserved"]) == pairs
    for pair in pairs:
        drift, allowed = (
            trace[f"layerwise/balance_{what}/{pair}"] for what in ("drift", "allowed")
        )
        assert 0 < drift[-1] < allowed[-1] < 0.1
    assert trace["layerwise/weight_to_target"][0] > 0
    assert trace["layerwise/kernel_distance"][-1] > 0
