"""The training loop: against plain PyTorch, interrupted and resumed, on bad settings."""

from __future__ import annotations

import copy
import math
import signal
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from layerwise.networks import MLP, TwoLayer, blocked_gradient
from layerwise.tasks import Parity
from layerwise.train import (
    Epochs,
    Fresh,
    Training,
    as_device,
    autograd,
    descend,
    log_grid,
    train,
)

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))


def net(seed=0):
    return MLP((6, 12, 2), seed=seed)


def look(net):
    return {"loss": torch.nn.functional.mse_loss(net(X), Y).item()}


def run(training, net, **more):
    return train(net, Epochs(X, Y, 16, seed=7), training, look, **more)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_training_is_that_of_a_plain_loop(optimizer):
    training = Training(optimizer, 0.01, 0.1, steps=30, points=10)
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

    spy, training = Spy(), Training("sgd", 0.0, steps=6)
    batches = Epochs(x, x, 4, seed=1)
    for _ in descend(spy, batches, training, training.optimizer_for(spy)):
        pass
    first, second = (list(chain(*epoch)) for epoch in (seen[:3], seen[3:]))
    assert [len(part) for part in seen] == [4, 4, 2, 4, 4, 2]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("when", [1, 13, 29])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path, when):
    training = Training("adamw", 0.01, 0.3, steps=40, points=15)
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


TASK = Parity(n_skills=2, skill_bits=2, n_bits=8)
HELD_OUT = [torch.from_numpy(part) for part in TASK.evaluation(200, 3)]


def look_at_parity(net):
    with torch.no_grad():
        x, y = HELD_OUT
        return {"loss": torch.nn.functional.mse_loss(net(x), y).item()}


def emerge(net, training, *, batch=1500, **more):
    batches = Fresh(TASK.sample, batch, seed=5)
    return train(net, batches, training, look_at_parity, **more)


@pytest.mark.parametrize("batch", [30, 1500, 10_000])  # all, a few and one of them a chunk
@pytest.mark.parametrize("when", [1, 13, 34])
def test_fresh_samples_resume_bit_for_bit_through_the_drop(tmp_path, when, batch):
    training = Training("sgd", 0.05, 0.01, steps=40, points=15, drop_at=0.8)
    whole = TwoLayer(TASK.inputs, 20, std=0.3)
    wanted = emerge(whole, training, batch=batch, gradient=blocked_gradient)

    def interrupt(step):
        if step == when:
            raise KeyboardInterrupt

    stopped, resumed = (TwoLayer(TASK.inputs, 20, std=0.3, seed=seed) for seed in (0, 99))
    more = {"batch": batch, "gradient": blocked_gradient, "checkpoint": tmp_path / "state"}
    with pytest.raises(KeyboardInterrupt):
        emerge(stopped, training, tick=interrupt, **more)
    assert emerge(resumed, training, **more) == wanted
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_by_the_gradient_by_hand_is_training_by_autograd():
    training = Training("sgd", 0.02, steps=300, points=20)
    x, y = (part.double() for part in HELD_OUT)  # in float32 rounding grows to 1e-3 by the end

    def trained(gradient):
        def look(net):
            return {"loss": torch.nn.functional.mse_loss(net(x), y).item()}

        def doubles(n, rng):
            return [part.astype(float) for part in TASK.sample(n, rng)]

        net = TwoLayer(TASK.inputs, 30, std=0.1).double()
        batches = Fresh(doubles, 1500, seed=5)
        return train(net, batches, training, look, gradient=gradient).series()["loss"].tolist()

    automatic, by_hand = trained(autograd), trained(blocked_gradient)
    assert by_hand == pytest.approx(automatic, rel=1e-9)
    assert by_hand[-1] < 0.6 * by_hand[0]  # the first skill was learned


def test_fresh_batches_are_the_samples_of_their_chunk_in_any_order_of_steps(monkeypatch):
    monkeypatch.setattr("layerwise.batches.CHUNK_ROWS", 4999)
    batch, parts = 1000, 4
    chunks = [TASK.sample(parts * batch, np.random.default_rng([5, chunk])) for chunk in range(3)]
    batches = Fresh(TASK.sample, batch, seed=5)
    for step in (0, 1, 7, 3, 11, 10, 2):
        chunk, part = divmod(step, parts)
        for found, wanted in zip(batches(step), chunks[chunk], strict=True):
            assert found.numpy().tolist() == wanted[part * batch : (part + 1) * batch].tolist()
    assert not torch.equal(Fresh(TASK.sample, batch, seed=6)(0)[0], batches(0)[0])


def test_epochs_are_the_same_in_any_order_of_steps():
    forward, backward = (Epochs(X, Y, 16, seed=2) for _ in range(2))
    batches = [forward(step) for step in range(12)]
    for step in reversed(range(12)):
        for one, other in zip(batches[step], backward(step), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("make", [lambda n: Epochs(X, Y, n, seed=0), lambda n: Fresh(X, n, seed=0)])
def test_batches_of_nothing_are_refused(make):
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        make(0)


@pytest.mark.parametrize("data", [(X, Y[:-1]), (X[:0], Y[:0])])
def test_data_that_do_not_fit_are_refused(data):
    with pytest.raises(ValueError, match="x and y must be as many, and some"):
        Epochs(*data, 4, seed=0)


def test_a_shared_target_counts_for_every_output():
    ours, plain = net(), net()
    for _ in range(2):  # nothing is added up
        autograd(ours, X, Y[:, :1])
    torch.nn.functional.mse_loss(plain(X), torch.cat([Y[:, :1]] * 2, dim=1)).backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_targets_that_do_not_fit_the_outputs_are_not_broadcast():
    with pytest.raises(RuntimeError, match="expand"):
        autograd(MLP((6, 1)), X, Y)


@pytest.mark.parametrize(("drop_at", "drop"), [(0.7, 28), (0.01, 0), (1.0, 40)])
def test_the_learning_rate_drops_to_a_tenth_once(drop_at, drop):
    training = Training("sgd", 0.5, steps=40, drop_at=drop_at)
    slope = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(slope.weight)

    def constant(net, x, y):
        net.weight.grad = torch.ones(1, 1)

    batches = Epochs(X[:, :1], Y[:, :1], 16, seed=0)
    updates = descend(slope, batches, training, training.optimizer_for(slope), gradient=constant)
    path = [slope.weight.item() for _ in updates]
    rates = [before - after for before, after in pairwise(path)]
    assert rates == pytest.approx([0.5] * drop + [0.05] * (40 - drop), rel=1e-4)


def test_what_is_due_is_observed_and_nothing_else():
    seen = run(Training(steps=60, points=60), net())
    chosen = run(Training(steps=60), net(), due=[60, 0, 7])
    assert chosen.steps == (0, 7, 60)
    assert list(chosen.rows) == [seen.rows[seen.steps.index(step)] for step in chosen.steps]


@pytest.mark.parametrize("due", [(), (0, 61), (-1, 5)])
def test_steps_that_never_come_are_not_due(due):
    with pytest.raises(ValueError, match="due must be steps from 0 to 60, got"):
        run(Training(steps=60), net(), due=due)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C interrupt, also where the parent of the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_right_after_an_update_resumes_bit_for_bit(tmp_path):
    training = Training("adamw", 0.01, 0.3, steps=40, points=15)
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
        ({"steps": -3}, "steps must be at least 1, got -3"),
        ({"drop_at": 0.0}, r"drop_at must be in \(0, 1\], got 0.0"),
        ({"drop_at": math.nan}, r"drop_at must be in \(0, 1\]"),
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
