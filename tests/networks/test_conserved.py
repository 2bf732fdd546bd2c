"""Conserved quantities: by definition, along the flow, and the drift that descent leaves."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch.func import functional_call
from torch.nn.utils import prune

from layerwise.measures import imbalance, neuron_imbalance
from layerwise.networks import (
    CNN,
    MLP,
    CentredOutput,
    Conserved,
    ResNet18,
    ScaledInput,
    ScaledOutput,
    SymmetrisedOutput,
    Transformer,
    TwoLayer,
    conserved_quantities,
    conserved_values,
)
from layerwise.networks.chain import chain

CONSERVED = (1.8, 2.2)  # ratio of the drifts at a rate and at half of it, over the same time


def generator(seed):
    return torch.Generator().manual_seed(seed)


def seeded(layers, seed=0):
    """Return the layers in a row, in float64 and with weights and biases of ordinary size."""
    net = nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(
                0.0, 0.8 if p.ndim == 1 else 1.2 / p[0].numel() ** 0.5, generator=generator(seed)
            )
            seed += 1
    return net


def dense(between=(), bias=True):
    first, second, third = (nn.Linear(i, o, bias=bias) for i, o in ((4, 6), (6, 5), (5, 3)))
    return seeded([first, *between, second, *between, third])


def vectors(n=12, size=4):
    return torch.randn(n, size, generator=generator(7), dtype=torch.float64)


def images(n=6, channels=2, side=6):
    return torch.randn(n, channels, side, side, generator=generator(7), dtype=torch.float64)


def sequences(n=12, length=3):
    return torch.randint(0, 5, (n, length), generator=generator(7))


def transformer():
    return Transformer(5, 3, 4, width=8, heads=2, hidden=6, seed=1).double()


def two_layer():
    return TwoLayer(4, 6, std=0.6, seed=1).double()


def relu_mlp():
    return MLP((4, 6, 5, 3), weight_scale=1.4, activation="relu", output_scale=0.7, seed=1).double()


def cnn():
    return CNN(2, 3, side=6, widths=(3, 4, 5), seed=1).double()


NETS = {
    "linear": (dense, vectors),
    "linear without biases": (lambda: dense(bias=False), vectors),
    "ReLU": (lambda: dense([nn.ReLU()]), vectors),
    "leaky ReLU": (lambda: dense([nn.LeakyReLU(0.2)]), vectors),
    "MLP": (relu_mlp, vectors),
    "TwoLayer": (two_layer, vectors),
    "CNN": (cnn, images),
    "transformer": (transformer, sequences),
}
# a wrapper, its data, the network inside, and what is conserved of it under its names from outside
WRAPPED = {
    "scaled output": (
        lambda net: ScaledOutput(net, 1.5), vectors, relu_mlp,
        ["net.layers.0-net.layers.1", "net.layers.1-net.layers.2"],
    ),
    "negative output": (
        lambda net: ScaledOutput(net, -0.7), vectors, dense, ["net.0-net.1", "net.1-net.2"],
    ),
    "scaled input": (
        lambda net: ScaledInput(net, 1.3), images, cnn,
        ["net.body.0-net.body.2", "net.body.2-net.body.4", "net.body.4-net.head"],
    ),
    "scaled twice": (
        lambda net: ScaledInput(ScaledOutput(net, 1.4), 0.8), vectors, two_layer,
        ["net.net.weight-net.net.readout"],
    ),
    "scaled transformer": (
        lambda net: ScaledOutput(net, 0.8), sequences, transformer,
        ["net.query-key", "net.value-output", "net.mlp_in-mlp_out", "net.stream"],
    ),
    "centred": (
        CentredOutput, vectors, relu_mlp, ["net.layers.0-net.layers.1", "net.layers.1-net.layers.2"]
    ),
    "scaled and centred": (
        lambda net: ScaledOutput(CentredOutput(net), 1.2), vectors, dense,
        ["net.net.0-net.net.1", "net.net.1-net.net.2"],
    ),
    "symmetrised": (
        SymmetrisedOutput, vectors, two_layer,
        ["plus.weight-plus.readout", "minus.weight-minus.readout"],
    ),
}  # fmt: skip


def loss_of(net, x):
    """Return the loss as a function of the parameters, on random targets of ordinary size."""
    y = torch.randn(net(x).shape, generator=generator(9), dtype=torch.float64)

    def loss(parameters):
        return (functional_call(net, parameters, (x,)) - y).square().sum() / (2 * len(x))

    return loss


def parameters_of(net):
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def trained_of(net):
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def gradient_of(net, x):
    net = copy.deepcopy(net)
    parameters = trained_of(net)
    gradients = torch.autograd.grad(loss_of(net, x)(parameters), parameters.values())
    return dict(zip(parameters, gradients, strict=True))


def descended(net, x, rate, time=1.0, decay=0.0):
    """Return the parameters after descent over a time, which is rate times steps."""
    net = copy.deepcopy(net)
    loss, parameters = loss_of(net, x), trained_of(net)
    for _ in range(round(time / rate)):
        gradients = torch.autograd.grad(loss(parameters), parameters.values())
        with torch.no_grad():
            for p, gradient in zip(parameters.values(), gradients, strict=True):
                p -= rate * (gradient + decay * p)
    return parameters_of(net)


def ratios(net, x, quantities, rate=0.005):
    """Return by what factor the drift of each quantity falls if the rate is halved."""
    start, drifts = parameters_of(net), []
    for eta in (rate, rate / 2):
        end = descended(net, x, eta)
        drifts.append([(q.value(end) - q.value(start)).norm().item() for q in quantities])
    return {q.name: a / b for q, a, b in zip(quantities, *drifts, strict=True)}


@pytest.mark.parametrize("name", NETS)
def test_the_drift_of_descent_halves_with_the_rate(name):
    make, data = NETS[name]
    net = make()
    quantities = conserved_quantities(net)
    found = ratios(net, data(), quantities)
    assert len(found) == {"TwoLayer": 1, "CNN": 3, "transformer": 4}.get(name, 2)
    assert all(CONSERVED[0] < ratio < CONSERVED[1] for ratio in found.values()), found


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_conserves_what_its_network_conserves(name):
    wrap, data, inside, names = WRAPPED[name]
    net = wrap(inside())
    quantities = conserved_quantities(net)
    assert [q.name for q in quantities] == names
    own = list(conserved_values(inside()).values())
    for k, value in enumerate(conserved_values(net).values()):
        torch.testing.assert_close(value, own[k % len(own)], rtol=0, atol=0)
    found = ratios(net, data(), quantities)
    assert all(CONSERVED[0] < ratio < CONSERVED[1] for ratio in found.values()), found
    assert max(still(net, data(), quantities)) < 1e-14


def test_a_factor_on_a_layer_of_a_sequence_lets_all_pass():
    net = seeded([
        ScaledInput(nn.Linear(4, 6), 2.0), ScaledOutput(nn.Sequential(nn.Linear(6, 5)), -1.5),
        nn.ReLU(), ScaledOutput(nn.Linear(5, 3), 0.5),
    ])  # fmt: skip
    quantities = conserved_quantities(net)
    assert [(q.name, q.rule) for q in quantities] == [
        ("0.net-1.net.0", "full"), ("1.net.0-3.net", "diagonal"),
    ]  # fmt: skip
    found = ratios(net, vectors(), quantities)
    assert all(CONSERVED[0] < ratio < CONSERVED[1] for ratio in found.values()), found


def test_a_wrapper_of_ones_own_lets_nothing_be_known():
    class Twice(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).square()

    with pytest.raises(TypeError, match="layers of Twice is not known"):
        conserved_quantities(ScaledOutput(Twice(dense()), 2.0))
    assert list(conserved_values(nn.Sequential(nn.Linear(4, 4), Twice(nn.Linear(4, 4))))) == []


def test_two_copies_are_two_chains():
    with pytest.raises(TypeError, match=r"SymmetrisedOutput has 2 chains .* plus, minus; take one"):
        chain(SymmetrisedOutput(dense()))


def full(*names, axes=(0, 1), units=6):
    (writer, reader), (w, r) = names, axes
    return Conserved(f"{writer}-{reader}", ((writer, w),), ((reader, r),), units, "full")


PLANTED = {
    "the whole matrix of a ReLU": (
        lambda: dense([nn.ReLU()]),
        vectors,
        full("0.weight", "2.weight"),
    ),
    "a neuron without its bias": (
        lambda: dense([nn.ReLU()]),
        vectors,
        Conserved("no bias", (("0.weight", 0),), (("2.weight", 1),), 6, "diagonal"),
    ),
    "tanh": (lambda: dense([nn.Tanh()]), vectors, ("0", "2", "relu")),
    "GELU": (lambda: dense([nn.GELU()]), vectors, ("0", "2", "relu")),
    "query and value": (
        transformer, sequences, full("query.weight", "value.weight", axes=(0, 0), units=8),
    ),
    "keys of all heads together": (
        transformer, sequences, full("query.weight", "key.weight", axes=(0, 0), units=8),
    ),
    "channels of the CNN together": (
        cnn, images, full("body.0.weight", "body.2.weight", units=3),
    ),
    "a stream that forgets the MLP": (
        transformer,
        sequences,
        Conserved(
            "stream",
            (("tokens.weight", 1), ("positions.weight", 1), ("output.weight", 0)),
            tuple((f"{r}.weight", 1) for r in ("query", "key", "value", "unembed")),
            8,
            "full",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_not_conserved_fails_the_same_test(name):
    make, data, planted = PLANTED[name]
    net = make()
    found = ratios(net, data(), conserved_quantities(net, [planted]))
    assert all(0.9 < ratio < 1.1 for ratio in found.values()), found


SMOOTH = {
    "nothing between": lambda: [nn.Linear(4, 6), nn.Identity(), nn.Dropout(0.0), nn.Linear(6, 3)],
    "PReLU": lambda: [nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 3)],
    "flattened": lambda: [nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)],
    "averaged": lambda: [
        nn.Conv2d(2, 3, 3, padding=1), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 2),
    ],
    "linear convolutions": lambda: [
        nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2, stride=2), nn.Flatten(),
        nn.Linear(4, 2),
    ],
    "largest": lambda: [
        nn.Conv2d(2, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=2), nn.Flatten(),
        nn.Linear(4, 2),
    ],
    "groups": lambda: [
        nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 3, 4), nn.Flatten(), nn.Linear(3, 2),
    ],
    "nested": lambda: [
        nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 5)), nn.Linear(5, 2),
    ],
    "a norm between": lambda: [
        nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2),
    ],
    "mixed positions": lambda: [
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(60, 2),
    ],
}  # fmt: skip
RULES = {
    "nothing between": {"0-3": "diagonal"},
    "PReLU": {"0-2": "diagonal"},
    "flattened": {"0-3": "diagonal"},
    "averaged": {"0-4": "diagonal"},
    "linear convolutions": {"0-2": "full", "2-4": "full"},
    "largest": {"0-3": "scalar", "3-5": "diagonal"},
    "groups": {"0-1": "diagonal", "1-3": "full"},
    "nested": {"0.0-1.0": "diagonal", "1.0-2": "full"},
    "a norm between": {"2-4": "diagonal"},
    "mixed positions": {"0-2": "scalar", "2-5": "scalar"},
}


def still(net, x, quantities):
    """Return each quantity's rate of change along the flow, as a share of what it is a sum of."""
    p, gradient = parameters_of(net), gradient_of(net, x)
    ahead, behind = ({n: p[n] + sign * gradient[n] for n in gradient} for sign in (-1, 1))
    found = []
    for q in quantities:
        change = (q.value(ahead) - q.value(behind)) / 2  # exact, of a quadratic form
        names = [name for name, _ in q.readers + q.writers]
        size = sum((p[n].norm() + gradient[n].norm()).item() ** 2 for n in names)
        found.append((change.norm() / size).item())
    return found


