"""Probes on models that are compiled, parallel, tied, frozen, or called in other ways."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.networks import ResNet18, Transformer

from .runs import Net, data, mlp, seeded, train


def everything(net, **settings):
    x, y = data()
    return lw.Probe(net, batch=(x, y), every=1, **settings)


def test_a_wrapper_makes_no_difference():
    plain = everything(Net(), measures=("motion", "features", "kernel"), features="fc2")
    wrapped = nn.DataParallel(plain._scene.model)
    found = everything(wrapped, measures=("motion", "features", "kernel"), features="fc2")
    assert found.step(0) == plain.step(0)
    assert found.trace() == plain.trace()


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("how", ["wrapper", "in place"])
def test_a_compiled_model_is_neither_changed_nor_compiled_again(how):
    x, y = data()
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    weights = []
    for probing in (False, True):
        torch.compiler.reset()
        net = seeded(Net)
        if how == "wrapper":
            host = torch.compile(net, backend=backend)
        else:
            net.compile(backend=backend)
            host = net
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        probe = everything(host, batch_every=2, features="act") if probing else None
        compiled.clear()
        train(net, optimizer, x, y, 6, probe, wrapped=host)
        weights.append([p.detach().clone() for p in net.parameters()])
        assert len(compiled) == 1
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert torch.isfinite(torch.tensor(probe.trace()["layerwise/nc1/act"][::2])).all()
    torch.compiler.reset()


def of_one_process(rank, port, folder):
    """Train one of two replicas without a probe and with one, which the first process has."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    x, y = data()
    states = []
    for probing in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        host = nn.parallel.DistributedDataParallel(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        probe = None
        if probing and rank == 0:
            probe = lw.Probe(host, batch=(x, y), every=2, batch_every=2, optimizer=optimizer)
        torch.manual_seed(rank)
        train(net, optimizer, x, y, 8, probe, wrapped=host)
        states.append(net.state_dict())
        if probe is not None:
            probe.trace().save(f"{folder}/trace")
    torch.save(states, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_one_of_two_processes_may_probe(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(of_one_process, (port, str(tmp_path)), nprocs=2)
    replicas = [torch.load(tmp_path / f"{rank}") for rank in (0, 1)]
    for without, with_it in replicas:
        assert all(torch.equal(without[name], with_it[name]) for name in without)
    assert torch.equal(replicas[0][1]["0.weight"], replicas[1][1]["0.weight"])
    trace = lw.Trace.load(tmp_path / "trace")
    assert trace.clock.tolist() == [0, 2, 4, 6]
    assert trace["layerwise/kernel_distance"][-1] > 0


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


class Keyed(nn.Module):
    """A model that takes keywords and returns something with logits, as language models do."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(5, 8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, ids, mask, scale=1.0):
        hidden = (self.tokens(ids) * mask[..., None]).sum(dim=1) * scale
        logits = self.classifier(torch.relu(hidden))
        return Answer(logits.sum(), logits)


def test_inputs_may_be_keywords():
    x = {"ids": torch.arange(48).reshape(12, 4) % 5, "mask": torch.ones(12, 4), "scale": 2.0}
    y = torch.arange(12) % 3
    torch.manual_seed(0)
    net = Keyed()
    plain = lw.Probe(net, batch=(x, y), every=1)
    assert plain.notes[1].startswith("balance: ")
    row = plain.step(0)
    assert {"layerwise/nc4/penultimate", "layerwise/kernel_alignment"} <= set(row)

    def forward(model, x):
        return {"logits": model(x["ids"], x["mask"], scale=2.0).logits}

    assert lw.Probe(net, batch=(x, y), every=1, forward=forward).step(0) == row

    def first(model, x):
        return model(**x).logits, None

    assert lw.Probe(net, batch=(x, y), every=1, forward=first).step(0) == row


def test_layers_that_read_their_input_by_keyword_are_seen():
    class Named(Net):
        def forward(self, x):
            return self.head(input=self.act(self.fc2(torch.relu(self.fc1(x)))))

    torch.manual_seed(0)
    net = Named()
    row = lw.Probe(net, batch=data(), every=1).step(0)
    net.__class__ = Net
    assert lw.Probe(net, batch=data(), every=1).step(0) == row


def test_tied_weights_count_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 6)
            self.outer.weight = self.inner.weight
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(torch.relu(self.outer(torch.relu(self.inner(x)))))

    net = Tied()
    probe = everything(net)
    row = probe.step(0)
    assert [n for n in row if n.startswith("layerwise/norm/")] == [
        "layerwise/norm/inner",
        "layerwise/norm/head",
    ]
    assert row["layerwise/kernel_growth"] == 1.0
    assert probe.trace().provenance.config["trained"] == 36 + 6 + 6 + 18 + 3


def test_frozen_layers_are_left_out():
    net = mlp()
    net.layers[0].requires_grad_(False)
    row = everything(net).step(0)
    assert "layerwise/norm/layers.0" not in row
    assert "layerwise/balance/layers.0-layers.1" not in row
    assert "layerwise/balance/layers.1-layers.2" in row
    assert row["layerwise/weight_to_target"] > 0


def test_half_precision_weights_are_measured_in_single():
    net = mlp().bfloat16()
    x, y = data()
    probe = lw.Probe(net, batch=(x.bfloat16(), y), every=1)
    row = probe.step(0)
    exact = net.layers[0].weight.detach().double().norm().item()
    assert row["layerwise/norm/layers.0"] == pytest.approx(exact, rel=1e-5)
    assert row["layerwise/balance_drift/layers.0-layers.1"] == 0.0
    assert "layerwise/nc3/penultimate" in row


def test_a_residual_network_and_a_transformer_are_probed():
    x, y = data(20, shape=(3, 8, 8))
    probe = lw.Probe(ResNet18(3, 3, width=4), features="blocks.3", batch=(x, y), every=1)
    row = probe.step(0)
    assert {"layerwise/nc1/blocks.3", "layerwise/kernel_distance"} <= set(row)
    assert "layerwise/nc4/blocks.3" not in row
    assert lw.Probe(ResNet18(3, 3, width=4), batch=(x, y)).step(0)["layerwise/nc4/penultimate"] >= 0

    tokens = torch.cartesian_prod(torch.arange(5), torch.arange(5), torch.tensor([5]))
    net = Transformer(6, 3, 5, width=8, heads=2)
    row = lw.Probe(net, batch=(tokens, (tokens[:, 0] + tokens[:, 1]) % 5), every=1).step(0)
    assert "layerwise/balance/query-key" in row
    assert "layerwise/nc3/penultimate" in row
