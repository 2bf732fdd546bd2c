"""Diagnosis: order, JSON, words; what it refuses; and real runs, sound and spoiled."""

import copy
import io
import json
import math
import subprocess
import sys

import pytest
import torch
from rich.console import Console
from torch import nn

import layerwise as lw
from layerwise.diagnosis.finding import counted
from layerwise.diagnosis.rules import RULES
from layerwise.networks import MLP, CentredOutput, ntk, upstream

from .traces import SGD, made

MIXED = {
    "weight_to_target": [30.0, math.nan],
    "gamma_plus": [1.03, math.nan],
    "feature_distance/h": [0.0, 0.001],
    "motion/fc1": [0.0, 0.0],
    "motion/fc2": [0.0, 0.02],
    "nc1/h": [3.0, 0.4],
    "train_accuracy": [0.1, 1.0],
}


def test_the_worst_comes_first_and_nothing_is_lost():
    found = lw.diagnose(made(MIXED, optimizer=SGD, note=math.pi))
    assert [one.rule for one in found.findings] == [
        "idle layer",
        "lazy by scale",
        "not yet collapsed",
    ]
    assert len(found.findings) + len(found.clear) + len(found.not_judged) == len(RULES)
    assert "rank collapsed too early" in found.not_judged
    assert found.remedies == found.findings[1].remedies
    assert found.forecast is None


def test_it_is_plain_json():
    found = lw.diagnose(made(MIXED, optimizer=SGD))
    read = json.loads(found.to_json())
    assert read == found.as_json()
    assert [one["confidence"] for one in read["findings"]] == ["high", "medium", "medium"]
    assert read["findings"][2]["evidence"]["nc3"] is None  # not measured
    remedy = read["findings"][1]["remedies"][0]
    assert remedy["predicted"]["weight_to_target"] == pytest.approx(1.0)


def test_it_says_everything_in_words():
    found = lw.diagnose(made(MIXED, optimizer=SGD))
    text = str(found)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found.table())
    printed = console.export_text()
    for finding in found.findings:
        assert finding.sentence in text
        assert finding.rule in printed
        for remedy in finding.remedies:
            assert remedy.call in text
            assert remedy.call in printed
    assert "not judged: learning in stages: needs the series skill/NAME" in text


def test_a_remedy_is_asked_for_by_name():
    found = lw.diagnose(made(MIXED, optimizer=SGD))
    assert found.remedy("scale_output") in found.remedies
    with pytest.raises(
        KeyError, match="unknown remedy 'scale_outputs'; did you mean 'scale_output'"
    ):
        found.remedy("scale_outputs")


def test_a_reason_for_several_rules_is_said_once():
    found = lw.diagnose(made(MIXED, optimizer=SGD))
    together = {rule: why for why, rules in found.reasons.items() for rule in rules}
    assert together == dict(found.not_judged)
    reason = found.not_judged["broken conservation"]
    assert found.reasons[reason] == ("broken conservation", "exploding imbalance")
    assert str(found).count(reason) == 1


def test_a_forecast_is_passed_on():
    t = [0, 100, 200]
    series = {
        "train_accuracy": [0.1, 0.9, 1.0],
        "test_accuracy": [0.1, 0.25, 0.3],
        "learning_rate": 1e-3,
        "weight_decay": 0.3,
    }
    config = {"layers": {"1": [20, 5], "2": [10, 20]}, "classes": 10, "degree": 1.3}
    found = lw.diagnose(made(series, t, optimizer={"kind": "AdamW", "momentum": 0.9}, **config))
    assert found.forecast.delayed
    assert f"forecast: step {counted(found.forecast.time)}" in str(found)


def test_what_is_no_trace_or_says_nothing_is_refused():
    with pytest.raises(TypeError, match=r"reads a layerwise\.Trace, got dict"):
        lw.diagnose({"loss": [1.0]})
    with pytest.raises(
        ValueError, match=r"(?s)no rule can be judged on this trace:\n.*lazy by scale"
    ):
        lw.diagnose(made({"anything": [1.0, 2.0]}))