@pytest.mark.parametrize("name", [*NETS, *SMOOTH])
def test_nothing_changes_along_the_flow(name):
    make, data = NETS[name] if name in NETS else (lambda: seeded(SMOOTH[name]()), None)
    net = make()
    data = data or (images if isinstance(net[0], nn.Conv2d) else vectors)
    quantities = conserved_quantities(net)
    if name in RULES:
        assert {q.name: q.rule for q in quantities} == RULES[name]
    assert max(still(net, data(), quantities)) < 1e-14


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_not_conserved_changes_along_the_flow(name):
    make, data, planted = PLANTED[name]
    net = make()
    assert min(still(net, data(), conserved_quantities(net, [planted]))) > 1e-4


@pytest.mark.parametrize("name", ["linear", "transformer"])
def test_a_tight_flow_conserves_to_its_tolerance(name):
    make, data = NETS[name]
    net = make()
    if name == "transformer":  # its ReLUs would make the flow rough
        for layer in (net.mlp_in, net.mlp_out):
            nn.init.zeros_(layer.weight)
    loss, start = loss_of(net, data()), parameters_of(net)

    first = torch.cat([p.flatten() for p in start.values()]).numpy()

    def unpacked(z):
        parts = torch.from_numpy(z.copy()).split([p.numel() for p in start.values()])
        return {n: z.view_as(p) for (n, p), z in zip(start.items(), parts, strict=True)}

    def flow(_, z):
        parameters = {name: p.requires_grad_() for name, p in unpacked(z).items()}
        gradients = torch.autograd.grad(loss(parameters), parameters.values())
        return -torch.cat([g.flatten() for g in gradients]).numpy()

    solved = solve_ivp(flow, (0, 1), first, method="DOP853", rtol=1e-11, atol=1e-12)
    end = unpacked(solved.y[:, -1])
    assert loss(end) < 0.7 * loss(start)
    for q in conserved_quantities(net):
        torch.testing.assert_close(q.value(end), q.value(start), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_a_step_of_descent_changes_it_by_the_squared_gradients(name):
    make, data = NETS[name]
    net, rate = make(), 0.1
    start = parameters_of(net)
    gradient = gradient_of(net, data())
    end = descended(net, data(), rate, time=rate)
    for q in conserved_quantities(net):
        change = q.value(end) - q.value(start)
        torch.testing.assert_close(change, rate**2 * q.value(gradient), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "ReLU", "CNN", "transformer"])
