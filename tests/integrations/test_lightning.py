"""The callback in real fits of PyTorch Lightning, against probes in loops written by hand."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

import layerwise as lw
from layerwise.integrations.lightning import ProbeCallback

from .processes import with_a_second


class Net(LightningModule):
    """A network of a user's own, with dropout, that logs in the usual ways."""

    def __init__(self, names=("train_loss", "val_acc"), dropout=0.1):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(6, 12)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(12, 3)
        self.names, self.validated = names, []

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.fc(x))))

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log(self.names[0], loss)
        self.log("train_acc", loss.exp(), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch):
        x, y = batch
        accuracy = (self(x).argmax(dim=1) == y).float().mean()
        self.log(self.names[1], accuracy, sync_dist=True)
        if not self.trainer.sanity_checking:
            self.validated.append((self.trainer.global_step, accuracy.item()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, weight_decay=0.01)


class Recorder(Logger):
    """A logger that keeps all it is told."""

    name = version = "recorder"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass


def batches(n=5):
    draws = torch.Generator().manual_seed(3)
    y = torch.arange(8 * n).reshape(n, 8) % 3
    x = torch.randn(n, 8, 6, generator=draws)
    return list(zip(x, y, strict=True))


class Loader:
    """Batches in an order that is always the same, and can be resumed in the middle."""

    def __init__(self, batches):
        self._batches, self._start, self._given = batches, 0, 0

    def __iter__(self):
        self._given, self._start = self._start, 0
        while self._given < len(self._batches):
            self._given += 1
            yield self._batches[self._given - 1]

    def __len__(self):
        return len(self._batches)

    def state_dict(self):
        return {"given": self._given}

    def load_state_dict(self, state):
        self._start = state["given"] % len(self._batches)


def probed_batch():
    x, y = zip(*batches(), strict=True)
    return torch.cat(x), torch.cat(y)


def fit(net, probe=None, *, loader=None, ckpt_path=None, callbacks=(), **settings):
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 4,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "use_distributed_sampler": False,
    }
    callbacks = [*([] if probe is None else [probe]), *callbacks]
    trainer = Trainer(callbacks=callbacks, **(defaults | settings))
    torch.manual_seed(7)
    trainer.fit(net, loader or Loader(batches()), Loader(batches(1)), ckpt_path=ckpt_path)
    return trainer


def by_hand(net, every, epochs=4, accumulate=1):
    """Return the trace of the same training in a loop of one's own."""
    optimizer = net.configure_optimizers()
    probe = lw.Probe(net, batch=probed_batch(), every=every, optimizer=optimizer)
    torch.manual_seed(7)
    step = 0
    for _ in range(epochs):
        for i, (x, y) in enumerate(batches()):
            if i % accumulate == 0:
                probe.step(step)
                optimizer.zero_grad()
            (nn.functional.cross_entropy(net(x), y) / accumulate).backward()
            if i % accumulate == accumulate - 1 or i == len(batches()) - 1:
                optimizer.step()
                step += 1
    probe.look(step)
    return probe.trace()


def own(trace):
    return {name: trace[name].tolist() for name in trace if name.startswith("layerwise/")}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trace_is_that_of_a_loop_by_hand(accumulate):
    probe = ProbeCallback(probed_batch(), every=2)
    trainer = fit(Net(), probe, accumulate_grad_batches=accumulate)
    wanted = by_hand(Net(), 2, accumulate=accumulate)
    trace = probe.trace()
    assert (
        trace.clock.tolist() == wanted.clock.tolist() == list(range(0, trainer.global_step + 1, 2))
    )
    assert str(own(trace)) == str(own(wanted))  # with the nan
    assert {"layerwise/nc4/penultimate", "layerwise/decay_budget"} <= set(trace)
    assert trace.provenance.config["optimizer"]["kind"] == "SGD"
    assert [note.partition(":")[0] for note in probe.probe.notes] == ["balance"]


