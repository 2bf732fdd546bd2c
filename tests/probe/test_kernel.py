"""The tangent kernel that a probe follows is the one of the definition, whatever the model does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise import measures
from layerwise.networks import MLP, ntk

from .runs import Net, data, seeded, train


@pytest.mark.parametrize("outputs", [2, 3, 4])
def test_few_outputs_have_the_exact_kernel(outputs):
    x, _ = data()
    net = MLP((6, 20, outputs), activation="relu", seed=2)
    probe = lw.Probe(net, batch=x, every=1, measures=("kernel",))
    chosen = x[torch.linspace(0, len(x) - 1, 32).round().long()]
    start = ntk(net, chosen)
    with torch.no_grad():
        net.layers[0].weight.add_(0.3 * torch.randn(20, 6))
    row = probe.step(0)
    now = ntk(net, chosen)
    assert row["layerwise/kernel_growth"] == pytest.approx(
        float(measures.kernel_growth(start, now))
    )
    expected = float(measures.kernel_distance(start.double(), now.double()))
    assert row["layerwise/kernel_distance"] == pytest.approx(expected, rel=1e-4)
    assert "layerwise/kernel_alignment" not in row


def test_many_outputs_have_a_kernel_that_is_near_the_exact_one():
    x, y = data(32, classes=6)
    net = MLP((6, 100, 12), activation="relu", seed=2)
    probe = lw.Probe(net, batch=(x, y), every=1, measures=("kernel",))
    assert probe.step(0)["layerwise/kernel_distance"] == 0.0
    start = ntk(net, x).double()
    train(net, torch.optim.SGD(net.parameters(), lr=0.2), x, y, 40)
    row, now = probe.step(1), ntk(net, x).double()
    exact = float(measures.kernel_distance(start, now))
    assert row["layerwise/kernel_distance"] == pytest.approx(exact, rel=0.4)
    assert row["layerwise/kernel_growth"] == pytest.approx(
        float(measures.kernel_growth(start, now)), rel=0.2
    )
    Y = nn.functional.one_hot(y, 12).double()
    aligned = float(measures.kernel_alignment(now, Y))
    assert row["layerwise/kernel_alignment"] == pytest.approx(aligned, rel=0.4)


class Graph(Net):
    """A model with a sparse buffer, whose changes are not looked for."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mixing", torch.eye(6).to_sparse())

    def forward(self, x):
        return super().forward((self.mixing @ x.T).T)


def test_sparse_buffers_do_no_harm():
    x, y = data()
    sparse, plain = (seeded(build) for build in (Graph, Net))
    rows = []
    for net in (sparse, plain):
        probe = lw.Probe(net, batch=(x, y), every=1, batch_every=1)
        probe.step(0)
        with torch.no_grad():
            net.fc1.weight.mul_(1.5)
        rows.append(probe.step(1))
        assert [note.split(":")[0] for note in probe.notes] == ["optimizer", "balance"]
    assert rows[0] == pytest.approx(rows[1], rel=1e-4, nan_ok=True)
    assert rows[0]["layerwise/kernel_distance"] > 0


class Functional(nn.Module):
    """Six outputs by weights of no layer: the kernel has no rule for them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(9, 6) / 2)
        self.second = nn.Parameter(torch.randn(6, 9) / 3)

    def forward(self, x):
        return nn.functional.linear(torch.tanh(nn.functional.linear(x, self.first)), self.second)


class Encoder(nn.Module):
    """A block of a transformer on three tokens, and six outputs."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1, batch_first=True)
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        return self.head(self.block(x[:, None] * torch.arange(1.0, 4)[:, None]).mean(dim=1))


class Attention(nn.Module):
    """Attention alone, to the tokens that a mask leaves, which is asked whether it leaves all."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 3, batch_first=True)
        self.head = nn.Linear(6, 6)

    def forward(self, x, mask=None):
        x = x[:, None] * torch.arange(1.0, 4)[:, None]
        left = None if mask is None or mask.all() else ~mask
        return self.head(self.attention(x, x, x, key_padding_mask=left)[0][:, 0])


MASK = torch.ones(32, 3, dtype=torch.bool)
MASK[::2, 2] = False


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (Functional, lambda x: x),
        (Encoder, lambda x: x),
        (Attention, lambda x: x),
        (Attention, lambda x: {"x": x, "mask": MASK}),
    ],
    ids=["functional", "encoder", "attention", "masked"],
)
def test_many_outputs_without_rules_have_the_kernel_of_four_combinations(build, inputs):
    x, y = data(32, classes=6)
    net, given = seeded(build), inputs(x)
    signs = 2.0 * torch.randint(2, (6, 4), generator=torch.Generator().manual_seed(0)) - 1

    def kernel():
        """Return the kernel by its definition, a backward pass for every sample and combination."""
        net.eval()
        outputs = (net(given) if isinstance(given, torch.Tensor) else net(**given)) @ signs
        net.train()
        J = torch.stack([
            torch.cat([g.flatten() for g in torch.autograd.grad(
                value, list(net.parameters()), retain_graph=True, materialize_grads=True
            )])
            for value in outputs.flatten()
        ]).view(32, 4, -1).double()  # fmt: skip
        return torch.einsum("icp,jcp->ij", J, J)

    start = kernel()
    probe = lw.Probe(net, batch=(given, y), every=1, batch_every=1)
    assert not any(note.startswith("kernel") for note in probe.notes)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.2).add_(0.1)
    row, now = probe.step(0), kernel()
    Y = nn.functional.one_hot(y, 6).double()
    for name, expected in (
        ("distance", measures.kernel_distance(start, now)),
        ("growth", measures.kernel_growth(start, now)),
        ("alignment", measures.kernel_alignment(now, Y)),
    ):
        assert row[f"layerwise/kernel_{name}"] == pytest.approx(float(expected), rel=1e-3), name


def test_the_kernel_is_that_of_the_parameters_that_are_trained_now():
    x, y = data(32)
    net = seeded(Net)
    probe = lw.Probe(net, batch=(x, y), every=1, batch_every=1, measures="kernel")
    start, runs = ntk(net, x).double(), []
    net.register_forward_hook(lambda *_: runs.append(1))
    for step, (frozen, trained, expected) in enumerate(
        ((None, None, 0), ("fc2", None, 3), (None, None, 1), ("fc1", "fc2", 3), (None, "fc1", 3))
    ):
        for name, flag in ((frozen, False), (trained, True)):
            if name is not None:
                net.get_submodule(name).requires_grad_(flag)
        runs.clear()
        row = probe.step(step)
        assert len(runs) == expected  # what is known of the layers is kept, and nothing else
        growth = float(measures.kernel_growth(start, ntk(net, x).double()))
        assert row["layerwise/kernel_growth"] == pytest.approx(growth, rel=1e-6)
