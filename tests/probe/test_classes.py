"""Accuracies of single classes: by counting, of which classes, and what they say in the end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import layerwise as lw
from layerwise.networks import MLP

from .runs import data, mlp, probed

X, Y = data(12)


class Told(nn.Module):
    """Outputs that are a part of the inputs, with one weight to be trained."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.size * x


def accuracies(row):
    stem = "layerwise/class_accuracy/"
    return {int(k.removeprefix(stem)): v for k, v in row.items() if k.startswith(stem)}


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    dtype=st.sampled_from([torch.uint8, torch.int32, torch.int64]),
)
@settings(max_examples=40, deadline=None)
def test_accuracies_are_counted(pairs, dtype):
    labels, told = zip(*pairs, strict=True)
    outputs = torch.full((len(pairs), 5), -0.5)
    for n, k in enumerate(told):
        outputs[n, k] = 0.1 * n + 0.2
    batch = outputs, torch.tensor(labels, dtype=dtype)
    with lw.Probe(Told(), batch=batch, measures="classes", class_counts=[3] * 5) as probe:
        found = accuracies(probe.step(0))
    wanted = {}
    for label in set(labels):
        right = of = 0
        for own, said in pairs:
            of += own == label
            right += own == label and said == label
        wanted[label] = right / of
    assert found == pytest.approx(wanted)
    missing = 5 - len(wanted)
    said = f"class accuracies: the batch has no sample of {missing} of the 5 classes"
    assert [note.split(" (")[0] for note in probe.notes] == ([said] if missing else [])


def test_accuracies_are_taken_with_what_costs_more_and_counts_are_kept():
    _, probe = probed(31, batch_every=20, class_counts=Counter({0: 50, 2: 7, 1: 20}))
    trace = probe.trace()
    assert probe.notes == ()
    assert trace.provenance.config["class_counts"] == [50, 20, 7]
    for label in range(3):
        found = np.isfinite(trace[f"layerwise/class_accuracy/{label}"])
        assert found.tolist() == [True, False, True, False]
    without = lw.Probe(mlp(), batch=(X, Y))
    assert not accuracies(without.step(0))
    assert not any("class" in note for note in without.notes)
    assert "``layerwise/class_accuracy/K``" in lw.probe.__doc__


@pytest.mark.parametrize(
    "counts",
    [(5, 6, 7), [5.0, 6.0, 7.0], {2: 7, 1: 6, 0: 5}, np.array([5, 6, 7]), torch.tensor([5, 6, 7])],
)
def test_counts_may_be_given_in_any_form(counts):
    probe = lw.Probe(mlp(), batch=(X, Y), class_counts=counts, measures="classes")
    assert set(accuracies(probe.step(0))) == {0, 1, 2}
    assert probe.trace().provenance.config["class_counts"] == [5, 6, 7]


def test_labels_that_are_true_or_false_are_two_classes():
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    batch = outputs, torch.tensor([False, True, True])
    probe = lw.Probe(Told(), batch=batch, class_counts=[5, 6], measures="classes")
    assert accuracies(probe.step(0)) == {0: 1.0, 1: 0.5}