def test_the_weights_are_those_without_it():
    nets = []
    for probe in (None, ProbeCallback(probed_batch(), every=1, batch_every=1)):
        nets.append(Net())
        fit(nets[-1], probe)
    one, other = (net.state_dict() for net in nets)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_logged_reaches_the_trace_once_and_in_time():
    net, probe = Net(), ProbeCallback(every=1, measures="norms")
    losses = {}

    class Listener(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses[trainer.global_step] = outputs["loss"].item()

    fit(net, probe, callbacks=[Listener()])
    trace = probe.trace()
    known = dict(zip(trace.clock.tolist(), trace["test_accuracy"].tolist(), strict=True))
    assert {s: v for s, v in known.items() if not math.isnan(v)} == dict(net.validated)
    assert [step for step, _ in net.validated] == [5, 10, 15, 20]
    seen = dict(zip(trace.clock.tolist(), trace["train_loss"].tolist(), strict=True))
    assert math.isnan(seen.pop(0))
    assert seen == losses
    assert np.flatnonzero(np.isfinite(trace["train_accuracy"])).tolist() == [5, 10, 15, 20]


def test_between_two_looks_the_last_number_counts():
    net, probe = Net(), ProbeCallback(every=7, measures="norms")
    fit(net, probe)
    trace = probe.trace()
    assert trace.clock.tolist() == [0, 7, 14, 20]
    assert trace["test_accuracy"][1:].tolist() == [net.validated[i][1] for i in (0, 1, 3)]


def test_other_names_can_be_given():
    net = Net(("nll", "valid/top1"))
    names = {"nll": "train_loss", "valid/top1": "test_accuracy"}
    probe = ProbeCallback(every=5, measures="norms", names=names)
    fit(net, probe)
    assert {"train_loss", "test_accuracy"} <= set(probe.trace())
    assert np.isfinite(probe.trace()["test_accuracy"][1:]).all()


def test_loggers_are_told_what_was_measured(tmp_path):
    logger, probe = Recorder(), ProbeCallback(every=10)
    fit(Net(), probe, logger=[logger, CSVLogger(tmp_path)])
    rows = [(step, row) for step, row in logger.rows if "layerwise/norm/fc" in row]
    assert [step for step, _ in rows] == [0, 10, 20]
    trace = probe.trace()
    for i, (_, row) in enumerate(rows):
        assert all(name.startswith("layerwise/") for name in row)
        assert all(trace[name][i] == value for name, value in row.items())
    assert "layerwise/motion/head" in next(tmp_path.rglob("metrics.csv")).read_text()


# resuming without the callback that saved, and in an epoch, is what we want
resuming = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:You're resuming from a checkpoint that ended before the epoch",
)


def keeper(folder, **settings):
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **settings)


@resuming
@pytest.mark.parametrize(
    ("saved", "validate", "step"),
    [
        ({"every_n_epochs": 1}, 1, 10),
        ({"save_on_train_epoch_end": True}, 0, 10),
        ({"every_n_train_steps": 1}, 1, 6),
        ({"every_n_train_steps": 1}, 1, 7),
    ],
)
def test_a_resumed_fit_gives_the_trace_of_an_uninterrupted_one(tmp_path, saved, validate, step):
    settings = {"limit_val_batches": validate}
    whole, resumed = (ProbeCallback(probed_batch(), every=3) for _ in range(2))
    fit(
        Net(dropout=0.0),
        whole,
        callbacks=[keeper(tmp_path, **saved)],
        enable_checkpointing=True,
        **settings,
    )
    net = Net(dropout=0.0)
    nn.init.ones_(net.fc.weight)  # what is compared with the start must come from the checkpoint
    fit(net, resumed, ckpt_path=tmp_path / f"step={step}.ckpt", **settings)
    trace, wanted = resumed.trace(), whole.trace()
    assert trace.clock.tolist() == wanted.clock.tolist() == [0, 3, 6, 9, 12, 15, 18, 20]
    assert trace.provenance == wanted.provenance
    assert set(trace) == set(wanted)
    halves = {"train_accuracy"} if step % 5 else set()  # Lightning forgets the epoch's first part
    for name in set(wanted) - halves:
        np.testing.assert_array_equal(trace[name], wanted[name])


