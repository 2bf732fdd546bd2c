"""The metric gives what `neural_collapse` gives for all samples at once, however they came."""

from __future__ import annotations

import copy
import itertools
import pickle
from datetime import timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from layerwise import measures
from layerwise.integrations.torchmetrics import NeuralCollapse

from .processes import with_a_second

C, D = 4, 6


def head_of(dtype=torch.float64, bias=True):
    torch.manual_seed(1)
    return nn.Linear(D, C, bias=bias, dtype=dtype)


def data(n=60, dtype=torch.float64, spread=0.7):
    draws = torch.Generator().manual_seed(2)
    labels = torch.arange(n) % C
    means = torch.randn(C, D, generator=draws, dtype=torch.float64)
    features = means[labels] + spread * torch.randn(n, D, generator=draws, dtype=torch.float64)
    return features.to(dtype), labels


def expected(features, labels, head):
    bias = None if head.bias is None else head.bias
    found = measures.neural_collapse(features, labels, head.weight, bias)
    return {
        "nc1": float(found.nc1),
        "nc2_norm": found.nc2.equinorm,
        "nc2_angle": found.nc2.angle,
        "nc3": found.nc3,
        "nc4": found.nc4,
    }


def close(found, wanted, rel=1e-10):
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=rel)


def fed(head, features, labels, size=7):
    metric = NeuralCollapse(head)
    for part in range(0, len(labels), size):
        metric.update(features[part : part + size], labels[part : part + size])
    return metric


@pytest.mark.parametrize("bias", [True, False])
def test_batches_give_what_all_samples_give(bias):
    head, (features, labels) = head_of(bias=bias), data()
    found = fed(head, features, labels).compute()
    close(found, expected(features, labels, head))
    assert all(v.shape == () and v.dtype == torch.float64 for v in found.values())
    assert 0 < found["nc4"] < 1
    assert found["nc1"].item() == pytest.approx(measures.nc1(features, labels), rel=1e-10)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=5), seed=st.integers(0, 99))
def test_neither_cuts_nor_order_matter(cuts, seed):
    head, (features, labels) = head_of(), data()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    metric = NeuralCollapse(head)
    edges = sorted({0, 60, *cuts})
    for low, high in itertools.pairwise(edges):
        metric.update(features[order[low:high]], labels[order[low:high]])
    close(metric.compute(), expected(features, labels, head), rel=1e-9)


def test_the_head_is_that_of_the_moment():
    head, (features, labels) = head_of(), data()
    metric = fed(head, features, labels)
    before = metric.compute()
    with torch.no_grad():
        head.weight.copy_(torch.randn(C, D))
    metric.update(features[:4], labels[:4])
    more = torch.cat([features, features[:4]]), torch.cat([labels, labels[:4]])
    close(metric.compute(), expected(*more, head))
    assert metric.compute()["nc3"] != before["nc3"]


def test_the_head_is_no_part_of_the_metric():
    metric = NeuralCollapse(head_of())
    assert list(metric.parameters()) == []
    assert metric.state_dict() == {}


def test_copies_read_the_same_head_unless_it_is_copied_too():
    head, (features, labels) = head_of(), data()
    copies = MetricCollection({"nc": NeuralCollapse(head)}).clone(prefix="val_")
    module = nn.ModuleDict({"head": head, "metric": NeuralCollapse(head)})
    whole = copy.deepcopy(module)
    with torch.no_grad():
        head.weight.mul_(-1)
        whole["head"].weight.fill_(0.5)
    copies.update(features, labels)
    found = {name.removeprefix("val_"): value for name, value in copies.compute().items()}
    close(found, expected(features, labels, head))
    whole["metric"].update(features, labels)
    close(whole["metric"].compute(), expected(features, labels, whole["head"]))


def test_reset_forgets():
    head, (features, labels) = head_of(), data()
    metric = fed(head, features + 1.0, labels.flip(0))
    metric.reset()
    metric.update(features, labels)
    close(metric.compute(), expected(features, labels, head))


def test_forward_returns_the_batch_and_keeps_all():
    head, (features, labels) = head_of(), data()
    metric = NeuralCollapse(head)
    close(metric(features[:20], labels[:20]), expected(features[:20], labels[:20], head))
    close(metric(features[20:], labels[20:]), expected(features[20:], labels[20:], head))
    close(metric.compute(), expected(features, labels, head))


def test_a_batch_without_some_class_has_no_value_yet():
    head, (features, labels) = head_of(), data()
    metric = NeuralCollapse(head)
    found = metric(features[:3], labels[:3])
    assert list(found) == ["nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"]
    assert all(value.isnan() for value in found.values())
    metric.update(features[3:], labels[3:])
    close(metric.compute(), expected(features, labels, head))


