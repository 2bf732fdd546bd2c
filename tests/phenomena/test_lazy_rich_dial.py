"""The non-linearity dial against autograd, the exact linear theory and an exact ReLU network."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich import dial as module
from layerwise.phenomena.lazy_rich.dial import Dial, transfer, twin
from layerwise.trace import Provenance, Trace

SHORT = Dial(samples=300, inputs=8, hidden=12, modes=3, time=40.0, looks=40, probes=60)


def test_every_measure_is_recorded_at_even_times(tmp_path):
    trace = run(SHORT, tmp_path).trace
    assert trace.clock == pytest.approx(np.linspace(0, 40, 41))
    shapes = {"modes": (41, 3)}
    numbers = {"loss", "kernel_distance", "off_diagonal", "diagonal"}
    assert set(trace) == numbers | shapes.keys()
    for name in trace:
        assert trace[name].shape == shapes.get(name, (41,)), name
        assert np.isfinite(trace[name]).all(), name
    assert trace["loss"][0] == pytest.approx(0.45, abs=0.01)  # 1/2 E|y|^2, ten classes
    assert trace["loss"][-1] < 0.4
    assert (trace["modes"][-1] > 0.5).all()
    assert trace["kernel_distance"][0] == trace["diagonal"][0] == trace["off_diagonal"][0] == 0
    assert trace.provenance.clock == "gradient-flow time"
    assert trace.provenance.data.startswith("digits (")


def test_a_run_is_repeated_exactly_and_another_seed_is_another(tmp_path):
    assert run(SHORT, tmp_path / "one").trace == run(SHORT, tmp_path / "other").trace
    other = run(replace(SHORT, seed=1), tmp_path).trace
    assert other["modes"][0, 0] != run(SHORT, tmp_path / "one").trace["modes"][0, 0]


@pytest.mark.parametrize("k", [0.0, 0.4, 1.0])
def test_the_descent_is_that_of_the_loss(tmp_path, k):
    one = replace(SHORT, k=k, start=0.5, time=0.6, learning_rate=0.2, looks=3)
    found = run(one, tmp_path).trace
    X, Y = map(torch.from_numpy, one.task()[:2])
    W1, W2 = (torch.from_numpy(layer).requires_grad_() for layer in one.layers())
    u, s, vt = torch.linalg.svd(Y.T @ X / len(X), full_matrices=False)
    for step in range(4):
        z = X @ W1.T
        f = ((1 - k) * z + k * torch.relu(z)) @ W2.T
        loss = (f - Y).square().sum(1).mean() / 2
        held = (u.T @ (f.T @ X / len(X)) @ vt.T).diagonal()[:3] / s[:3]
        assert found["loss"][step] == pytest.approx(loss.item(), rel=1e-12)
        assert found["modes"][step] == pytest.approx(held.detach().numpy(), abs=1e-12)
        W1.grad = W2.grad = None
        loss.backward()
        with torch.no_grad():
            W1 -= 0.2 * W1.grad
            W2 -= 0.2 * W2.grad


@pytest.mark.parametrize("k", [0.0, 0.4, 1.0])
def test_the_kernel_is_that_of_the_jacobian(k):
    rng = np.random.default_rng(0)
    X, W1, W2 = (rng.standard_normal(shape) for shape in ((7, 4), (5, 4), (3, 5)))
    layers = tuple(map(torch.from_numpy, (W1, W2)))

    def outputs(first, second):
        z = torch.from_numpy(X) @ first.T
        return ((1 - k) * z + k * torch.relu(z)) @ second.T

    parts = torch.autograd.functional.jacobian(outputs, layers)
    J = torch.cat([part.flatten(2) for part in parts], dim=2)
    wanted = torch.einsum("icp,jcp->ij", J, J).numpy()
    np.testing.assert_allclose(module._kernel(X, W1, W2, k), wanted, rtol=1e-12, atol=1e-12)


def away_from(theory, trace):
    return [
        np.abs(trace[name] - theory[name]).max() for name in ("modes", "kernel_distance")
    ]  # fmt: skip


def test_the_linear_network_is_its_theory_up_to_the_step_of_descent(tmp_path):
    one = replace(SHORT, k=0.0)
    errors = []
    for rate in (0.1, 0.05):
        trace = run(replace(one, learning_rate=rate), tmp_path).trace
        assert trace.clock == pytest.approx(np.linspace(0, 40, 41))
        theory = twin(one, trace.clock)
        assert theory["modes"] == pytest.approx(twin(one, trace.clock, scaled=False)["modes"])
        errors.append([*away_from(theory, trace), trace["off_diagonal"][-1], trace["diagonal"][-1]])
    assert max(errors[1]) < 0.01
    for coarse, fine in zip(*errors, strict=True):
        assert 1.8 < coarse / fine < 2.2


def odd(seed=0, n=200, i=6):
    """Return a task with (-x, -y) beside every (x, y), and paired neurons (w, a), (-w, -a)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, i)) * (1 + rng.random((n, 1)))
    X = np.linalg.svd(X, full_matrices=False)[0] * math.sqrt(n)
    Y = 0.3 * (X @ rng.standard_normal((i, 10)) / math.sqrt(i) + rng.standard_normal((n, 10)))
    half = 0.05 * rng.standard_normal((8, i)), 0.05 * rng.standard_normal((10, 8))
    pairs = np.vstack([half[0], -half[0]]), np.hstack([half[1], -half[1]])
    return (np.vstack([X, -X]), np.vstack([Y, -Y]), "made up"), pairs


