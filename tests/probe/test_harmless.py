"""The probe cannot harm: training goes on bit for bit as it would without it."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.probe.groups import GROUPS

from .runs import Net, data, mlp, seeded, train


def normed():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(4, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def dropping():
    return nn.Sequential(
        nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 32), nn.RReLU(),
        nn.Dropout(0.3), nn.Linear(32, 3),
    )  # fmt: skip


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.encoder(x.unsqueeze(1).expand(-1, 3, -1)).mean(dim=1))


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-3)


def adamw(net):
    return torch.optim.AdamW(net.parameters(), lr=3e-3, fused=True)


CASES = {
    "sgd": (mlp, sgd, (6,), False),
    "adam": (Net, adam, (6,), False),
    "amp": (Net, adamw, (6,), True),
    "norm": (normed, sgd, (1, 6, 6), False),
    "norm-amp": (normed, adam, (1, 6, 6), True),
    "dropout": (dropping, adam, (6,), False),
    "attention": (Attending, adamw, (6,), False),
}


def numpy_state():
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def everything(net, optimizer):
    """Return all the numbers that training has made, random number generators included."""
    states = optimizer.state_dict()["state"].values()
    moments = [v for state in states for v in state.values() if torch.is_tensor(v)]
    return [*net.state_dict().values(), *moments, torch.get_rng_state()]


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_bit_for_bit(case):
    build, optimizer_of, shape, amp = CASES[case]
    x, y = data(shape=shape)
    found = []
    for probing in (False, True):
        net = seeded(build)
        optimizer = optimizer_of(net)
        probe = None
        if probing:
            probe = lw.Probe(
                net, batch=(x, y), every=1, batch_every=3, optimizer=optimizer,
                class_counts=[9, 5, 2],
            )  # fmt: skip
        train(net, optimizer, x, y, 20, probe, amp=amp)
        found.append(everything(net, optimizer))
    looked = {
        "layerwise/kernel_distance",
        "layerwise/weight_to_target",
        "layerwise/nc4/penultimate",
        "layerwise/class_accuracy/2",
    }
    assert looked <= set(probe.trace())
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_look_leaves_the_model_as_it_was(case):
    build, optimizer_of, shape, _ = CASES[case]
    x, y = data(shape=shape)
    net = seeded(build)
    list(net.modules())[-1].eval()  # a mode of its own
    next(net.parameters()).requires_grad_(False)
    train(net, optimizer_of(net), x, y, 2)

    def state():
        return (
            [module.training for module in net.modules()],
            [p.requires_grad for p in net.parameters()],
            [None if p.grad is None else p.grad.clone() for p in net.parameters()],
            [t.clone() for t in net.state_dict().values()],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()],
            [list(vars(m)) for m in net.modules()],
            [p._version for p in net.parameters()],
        )

    before = state()
    numbers = torch.get_rng_state(), random.getstate(), numpy_state()
    with lw.Probe(net, batch=(x, y), every=1) as probe:
        assert probe.step(0)
    after = state()
    assert torch.equal(numbers[0], torch.get_rng_state())
    assert numbers[1:] == (random.getstate(), numpy_state())
    for one, other in zip(before, after, strict=True):
        for left, right in zip(one, other, strict=True):
            same = torch.equal(left, right) if torch.is_tensor(left) else left == right
            assert same
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("where", CONTEXTS)
def test_a_look_is_the_same_wherever_it_is_called(where):
    x, y = data()
    rows = []
    for context in (torch.enable_grad, CONTEXTS[where]):
        net = seeded(mlp)
        optimizer = sgd(net)
        with context():
            probe = lw.Probe(net, batch=(x, y), every=1, batch_every=1, optimizer=optimizer)
            row = probe.step(0)
            assert torch.is_autocast_enabled("cpu") == (context is CONTEXTS["autocast"])
            assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
            assert torch.is_grad_enabled() == (context in (torch.enable_grad, CONTEXTS["autocast"]))
        train(net, optimizer, x, y, 1)
        with context():
            row |= {f"then {name}": value for name, value in probe.step(1).items()}
        rows.append(row)
        assert probe.notes == ()
    assert rows[0] == rows[1]
    assert len(rows[0]) > 50


class Noisy(nn.Module):
    """A model that draws random numbers in every mode."""

    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.fc(x + 0.1 * torch.randn_like(x))))


def test_random_numbers_of_the_model_itself_are_drawn_from_a_copy():
    x, y = data()
    found = []
    for probing in (False, True):
        net = seeded(Noisy)
        optimizer = sgd(net)
        probe = lw.Probe(net, batch=(x, y), every=1, batch_every=1) if probing else None
        train(net, optimizer, x, y, 5, probe)
        found.append(everything(net, optimizer))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert "layerwise/nc1/penultimate" in probe.trace()
    assert "draws random numbers" in probe.notes[-1]


def test_hooks_of_the_user_on_parameters_do_not_fire():
    x, y = data()
    net, fired = mlp(), []
    for p in net.parameters():
        p.register_hook(lambda grad: fired.append(1))
        p.register_post_accumulate_grad_hook(lambda p: fired.append(2))
    with lw.Probe(net, batch=(x, y), every=1) as probe:
        assert probe.step(0)
    assert not fired


@dataclass(eq=False)
class Box:
    tensor: torch.Tensor


def test_a_graph_that_was_logged_is_let_go():
    x, y = data()
    net, kept = mlp(), []
    probe = lw.Probe(net, batch=(x, y), every=10)
    probe.step(0)

    def keep(tensor):
        box = Box(tensor)
        kept.append(weakref.ref(box))
        return box

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda box: box.tensor):
        loss = net(x).square().sum()
    value, of_loss = loss.item(), kept[-1]
    probe.step(1, train_loss=loss)
    assert of_loss() is not None
    del loss
    assert of_loss() is None
    assert probe.step(10)["train_loss"] == pytest.approx(value)


def held_after(steps, measures):
    """Return tensors alive and traced bytes of Python, and the rows, as training goes on."""
    x, y = data(24)
    net = mlp()
    optimizer = sgd(net)
    probe = lw.Probe(
        net, batch=(x, y), every=10, batch_every=50, optimizer=optimizer, measures=measures,
        class_counts=[9, 5, 2],
    )  # fmt: skip
    found, done = [], 0
    tracemalloc.start()
    try:
        for end in steps:
            train(net, optimizer, x, y, end, probe, start=done)
            done = end
            gc.collect()
            held = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
            found.append((held, tracemalloc.get_traced_memory()[0], len(probe.trace())))
    finally:
        tracemalloc.stop()
    return found, len(probe.trace().series)


def test_memory_stays_flat():
    others = tuple(name for name in GROUPS if name != "kernel")
    found, series = held_after((101, 201, 1001), others)
    (held, _, _), (_, early, few), (after, late, many) = found
    assert after == held
    assert many == 101
    # what grows is the history: a number and its place under a name, in every row
    assert (late - early) / (many - few) < 200 * series + 500


def test_kernels_leave_nothing_behind():
    (held, _, _), (after, _, _) = held_after((51, 251), ("kernel",))[0]
    assert after == held


def test_nothing_stays_attached():
    x, y = data()
    net = mlp()
    probe = lw.Probe(net, batch=(x, y), every=1)
    probe.step(0)
    gone = weakref.ref(net)
    probe.close()
    assert probe.step(1) == {}
    assert len(probe.trace()) == 1
    del probe, net
    gc.collect()
    assert gone() is None
