"""What a probe reports is what the measures say, and the theory of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import layerwise as lw
from layerwise import measures
from layerwise.networks import MLP, ResNet18, ScaledOutput, conserved_quantities

from .runs import Net, data, mlp, probed, seeded, train


class Scalar(nn.Module):
    """The 1-h-1 network ``(x/Z) sum_i a_i b_i``."""

    def __init__(self, a, b, scale):
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.scale = scale

    def forward(self, x):
        return x * (self.a * self.b).sum() / self.scale


class Diagonal(nn.Module):
    """``f = sum_i x_i a_i b_i``, its outputs kept apart: one for each mode."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x):
        return x * self.a * self.b


def start_of(net, x, y, **given):
    with lw.Probe(net, batch=(x, y), measures=("scale",), **given) as probe:
        row = probe.step(0)
        assert probe.step(50) == {}
    ratio, gamma = (row[f"layerwise/{name}"] for name in ("weight_to_target", "gamma_plus"))
    return ratio, gamma, probe.trace().provenance.config["degree"]


numbers = st.floats(-2, 2, allow_subnormal=False).filter(lambda v: abs(v) > 1e-3)


@given(
    weights=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5),
    target=numbers,
    scale=st.floats(0.1, 10),
    x=st.lists(numbers, min_size=1, max_size=6),
)
@settings(max_examples=30, deadline=None)
def test_the_scale_of_a_scalar_network_is_the_one_of_theory(weights, target, scale, x):
    a, b = (torch.tensor(w, dtype=torch.float64) for w in zip(*weights, strict=True))
    x = torch.tensor(x, dtype=torch.float64).reshape(-1, 1)
    ratio, gamma, degree = start_of(Scalar(a, b, scale), x, target * x)
    assert degree == pytest.approx(2.0, rel=1e-9)
    expected = float(measures.weight_to_target(a, b, target, scale))
    assert ratio == pytest.approx(expected, rel=1e-9)
    grown = float(measures.gamma_plus(a, b, target, scale))
    grown = grown if target > 0 else 1 / grown if grown else math.inf
    left = expected + float((a * b).sum()) / scale / target  # of Sigma + Theta, which may cancel
    if left > 1e-6 * expected:
        assert gamma == pytest.approx(grown, rel=1e-6)
    else:
        assert min(gamma, grown) > 1e2 / expected


def test_a_two_layer_linear_network_is_the_scalar_one():
    net = nn.Sequential(nn.Linear(1, 7, bias=False), nn.Linear(7, 1, bias=False))
    a, b = net[0].weight.detach().flatten(), net[1].weight.detach().flatten()
    x = torch.randn(20, 1)
    ratio, gamma, degree = start_of(net, x, 0.7 * x)
    assert degree == pytest.approx(2.0, abs=1e-5)
    assert ratio == pytest.approx(float(measures.weight_to_target(a, b, 0.7)), rel=1e-5)
    assert gamma == pytest.approx(float(measures.gamma_plus(a, b, 0.7)), rel=1e-5)


def test_equal_modes_are_one_scalar_network():
    one = torch.ones(5, dtype=torch.float64)
    x = torch.eye(5, dtype=torch.float64)
    ratio, gamma, _ = start_of(Diagonal(0.3 * one, -0.2 * one), x, 0.5 * x)
    assert ratio == pytest.approx(float(measures.weight_to_target([0.3], [-0.2], 0.5)))
    assert gamma == pytest.approx(float(measures.gamma_plus([0.3], [-0.2], 0.5)))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_remedies_change_the_ratio_as_theory_says(depth):
    def network(scale=1.0):
        widths = (6, *(20,) * (depth - 1), 3)
        return MLP(widths, activation="relu", bias_scale=0.0, weight_scale=scale, seed=1).double()

    def freed(net):
        for layer in net.layers:
            layer.bias.requires_grad_(False)
        return net

    x, y = data()
    x = x.double()
    ratio, _, degree = start_of(freed(network()), x, y)
    assert degree == pytest.approx(depth, rel=1e-9)
    k = 1.7
    assert start_of(freed(network(k)), x, y)[0] == pytest.approx(k**depth * ratio)
    assert start_of(freed(network()), x, y, target_scale=k)[0] == pytest.approx(ratio / k)
    assert start_of(freed(network()), k * x, y)[0] == pytest.approx(k * ratio)
    assert start_of(ScaledOutput(freed(network()), k), x, y)[0] == pytest.approx(k * ratio)