def test_a_relu_network_of_paired_neurons_on_odd_data_is_linear_of_half_the_slope(
    monkeypatch, tmp_path
):
    task, pairs = odd()
    monkeypatch.setattr(Dial, "task", lambda one: task)
    monkeypatch.setattr(Dial, "layers", lambda one: pairs)
    for k in (0.5, 1.0):
        one = replace(SHORT, k=k, inputs=6, time=20.0, looks=20)
        errors = []
        for rate in (0.04, 0.02):
            trace = run(replace(one, learning_rate=rate), tmp_path).trace
            theory = twin(one, trace.clock)
            assert trace["modes"][-1].min() > 0.8
            errors.append(np.abs(trace["modes"] - theory["modes"]).max())
        assert 1.8 < errors[0] / errors[1] < 2.2
        assert errors[1] < 0.02
        assert np.abs(trace["modes"] - twin(one, trace.clock, scaled=False)["modes"]).max() > 0.2


def test_on_odd_data_the_error_of_the_slope_is_quadratic_in_the_dial(monkeypatch, tmp_path):
    task, _ = odd(1)
    monkeypatch.setattr(Dial, "task", lambda one: task)
    one = replace(SHORT, inputs=6, hidden=16, start=0.2, time=4.0, learning_rate=0.01)
    away = {}
    for k in (0.2, 0.1, 0.0):
        trace = run(replace(one, k=k), tmp_path).trace
        away[k] = trace["modes"] - twin(replace(one, k=k), trace.clock)["modes"]
    errors = [np.abs(away[k] - away[0.0]).max() for k in (0.2, 0.1)]  # less that of the descent
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("k", [0.25, 1.0])
def test_neurons_keep_their_balance_and_pairs_of_them_do_not(tmp_path, k):
    coarse, fine = (
        run(replace(SHORT, k=k, learning_rate=rate), tmp_path).trace for rate in (0.1, 0.05)
    )
    assert 1.8 < coarse["diagonal"][-1] / fine["diagonal"][-1] < 2.2
    assert fine["off_diagonal"][-1] > 20 * fine["diagonal"][-1]
    assert 0.95 < coarse["off_diagonal"][-1] / fine["off_diagonal"][-1] < 1.05


def test_errors_are_those_of_the_half_times_and_of_the_end(monkeypatch):
    t = np.linspace(0, 40, 41)

    def made(halves, kernel, origin="network"):
        modes = np.clip(t[:, None] / (2 * np.array(halves)), 0, 1)
        series = {"modes": modes, "kernel_distance": kernel * t / 40}
        series |= {"off_diagonal": t / 80, "diagonal": t / 4000}
        return Trace(t, series, Provenance(origin, "time"))

    theories = {True: made([10, 10], 0.1), False: made([5, 20], 0.3)}
    monkeypatch.setattr(module, "twin", lambda one, t, scaled=True: theories[scaled])
    found = transfer(SHORT, made([10, 20], 0.05))
    assert found.modes == pytest.approx(math.log(2) / math.sqrt(2))
    assert found.modes_unscaled == pytest.approx(math.log(2) / math.sqrt(2))
    assert found.kernel == pytest.approx(math.log(2))
    assert (found.off_diagonal, found.diagonal) == pytest.approx((0.5, 0.01))
    assert transfer(SHORT, made([10, 300], 0.05)).modes == math.inf


def test_the_predictions_get_worse_as_the_dial_is_turned(tmp_path):
    found = [
        transfer(one, run(one, tmp_path).trace)
        for one in (replace(SHORT, k=k) for k in (0.0, 0.5, 1.0))
    ]
    for name in ("modes", "modes_unscaled", "kernel"):
        errors = [getattr(one, name) for one in found]
        assert errors == sorted(errors), name
        assert errors[0] < 0.02 < errors[1], name
    assert all(one.modes < one.modes_unscaled for one in found[1:])
    assert max(one.diagonal for one in found) < 0.01 < 0.2 < found[1].off_diagonal


@pytest.mark.parametrize("one", [SHORT, Dial(k=0.25, data="mnist")])
def test_settings_come_back_from_their_record(one):
    values = json.loads(json.dumps(one.config()))
    assert Dial(**values) == one
    assert replace(one, seed=1).key != one.key
    assert one.key.startswith(one.name)


def test_the_work_is_what_is_done_and_the_brief_one_is_short(tmp_path):
    brief, ticks = SHORT.brief(), []
    run(brief, tmp_path, tick=ticks.append)
    assert ticks == list(range(brief.work() + 1))
    assert brief.work() == 50 < SHORT.work() == 800
    alike = (SHORT, replace(SHORT, k=0.0, seed=3, time=7.0, looks=2))
    assert len({one.brief() for one in alike}) == 1
    assert replace(SHORT, hidden=13).brief() != SHORT.brief()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 1.1}, "k must lie between 0 and 1, got 1.1"),
        ({"k": math.nan}, "k must lie between 0 and 1"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"start": 0.0}, "start must be positive and finite, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate must be positive and finite"),
        ({"modes": 10}, "20 inputs and 10 centred classes have 9 modes, asked for 10"),
        ({"inputs": 3, "modes": 4}, "have 3 modes, asked for 4"),
        ({"time": 0.01}, "time 0.01 has no step of the learning rate 0.05"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Dial(**fields)


def test_more_components_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match="principal components, asked for 64"):
        run(replace(SHORT, inputs=64), tmp_path)
