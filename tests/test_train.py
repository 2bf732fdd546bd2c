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

from layerwise.networks import MLP, ResNet18, TwoLayer, blocked_gradient
from layerwise.tasks import Parity
from layerwise.train import (
    Epochs,
    Fresh,
    Training,
    as_device,
    autograd,
    cross_entropy,
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
    training = Training("sgd", 0.05, 0.01, steps=40, points=15, drops=(0.8,))
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


@pytest.mark.parametrize(
    ("drops", "falls"),
    [
        ((), ()),
        ((0.7,), (28,)),
        ((0.01,), (0,)),
        ((1 / 3, 2 / 3), (13, 27)),
        ((0.5, 0.51), (20, 20)),
    ],
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_learning_rate_falls_to_a_tenth_at_each_drop(drops, falls, momentum):
    training = Training("sgd", 0.5, 0.2, steps=40, drops=drops, momentum=momentum)
    slope = torch.nn.Linear(1, 1, bias=False)
    optimizer, rates, budgets = training.optimizer_for(slope), [], []

    def spy(net, x, y):
        net.weight.grad = torch.zeros(1, 1)

    batches = Epochs(X[:, :1], Y[:, :1], 16, seed=0)
    for step in descend(slope, batches, training, optimizer, gradient=spy):
        if step:  # the update that was just made
            rates.append(optimizer.param_groups[0]["lr"])
        budgets.append(0.2 * sum(rates))
    assert rates == [0.5 * 0.1 ** sum(k >= fall for fall in falls) for k in range(40)]
    assert rates == [training.rate(k) for k in range(40)]
    assert [training.decay_budget(k) for k in range(41)] == pytest.approx(budgets, rel=1e-12)
    assert training.decay_budget() == training.decay_budget(41) == training.decay_budget(40)


def test_momentum_is_that_of_the_formula():
    training = Training("sgd", 0.05, 0.1, steps=30, points=2, momentum=0.8, drops=(0.5,))
    ours, plain = net(), net()
    run(training, ours)
    velocities = [torch.zeros_like(p) for p in plain.parameters()]
    batches = Epochs(X, Y, 16, seed=7)
    for k in range(30):
        autograd(plain, *batches(k))
        with torch.no_grad():
            for p, v in zip(plain.parameters(), velocities, strict=True):
                v.mul_(0.8).add_(p.grad + 0.1 * p)
                p.sub_((0.05 if k < 15 else 0.005) * v)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_remembers_squares_as_long_as_it_is_told(kind):
    training = Training(kind, 0.01, 0.3, steps=20, points=2, beta2=0.9)
    ours, plain = net(), net()
    run(training, ours)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in plain.parameters()]
    batches = Epochs(X, Y, 16, seed=7)
    for k in range(1, 21):
        autograd(plain, *batches(k - 1))
        with torch.no_grad():
            for p, (m, v) in zip(plain.parameters(), moments, strict=True):
                g = p.grad + (0.3 * p if kind == "adam" else 0.0)
                p.mul_(1 - 0.01 * 0.3 * (kind == "adamw"))
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.9).add_(0.1 * g**2)
                p.sub_(0.01 * m / (1 - 0.9**k) / ((v / (1 - 0.9**k)).sqrt() + 1e-8))
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


IMAGES = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(40) % 4


def classify(net, training, **more):
    def look(net):
        net.eval()
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(net(IMAGES), LABELS).item()
        net.train()
        return {"loss": loss}

    batches = Epochs(IMAGES, LABELS, 16, seed=3, drop_last=True)
    return train(net, batches, training, look, gradient=cross_entropy, **more)


@pytest.mark.parametrize("when", [1, 6, 13])
def test_a_residual_network_resumes_with_its_norms_and_momentum_bit_for_bit(tmp_path, when):
    training = Training("sgd", 0.1, 5e-3, steps=16, momentum=0.9, drops=(1 / 3, 2 / 3))
    whole, stopped, resumed = (ResNet18(1, 4, width=2, seed=seed) for seed in (0, 0, 9))

    def interrupt(step):
        if step == when:
            raise KeyboardInterrupt

    wanted = classify(whole, training)
    more = {"checkpoint": tmp_path / "state"}
    with pytest.raises(KeyboardInterrupt):
        classify(stopped, training, tick=interrupt, **more)
    assert classify(resumed, training, **more) == wanted
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert len({row["loss"] for row in wanted.rows}) == len(wanted.rows)


def test_the_cross_entropy_is_the_mean_over_the_batch():
    ours, plain = net(), net()
    labels = (Y[:, 0] > 0).long()
    for _ in range(2):  # nothing is added up
        cross_entropy(ours, X, labels)
    outputs = plain(X)
    own = outputs[torch.arange(50), labels]
    (outputs.exp().sum(1).log() - own).mean().backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_an_incomplete_batch_is_left_out_and_another_each_epoch():
    x = torch.arange(10.0)[:, None]
    kept, dropped = Epochs(x, x, 4, seed=1), Epochs(x, x, 4, seed=1, drop_last=True)
    assert (kept.parts, dropped.parts) == (3, 2)
    missing = []
    for epoch in range(20):
        seen = torch.cat([dropped(2 * epoch + part)[0] for part in range(2)])
        same = torch.cat([kept(3 * epoch + part)[0] for part in range(2)])
        assert torch.equal(seen, same)
        missing.append(tuple(set(range(10)) - set(seen[:, 0].tolist())))
    assert len(set(missing)) > 10
    assert Epochs(x, x, 5, seed=1, drop_last=True).parts == 2
    with pytest.raises(ValueError, match="there is no full batch of 11 in 10 samples"):
        Epochs(x, x, 11, seed=1, drop_last=True)


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
        ({"drops": (0.0,)}, r"drops must lie between 0 and 1 and increase, got \(0.0,\)"),
        ({"drops": (1.0,)}, "drops must lie between 0 and 1"),
        ({"drops": (0.5, 0.5)}, "drops must lie between 0 and 1"),
        ({"drops": (math.nan,)}, "drops must lie between 0 and 1"),
        ({"optimizer": "sgd", "momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"optimizer": "sgd", "momentum": math.nan}, "momentum must be in"),
        ({"momentum": 0.9}, "momentum is for sgd; adamw has its own"),
        ({"beta2": 1.0}, r"beta2 must be in \[0, 1\), got 1.0"),
        ({"beta2": math.nan}, "beta2 must be in"),
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