def test_decay_shrinks_it_at_twice_its_rate(name):
    make, data = NETS[name]
    net, decay, errors = make(), 0.3, []
    start = parameters_of(net)
    for rate in (0.01, 0.005):
        end = descended(net, data(), rate, decay=decay)
        errors.append([
            (q.value(end) - np.exp(-2 * decay) * q.value(start)).norm() / q.value(start).norm()
            for q in conserved_quantities(net)
        ])  # fmt: skip
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 0.02
        assert fine < 0.6 * coarse


def by_loops(reader, writer, bias):
    """Return ``W2^T W2 - W1 W1^T - b b^T`` entry by entry; trailing axes are summed over."""
    h = len(writer)
    D = torch.zeros(h, h, dtype=writer.dtype)
    for j in range(h):
        for k in range(h):
            D[j, k] = (reader[:, j] * reader[:, k]).sum() - (writer[j] * writer[k]).sum()
            D[j, k] -= 0.0 if bias is None else bias[j] * bias[k]
    return D


@torch.no_grad()
def test_values_are_the_definition():
    net = dense()
    for (a, b), found in zip(((0, 1), (1, 2)), conserved_values(net).values(), strict=True):
        wanted = by_loops(net[b].weight, net[a].weight, net[a].bias)
        torch.testing.assert_close(found, wanted)
    net = cnn()
    found = conserved_values(net)
    first, second, third = (net.body[k].weight for k in (0, 2, 4))
    head = net.head.weight.unflatten(1, (5, 4))
    for name, a, b in (
        ("body.0-body.2", first, second),
        ("body.2-body.4", second, third),
        ("body.4-head", third, head),
    ):
        torch.testing.assert_close(found[name], by_loops(b, a, None).diagonal())
    net = two_layer()
    wanted = by_loops(net.readout[None], net.weight, net.bias).diagonal()
    torch.testing.assert_close(conserved_values(net)["weight-readout"], wanted)
    net = seeded(SMOOTH["largest"]())
    (found, _) = conserved_values(net).values()
    wanted = net[3].weight.square().sum() - net[0].weight.square().sum()
    torch.testing.assert_close(found, (wanted - net[0].bias.square().sum())[None])


