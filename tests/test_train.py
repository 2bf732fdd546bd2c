"""The training loop: against plain PyTorch, interrupted and resumed, on bad settings."""

from __future__ import annotations

import copy
import math
import signal
from itertools import chain

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from layerwise.networks import MLP
from layerwise.train import Training, as_device, descend, log_grid, train

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))


def net(seed=0):
    return MLP((6, 12, 2), seed=seed)


def look(net):
    return {"loss": torch.nn.functional.mse_loss(net(X), Y).item()}


def run(training, net, **more):
    return train(net, X, Y, training, look, seed=7, **more)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_training_is_that_of_a_plain_loop(optimizer):
    training = Training(optimizer, 0.01, 0.1, batch=16, steps=30, points=10)
    ours, plain = net(), net()
    history = run(training, ours)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    stepper = kinds[optimizer](plain.parameters(), lr=0.01, weight_decay=0.1)
    losses, step = [look(plain)["loss"]], 0
    for epoch in range(math.ceil(30 / 4)):
        order = np.random.default_rng([7, epoch]).permutation(50)
        for part in range(0, 50, 16):
            if step == 30:
                break
            chosen = torch.from_numpy(order[part : part + 16])
            stepper.zero_grad()
            torch.nn.functional.mse_loss(plain(X[chosen]), Y[chosen]).backward()
            stepper.step()
            step += 1
            losses.append(look(plain)["loss"])
    wanted = [losses[k] for k in history.steps]
    assert history.series()["loss"].tolist() == pytest.approx(wanted, rel=1e-5)


def test_every_sample_is_seen_once_an_epoch():
    seen = []
    x = torch.arange(10.0)[:, None]

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            seen.append(batch[:, 0].tolist())
            return batch * self.w

    spy, training = Spy(), Training("sgd", 0.0, batch=4, steps=6)
    for _ in descend(spy, x, x, training, training.optimizer_for(spy), seed=1):
        pass
    first, second = (list(chain(*epoch)) for epoch in (seen[:3], seen[3:]))
    assert [len(part) for part in seen] == [4, 4, 2, 4, 4, 2]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("when", [1, 13, 29])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path, when):
    training = Training("adamw", 0.01, 0.3, batch=16, steps=40, points=15)
    whole = net()
    wanted = run(training, whole)

    def interrupt(step):
        if step == when:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        run(training, net(), checkpoint=checkpoint, tick=interrupt)
    assert checkpoint.exists()
    resumed = net(seed=99)  # its own weights must not matter
    found = run(training, resumed, checkpoint=checkpoint)
    assert found == wanted
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C interrupt, also where the parent of the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_right_after_an_update_resumes_bit_for_bit(tmp_path):
    training = Training("adamw", 0.01, 0.3, batch=16, steps=40, points=15)
    whole = net()
    wanted = run(training, whole)
    updates = []

    def press(optimizer, *_):
        updates.append(1)
        if len(updates) == 13:
            signal.raise_signal(signal.SIGINT)

    checkpoint = tmp_path / "state"
    hook = register_optimizer_step_post_hook(press)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(training, net(), checkpoint=checkpoint)
    finally:
        hook.remove()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = net(seed=99)
    assert run(training, resumed, checkpoint=checkpoint) == wanted
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_at_the_last_update_is_not_lost(tmp_path):
    training = Training(steps=5)
    updates = []

    def press(optimizer, *_):
        updates.append(1)
        if len(updates) == 5:
            signal.raise_signal(signal.SIGINT)

    hook = register_optimizer_step_post_hook(press)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(training, net(), checkpoint=tmp_path / "state")
    finally:
        hook.remove()
    assert run(training, net(), checkpoint=tmp_path / "state") == run(training, net())


def test_state_is_kept_every_few_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("layerwise.train.CHECKPOINT_SECONDS", 0.0)
    checkpoint = tmp_path / "state"
    with pytest.raises(RuntimeError, match="power cut"):
        run(Training(steps=9), net(), checkpoint=checkpoint, tick=cut_at(6))
    resumed, whole = net(), net()
    assert run(Training(steps=9), resumed, checkpoint=checkpoint) == run(Training(steps=9), whole)


def cut_at(when):
    def tick(step):
        if step == when:
            raise RuntimeError("power cut")

    return tick


def test_stop_ends_training_early_and_leaves_no_step_after_it():
    trained = net()
    history = run(Training(steps=100, points=30), trained, stop=lambda h: h.steps[-1] >= 10)
    assert history.steps[-1] in range(10, 16)
    again = net()
    exact = Training(steps=history.steps[-1])
    run(exact, again)
    assert look(trained) == look(again)


def test_observing_changes_nothing():
    many, few = net(), net()
    run(Training(steps=60, points=60), many)
    run(Training(steps=60, points=2), few)
    assert look(many) == look(few)


def test_flushing_denormals_ends_with_training():
    run(Training(steps=2), net())
    assert (torch.tensor([1e-39]) * 1.0).item() > 0


def test_the_grid_is_log_spaced_whole_and_ends_at_the_ends():
    grid = log_grid(3200, 110)
    assert grid[0] == 0
    assert grid[-1] == 3200
    assert list(grid) == sorted(set(grid))
    late = np.array(grid[-20:])
    ratios = late[1:] / late[:-1]
    assert ratios.max() < 1.09


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lion"}, "adamw, adam or sgd, got 'lion'"),
        ({"learning_rate": -1.0}, "learning_rate must be finite and not negative, got -1.0"),
        ({"weight_decay": math.nan}, "weight_decay must be finite"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"steps": -3}, "steps must be at least 1, got -3"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Training(**fields)


def test_devices_are_checked_before_work():
    assert as_device("cpu") == torch.device("cpu")
    for name in ("tpu9", "cuda:first", "meta"):
        with pytest.raises(ValueError, match=f"unknown device '{name}'"):
            as_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA device"):
            as_device("cuda")


def test_training_leaves_its_inputs_alone():
    x, y = copy.deepcopy(X), copy.deepcopy(Y)
    run(Training(steps=5), net())
    assert torch.equal(x, X)
    assert torch.equal(y, Y)
