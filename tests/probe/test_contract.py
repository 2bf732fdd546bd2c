"""What a probe promises: when it looks, what it returns, and that it raises before the loop."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.networks import CNN, Conserved
from layerwise.probe.groups import GROUPS
from layerwise.train import Training

from .runs import Net, data, mlp, probed


def looks(probe, steps):
    """Return the steps at which weights were looked at, and those at which the model was run."""
    found = {i: probe.step(i) for i in steps}
    cheap = [i for i, row in found.items() if "layerwise/norm/layers.0" in row]
    costly = [i for i, row in found.items() if "layerwise/kernel_distance" in row]
    return cheap, costly


def quick(**settings):
    x, y = data(12)
    return lw.Probe(mlp(), batch=(x, y), measures=("norms", "kernel"), **settings)


def test_looks_are_due_at_multiples_and_runs_at_one_two_five():
    cheap, costly = looks(quick(every=3), range(0, 301))
    assert cheap == list(range(0, 301, 3))
    assert costly == [0, 3, 6, 15, 30, 60, 150, 300]


def test_the_model_can_be_run_at_an_interval_of_its_own():
    cheap, costly = looks(quick(every=6, batch_every=4), range(0, 30))
    assert cheap == [0, 4, 6, 8, 12, 16, 18, 20, 24, 28]
    assert costly == [0, 4, 8, 12, 16, 20, 24, 28]


def test_the_first_call_is_a_full_look_wherever_it_begins():
    cheap, costly = looks(quick(every=10), range(7, 31))
    assert (cheap, costly) == ([7, 10, 20, 30], [7, 10, 20])


def test_a_whole_look_can_be_had_at_any_step():
    probe = quick(every=10)
    assert looks(probe, range(0, 38)) == ([0, 10, 20, 30], [0, 10, 20])
    row = probe.look(38, test_accuracy=0.5)
    assert row["test_accuracy"] == 0.5
    assert "layerwise/kernel_distance" in row
    assert "layerwise/weight_to_target" not in row
    with pytest.warns(RuntimeWarning, match="38 is not after 38"):
        assert probe.look(38) == {}
    assert probe.trace().clock.tolist() == [0, 10, 20, 30, 38]
    probe.close()
    assert probe.look(39) == {}


def test_names_and_numbers_are_flat():
    x, y = data()
    optimizer = torch.optim.AdamW((net := mlp()).parameters(), lr=1e-3)
    with lw.Probe(net, batch=(x, y), optimizer=optimizer) as probe:
        row = probe.step(0, train_loss=torch.tensor(1.5), test_accuracy=np.float32(0.5), epoch=0)
    assert probe.notes == ()
    assert all(type(value) is float for value in row.values())
    layers, pairs = ("layers.0", "layers.1", "layers.2"), ("layers.0-layers.1", "layers.1-layers.2")
    expected = {f"layerwise/{what}/{n}" for what in ("norm", "motion") for n in layers}
    expected |= {
        f"layerwise/{what}/{n}"
        for what in ("balance", "balance_share", "balance_drift")
        for n in pairs
    }
    features = ("rank", "feature_distance", "sign_distance", "d_lr", "nc1", "nc2_norm", "nc2_angle")
    expected |= {f"layerwise/{what}/penultimate" for what in (*features, "nc3", "nc4")}
    expected |= {
        f"layerwise/{what}"
        for what in (
            "weight_to_target", "gamma_plus", "kernel_distance", "kernel_growth",
            "kernel_alignment", "learning_rate", "weight_decay", "decay_budget",
        )
    }  # fmt: skip
    assert set(row) == expected | {"train_loss", "test_accuracy", "epoch"}
    documented = lw.probe.__doc__
    for name in expected:
        stem = name.removesuffix("/penultimate").rsplit("/layers", 1)[0]
        assert f"``{stem}" in documented, stem


def test_a_trace_has_nan_where_nothing_was_measured():
    _, probe = probed(31, batch_every=20, every=10)
    trace = probe.trace()
    assert trace.clock.tolist() == [0, 10, 20, 30]
    assert np.isfinite(trace["layerwise/norm/layers.0"]).all()
    assert np.isnan(trace["layerwise/kernel_distance"]).tolist() == [False, True, False, True]
    assert np.isnan(trace["layerwise/weight_to_target"]).tolist() == [False, True, True, True]
    assert trace["layerwise/learning_rate"].tolist() == [0.1] * 4
    assert trace.provenance.source == "probe"
    assert trace.provenance.clock == "optimiser steps"


def test_the_trace_says_what_was_probed(tmp_path):
    _, probe = probed(11, lr=0.1, decay=1e-3, target_scale=2.0)
    trace = probe.trace()
    config = dict(trace.provenance.config)
    degree = config.pop("degree")
    assert 1.5 < degree < 3.5  # three layers with biases
    assert config == {
        "model": "MLP",
        "parameters": 435,
        "trained": 435,
        "layers": {"layers.0": [16, 6], "layers.1": [16, 16], "layers.2": [3, 16]},
        "samples": 48,
        "classes": 3,
        "class_counts": None,
        "features": ["penultimate"],
        "head": "layers.2",
        "conserved": {
            f"layers.{k}-layers.{k + 1}": {
                "rule": "diagonal",
                "writers": [f"layers.{k}"],
                "readers": [f"layers.{k + 1}"],
            }
            for k in (0, 1)
        },
        "target_scale": 2.0,
        "every": 10,
        "batch_every": 10,
        "notes": [],
        "optimizer": {"kind": "SGD", "momentum": 0.0, "decoupled": True, "uniform": True},
    }
    assert {"torch", "layerwise"} <= set(trace.provenance.versions)
    assert lw.Trace.load(trace.save(tmp_path / "run")) == trace


def test_numbers_that_wait_count_at_the_next_look():
    probe = quick(every=10)
    assert probe.step(0, train_loss=3.0)["train_loss"] == 3.0
    for i in range(1, 10):
        assert probe.step(i, train_loss=float(i), **({"test_loss": 7.0} if i == 4 else {})) == {}
    row = probe.step(10)
    assert (row["train_loss"], row["test_loss"]) == (9.0, 7.0)
    assert "train_loss" not in probe.step(20)
    assert np.isnan(probe.trace()["train_loss"][2])


def test_a_probe_without_a_batch_looks_at_weights():
    probe = lw.Probe(mlp(), every=1)
    assert {name.split("/")[1] for name in probe.step(0)} == {
        "norm", "motion", "balance", "balance_share", "balance_drift",
    }  # fmt: skip
    assert [note.split(":")[0] for note in probe.notes] == [
        "optimizer", "scale", "features", "collapse", "kernel",
    ]  # fmt: skip
    assert "pass batch=(x, y)" not in " ".join(probe.notes)
    without_targets = lw.Probe(mlp(), batch=data()[0], every=1)
    assert "scale: pass batch=(x, y) with the targets" in without_targets.notes
    together = lw.Probe(Labelled(), batch=dict(zip(("x", "labels"), data(), strict=True)))
    assert (
        "scale: pass batch=(x, y) with the targets; the mapping of inputs holds 'labels': take "
        "them out, batch=(inputs, labels)"
    ) in together.notes


class Labelled(Net):
    """A model that takes labels, as those of Hugging Face do."""

    def forward(self, x, labels=None):
        return {"loss": labels, "logits": super().forward(x)}


def test_nothing_was_measured_yet():
    with pytest.raises(lw.TraceError, match=r"nothing was measured yet: call step\(\)"):
        lw.Probe(mlp()).trace()


X, Y = data(12)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be a whole number of steps, at least 1, got 0"),
        ({"every": 2.5}, ValueError, "every must be .* got 2.5"),
        ({"batch_every": True}, ValueError, "batch_every must be .* got True"),
        ({"target_scale": 0.0}, ValueError, "target_scale must be positive and finite, got 0.0"),
        ({"features": "fc3", "batch": X}, ValueError, "module 'fc3'; did you mean 'fc"),
        (
            {"features": ("fc2", "penultimat"), "batch": X},
            ValueError,
            "module 'penultimat'; did you mean 'penultimate'",
        ),
        (
            {"features": "penultimate", "batch": X, "forward": lambda model, x: model(x).tanh()},
            ValueError,
            "no features 'penultimate': no linear layer makes the outputs; name modules instead",
        ),
        (
            {"batch": {"x": X, "labels": Y}},
            ValueError,
            r"unexpected keyword argument 'labels'; the mapping of inputs holds 'labels': take "
            r"them out, batch=\(inputs, labels\)",
        ),
        (
            {
                "batch": {"x": X, "labels": Y},
                "forward": lambda model, x: model(x["x"]),
                "measures": "collapse",
            },
            ValueError,
            r"collapse: pass batch=\(x, y\) with the targets; the mapping of inputs holds 'labels'",
        ),
        (
            {
                "batch": {"x": X, "labels": Y},
                "forward": lambda model, x: model(x["x"]),
                "class_counts": (4, 4, 4),
            },
            ValueError,
            r"class_counts need labels: .* holds 'labels'",
        ),
        ({"features": "fc1"}, ValueError, "features are looked at on a batch: pass batch="),
        ({"measures": ("nom",)}, ValueError, "group of measures 'nom'; did you mean 'norms'"),
        ({"measures": "kernel"}, ValueError, "kernel: pass batch= to look at the model with"),
        ({"measures": "scale", "batch": X}, ValueError, r"scale: pass batch=\(x, y\)"),
        (
            {"measures": "collapse", "batch": (X, torch.zeros(12, 3))},
            ValueError,
            "collapse: the targets are no labels of classes",
        ),
        ({"measures": "optimizer"}, ValueError, "optimizer: pass optimizer="),
        ({"measures": "balance"}, ValueError, "balance: the order of the layers of Net .*pairs="),
        ({"pairs": [("fc1", "head", "tanh")]}, ValueError, "balance: between 'fc1' and 'head'"),
        (
            {"pairs": [("fc1", "fcc", "relu")]},
            ValueError,
            "balance: Net has no attribute `fcc`",
        ),
        (
            {"batch": X[:, :5]},
            ValueError,
            r"the model does not run on the batch: mat1 and mat2 shapes",
        ),
        ({"batch": X[:0]}, ValueError, "the batch must be a tensor .* not empty"),
        ({"batch": "digits"}, ValueError, r"the batch must be a tensor .* got str"),
        ({"batch": (X, Y + 1)}, ValueError, "labels must lie between 0 and 2.*got 1 to 3"),
        ({"batch": (X, Y[:5])}, ValueError, r"labels .* got targets \(5,\) .* outputs \(12, 3\)"),
        ({"batch": (X, Y.tolist())}, TypeError, "targets of the batch must be a tensor, got list"),
        ({"batch": (X, X * 1j)}, TypeError, "targets of the batch must be real"),
        (
            {"batch": X, "forward": lambda model, x: model(x).sum()},
            ValueError,
            r"must map the 12 samples of the batch to outputs \(12, ...\), got \(\)",
        ),
        (
            {"batch": X, "forward": lambda model, x: "logits"},
            ValueError,
            "the model returned str, not a tensor or something with logits; pass forward=",
        ),
        ({"optimizer": "adam"}, AttributeError, "param_groups"),
    ],
)
def test_bad_input_is_told_before_the_loop(settings, error, message):
    with pytest.raises(error, match=message):
        lw.Probe(Net(), **settings)


def test_a_model_must_be_a_module_that_is_trained():
    with pytest.raises(TypeError, match="a probe attaches to a torch module, got builtin_function"):
        lw.Probe(torch.relu)
    with pytest.raises(ValueError, match="no parameter of the model requires gradients"):
        lw.Probe(mlp().requires_grad_(False))


def test_sharded_parameters_are_refused():
    class FullyShardedDataParallel(nn.Sequential):
        pass

    with pytest.raises(ValueError, match="sharded over processes cannot be probed: '1'"):
        lw.Probe(nn.Sequential(nn.Linear(2, 2), FullyShardedDataParallel()))
    net = nn.Linear(2, 2)
    net.weight.device_mesh = "a mesh"
    with pytest.raises(ValueError, match="sharded over processes cannot be probed: 'weight'"):
        lw.Probe(net)


def test_the_batch_is_copied():
    x, y = data()
    net = mlp()
    probe = lw.Probe(net, batch=(x, y), every=1)
    kept = probe.step(0)
    x.zero_()
    y.zero_()
    again = probe.step(1)
    for name in ("layerwise/nc1/penultimate", "layerwise/kernel_alignment"):
        assert again[name] == kept[name]


class Odd(nn.Module):
    """A model with modules whose outputs are no features."""

    def __init__(self):
        super().__init__()
        self.idle, self.scalar, self.pair = nn.Identity(), Mean(), Twice()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.pair(x)[0]) + self.scalar(x)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean()


class Twice(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("idle", "module 'idle' is not called when the model runs on the batch"),
        (
            "scalar",
            r"'scalar' must return a tensor with a row for each of the 12 samples, got \(\)",
        ),
        ("pair", "'pair' must return a tensor with a row for each of the 12 samples, got tuple"),
    ],
)
def test_features_must_be_rows_of_samples(name, message):
    with pytest.raises(ValueError, match=message):
        lw.Probe(Odd(), features=name, batch=X)


def test_what_does_not_apply_is_noted_with_its_reason():
    y = torch.zeros(12, dtype=torch.long)
    probe = lw.Probe(Net(), batch=(X, y))
    notes = {note.split(":")[0]: note for note in probe.notes}
    assert list(notes) == ["optimizer", "balance", "NC2 to NC4", "collapse"]
    assert "only that of MLP" in notes["balance"]
    assert notes["balance"].endswith("name the layers instead, by pairs=")
    assert notes["NC2 to NC4"].endswith("the batch has samples of 1 of the 3 classes")
    some = lw.Probe(Net(), batch=(X, Y.clamp(max=1)))
    assert "layerwise/nc1/penultimate" in some.step(0)
    assert "layerwise/nc3/penultimate" not in some.step(50)


def test_a_measure_that_fails_is_left_out_once_and_the_rest_goes_on():
    net, (x, y) = mlp(), data()
    probe = lw.Probe(net, batch=(x, y), every=1, batch_every=1)
    whole = probe.step(0)
    net.layers[1].weight.data.fill_(math.nan)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        row = probe.step(1, train_loss=2.0)
        probe.step(2)
    messages = [str(one.message) for one in told if issubclass(one.category, RuntimeWarning)]
    assert sorted(m.split(":")[1].strip() for m in messages) == ["collapse", "features", "kernel"]
    assert all("left out from step 1 on: ValueError: " in m for m in messages)
    assert [note for note in probe.notes if "left out" in note] == [
        m.removeprefix("layerwise.Probe: ") for m in messages
    ]
    assert math.isnan(row["layerwise/norm/layers.1"])
    assert row["layerwise/norm/layers.0"] == whole["layerwise/norm/layers.0"]
    assert row["train_loss"] == 2.0
    assert len(probe.trace()) == 3


def test_it_never_raises_in_the_loop():
    probe = quick(every=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning that is an error must not end a training
        assert probe.step(0, train_loss=torch.ones(3), test_loss="low", test_accuracy=0.5)
        for step in (0, -2, "two", None, float("nan"), math.inf):
            assert probe.step(step) == {}
        probe._scene.model.layers = nn.ModuleList()
        assert probe.step(2)
        assert probe.step(4)
    assert len(probe.notes) == 5
    told = dict(note.split(": ", 1) for note in probe.notes)
    assert told["train_loss"] == "no number was logged but Tensor"
    assert told["test_loss"] == "no number was logged but str"
    assert told["steps"] == "0 is not after 0: what does not increase is left out"
    assert told["step"].startswith("'two': TypeError: ")
    assert told["kernel"].startswith("left out from step 2 on: ")
    assert probe.trace()["test_accuracy"][0] == 0.5
    assert "train_loss" not in probe.trace()


def test_groups_can_be_chosen():
    for group in GROUPS:
        net = mlp()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        probe = lw.Probe(
            net, batch=(X, Y), measures=group, optimizer=optimizer, class_counts=(9, 5, 2)
        )
        assert probe.notes == ()
        assert {name.split("/")[1] for name in probe.step(0)} == SERIES[group]


SERIES = {
    "optimizer": {"learning_rate", "weight_decay", "decay_budget"},
    "norms": {"norm"},
    "motion": {"motion"},
    "classes": {"class_accuracy"},
    "balance": {"balance", "balance_share", "balance_drift"},
    "scale": {"weight_to_target", "gamma_plus"},
    "features": {"rank", "feature_distance", "sign_distance", "d_lr"},
    "collapse": {"nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"},
    "kernel": {"kernel_distance", "kernel_growth", "kernel_alignment"},
}


def test_a_quantity_of_ones_own_is_followed():
    x, _ = data(12, shape=(1, 8, 8))
    net = CNN(1, 3)
    units = len(net.body[0].weight)
    writers, readers = (("body.0.weight", 0),), (("body.2.weight", 1),)
    own = Conserved("first", writers, readers, units, "diagonal")
    probe = lw.Probe(net, batch=x, pairs=[own], every=1)
    assert "layerwise/balance/first" in probe.step(0)


def test_the_optimiser_is_read_at_every_look():
    net = Net()
    groups = [
        {"params": [net.fc1.weight, net.fc2.weight], "weight_decay": 0.1},
        {"params": [net.fc1.bias, net.fc2.bias, *net.head.parameters()]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.5)
    probe = lw.Probe(net, optimizer=optimizer, every=1)
    assert probe.step(0)["layerwise/learning_rate"] == 0.5
    for group in optimizer.param_groups:
        group["lr"] = 0.25
    row = probe.step(4)
    assert row["layerwise/learning_rate"] == 0.25
    assert row["layerwise/weight_decay"] == 0.1
    # two of three matrices have it, of which the one in the middle counts
    assert row["layerwise/decay_budget"] == pytest.approx(4 * (0.5 + 0.25) / 2 * 0.1 / 0.5)
    optimizer.param_groups[1]["weight_decay"] = 0.1
    assert probe.step(9)["layerwise/decay_budget"] == pytest.approx(0.3 + 5 * 0.25 * 0.1 / 0.5)
    config = json.loads(json.dumps(dict(probe.trace().provenance.config)))
    assert config["optimizer"] == {
        "kind": "SGD", "momentum": 0.5, "decoupled": True, "uniform": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "decoupled", "tau"),
    [("SGD", True, 0.02), ("AdamW", True, 0.02), ("Adam", False, math.nan)],
)
def test_decay_is_counted_where_it_multiplies_weights(kind, decoupled, tau):
    net = mlp()
    optimizer = getattr(torch.optim, kind)(net.parameters(), lr=0.01, weight_decay=0.2)
    probe = lw.Probe(net, optimizer=optimizer, every=10, measures="optimizer")
    probe.step(0)
    assert probe.step(10)["layerwise/decay_budget"] == pytest.approx(tau, nan_ok=True)
    assert probe.trace().provenance.config["optimizer"]["decoupled"] == decoupled


def test_plain_descent_of_the_house_is_known():
    net = mlp()
    optimizer = Training("sgd", 0.5, 0.1, steps=10).optimizer_for(net)
    probe = lw.Probe(net, optimizer=optimizer, every=10, measures=("optimizer", "balance"))
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    probe.step(0)
    row = probe.step(10)
    assert row["layerwise/decay_budget"] == pytest.approx(0.5)
    assert row["layerwise/balance_allowed/layers.0-layers.1"] > 0
    assert probe.trace().provenance.config["optimizer"]["kind"] == "Descent"


def test_zero_targets_have_no_ratio():
    probe = lw.Probe(mlp(), batch=(X, torch.zeros(12, 3)))
    assert "scale: all targets are zero" in probe.notes