@torch.no_grad()
def test_values_are_those_of_the_measures():
    linear, relu = dense(bias=False), dense([nn.ReLU()])
    torch.testing.assert_close(
        conserved_values(linear)["0-1"], imbalance(linear[0].weight, linear[1].weight)
    )
    torch.testing.assert_close(
        conserved_values(relu)["2-4"],
        neuron_imbalance(relu[2].weight, relu[4].weight, relu[2].bias),
    )


@torch.no_grad()
def test_values_of_a_transformer_are_the_definition():
    net = transformer()
    w = {name: layer.weight for name, layer in net.named_children()}
    found = conserved_values(net)
    assert found["query-key"].shape == found["value-output"].shape == (2, 4, 4)
    for j in range(2):
        rows = slice(4 * j, 4 * (j + 1))
        query, key, value = (w[name][rows] for name in ("query", "key", "value"))
        torch.testing.assert_close(found["query-key"][j], key @ key.T - query @ query.T)
        wanted = by_loops(w["output"][:, rows], value, None)
        torch.testing.assert_close(found["value-output"][j], wanted)
    wanted = by_loops(w["mlp_out"], w["mlp_in"], None).diagonal()
    torch.testing.assert_close(found["mlp_in-mlp_out"], wanted)
    reads = torch.cat([w[name] for name in ("query", "key", "value", "mlp_in", "unembed")])
    writes = torch.cat([w["tokens"], w["positions"], w["output"].T, w["mlp_out"].T])
    torch.testing.assert_close(found["stream"], reads.T @ reads - writes.T @ writes)


