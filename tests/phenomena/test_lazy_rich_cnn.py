"""The convolutional network: against a loop of its own, interrupted, and in its three regimes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from layerwise.measures import filter_energy, filter_participation, filter_roughness
from layerwise.networks import CNN, CentredOutput
from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich.cnn import Convolution
from layerwise.phenomena.pixels import pixels
from layerwise.train import Epochs, log_grid

SHORT = Convolution(
    a=0.5, train_size=90, test_size=30, steps=24, batch=32, probes=12, points=4
)  # fmt: skip
NUMBERS = {
    "train_loss", "test_accuracy", "kernel_distance", "kernel_distance_plain", "kernel_growth",
    "kernel_alignment", "feature_distance", "imbalance", "filter_energy", "filter_roughness",
    "filter_participation", "time",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return run(SHORT, tmp_path_factory.mktemp("short")).trace


def images(one):
    """Return standardised train images, labels, test images and labels."""
    found = pixels(one.data, one.train_size, one.test_size, np.random.default_rng(one.seed))
    x, x_test = (torch.from_numpy(part).float() for part in (found.x, found.x_test))
    mean, std = x.double().mean().float(), x.double().std(correction=0).float()
    y, y_test = (torch.from_numpy(part) for part in (found.y, found.y_test))
    return (x - mean) / std, y, (x_test - mean) / std, y_test


def network(one):
    """Return the network at its start."""
    net = CNN(1, 10, seed=one.seed)
    with torch.no_grad():
        net.body[0].weight *= one.a * one.tau
        net.head.weight *= one.tau / one.a
    return net


def jacobian(net, x):
    """Return the derivatives (inputs, outputs, parameters), one backward pass each."""
    rows = []
    for output in net(x).flatten():
        parts = torch.autograd.grad(output, list(net.parameters()), retain_graph=True)
        rows.append(torch.cat([part.flatten() for part in parts]).double())
    return torch.stack(rows).view(len(x), 10, -1)


def traced(net, x):
    J = jacobian(net, x)
    return torch.einsum("icp,jcp->ij", J, J)


def cosine(one, other):
    return (one * other).sum() / (one.norm() * other.norm())


def centred(kernel):
    H = torch.eye(len(kernel), dtype=torch.float64) - 1 / len(kernel)
    return H @ kernel @ H


def test_every_measure_is_recorded_at_log_spaced_steps(short):
    T = len(short)
    assert short.clock.tolist() == list(log_grid(24, 4)) == [0, 1, 3, 8, 24]
    shapes = {"sign_distance": (T, 3), "motion": (T, 4), "filters": (T, 16, 1, 5, 5)}
    assert set(short) == NUMBERS | shapes.keys()
    for name in short:
        assert short[name].shape == shapes.get(name, (T,)), name
        assert np.isfinite(short[name]).all(), name
    for name in ("kernel_distance", "kernel_distance_plain", "feature_distance", "time"):
        assert short[name][0] == 0, name
        assert (short[name][1:] > 0).all(), name
    assert (short["sign_distance"][0] == 0).all()
    assert (short["motion"][0] == 0).all()
    assert short["kernel_growth"][0] == 1
    assert short["train_loss"][0] == pytest.approx(0.5, abs=1e-6)
    assert short["train_loss"][-1] < 0.45
    assert short.provenance.clock == "optimiser steps"
    assert short.provenance.data.startswith("digits (")


def test_the_training_is_that_of_the_centred_network(short):
    x, y, x_test, y_test = images(SHORT)
    net, probes = network(SHORT), x[:12]
    at_start = net.hidden(probes), net.features(probes).double(), traced(net, probes)
    weights = [w.detach().clone() for w in net.parameters()]
    rate = 0.5 * 12 / torch.linalg.eigvalsh(at_start[2])[-1].item()
    assert short["time"] == pytest.approx(rate * short.clock, rel=1e-4)
    whole, targets = CentredOutput(net), torch.eye(10)[y]
    batches = Epochs(x, targets, 32, seed=0)
    for step in range(24):
        inputs, wanted = batches(step)
        net.zero_grad()
        ((whole(inputs) - wanted) ** 2).sum(1).mean().div(2).backward()
        with torch.no_grad():
            for w in net.parameters():
                w -= rate * w.grad
    with torch.no_grad():
        loss = ((whole(x) - targets) ** 2).sum(1).mean() / 2
        right = (whole(x_test).argmax(1) == y_test).double().mean()
        hidden, features = net.hidden(probes), net.features(probes).double()
    end = {name: short[name][-1] for name in short}
    assert end["train_loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert end["test_accuracy"] == pytest.approx(right.item(), abs=1e-6)
    K0, K = at_start[2], traced(net, probes)
    Y = targets[:12].double()
    grams = [centred(H @ H.T) for H in (at_start[1], features)]
    wanted = {
        "kernel_distance": 1 - cosine(centred(K0), centred(K)),
        "kernel_distance_plain": 1 - cosine(K0, K),
        "kernel_growth": K.norm() / K0.norm(),
        "kernel_alignment": cosine(centred(K), centred(Y @ Y.T)),
        "feature_distance": 1 - cosine(*grams),
        "imbalance": net.head.weight.square().sum() - net.body[0].weight.square().sum(),
    }
    for name, value in wanted.items():
        assert end[name] == pytest.approx(value.item(), rel=5e-3, abs=1e-6), name
    flips = [
        ((before > 0) != (after > 0)).double().mean().item()
        for before, after in zip(at_start[0], hidden, strict=True)
    ]
    assert end["sign_distance"] == pytest.approx(flips, abs=2e-3)
    moved = [
        ((w - start).norm() / start.norm()).item()
        for w, start in zip(net.parameters(), weights, strict=True)
    ]
    assert end["motion"] == pytest.approx(moved, rel=1e-3)
    assert end["filters"] == pytest.approx(net.body[0].weight.detach().numpy(), abs=1e-4)


def test_the_filters_are_measured_on_patches_inside_the_images(short):
    x = images(SHORT)[0].numpy()
    patches = np.stack([x[:, :, r : r + 5, c : c + 5] for r in range(4) for c in range(4)])
    for t in range(len(short)):
        filters = short["filters"][t]
        found = [short[f"filter_{name}"][t] for name in ("energy", "roughness", "participation")]
        energy = filter_energy(filters, patches.reshape(-1, 1, 5, 5).astype(float))
        wanted = energy, filter_roughness(filters), filter_participation(filters)
        assert found == pytest.approx([float(value) for value in wanted], rel=1e-4)


def test_the_function_at_the_start_does_not_depend_on_a(tmp_path):
    traces = {a: run(replace(SHORT, a=a, steps=1), tmp_path).trace for a in (0.1, 1.0, 10.0)}
    assert len({trace["test_accuracy"][0] for trace in traces.values()}) == 1
    squares = [w.detach().double().square().sum().item() for w in CNN(1, 10).parameters()]
    for a, trace in traces.items():
        head, first = squares[-1] * (0.3 / a) ** 2, squares[0] * (0.3 * a) ** 2
        assert trace["imbalance"][0] == pytest.approx(head - first, rel=1e-5)
        assert trace["filters"][0] == pytest.approx(a * traces[1.0]["filters"][0], rel=1e-5)
    assert traces[0.1]["imbalance"][0] > 0 > traces[10.0]["imbalance"][0]


def test_a_training_is_repeated_exactly_and_another_seed_is_another(short, tmp_path):
    assert run(SHORT, tmp_path).trace == short
    other = run(replace(SHORT, seed=1), tmp_path).trace
    assert (other["filters"][0] != short["filters"][0]).all()


@pytest.mark.parametrize("when", [8, 13])  # a step that is looked at, and one in between
def test_an_interrupted_training_ends_as_if_it_had_not_been(short, tmp_path, when):
    def interrupt(step):
        if step == when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SHORT, tmp_path, tick=interrupt)
    ticks = []
    assert run(SHORT, tmp_path, tick=ticks.append).trace == short
    assert ticks == list(range(when, 25))


def test_looking_leaves_the_training_alone(short, tmp_path):
    more = run(replace(SHORT, points=20), tmp_path).trace
    assert len(more) > 10
    assert (more["filters"][-1] == short["filters"][-1]).all()


def test_upstream_learns_filters_and_downstream_learns_none(tmp_path):
    one = replace(SHORT, train_size=300, steps=120, batch=100, points=2, probes=40)
    up, even, down = (run(replace(one, a=a), tmp_path).trace for a in (0.1, 1.0, 10.0))
    flips, energy, features, kernel = (
        [float(np.ravel(trace[name][-1])[0]) for trace in (up, even, down)]
        for name in ("sign_distance", "filter_energy", "feature_distance", "kernel_distance")
    )
    assert flips[0] > 0.2 > 0.15 > flips[1] > 0.02 > 0.01 > flips[2]
    assert energy[0] > energy[1] > energy[2]
    assert features[0] > features[1] > 10 * features[2]
    assert min(kernel[:2]) > 20 * kernel[2]
    for trace in (up, down):  # conserved
        D = trace["imbalance"]
        assert np.abs(D / D[0] - 1).max() < 1e-3


@pytest.mark.parametrize("one", [SHORT, Convolution(a=10.0, data="mnist")])
def test_settings_come_back_from_their_record(one):
    values = json.loads(json.dumps(one.config()))
    assert Convolution(**values) == one
    assert replace(one, seed=1).key != one.key
    assert one.key.startswith(one.name)


def test_the_work_is_what_is_done_and_the_brief_one_is_short(tmp_path):
    brief, ticks = SHORT.brief(), []
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1))
    assert brief.work() == 20 < SHORT.work() == 24
    alike = (SHORT, replace(SHORT, a=10.0, tau=1.0, seed=3, steps=7, points=2))
    assert len({one.brief() for one in alike}) == 1
    assert replace(SHORT, batch=31).brief() != SHORT.brief()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"a": 0.0}, "a must be positive and finite, got 0.0"),
        ({"tau": math.inf}, "tau must be positive and finite, got inf"),
        ({"margin": 2.0}, "margin must lie between 0 and 2 to be stable, got 2.0"),
        ({"probes": 1}, "probes must be from 2 to the 1500 training images, got 1"),
        ({"train_size": 100}, "probes must be from 2 to the 100 training images, got 128"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Convolution(**fields)


def test_more_digits_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match="digits has 97 test images, asked for 297"):
        run(Convolution(train_size=1700), tmp_path)