def test_it_stands_beside_other_metrics():
    head, (features, labels) = head_of(), data()
    both = MetricCollection([NeuralCollapse(head), MulticlassAccuracy(C, average="micro")])
    for part in (slice(0, 25), slice(25, None)):
        both.update(
            features=features[part],
            labels=labels[part],
            preds=head(features[part]),
            target=labels[part],
        )
    found = both.compute()
    right = (head(features).argmax(dim=1) == labels).double().mean()
    assert found.pop("MulticlassAccuracy") == pytest.approx(right.item())
    close(found, expected(features, labels, head))


def test_states_merge():
    head, (features, labels) = head_of(), data()
    one, other = fed(head, features[:22], labels[:22]), fed(head, features[22:], labels[22:])
    one.merge_state(other)
    close(one.compute(), expected(features, labels, head))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
def test_features_of_less_precision(dtype, kept):
    head, (features, labels) = head_of(kept), data(dtype=dtype)
    metric = fed(head, features, labels)
    assert metric.features[0].dtype == kept
    close(metric.compute(), expected(features.to(kept), labels, head), rel=1e-4)
    wide = {name: float(v) for name, v in fed(head, features.double(), labels).compute().items()}
    close(metric.compute(), wide, rel=1e-4)


def test_a_head_of_half_precision():
    head, (features, labels) = head_of(torch.bfloat16), data()
    exact = expected(features.bfloat16().double(), labels, copy.deepcopy(head).double())
    close(fed(head, features, labels).compute(), exact, rel=2e-2)


def test_gradients_are_not_kept():
    features, labels = data()
    metric = fed(head_of(), features.requires_grad_(), labels)
    assert not any(part.requires_grad for part in metric.features)
    assert not metric(features, labels)["nc1"].requires_grad


def test_it_moves_between_devices():
    metric = fed(head_of(), *data()).to("meta")
    assert {part.device.type for part in (*metric.features, *metric.labels)} == {"meta"}
    assert metric._shared.head.weight.device.type == "cpu"


def test_it_is_pickled_with_its_head():
    head, (features, labels) = head_of(), data()
    again = pickle.loads(pickle.dumps(fed(head, features[:30], labels[:30])))
    again.update(features[30:], labels[30:])
    close(again.compute(), expected(features, labels, head))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")  # of the host, before our error
def test_without_samples_there_is_nothing_to_compute():
    with pytest.raises(RuntimeError, match="before any update: there are no samples yet"):
        NeuralCollapse(head_of()).compute()


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        ([0, 1, 4], ValueError, r"labels must lie in 0 \.\.\. 4-1, found 0 \.\.\. 4"),
        ([-1, 0, 1], ValueError, r"found -1 \.\.\. 1"),
        ([0, 1], ValueError, r"do not fit: \(3, 6\) and \(2,\)"),
        ([0.0, 1.0, 2.0], TypeError, "labels must be whole numbers, got dtype torch.float"),
    ],
)
def test_bad_labels_are_refused_and_not_added(labels, error, said):
    head, (features, good) = head_of(), data()
    metric = fed(head, features, good)
    with pytest.raises(error, match=said):
        metric.update(features[:3], torch.tensor(labels))
    close(metric.compute(), expected(features, good, head))


def test_bad_features_are_refused():
    metric = NeuralCollapse(head_of())
    with pytest.raises(ValueError, match=r"the 6 inputs of the head, got \(4, 5\)"):
        metric.update(torch.zeros(4, 5), torch.arange(4))
    with pytest.raises(ValueError, match=r"two axes and not be empty, got \(4, 6, 1\)"):
        metric.update(torch.zeros(4, 6, 1), torch.arange(4))
    with pytest.raises(ValueError, match="not be empty"):
        metric.update(torch.zeros(0, 6), torch.arange(0))
    features, labels = data()
    features[7, 2] = torch.inf
    metric.update(features, labels)
    with pytest.raises(ValueError, match=r"features must be finite, but features\[7, 2\] is inf"):
        metric.compute()


def test_bad_heads_are_refused():
    with pytest.raises(TypeError, match=r"must be a torch.nn.Linear, got Conv2d"):
        NeuralCollapse(nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="at least two classes, the head has 1"):
        NeuralCollapse(nn.Linear(3, 1))
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `weighted`"):
        NeuralCollapse(nn.Linear(3, 2), weighted=True)


def of_one_process(rank, port, folder):
    """Compute over two processes, with unequal shares and with one that has none."""
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(minutes=1)
    )
    head, (features, labels) = head_of(), data()
    found = []
    for share in (slice(0, 17), slice(17, None)), (slice(None), slice(0, 0)):
        own, metric = share[rank], NeuralCollapse(head)
        if len(labels[own]):
            metric = fed(head, features[own], labels[own], size=9)
        found.append(metric.compute())
        assert sum(map(len, metric.labels)) == len(labels[own])  # its own again
    torch.save(found, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_two_processes_give_what_one_gives(tmp_path):
    with_a_second(of_one_process, tmp_path)
    head, (features, labels) = head_of(), data()
    for rank in (0, 1):
        for found in torch.load(tmp_path / f"{rank}"):
            close(found, expected(features, labels, head))