@pytest.mark.parametrize("build", [mlp, Net])
def test_the_ratio_is_its_formula_by_jacobians(build):
    net, (x, y) = build().double(), data(12)
    x = x.double()
    found, _, degree = start_of(net, x, y, target_scale=3.0)
    named = {name: p.detach() for name, p in net.named_parameters()}
    J = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, (x,)))(named)
    Y = 3.0 * nn.functional.one_hot(y, 3).double()
    slope = math.sqrt(sum(torch.einsum("nc,nc...->...", Y, j).square().sum() for j in J.values()))
    size = math.sqrt(sum(p.square().sum() for p in named.values()))
    expected = size * slope / (degree * Y.square().sum().item())
    assert found == pytest.approx(expected, rel=1e-9)


def test_norms_and_motion_are_their_measures():
    x, y = data()
    net = Net()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    probe = lw.Probe(net, every=5)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train(net, optimizer, x, y, 6, probe)
    with torch.no_grad():
        row = probe.step(10)
    layers = ("fc1", "fc2", "head")
    assert set(row) == {f"layerwise/{what}/{n}" for what in ("norm", "motion") for n in layers}
    for name in layers:
        now, was = net.get_submodule(name).weight.detach(), start[f"{name}.weight"]
        moved = float(measures.relative_motion(was, now))
        assert moved > 0
        assert row[f"layerwise/motion/{name}"] == pytest.approx(moved, rel=1e-5)
        assert row[f"layerwise/norm/{name}"] == pytest.approx(now.norm().item(), rel=1e-6)


def test_motion_from_zero_is_infinite_and_none_at_rest():
    net = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(net.weight)
    probe = lw.Probe(net, every=1)
    assert probe.step(0)["layerwise/motion/weight"] == 0.0
    nn.init.ones_(net.weight)
    assert probe.step(1)["layerwise/motion/weight"] == math.inf


@pytest.mark.parametrize(
    ("build", "pairs"),
    [
        (mlp, None),
        (lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)), None),
        (Net, [("fc1", "fc2", "relu"), ("fc2", "head", "relu")]),
    ],
)
def test_balance_is_that_of_the_conserved_quantities(build, pairs):
    net, probe = probed(31, build=build, pairs=pairs, lr=0.3)
    row = probe.step(40)
    first, last = (
        {n: p.detach() for n, p in one.named_parameters()} for one in (seeded(build), net)
    )
    items = conserved_quantities(net, pairs)
    assert list(probe.trace().provenance.config["conserved"]) == [item.name for item in items]
    for item in items:
        names = [name for name, _ in item.readers + item.writers]
        size0, size = (sum(p[name].square().sum() for name in names) for p in (first, last))
        D0, D = item.value(first), item.value(last)
        total = D.trace() if item.rule == "full" else D.sum()
        expected = {
            "balance": total / item.units,
            "balance_share": total / size,
            "balance_drift": (D - D0).norm() / size0,
        }
        found = {what: row[f"layerwise/{what}/{item.name}"] for what in expected}
        for what, value in expected.items():
            assert found[what] == pytest.approx(value.item(), rel=1e-3, abs=1e-6), what
        assert 0 < found["balance_drift"] < row[f"layerwise/balance_allowed/{item.name}"] < 1


def drifts(measures=("optimizer", "balance"), **settings):
    _, probe = probed(601, every=20, batch_every=20, lr=0.05, measures=measures, **settings)
    trace = probe.trace()
    names = trace.provenance.config["conserved"]
    return np.array([trace[f"layerwise/balance_drift/{name}"][-1] for name in names]), trace