def test_of_many_classes_some_of_every_size_are_kept():
    classes = 250
    counts = {k: 1000 - (37 * k) % classes for k in range(classes)}
    y = torch.arange(classes - 1)  # the last has no sample in the batch
    probe = lw.Probe(
        Told(), batch=(torch.eye(classes)[:-1], y), measures="classes", class_counts=counts
    )
    found = accuracies(probe.step(0))
    assert len(found) == 100
    sizes = sorted(counts[k] for k in range(classes - 1))
    kept = sorted(counts[k] for k in found)
    assert (kept[0], kept[-1]) == (sizes[0], sizes[-1])
    steps = np.diff([sizes.index(size) for size in kept])
    assert set(steps.tolist()) == {2, 3}
    assert set(found.values()) == {1.0}
    assert probe.notes == (
        "class accuracies: the batch has no sample of 1 of the 250 classes (249)",
        "class accuracies: of 249 classes 100 are kept, evenly spaced in the order of their counts",
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"class_counts": [1, 2]}, ValueError, "one number for each of the 3 classes, got 2"),
        ({"class_counts": [1, -2, 3]}, ValueError, r"whole numbers, at least 0, got \{1: -2\}"),
        ({"class_counts": [1, 2.5, 3]}, ValueError, r"got \{1: 2.5\}"),
        ({"class_counts": [1, 2, float("nan")]}, ValueError, r"got \{2: nan\}"),
        ({"class_counts": "abc"}, TypeError, "numbers in order or a mapping, got str"),
        ({"class_counts": 7}, TypeError, "numbers in order or a mapping, got int"),
        ({"class_counts": np.ones((3, 2))}, ValueError, r"at least 0, got \{0: \[1.0, 1.0\]"),
        ({"class_counts": {0: 1, 1: 1, 4: 1}}, ValueError,
         r"labels 0 to 2: unknown labels \[4\], labels without a count \[2\]"),
        ({"class_counts": [1, 2, 3], "batch": X}, ValueError, "class_counts need labels: pass ba"),
        ({"class_counts": [1, 2, 3], "batch": (X, torch.zeros(12, 3))}, ValueError,
         r"class_counts need labels: pass batch=\(x, y\) with labels y \(N,\)"),
        ({"class_counts": [1, 2, 3], "batch": None}, ValueError, "class_counts need labels"),
        ({"measures": "classes"}, ValueError, "classes: pass class_counts= with the number of"),
    ],
)  # fmt: skip
def test_bad_counts_are_told_before_the_loop(given, error, message):
    with pytest.raises(error, match=message):
        lw.Probe(mlp(), **({"batch": (X, Y)} | given))


def test_outputs_that_are_no_numbers_have_no_accuracy():
    net = mlp()
    probe = lw.Probe(
        net, batch=(X, Y), class_counts=[1, 2, 3], measures="classes", every=1, batch_every=1
    )
    probe.step(0)
    net.layers[2].bias.data[0] = torch.nan
    with pytest.warns(RuntimeWarning, match="classes: left out from step 1 on: .* not finite"):
        assert not accuracies(probe.step(1))


def test_a_class_that_decay_holds_at_zero_is_told_and_learned_with_the_decay_that_is_named():
    """Of 200, 60 and 4 samples under a decay of .03 the least is lost."""
    counts = (200, 60, 4)
    y = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(len(y), 8, generator=draws) + 2.5 * torch.eye(3, 8)[y]
    few = torch.cat([(y == k).nonzero().flatten()[:20] for k in range(3)])

    def trained(decay):
        net = MLP((8, 40, 3), weight_scale=0.3, bias_scale=0.0, activation="relu", seed=0)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=decay)
        probe = lw.Probe(
            net, batch=(x[few], y[few]), optimizer=optimizer, class_counts=dict(enumerate(counts)),
            measures=("optimizer", "classes"),
        )  # fmt: skip
        for step in range(1501):
            loss = 0.5 * (net(x) - nn.functional.one_hot(y, 3)).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            probe.step(step)
            optimizer.step()
        probe.look(1501)
        rules = {finding.rule: finding for finding in lw.diagnose(probe.trace()).findings}
        return probe.trace(), rules.get("minority below the threshold")

    before, told = trained(0.03)
    assert told.evidence["largest_lost"] == 4
    assert told.sentence.startswith("Classes 2 of 4 samples are not learned")
    assert before["layerwise/class_accuracy/2"][-1] == 0
    (remedy,) = told.remedies
    assert remedy.predicted["smallest_class"] == 4
    after, told = trained(remedy.value)
    assert told is None
    assert after["layerwise/class_accuracy/2"][-1] >= 0.5
