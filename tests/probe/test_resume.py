"""A probe that is resumed with its training gives the trace of one that was never interrupted."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw

from .runs import Net, data, mlp, seeded, train


def begin(build=mlp, **settings):
    x, y = data()
    net = seeded(build)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-2)
    probe = lw.Probe(net, batch=(x, y), every=10, optimizer=optimizer, **settings)
    return net, optimizer, probe


def on_disk(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [1, 20, 37])
def test_the_trace_is_that_of_an_uninterrupted_run(stop):
    x, y = data()
    net, optimizer, whole = begin()
    train(net, optimizer, x, y, 61, whole)

    net, optimizer, probe = begin()
    train(net, optimizer, x, y, stop, probe)
    kept = on_disk([net.state_dict(), optimizer.state_dict(), probe.state_dict()])
    numbers = torch.get_rng_state()
    net, optimizer, resumed = begin()
    net.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    resumed.load_state_dict(kept[2])
    torch.set_rng_state(numbers)
    train(net, optimizer, x, y, 61, resumed, start=stop)

    assert resumed.trace() == whole.trace()
    assert np.isfinite(whole.trace()["layerwise/kernel_distance"]).sum() == 4


def test_a_state_is_not_changed_by_what_follows():
    x, y = data()
    net, optimizer, probe = begin()
    train(net, optimizer, x, y, 11, probe)
    state = probe.state_dict()
    before = on_disk(state)
    train(net, optimizer, x, y, 31, probe, start=11)

    def flat(value):
        if isinstance(value, dict):
            return [x for key in value for x in (key, *flat(value[key]))]
        if isinstance(value, list):
            return [x for item in value for x in flat(item)]
        return [value.tolist()] if torch.is_tensor(value) else [value]

    assert str(flat(state)) == str(flat(before))


def test_numbers_that_wait_are_kept():
    first, second = (lw.Probe(mlp(), every=10, measures="norms") for _ in range(2))
    first.step(0)
    first.step(5, test_accuracy=torch.tensor(0.25))
    second.load_state_dict(on_disk(first.state_dict()))
    assert second.step(10)["test_accuracy"] == 0.25


def test_what_failed_stays_left_out():
    x, y = data()
    net, optimizer, probe = begin()
    train(net, optimizer, x, y, 1, probe)
    net.layers[0].weight.data[0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match="left out from step 10 on") as told:
        probe.step(10)
    assert len(told) == 3
    net, optimizer, resumed = begin()
    resumed.load_state_dict(on_disk(probe.state_dict()))
    assert resumed.notes == probe.notes
    assert "layerwise/kernel_distance" not in resumed.step(20)
    assert len(resumed.trace()) == 3


def test_a_state_of_another_probe_is_refused():
    _, _, probe = begin()
    for other in (begin(Net)[2], begin(measures=("norms",))[2], begin(features="layers.0")[2]):
        for one, state in ((probe, other.state_dict()), (other, probe.state_dict())):
            before = one.state_dict()["memory"].keys()
            with pytest.raises(ValueError, match=r"does not fit this probe in '\w+': construct it"):
                one.load_state_dict(state)
            assert one.state_dict()["memory"].keys() == before


def test_what_is_no_state_is_refused():
    _, _, probe = begin()
    with pytest.raises(ValueError, match="a state of format 2 is needed, got None"):
        probe.load_state_dict({})


def test_a_batch_of_another_size_is_refused():
    _, optimizer, probe = begin()
    x, y = data(24)
    other = lw.Probe(mlp(), batch=(x, y), optimizer=optimizer)
    with pytest.raises(ValueError, match="does not fit this probe in 'features'"):
        other.load_state_dict(probe.state_dict())


def test_modules_without_weights_of_their_own_resume():
    net = nn.Sequential(nn.Linear(6, 3), nn.ReLU())
    first, second = (lw.Probe(net, every=1, measures=("norms", "motion")) for _ in range(2))
    first.step(0)
    second.load_state_dict(first.state_dict())
    assert second.trace() == first.trace()
