"""Trainings side by side: each the same as alone, and networks that cannot be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from layerwise.ensembles import pays, train_each
from layerwise.networks import MLP, Ensemble, Quadratic, ResNet18, Transformer
from layerwise.train import Epochs, Training, train

TOKENS = torch.randint(0, 7, (40, 2), generator=torch.Generator().manual_seed(0))
X = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(40, 7, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(40) % 7
KINDS = {
    "mlp": (lambda seed: MLP((6, 9, 8, 7), seed=seed), X, Y, nn.functional.mse_loss),
    "quadratic": (lambda seed: Quadratic(6, 9, 7, seed=seed), X, Y, nn.functional.mse_loss),
    "transformer": (
        lambda seed: Transformer(7, 2, 7, width=8, heads=2, hidden=12, seed=seed),
        TOKENS, LABELS, nn.functional.cross_entropy,
    ),
}  # fmt: skip
OPTIMIZERS = [
    Training("adamw", 1e-2, 0.3, steps=25, points=5),
    Training("adam", 1e-2, 0.1, steps=25, points=5, beta2=0.9),
    Training("sgd", 0.05, 0.1, steps=25, points=5),
    Training("sgd", 0.05, 0.1, steps=25, points=5, momentum=0.9, drops=(0.5,)),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def observed(x):
    return lambda net: {"size": net(x).detach().double().square().mean().item()}


@pytest.mark.parametrize("training", OPTIMIZERS, ids=lambda one: f"{one.optimizer}{one.momentum}")
@pytest.mark.parametrize("kind", KINDS)
def test_side_by_side_every_network_is_trained_as_alone(kind, training):
    make, x, y, loss = KINDS[kind]
    x, y = (part.double() if part.is_floating_point() else part for part in (x, y))
    nets = [make(seed).double() for seed in range(4)]
    others, untouched = copy.deepcopy(nets), copy.deepcopy(nets)
    batches = [Epochs(x, y, 16, seed=seed, drop_last=True) for seed in range(4)]
    together = train_each(nets, batches, training, observed(x), loss=loss, way="side by side")
    for k, net in enumerate(others):  # the plain loop, by itself

        def gradient(net, x, y):
            net.zero_grad()
            loss(net(x), y).backward()

        own = Epochs(x, y, 16, seed=k, drop_last=True)
        alone = train(net, own, training, observed(x), gradient=gradient)
        assert together[k].steps == alone.steps
        sizes = [[row["size"] for row in one.rows] for one in (together[k], alone)]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-7)
        for one, other, start in zip(
            *(each.parameters() for each in (nets[k], net, untouched[k])), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
            assert not torch.allclose(one, start, rtol=1e-3)


def test_both_ways_are_one_in_single_precision_too():
    nets = [Quadratic(6, 9, 7, seed=seed) for seed in range(3)]
    others = copy.deepcopy(nets)
    batches = [lambda step: (X, Y)] * 3
    found = [
        train_each(each, batches, OPTIMIZERS[0], observed(X), way=way)
        for each, way in ((nets, "side by side"), (others, "one by one"))
    ]
    for one, other in zip(*found, strict=True):
        for row, same in zip(one.rows, other.rows, strict=True):
            assert row["size"] == pytest.approx(same["size"], rel=1e-4)


def test_members_are_views_and_a_step_of_one_leaves_the_others_alone():
    nets = [Quadratic(6, 9, 7, seed=seed) for seed in range(3)]
    before = [[p.detach().clone() for p in net.parameters()] for net in nets]
    ensemble = Ensemble(nets)
    for net, values in zip(nets, before, strict=True):
        assert all(torch.equal(p, v) for p, v in zip(net.parameters(), values, strict=True))
    y = Y.expand(3, 40, 7)
    losses = ensemble.losses(nn.functional.mse_loss, X.expand(3, 40, 6), y)
    assert losses.shape == (3,)
    losses[1].backward()
    with torch.no_grad():
        for values in ensemble.stacked:
            values -= 0.1 * values.grad
    for k, (net, values) in enumerate(zip(nets, before, strict=True)):
        moved = [not torch.equal(p, v) for p, v in zip(net.parameters(), values, strict=True)]
        assert set(moved) == {k == 1}


def test_outputs_are_those_of_each_on_its_own_inputs():
    nets = [MLP((6, 9, 7), seed=seed) for seed in range(3)]
    x = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        Ensemble(nets)(x), torch.stack([f(z) for f, z in zip(nets, x, strict=True)])
    )


def test_only_many_small_networks_pay():
    small = [MLP((64, 64, 64, 64, 10), seed=seed) for seed in range(8)]
    assert pays(small, 100)
    assert not pays(small[:7], 100)
    assert not pays(small, 1000)
    assert not pays([MLP((784, 200, 200, 200, 10), seed=0)] * 8, 128)
    assert not pays([ResNet18(1, 10, width=2)] * 8, 1)


@pytest.mark.parametrize("count", [7, 8])
def test_the_rule_decides_the_way(monkeypatch, count):
    import layerwise.ensembles as module

    made = []
    monkeypatch.setattr(module, "Ensemble", lambda nets: made.append(nets) or Ensemble(nets))
    nets = [Quadratic(6, 9, 7, seed=seed) for seed in range(count)]
    train_each(nets, [lambda step: (X, Y)] * count, Training(steps=2, points=1), observed(X))
    assert len(made) == (count == 8)


def test_networks_that_differ_in_more_than_their_parameters_are_refused():
    pair = [Quadratic(6, 9, 7), Quadratic(6, 9, 7, output_scale=0.1)]
    batches = [lambda step: (X, Y)] * 2
    short = Training(steps=2, points=1)
    with pytest.raises(ValueError, match="network 1, network 0 is off from it by"):
        train_each(pair, batches, short, observed(X), way="side by side")
    train_each(pair, batches, short, observed(X), way="one by one")


@pytest.mark.parametrize(
    ("nets", "message"),
    [
        ([], "needs at least one network"),
        ([MLP((6, 9, 7)), MLP((6, 8, 7))], r"one architecture: number 0 is .*\(9, 6\).*number 1"),
        ([MLP((6, 9, 7)), Quadratic(6, 9, 7)], "one architecture: .*MLP.* number 1 .*Quadratic"),
        ([ResNet18(1, 10, width=2)], "networks with buffers"),
    ],
)
def test_what_cannot_be_stacked_is_refused(nets, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(nets)


def test_bad_requests_are_refused():
    nets, short = [Quadratic(6, 9, 7)], Training(steps=2, points=1)
    with pytest.raises(ValueError, match="as many batches as networks, got 2 for 1"):
        train_each(nets, [lambda step: (X, Y)] * 2, short, observed(X))
    with pytest.raises(ValueError, match="as many batches as networks, got 0 for 0"):
        train_each([], [], short, observed(X))
    with pytest.raises(ValueError, match=r"way must be auto, .* got 'vmap'"):
        train_each(nets, [lambda step: (X, Y)], short, observed(X), way="vmap")