class Own(nn.Module):
    """A module of the user's own: two branches into one head."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.gate = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(4, 3)
        self.double()

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x))) * torch.sigmoid(self.gate(x))


def test_pairs_of_any_module_are_named_by_the_user():
    net = Own()
    (pair,) = conserved_quantities(net, [("fc1", "fc2", "relu")])
    assert (pair.name, pair.rule, pair.units) == ("fc1-fc2", "diagonal", 6)
    assert still(net, vectors(), [pair])[0] < 1e-14
    assert conserved_values(net, [pair])["fc1-fc2"].shape == (6,)
    (whole,) = conserved_quantities(net, [("fc1", "fc2", "linear")])
    assert whole.value(net.state_dict()).shape == (6, 6)
    grouped = seeded(SMOOTH["groups"]())
    assert conserved_values(grouped, [("0", "1", "linear")])["0-1"].shape == (4,)
    found = conserved_values(cnn(), [("body.4", "head", "relu")])
    torch.testing.assert_close(found["body.4-head"], conserved_values(cnn())["body.4-head"])


def test_frozen_layers_conserve_nothing():
    net = dense()
    net[0].bias.requires_grad_(False)
    assert list(conserved_values(net)) == ["1-2"]
    assert conserved_values(net, [("0", "1", "linear")]) == {}


def test_what_does_not_pass_is_not_listed():
    assert conserved_quantities(MLP((3, 4, 2))) == ()
    assert conserved_quantities(dense([nn.Tanh()])) == ()
    mixed = seeded([nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)])
    assert list(conserved_values(mixed)) == ["0-2"]
    kept = [nn.Conv2d(2, 3, 3), nn.Flatten(2), nn.Linear(16, 4)]  # a flattening of positions alone
    assert conserved_quantities(seeded(kept)) == ()
    layers = OrderedDict(a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    assert list(conserved_values(nn.Sequential(layers))) == ["a-b"]


def test_values_carry_no_graph_and_change_nothing():
    net = dense([nn.ReLU()])
    before = copy.deepcopy(net.state_dict())
    assert not any(value.requires_grad for value in conserved_values(net).values())
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_modules_of_unknown_order_are_refused():
    class Reversed(nn.Sequential):
        def forward(self, x):
            return super().forward(-x)

    for net in (ResNet18(1, 2, width=1), Own(), Reversed(nn.Linear(2, 2))):
        with pytest.raises(TypeError, match=f"layers of {type(net).__name__} is not known"):
            conserved_quantities(net)


def test_bad_chains_are_refused():
    layer, tied = nn.Linear(3, 3), nn.Linear(3, 3)
    tied.weight = layer.weight
    for repeated in ([layer, nn.ReLU(), layer], [layer, nn.ReLU(), tied]):
        with pytest.raises(ValueError, match="tied"):
            conserved_quantities(nn.Sequential(*repeated))
    prune.identity(layer, "weight")
    with pytest.raises(ValueError, match="weight of '0' is no parameter of its own"):
        conserved_quantities(nn.Sequential(layer, nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="no linear layer"):
        conserved_quantities(nn.Sequential(nn.ReLU()))


def test_bad_pairs_are_refused():
    net = dense()
    with pytest.raises(ValueError, match="'linear' or 'relu', got 'tanh'"):
        conserved_quantities(net, [("0", "1", "tanh")])
    with pytest.raises(ValueError, match=r"'2' must read the 6 units of '0', but it reads 5"):
        conserved_quantities(net, [("0", "2", "relu")])
    short = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(47, 2))
    with pytest.raises(ValueError, match=r"\(3, 2, 3, 3\) and \(2, 47\)"):
        conserved_quantities(short, [("0", "2", "relu")])
    with pytest.raises(TypeError, match=r"'0' must be nn.Linear, .* got ReLU"):
        conserved_quantities(nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), [("0", "1", "relu")])
    with pytest.raises(AttributeError, match="nowhere"):
        conserved_quantities(net, [("nowhere", "1", "relu")])