def test_it_never_loads_torch():
    code = (
        "import sys, layerwise as lw; "
        "lw.diagnose(lw.Trace([0, 1], {'layerwise/weight_to_target': [9.0, 9.0]}, "
        "lw.Provenance('probe', 'optimiser steps'))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def blobs(seed=0, n=120, classes=4):
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return torch.randn(n, 8, generator=draws) + 3 * torch.eye(classes, 8)[labels], labels


def network(alpha=1.0, scale=0.5):
    net = MLP((8, 60, 60, 4), weight_scale=scale, bias_scale=0.0, activation="relu", seed=0)
    upstream(net, alpha)
    return net


def trained(net, *, steps=400, parameters=None, spoil=None):
    """Train by plain descent on squared error; `spoil(net)` is called after every step."""
    (x, labels), (unseen, truth) = blobs(), blobs(seed=1)
    y = nn.functional.one_hot(labels, 4).float()
    rate = len(x) / float(torch.linalg.matrix_norm(ntk(net, x), ord=2))
    optimizer = torch.optim.SGD(parameters or net.parameters(), lr=rate)
    with lw.Probe(net, batch=(x, labels), every=50, optimizer=optimizer) as probe:
        for step in range(steps + 1):
            outputs = net(x)
            loss = 0.5 * (outputs - y).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                tested = (net(unseen).argmax(1) == truth).float().mean()
            right = (outputs.argmax(1) == labels).float().mean()
            probe.step(step, train_loss=loss, train_accuracy=right, test_accuracy=tested)
            optimizer.step()
            if spoil is not None:
                spoil(net)
    return lw.diagnose(probe.trace())


def rules_of(found, *severities):
    return [one.rule for one in found.findings if one.severity in severities]


def test_a_sound_run_has_no_fault():
    found = trained(network())
    assert rules_of(found, "fault", "warning") == []
    assert "broken conservation" in found.clear


@pytest.mark.parametrize("name", ["scale_weights", "scale_output", "scale_input"])
def test_the_remedy_of_a_lazy_run_ends_the_finding(name):
    net = CentredOutput(network(scale=1.5))
    found = trained(copy.deepcopy(net))
    assert rules_of(found, "fault", "warning") == ["lazy by scale"]
    remedy = found.remedy(name)
    assert f"{name}(model, {remedy.value:.3g})" in remedy.call
    after = getattr(lw.remedies, name)(net, remedy.value) or net
    assert rules_of(trained(after), "fault", "warning") == []


def test_a_run_with_a_large_early_layer_is_lazy_by_imbalance():
    found = trained(network(alpha=0.1))
    assert rules_of(found, "warning")[0] == "lazy by imbalance"
    assert rules_of(found, "fault") == []


def test_a_run_with_a_large_late_layer_is_not():
    assert "lazy by imbalance" not in rules_of(trained(network(alpha=10.0)), "warning")


def test_a_layer_that_the_optimiser_lacks_is_idle():
    net = network()
    found = trained(net, parameters=[*net.layers[0].parameters(), *net.layers[2].parameters()])
    idle = found.findings[0]
    assert idle.rule == "idle layer"
    assert "layers.1 did not learn" in idle.sentence
    assert [one.holds for one in idle.premises] == [False]


def test_weights_that_are_rewritten_break_conservation():
    @torch.no_grad()
    def spoil(net):
        net.layers[0].weight.mul_(1.002)

    assert rules_of(trained(network(), spoil=spoil), "fault") == ["broken conservation"]


def unequal(decay, counts=(200, 60, 4), steps=1500):
    """Train classes of these sizes under decay; return diagnosis and accuracy of the smallest."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    x = torch.randn(len(labels), 8, generator=draws) + 2.5 * torch.eye(3, 8)[labels]
    y = nn.functional.one_hot(labels, 3).float()
    net = MLP((8, 40, 3), weight_scale=0.3, bias_scale=0.0, activation="relu", seed=0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=decay)
    with lw.Probe(
        net, batch=(x, labels), every=50, optimizer=optimizer, measures=("optimizer", "norms")
    ) as probe:
        for step in range(steps + 1):
            outputs = net(x)
            loss = 0.5 * (outputs - y).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            if step % 50 == 0:
                right = (outputs.argmax(1) == labels).float()
                sizes = {f"class_count/{k}": n for k, n in enumerate(counts)}
                probe.step(
                    step,
                    **sizes,
                    **{f"class_accuracy/{k}": right[labels == k].mean() for k in (0, 1, 2)},
                )
            optimizer.step()
    trace = probe.trace()
    return lw.diagnose(trace), trace["class_accuracy/2"][-1]


def test_a_minority_is_lost_to_decay_and_saved_by_less():
    found, accuracy = unequal(0.03)
    assert accuracy == 0.0
    assert rules_of(found, "warning") == ["minority below the threshold"]
    (remedy,) = found.remedies
    _, saved = unequal(float(remedy.call.split(", ")[1].rstrip(")")))
    assert saved > accuracy
    clear, learned = unequal(0.001)
    assert rules_of(clear, "warning") == []
    assert learned >= 0.5