@resuming
def test_a_fit_is_resumed_between_two_accumulated_batches(tmp_path):
    class Saves(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 2 and trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    settings = {"accumulate_grad_batches": 2, "max_epochs": 2}
    first, resumed = (ProbeCallback(every=1, measures="norms") for _ in range(2))
    fit(Net(), first, callbacks=[Saves()], **settings)
    fit(Net(), resumed, ckpt_path=tmp_path / "half.ckpt", **settings)
    assert resumed.trace().clock.tolist() == first.trace().clock.tolist() == list(range(7))
    assert [note.partition(":")[0] for note in resumed.probe.notes] == []


@resuming
def test_a_checkpoint_of_another_probe_is_refused_before_the_first_step(tmp_path):
    first = ProbeCallback(probed_batch(), every=3)
    settings = {"callbacks": [keeper(tmp_path)], "enable_checkpointing": True}
    fit(Net(), first, max_epochs=1, **settings)
    net, other = Net(), ProbeCallback(every=3)
    with pytest.raises(ValueError, match="the state does not fit this probe in 'scale'"):
        fit(net, other, ckpt_path=tmp_path / "step=5.ckpt")
    assert net.validated == []


@resuming
def test_a_checkpoint_without_a_probe_begins_one(tmp_path):
    fit(Net(), max_epochs=1, callbacks=[keeper(tmp_path)], enable_checkpointing=True)
    probe = ProbeCallback(every=3, measures="motion")
    fit(Net(), probe, ckpt_path=tmp_path / "step=5.ckpt")
    assert probe.trace().clock.tolist() == [5, 6, 9, 12, 15, 18, 20]
    assert probe.trace()["layerwise/motion/fc"][0] == 0


def test_a_second_fit_begins_again():
    probe = ProbeCallback(probed_batch(), every=5, measures=("motion", "features"))
    fit(Net(), probe)
    first = probe.trace()
    fit(Net(), probe)
    assert probe.trace() == first


def test_what_breaks_in_the_fit_does_not_break_the_fit():
    class Breaks(Net):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.broken = self.global_step >= 7

        def forward(self, x):
            if not self.training and getattr(self, "broken", False):
                raise RuntimeError("no evaluation any more")
            return super().forward(x)

    probe = ProbeCallback(probed_batch(), every=5)
    with pytest.warns(RuntimeWarning, match="left out from step 10 on: .*no evaluation any more"):
        trainer = fit(Breaks(), probe, limit_val_batches=0)
    assert trainer.global_step == 20
    assert np.isfinite(probe.trace()["layerwise/norm/fc"]).all()


@pytest.mark.filterwarnings("ignore:Precision 64-true is not supported")
def test_the_batch_is_in_the_precision_of_the_trainer():
    probe = ProbeCallback(probed_batch(), every=5, measures="kernel")
    fit(Net(), probe, precision="64-true")
    assert probe.trace()["layerwise/kernel_growth"][0] == 1.0


def test_of_several_optimizers_none_is_read():
    class Two(Net):
        automatic_optimization = False

        def training_step(self, batch):
            loss = super().training_step(batch)
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.fc, self.head)]

    probe = ProbeCallback(every=10, measures=("norms", "motion"))
    trainer = fit(Two(), probe)
    assert trainer.global_step == 40  # both count
    assert probe.trace().clock.tolist() == [0, 10, 20, 30, 40]
    assert probe.trace().provenance.config["optimizer"] is None


def test_bad_settings_are_told_before_the_first_step():
    with pytest.raises(TypeError, match="unexpected keyword argument 'evry'"):
        ProbeCallback(evry=3)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'optimizer'"):
        ProbeCallback(optimizer=None)
    for settings, said in (
        ({"features": "fcc"}, "unknown module 'fcc'; did you mean 'fc'?"),
        ({"every": 0}, "every must be a whole number of steps"),
        ({"batch": torch.zeros(4, 5)}, "the model does not run on the batch"),
    ):
        net = Net()
        with pytest.raises(ValueError, match=said.replace("?", r"\?")):
            fit(net, ProbeCallback(**({"batch": probed_batch()} | settings)))
        assert net.validated == []


def test_before_the_fit_there_is_no_trace():
    probe = ProbeCallback()
    assert probe.probe is None
    assert probe.state_dict() == {}
    with pytest.raises(lw.TraceError, match="nothing was probed yet: train with this callback"):
        probe.trace()


def of_one_process(rank, port, folder):
    """Fit on two processes, with numbers that both must give to be known."""
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(minutes=1)
    )
    states = []
    for probe in (None, ProbeCallback(probed_batch(), every=2)):
        net = Net()
        mine = [(x + rank, y) for x, y in batches()]
        checkpoint = keeper(f"{folder}/{len(states)}", save_on_train_epoch_end=True)
        trainer = fit(
            net,
            probe,
            loader=Loader(mine),
            callbacks=[checkpoint],
            enable_checkpointing=True,
            devices=2,
            strategy=DDPStrategy(cluster_environment=Two(rank, port), process_group_backend="gloo"),
        )
        states.append(net.state_dict())
        assert trainer.world_size == 2
    if rank == 0:
        probe.trace().save(f"{folder}/trace")
    assert (probe.probe is None) == (rank == 1)
    torch.save(states, f"{folder}/states{rank}")
    torch.distributed.destroy_process_group()


class Two(LightningEnvironment):
    """Processes that were started already."""

    def __init__(self, rank, port):
        super().__init__()
        self._rank, self._main_port = rank, port

    creates_processes_externally = True

    @property
    def main_port(self):
        return self._main_port

    def global_rank(self):
        return self._rank

    def world_size(self):
        return 2

    def local_rank(self):
        return self._rank

    def set_global_rank(self, rank):
        pass

    def set_world_size(self, size):
        pass


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_of_two_processes_the_first_probes(tmp_path):
    with_a_second(of_one_process, tmp_path)
    for rank in (0, 1):
        without, with_it = torch.load(tmp_path / f"states{rank}")
        assert all(torch.equal(without[name], with_it[name]) for name in without)
    trace = lw.Trace.load(tmp_path / "trace")
    assert trace.clock.tolist() == list(range(0, 21, 2))
    assert np.isfinite(trace["train_accuracy"]).sum() == 4
