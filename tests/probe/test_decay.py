"""What a probe says of decay: of the matrices, and of every conserved quantity for itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.networks import conserved_quantities

from .runs import data, mlp, seeded, train

TAU, UNIFORM = "layerwise/decay_budget", "uniform"
KINDS = {
    "SGD": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "dampening": {"momentum": 0.8, "dampening": 0.6},
    "AdamW": {},
    "Adam": {"decoupled_weight_decay": True},
    "NAdam": {"decoupled_weight_decay": True},
    "Muon": {},
}


def halves(net, decay=0.1, other=0.0):
    """Return the usual two groups: matrices, and what decays at another rate or not at all."""
    return [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": other},
    ]


def attached(net, optimizer, **settings):
    given = {"every": 1, "batch_every": 1, "measures": ("optimizer", "balance")} | settings
    return lw.Probe(net, optimizer=optimizer, **given)


def optimizer_of(kind, groups, lr):
    if not hasattr(torch.optim, kind) and kind[0].isupper():
        pytest.skip(f"this PyTorch has no {kind}")
    given = KINDS[kind]
    if kind == "Muon":  # takes matrices only
        groups = groups[:1]
    return getattr(torch.optim, kind if kind[0].isupper() else "SGD")(groups, lr=lr, **given)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warmup"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_budget_is_what_decay_does_to_matrices_without_gradients(kind, schedule):
    net, steps, peak = mlp().double(), 600, 0.004
    rate = {
        "constant": lambda i: peak,
        "cosine": lambda i: peak * (1 + math.cos(math.pi * i / steps)) / 2,
        "warmup": lambda i: peak * min(1.0, i / 200),
    }[schedule]
    optimizer = optimizer_of(kind, halves(net), rate(0) or 1e-9)
    probe = attached(net, optimizer, every=20, measures="optimizer")
    start = [p.detach().clone() for p in net.parameters()]
    shrunk = 0.0
    for i in range(steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate(i)
        row = probe.step(i)
        if i % 20 == 0:
            now = [p.detach() for p in net.parameters()]
            left = [float(p.norm() / q.norm()) for p, q in zip(now, start, strict=True)]
            # a momentum lags by some steps, and looks sample a schedule
            for k in (0, 2, 4):
                assert row[TAU] == pytest.approx(-math.log(left[k]), rel=0.01, abs=0.011)
            assert (left[1], left[3]) == (1.0, 1.0)
            assert row["layerwise/weight_decay"] == 0.1
            assert row["layerwise/learning_rate"] == rate(i)
            shrunk = row[TAU]
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert shrunk > 0.1
    assert probe.trace().provenance.config["optimizer"]["decoupled"]


@pytest.mark.parametrize("kind", ["Adam", "NAdam", "RMSprop", "Adagrad"])
def test_decay_that_is_coupled_to_an_adaptive_step_is_not_known(kind):
    for decay in (0.0, 0.1):
        net = mlp()
        optimizer = getattr(torch.optim, kind)(halves(net, decay), lr=0.01)
        probe = attached(net, optimizer)
        for step in (0, 5):
            row = probe.step(step)
            for name, known in ((TAU, 0.0), ("layerwise/balance_drift/layers.0-layers.1", 0.0)):
                assert math.isnan(row[name]) if decay else row[name] == known
            assert row["layerwise/weight_decay"] == decay
            assert row["layerwise/learning_rate"] == 0.01
        config = probe.trace().provenance.config["optimizer"]
        assert (config["kind"], config["decoupled"], config[UNIFORM]) == (kind, False, True)


def test_of_matrices_that_differ_the_one_in_the_middle_counts():
    net = mlp()
    first, second, third = (layer.weight for layer in net.layers)
    biases = [layer.bias for layer in net.layers]

    def row(*groups, **given):
        probe = attached(net, torch.optim.AdamW([*groups, {"params": biases, "lr": 9.0}], **given))
        probe.step(0)
        found = probe.step(10)
        assert not probe.trace().provenance.config["optimizer"][UNIFORM]
        names = "learning_rate", "weight_decay", "decay_budget"
        return [found[f"layerwise/{name}"] for name in names]

    def of(p, lr, decay):
        return {"params": [p], "lr": lr, "weight_decay": decay}

    assert row(of(first, 0.1, 0.0), of(second, 0.1, 0.2), of(third, 0.1, 0.2)) == pytest.approx(
        [0.1, 0.2, 0.2]
    )
    assert row(of(first, 0.1, 0.3), of(second, 0.2, 0.1), of(third, 0.1, 0.1)) == pytest.approx(
        [0.2, 0.1, 0.2]
    )
    # of two the one that decays more; a matrix that the optimiser does not have has no say
    assert row(of(first, 0.1, 0.0), of(third, 0.1, 0.4)) == pytest.approx([0.1, 0.4, 0.4])


def grouped(net, *groups):
    """Return groups by the names of parameters with their own settings, the rest in a last one."""
    named = dict(net.named_parameters())
    found = [{"params": [named.pop(name) for name in names], **own} for names, own in groups]
    return [*found, {"params": list(named.values())}]


W, B = ["layers.0.weight"], ["layers.0.bias"]


@pytest.mark.parametrize(
    ("groups", "uniform"),
    [
        ([], True),
        ([(B, {"weight_decay": 0.0})], True),  # biases may have no decay
        ([(W, {"weight_decay": 0.0})], False),
        ([(W, {"lr": 0.2})], False),
        ([(B, {"lr": 0.2})], False),  # which breaks what is conserved
    ],
)
def test_uniform_means_one_rate_for_all_and_one_decay_for_matrices(groups, uniform):
    net = mlp()
    optimizer = torch.optim.SGD(grouped(net, *groups), lr=0.1, weight_decay=0.1)
    probe = attached(net, optimizer)
    probe.step(0)
    assert probe.trace().provenance.config["optimizer"][UNIFORM] == uniform
    missing = torch.optim.SGD(net.layers[:2].parameters(), lr=0.1, weight_decay=0.1)
    probe = attached(net, missing)
    probe.step(0)
    assert not probe.trace().provenance.config["optimizer"][UNIFORM]


PAIRS = "layers.0-layers.1", "layers.1-layers.2"


def drifts(net, groups, *, steps=200, gradients=False):
    """Return the drifts of both pairs over looks, and those by their definition, in a loop."""
    x, y = data()
    optimizer = torch.optim.SGD(groups, lr=0.02)
    probe = attached(net, optimizer, every=10, batch_every=10)
    items = conserved_quantities(net)
    named = dict(net.named_parameters())
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    of_item = [
        {decay[id(named[name])] for name, _ in item.readers + item.writers} for item in items
    ]
    start = {name: p.detach().clone() for name, p in named.items()}
    shrunk, expected, found, before = [0.0, 0.0], [], [], None
    for i in range(steps + 1):
        lr = optimizer.param_groups[0]["lr"]
        if i % 10 == 0:
            row = probe.step(i)
            found.append([row[f"layerwise/balance_drift/{pair}"] for pair in PAIRS])
            if before is not None:
                for k, rates in enumerate(of_item):
                    shrunk[k] += 10 * (before + lr) / 2 * next(iter(rates))
            before = lr
            now = {name: p.detach() for name, p in named.items()}
            expected.append([
                float(
                    (item.value(now) - math.exp(-2 * tau) * item.value(start)).norm()
                    / sum(start[n].square().sum() for n, _ in item.readers + item.writers)
                )
                if len(rates) == 1 else math.nan
                for item, tau, rates in zip(items, shrunk, of_item, strict=True)
            ])  # fmt: skip
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        if gradients:
            nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= 0.999
    return np.array(found), np.array(expected), probe.trace()


@pytest.mark.parametrize("gradients", [False, True])
def test_each_quantity_has_the_decay_of_its_own_parameters(gradients):
    net = mlp(bias_scale=0.5)
    named = {"layers.2.weight": 0.5, "layers.1.bias": 0.5, "layers.1.weight": 0.5}
    groups = grouped(net, (list(named), {"weight_decay": 0.5}))
    groups[-1]["weight_decay"] = 0.0
    found, expected, trace = drifts(net, groups, gradients=gradients)
    np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=1e-3, atol=1e-7)
    assert np.isnan(found[:, 0]).all()  # its reader decays, its writers do not
    assert not trace.provenance.config["optimizer"][UNIFORM]
    if not gradients:  # (1 - lr decay)^steps is not quite the exponential
        assert found[:, 1].max() < 5e-3
    else:
        assert found[-1, 1] > 0


def test_decay_between_two_looks_at_a_quantity_is_seen_at_every_look_at_weights():
    """A rate that drops between them: the mean of both rates would say half of what was done."""
    net = mlp().double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, weight_decay=0.1)
    probe = attached(net, optimizer, every=5, batch_every=400)
    for i in range(401):
        row = probe.step(i)
        for p in net.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        if i == 10:
            optimizer.param_groups[0]["lr"] = 0.0
    for pair in PAIRS:
        assert row[f"layerwise/balance_drift/{pair}"] < 2e-3
    assert row[TAU] == pytest.approx(11 * 0.02 * 0.1, rel=0.2)


def test_a_bias_without_decay_is_a_writer_too():
    """Matrices alone obey the law; with a bias that does not decay a quantity does not."""
    net = mlp(bias_scale=3.0)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    found, _, trace = drifts(net, halves(net, 0.5))
    assert np.isnan(found).all()
    assert trace.provenance.config["optimizer"][UNIFORM]
    tau = trace[TAU][-1]
    assert tau > 1
    for item in conserved_quantities(net):
        D0, D = (item.value(values) for values in (start, net.state_dict()))
        size = sum(start[name].square().sum() for name, _ in item.readers + item.writers)
        assert float((D - math.exp(-2 * tau) * D0).norm() / size) > 0.05

    net = mlp(bias_scale=1.0)
    for layer in net.layers:
        layer.bias = None
    found, expected, _ = drifts(net, halves(net, 0.5)[:1], gradients=True)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_biases_of_another_rate_have_no_bound_on_the_drift():
    x, y = data()
    net = seeded(mlp)
    optimizer = torch.optim.SGD(grouped(net, (["layers.1.bias"], {"lr": 0.1})), lr=0.05)
    probe = attached(net, optimizer)
    train(net, optimizer, x, y, 4, probe)
    trace = probe.trace()
    first, second = (f"layerwise/balance_allowed/{pair}" for pair in PAIRS)
    assert trace[first][-1] > 0
    assert second not in trace
    assert trace[f"layerwise/balance_drift/{PAIRS[1]}"][-1] > 0


def test_an_optimiser_without_these_parameters_explains_no_drift():
    net = mlp()
    optimizer = torch.optim.SGD(net.layers[:2].parameters(), lr=0.1)
    row = attached(net, optimizer).step(0)
    assert row[f"layerwise/balance_drift/{PAIRS[0]}"] == 0.0
    assert math.isnan(row[f"layerwise/balance_drift/{PAIRS[1]}"])


@pytest.mark.parametrize("given", [{"momentum": 1.0}, {"momentum": 0.9, "dampening": 1.0}])
def test_momentum_at_the_edge_does_not_end_a_training(given):
    net = mlp()
    probe = attached(net, torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1, **given))
    probe.step(0)
    tau = probe.step(10)[TAU]
    assert math.isnan(tau) if given["momentum"] == 1 else tau == 0.0