def test_decay_is_taken_out_of_the_drift():
    with_it, trace = drifts(decay=0.02)
    without, _ = drifts(decay=0.02, optimizer=None, measures=("balance",))
    assert trace["layerwise/decay_budget"][-1] == pytest.approx(600 * 0.05 * 0.02)
    allowed = trace["layerwise/balance_allowed/layers.0-layers.1"]
    assert np.all(np.diff(allowed) >= 0)
    assert with_it[0] < allowed[-1]
    assert without[0] > 10 * with_it[0]


def test_what_is_allowed_sums_squares_of_gradients():
    net = mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    probe = lw.Probe(net, every=1, batch_every=1, optimizer=optimizer)
    name = "balance_allowed/layers.0-layers.1"
    assert f"layerwise/{name}" not in probe.step(0)  # no gradient is known
    pair = (net.layers[0].weight, net.layers[0].bias, net.layers[1].weight)
    size0 = sum(p.square().sum().item() for p in pair)
    squares, rate = [], []
    for step, lr, grad in ((1, 0.2, 1.0), (4, 0.1, 3.0), (9, 0.1, 0.5)):
        optimizer.param_groups[0]["lr"] = lr
        for p in net.parameters():
            p.grad = torch.full_like(p, grad)
        squares.append(lr**2 * grad**2 * sum(p.numel() for p in pair))
        rate.append(probe.step(step)[f"layerwise/{name}"])
    # before the first gradient the first one counts, later that of the last look
    expected = [squares[0], 4 * squares[0], 4 * squares[0] + 5 * squares[1]]
    assert rate == pytest.approx([value / size0 for value in expected], rel=1e-5)
    optimizer.param_groups[0]["momentum"] = 0.9
    assert f"layerwise/{name}" not in probe.step(10)


def test_what_breaks_conservation_exceeds_what_is_allowed():
    x, y = data()

    def worst(step):
        net = mlp()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
        probe = lw.Probe(net, every=10, batch_every=10, optimizer=optimizer)
        for i in range(0, 200):
            train(net, optimizer, x, y, i + 1, probe, start=i)
            step(net)
        trace = probe.trace()
        name = "layers.0-layers.1"
        return (
            trace[f"layerwise/balance_drift/{name}"][-1]
            / trace[f"layerwise/balance_allowed/{name}"][-1]
        )

    assert worst(lambda net: None) < 1
    assert worst(lambda net: net.layers[1].weight.data.mul_(1.001)) > 10


def test_features_and_collapse_are_their_measures():
    x, y = data()
    net, probe = probed(31, features=("act", "fc2"), build=Net, batch=(x, y))
    row, start = probe.step(40), seeded(Net)
    for name in ("fc2", "act"):
        was, h = (one.fc2(torch.relu(one.fc1(x))).detach() for one in (start, net))
        weight, bias, outputs = (t.detach() for t in (net.head.weight, net.head.bias, net(x)))
        expected = {"nc1": measures.nc1(h, y)}
        if name == "act":
            was, h = was.relu(), h.relu()
            nc2 = measures.nc2(h, y, weight)
            expected = {
                "nc1": measures.nc1(h, y),
                "nc2_norm": nc2.equinorm,
                "nc2_angle": nc2.angle,
                "nc3": measures.nc3(h, y, weight),
                "nc4": measures.nc4(h, y, weight, bias),
            }
        expected |= {
            "rank": measures.rank_of_spectrum(measures.centred_spectrum(h)),
            "feature_distance": measures.kernel_distance(was @ was.T, h @ h.T),
            "sign_distance": measures.sign_distance(was, h),
            "d_lr": measures.d_lr(h, outputs),
        }
        found = {key for key in row if key.endswith(f"/{name}")}
        of_weights = {"layerwise/norm/fc2", "layerwise/motion/fc2"}
        assert found - of_weights == {f"layerwise/{what}/{name}" for what in expected}
        for what, value in expected.items():
            assert row[f"layerwise/{what}/{name}"] == pytest.approx(float(value), rel=1e-4), what


