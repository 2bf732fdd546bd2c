"""Two-number theory, limits of the imbalance, upstream starts: networks trained beside theory."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich.linear import (
    Limits,
    TwoNumber,
    exact_limits,
    exact_two_number,
)
from layerwise.phenomena.lazy_rich.upstream import ACTIVATIONS, LinearUpstream, _Look, early
from layerwise.phenomena.lazy_rich.white import white_images
from layerwise.tasks import load, split
from layerwise.theory import starts
from layerwise.trace import Provenance, Trace

NUMBERS = TwoNumber(train_size=300, components=4, widths=(64, 1024), sizes=(0.3, 3.0), end=8.0)
LIMITS = Limits(train_size=300, components=4)
UPSTREAM = LinearUpstream(train_size=96, width=24, steps=300, probes=48, test_size=60)


def trained(one, tmp_path):
    return run(one, tmp_path).trace


# --- data ------------------------------------------------------------------------------------


def test_white_images_are_white_components_of_the_drawn_images():
    X, Y, source = white_images("digits", 300, 6, seed=2)
    pixels, labels, _, _ = split(load("digits"), 300, 1, seed=2)
    np.testing.assert_allclose(X.T @ X / 300, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    values, vectors = np.linalg.eigh(np.cov(pixels.T.astype(float)))
    shown = (pixels - pixels.mean(axis=0)) @ vectors[:, -1] / np.sqrt(values[-1])
    assert abs(np.mean(shown * X[:, 0])) == pytest.approx(1, rel=0.01)
    np.testing.assert_allclose(Y.mean(axis=0), 0, atol=1e-12)
    assert (Y.argmax(axis=1) == labels).all()
    assert source.startswith("digits (")


@pytest.mark.parametrize(("samples", "asked", "there"), [(20, 20, 19), (300, 65, r"6\d|5\d")])
def test_more_components_than_there_are_are_refused(samples, asked, there):
    with pytest.raises(ValueError, match=rf"{samples} images of digits have ({there}) principal"):
        white_images("digits", samples, asked, seed=0)


# --- two numbers -----------------------------------------------------------------------------


def test_a_wide_network_is_trained_as_by_hand(tmp_path):
    one = replace(NUMBERS, widths=(50,), sizes=(2.0,), shares=(0.5,), end=3.0, rate=0.05, points=4)
    found, exact = trained(one, tmp_path), exact_two_number(one, np.array([0.0, 3.0]))
    X, Y, _ = white_images("digits", 300, 4, seed=0)
    c = 2 * np.linalg.norm(Y.T @ X / 300, 2)
    w1, w2 = starts.wide((4, 50, 10), math.sqrt(0.5 * c), math.sqrt(1.5 * c), seed=0)
    rate = 0.05 / np.hypot(c, c / 2)
    first, second = w1.copy(), w2.copy()
    kernels = []
    for step in range(61):
        if step in (0, 60):
            A, B = first.T @ first, second @ second.T
            kernels.append(np.kron(np.eye(10), X @ A @ X.T) + np.kron(B, X @ X.T))
        if step == 60:
            break
        error = X @ first.T @ second.T - Y
        first, second = (
            first - rate / 300 * second.T @ error.T @ X,
            second - rate / 300 * error.T @ X @ first.T,
        )
    k = (-1, 0, 0, 0)
    cosine = np.sum(kernels[0] * kernels[1]) / np.prod([np.linalg.norm(K) for K in kernels])
    sizes = [np.linalg.norm(m) for m in (first - w1, w1, second - w2, w2)]
    gap = second @ first - exact["map"][-1, 0, 0]
    for name, expected in {
        "distance": 1 - cosine,
        "growth": np.linalg.norm(kernels[1]) / np.linalg.norm(kernels[0]),
        "moved_first": sizes[0] / sizes[1],
        "moved_second": sizes[2] / sizes[3],
        "map_error": np.linalg.norm(gap) / np.linalg.norm(Y.T @ X / 300),
        "unlearned": np.sum((Y.T @ X / 300 - second @ first) ** 2) / np.sum((Y.T @ X / 300) ** 2),
    }.items():
        assert found[name][k] == pytest.approx(expected, rel=1e-6), name
    assert found.clock.tolist() == pytest.approx([0, 1, 2, 3])


def test_the_wide_limit_is_that_of_an_integrator():
    one = replace(NUMBERS, sizes=(0.5,), shares=(-0.6,))
    clock = np.linspace(0, 6, 7)
    found, (cross, _) = exact_two_number(one, clock), one.task
    upper, lower, rate = (x[0, 0] for x in one.imbalances)
    assert (upper - lower) / (upper + lower) == pytest.approx(-0.6)
    assert (upper + lower) / 2 == pytest.approx(0.5 * np.linalg.norm(cross, 2))
    o, i = cross.shape

    def velocity(_, state):
        R = state.reshape(i + o, i + o)
        G = np.block([
            [np.zeros((i, i)), (cross - R[i:, :i]).T], [cross - R[i:, :i], np.zeros((o, o))]
        ])  # fmt: skip
        return (G @ R + R @ G).ravel() / rate

    start = np.diag(np.repeat([lower, upper], [i, o])).ravel()
    states = solve_ivp(velocity, (0, 6), start, "DOP853", t_eval=clock, rtol=1e-12, atol=1e-14).y.T
    R = states.reshape(-1, i + o, i + o)
    np.testing.assert_allclose(found["map"][:, 0, 0], R[:, i:, :i], atol=1e-9)
    left = np.sum((cross - R[:, i:, :i]) ** 2, axis=(1, 2)) / np.sum(cross**2)
    np.testing.assert_allclose(found["unlearned"][:, 0, 0], left, atol=1e-9)
    K = [np.kron(np.eye(o), r[:i, :i]) + np.kron(r[i:, i:], np.eye(i)) for r in R]
    growth = [np.linalg.norm(k) / np.linalg.norm(K[0]) for k in K]
    np.testing.assert_allclose(found["growth"][:, 0, 0], growth, rtol=1e-8)


def test_finite_width_errs_as_one_over_its_root(tmp_path):
    one = replace(NUMBERS, widths=(64, 256, 1024, 4096))
    errors = np.mean([
        np.sqrt(np.mean(trained(replace(one, seed=seed), tmp_path)["map_error"] ** 2, axis=0))
        for seed in range(3)
    ], axis=(0, 2, 3))  # fmt: skip
    slope = np.polyfit(np.log(one.widths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)


def test_two_numbers_say_lazy_or_rich_and_which_layer_learns(tmp_path):
    one = replace(NUMBERS, widths=(4096,), sizes=(0.1, 10.0), end=20.0)
    found, exact = trained(one, tmp_path), exact_two_number(one, np.array([0.0, 20.0]))
    growth, distance = found["growth"][-1, 0], found["distance"][-1, 0]
    np.testing.assert_allclose(growth, exact["growth"][-1], rtol=0.05)
    np.testing.assert_allclose(distance, exact["distance"][-1], rtol=0.1, atol=1e-6)
    assert (growth[0] > 3).all()  # c a tenth of the target: rich
    assert (growth[1] < 1.02).all()  # ten times it: lazy
    # alpha does not enter the kernel at the end, but says which layer moved
    assert np.ptp(exact["distance"][-1], axis=1).max() < 1e-6
    first, second = found["moved_first"][-1, 0], found["moved_second"][-1, 0]
    assert (first[:, 0] < second[:, 0] / 2).all()  # W1 larger: downstream
    assert (first[:, -1] > 2 * second[:, -1]).all()  # W2 larger: upstream


# --- limits ----------------------------------------------------------------------------------


def test_gaps_of_trained_modes_are_the_exact_ones(tmp_path):
    gaps = {}
    for rate in (0.02, 0.01):
        one = replace(LIMITS, rate=rate)
        found = trained(one, tmp_path)
        exact = exact_limits(one, found.clock)
        for name in ("from_sigmoid", "from_exponential"):
            measured, wanted = found[name].max(axis=0), exact[name].max(axis=0)
            gaps[name, rate] = np.max(np.abs(measured / wanted - 1))
            assert gaps[name, rate] < 2 * rate
    for name in ("from_sigmoid", "from_exponential"):
        assert gaps[name, 0.02] / gaps[name, 0.01] == pytest.approx(2, rel=0.25)


def test_the_limits_are_reached_at_the_known_pace(tmp_path):
    found = trained(LIMITS, tmp_path)
    lazy = found["from_exponential"][:, :, 0].max(axis=0)
    for sign in (slice(8, None), slice(3, None, -1)):  # lam/s = +-(1, 10, 100, 1000)
        np.testing.assert_allclose(lazy[sign], [0.12, 2e-3, 2e-5, 2e-7], rtol=0.1)
    rich = found["from_sigmoid"][:, :, 0].max(axis=0)
    assert LIMITS.ratios[5:8] == (-0.01, 0.01, 0.1)
    assert rich[6] < 3e-4
    assert rich[7] / rich[6] == pytest.approx(100, rel=0.15)  # as lam^2
    np.testing.assert_allclose(rich[:6], rich[:5:-1], rtol=1e-9)  # a mode does not see the sign


def test_modes_near_no_imbalance_are_sigmoids(tmp_path):
    one = replace(LIMITS, ratios=(1e-3,), rate=0.002, points=30)
    found = trained(one, tmp_path)
    s = np.linalg.svdvals(one.task[0])
    growth = np.exp(2 * s * found.clock[:, None] / s[0])
    sigmoid = 0.1 * growth / (1 + 0.1 * (growth - 1))
    np.testing.assert_allclose(found["modes"][:, 0], sigmoid, atol=2e-3)


def test_modes_that_are_no_modes_are_left_out(tmp_path):
    one = replace(LIMITS, components=10, end=1.0)  # ten centred classes have nine modes
    assert trained(one, tmp_path)["modes"].shape[1:] == (12, 9)
    assert exact_limits(one, np.array([0.0, 1.0]))["modes"].shape == (2, 12, 9)


# --- upstream --------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self, w1, w2, activation):
        super().__init__()
        self.w1, self.w2 = (torch.nn.Parameter(torch.from_numpy(w.copy())) for w in (w1, w2))
        self.activation = activation

    def forward(self, x):
        hidden = x @ self.w1.T
        return (hidden.relu() if self.activation == "relu" else hidden) @ self.w2.T


def traced_kernel(net, x):
    outputs = net(x)
    rows = [
        torch.cat([
            g.ravel()
            for g in torch.autograd.grad(one, list(net.parameters()), retain_graph=True)
        ])
        for one in outputs.ravel()
    ]  # fmt: skip
    jacobian = torch.stack(rows).reshape(*outputs.shape, -1)
    return torch.einsum("icp,jcp->ij", jacobian, jacobian).numpy()


def test_upstream_networks_descend_by_the_gradient_of_their_loss(tmp_path):
    one = replace(UPSTREAM, steps=3, points=3, factors=(0.5, 2.0), train_size=16, probes=16)
    found = trained(one, tmp_path)
    assert found.clock.tolist() == [0, 1, 2, 3]
    pixels, labels, pixels_test, labels_test = split(load("digits"), 16, 60, seed=0)
    x, x_test = torch.from_numpy(pixels).double(), torch.from_numpy(pixels_test).double()
    y = torch.eye(10, dtype=torch.float64)[torch.from_numpy(labels)]
    for f, factor in enumerate(one.factors):
        for a, activation in enumerate(ACTIVATIONS):
            w1, w2 = one.layers(64, 10)
            net = Net(factor * w1, w2 / factor, activation)
            start, start_test, before = net(x).detach(), net(x_test).detach(), traced_kernel(net, x)
            signs = (x @ net.w1.T > 0).detach()
            rate = 0.5 * 16 / np.linalg.eigvalsh(before)[-1]
            for _ in range(3):
                net.zero_grad()
                loss = ((net(x) - start - y) ** 2).sum() / 32
                loss.backward()
                with torch.no_grad():
                    for part in net.parameters():
                        part -= rate * part.grad
            after, k = traced_kernel(net, x), (-1, a, f)
            H = np.eye(16) - 1 / 16
            for name, K, L in (
                ("distance", before, after),
                ("distance_centred", H @ before @ H, H @ after @ H),
            ):
                cosine = np.sum(K * L) / (np.linalg.norm(K) * np.linalg.norm(L))
                assert found[name][k] == pytest.approx(1 - cosine, rel=1e-5, abs=1e-13)
            left = ((net(x) - start - y) ** 2).sum().item() / 16
            assert found["loss"][k] == pytest.approx(left, rel=1e-10)
            turned = ((x @ net.w1.T > 0) != signs).double().mean().item()
            assert found["signs"][k] == pytest.approx(turned, abs=1e-12)
            right = (net(x_test) - start_test).argmax(dim=1).numpy() == labels_test
            assert found["test_accuracy"][k] == pytest.approx(right.mean())


def test_a_factor_leaves_the_map_at_the_start_alone():
    W1, W2 = UPSTREAM.layers(64, 10)
    X = np.random.default_rng(0).standard_normal((5, 64))
    a = np.array([0.1, 1.0, 10.0])[:, None, None]
    looks = _Look.at(*(np.stack([layer] * 2) for layer in (a * W1, W2 / a)), X)
    np.testing.assert_allclose(looks.outputs[:, 0], looks.outputs[:, 1], rtol=1e-9)
    np.testing.assert_allclose(looks.outputs[:, 2], looks.outputs[:, 1], rtol=1e-9)
    np.testing.assert_allclose(looks.outputs[0, 1], X @ W1.T @ W2.T)
    np.testing.assert_allclose(looks.outputs[1, 1], np.maximum(X @ W1.T, 0) @ W2.T)


def test_an_upstream_start_turns_the_kernel_of_relu_and_not_of_a_linear_network(tmp_path):
    for seed in range(3):
        trace = trained(replace(UPSTREAM, seed=seed), tmp_path)
        linear, relu = early(trace, "distance_centred", loss=0.7)
        assert linear[0] < linear[1] / 100
        assert relu[0] > 20 * linear[0]
        # whether ReLU's kernel turns more than that of a balanced start the distance does not say
        signs = early(trace, "signs", loss=0.7)[1]
        assert signs[0] > signs[1] + 0.05


def test_the_linear_kernel_turns_as_the_eighth_power_of_the_factor(tmp_path):
    one = replace(UPSTREAM, factors=(0.05, 0.1))
    slow, fast = early(trained(one, tmp_path), "distance_centred", loss=0.7)[0]
    assert fast / slow == pytest.approx(2**8, rel=0.3)


def test_early_is_the_first_look_at_half_the_loss():
    loss = np.array([[1.0, 1.0], [0.5, 0.9], [0.2, 0.6]])[:, None]
    value = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[:, None]
    trace = Trace([0, 1, 2], {"loss": loss, "value": value}, Provenance("network", "steps"))
    np.testing.assert_array_equal(early(trace, "value"), [[3.0, np.nan]])
    np.testing.assert_array_equal(early(trace, "value", 0.95), [[3.0, 4.0]])


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [NUMBERS, LIMITS, UPSTREAM], ids=lambda one: one.name)
def test_settings_come_back_from_their_record_and_work_is_counted(one, tmp_path):
    values = json.loads(json.dumps(one.config()))
    tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    assert type(one)(**tuples) == one
    assert replace(one, seed=1).key != one.key
    assert one.name in one.key
    brief, ticks = one.brief(), []
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1))
    assert brief.work() == 20


@pytest.mark.parametrize("one", [NUMBERS, LIMITS, UPSTREAM], ids=lambda one: one.name)
def test_a_training_is_repeated_exactly(one, tmp_path):
    brief = one.brief()
    again = [run(brief, tmp_path / name).trace for name in ("one", "two")]
    assert again[0] == again[1]
    assert "digits" in again[0].provenance.data
    other = run(replace(brief, seed=1), tmp_path).trace
    assert any((other[name][-1] != again[0][name][-1]).any() for name in other)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (TwoNumber, {"widths": ()}, r"widths must be one or more positive sizes, got \(\)"),
        (TwoNumber, {"sizes": (0.0,)}, r"sizes must be one or more positive numbers, got \(0.0,\)"),
        (TwoNumber, {"shares": (1.0,)}, r"shares must be numbers between -1 and 1, got \(1.0,\)"),
        (TwoNumber, {"rate": 1.5}, "rate must lie between 0 and 1 to be stable, got 1.5"),
        (TwoNumber, {"end": 0.0}, "end must be at least a step of 0.005"),
        (Limits, {"ratios": (0.0, 1.0)}, r"increasing numbers without 0, got \(0.0, 1.0\)"),
        (Limits, {"ratios": (2.0, 1.0)}, r"increasing numbers without 0, got \(2.0, 1.0\)"),
        (Limits, {"start": 1.0}, "start must lie between 0 and 1, got 1.0"),
        (Limits, {"points": 1}, "points must be at least 2, got 1"),
        (LinearUpstream, {"factors": (1.0, 0.1)}, "factors must be increasing positive"),
        (LinearUpstream, {"probes": 300}, "probes must be from 2 to the 256 training .* got 300"),
        (LinearUpstream, {"margin": 2.0}, "margin must lie between 0 and 2 to be stable, got 2.0"),
        (LinearUpstream, {"scale": np.nan}, "scale must be positive and finite, got nan"),
        (LinearUpstream, {"width": 0}, "width must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)