def test_the_penultimate_features_are_what_the_head_reads():
    for net in (mlp(), mlp(output_scale=0.3), ScaledOutput(mlp(), 2.0), Net()):
        probe = lw.Probe(net, batch=data(), every=1)
        config = probe.step(0) and probe.trace().provenance.config
        assert config["features"] == ["penultimate"]
        assert config["head"] in ("layers.2", "net.layers.2", "head")
        x, y = data()
        h = []
        head = net.get_submodule(config["head"])
        handle = head.register_forward_pre_hook(lambda m, args, h=h: h.append(args[0].detach()))
        net(x)
        handle.remove()
        found = probe.trace()["layerwise/nc1/penultimate"][0]
        assert found == pytest.approx(float(measures.nc1(h[0], y)), rel=1e-5)


def test_there_is_no_head_where_something_else_makes_the_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.one(x) + self.two(x)

    probe = lw.Probe(Two(), batch=data())
    assert any(n.startswith("features: no linear layer makes the outputs") for n in probe.notes)
    assert not any("nc1" in name for name in probe.step(0))


def test_regression_has_all_but_collapse():
    x, _ = data()
    y = torch.sin(x[:, :1])
    net = MLP((6, 20, 1), seed=0)
    for targets in (y, y[:, 0]):
        probe = lw.Probe(net, batch=(x, targets), every=1)
        assert probe.notes == (
            "optimizer: pass optimizer= to have its settings and the work of decay",
            "balance: no change of the units passes from one trained layer to the next",
            "collapse: the targets are no labels of classes",
        )
        row = probe.step(0)
        assert row["layerwise/weight_to_target"] > 0
        assert 0 < row["layerwise/kernel_alignment"] < 1


def moved(net):
    torch.optim.SGD(net.parameters(), lr=0.1).step()


def turned(net):
    """Change the weights where no version of a tensor tells."""
    net.head.weight.data.mul_(-1.5)


def normed(net):
    """Change statistics of a norm alone, as a forward pass in training does."""
    net.norm(torch.randn(9, 6))


def frozen(net):
    """Train less, which leaves another kernel."""
    net.fc2.requires_grad_(False)


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        return super().forward(self.norm(x))


@pytest.mark.parametrize("change", [lambda net: None, moved, turned, normed, frozen])
def test_the_first_look_is_at_the_model_as_it_is_then(change):
    """Equal to a probe that took nothing over: one that began before and looks again."""
    x, y = data()
    net = seeded(Normed)
    nn.functional.cross_entropy(net(x), y).backward()
    given = {"batch": (x, y), "every": 1, "batch_every": 1, "class_counts": [1, 1, 1]}
    probe, earlier = lw.Probe(net, **given), lw.Probe(net, **given)
    start = earlier.step(0)
    change(net)
    found, wanted = probe.step(1), earlier.step(1)
    assert set(wanted) == set(found) - {"layerwise/weight_to_target", "layerwise/gamma_plus"}
    for name, value in wanted.items():
        assert found[name] == value or math.isnan(value), name
    moves = found["layerwise/feature_distance/penultimate"] > 0
    assert moves == (change in (moved, normed))
    assert (found["layerwise/kernel_distance"] > 0) == (change in (moved, turned, normed, frozen))
    if change is turned:
        assert found["layerwise/norm/head"] != start["layerwise/norm/head"]


def test_what_construction_saw_is_let_go_at_the_first_look():
    x, y = data()
    probe = lw.Probe(mlp(), batch=(x, y), every=5)
    runs = []
    probe._scene.model.register_forward_hook(lambda *_: runs.append(1))
    probe.step(0)
    assert not runs  # all was seen already
    assert probe._start is None
    probe.look(1)
    assert runs


def test_further_features_stand_beside_what_the_head_reads():
    x, y = data(shape=(1, 8, 8))
    net = seeded(lambda: ResNet18(1, 3, width=2))
    rows = [
        lw.Probe(net, features, batch=(x, y), measures=("features", "collapse")).step(0)
        for features in (None, ("penultimate", "blocks.3"), "blocks.3")
    ]
    alone, both, other = ({k for k in row if "/" in k} for row in rows)
    assert both == alone | other
    assert rows[1] == rows[0] | rows[2]
    assert {f"layerwise/{name}/penultimate" for name in ("nc2_norm", "nc3", "nc4")} <= both
    assert "layerwise/nc1/blocks.3" in both
    assert "layerwise/nc3/blocks.3" not in both
