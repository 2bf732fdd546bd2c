"""The callback in real trainings of Hugging Face's Trainer, against what other callbacks see."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers import TrainerCallback as Callback

import layerwise as lw
from layerwise.integrations.huggingface import ProbeCallback


class Net(nn.Module):
    """A classifier that is called as those of the library are."""

    def __init__(self, dropout=0.1):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(6, 12)
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(12, 3)

    def forward(self, x, labels=None):
        logits = self.classifier(self.drop(torch.relu(self.fc(x))))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def samples(n=40):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(3))
    return [{"x": x[i], "labels": i % 3} for i in range(n)]


def probed_batch():
    x = torch.stack([sample["x"] for sample in samples()])
    return {"x": x, "labels": torch.arange(40) % 3}


def accuracy(predicted):
    logits, labels = predicted
    return {"accuracy": (logits.argmax(axis=1) == labels).mean()}


def trainer_of(folder, net, callbacks=(), **settings):
    defaults = {
        "learning_rate": 0.05,
        "optim": "sgd",
        "weight_decay": 0.01,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 8,
        "num_train_epochs": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return Trainer(
        net,
        TrainingArguments(str(folder), **(defaults | settings)),
        train_dataset=samples(),
        eval_dataset=samples(9),
        compute_metrics=accuracy,
        callbacks=list(callbacks),
    )


class Watcher(Callback):
    """Keeps the weights after every update, and what is logged."""

    def __init__(self):
        self.weights, self.logs = {}, []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.on_step_end(args, state, control, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.weights[state.global_step] = model.fc.weight.detach().double().clone()

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append((state.global_step, dict(logs)))


def motion(weights, step):
    return float((weights[step] - weights[0]).norm() / weights[0].norm())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_clock_counts_updates_of_the_weights(tmp_path, accumulate):
    watcher, probe = Watcher(), ProbeCallback(probed_batch(), every=4)
    settings = {"gradient_accumulation_steps": accumulate}
    trainer_of(tmp_path, Net(), [probe, watcher], **settings).train()
    trace = probe.trace()
    assert trace.clock.tolist() == list(range(0, (20 if accumulate == 1 else 12) + 1, 4))
    wanted = [motion(watcher.weights, step) for step in trace.clock]
    assert trace["layerwise/motion/fc"].tolist() == pytest.approx(wanted, rel=1e-5)
    assert wanted[-1] > 0.01
    assert trace["layerwise/learning_rate"].tolist() == [0.05] * len(trace)
    assert trace.provenance.config["optimizer"]["kind"] == "SGD"
    assert {"layerwise/nc4/penultimate", "layerwise/kernel_alignment"} <= set(trace)


def test_the_weights_are_those_without_it(tmp_path):
    nets = []
    for probes in ([], [ProbeCallback(probed_batch(), every=1, batch_every=1)]):
        nets.append(Net())
        trainer_of(tmp_path, nets[-1], probes, optim="adamw_torch").train()
    one, other = (net.state_dict() for net in nets)
    assert all(torch.equal(one[name], other[name]) for name in one)


def by_step(trace, name):
    pairs = zip(trace.clock.tolist(), trace[name].tolist(), strict=True)
    return {step: value for step, value in pairs if not math.isnan(value)}


def test_what_is_logged_reaches_the_trace_once_and_in_time(tmp_path):
    watcher, probe = Watcher(), ProbeCallback(every=1, measures="norms")
    trainer_of(tmp_path, Net(), [probe, watcher], eval_strategy="epoch").train()
    trace = probe.trace()
    logs = watcher.logs[:-1]  # but for the summary
    for name, known in (("loss", "train_loss"), ("eval_loss", "test_loss"),
                        ("eval_accuracy", "test_accuracy")):  # fmt: skip
        wanted = {step: row[name] for step, row in logs if name in row}
        assert by_step(trace, known) == wanted
        assert list(wanted) == list(range(1, 21)) if name == "loss" else [5, 10, 15, 20]
    assert not {"epoch", "grad_norm", "eval_runtime"} & set(trace)


def test_other_names_can_be_given(tmp_path):
    probe = ProbeCallback(every=1, measures="norms", names={"grad_norm": "slope"})
    trainer_of(tmp_path, Net(), [probe], max_steps=3).train()
    assert list(by_step(probe.trace(), "slope")) == [1, 2, 3]


def test_what_is_measured_goes_through_the_trainer(tmp_path):
    watcher = Watcher()
    trainer = trainer_of(tmp_path, Net(), [watcher], eval_strategy="epoch")
    probe = ProbeCallback(probed_batch(), log=trainer.log, every=10)
    trainer.add_callback(probe)
    trainer.train()
    trace = probe.trace()
    rows = [(step, row) for step, row in watcher.logs if "layerwise/norm/fc" in row]
    assert [step for step, _ in rows] == trace.clock.tolist() == [0, 10, 20]
    for i, (_, row) in enumerate(rows):
        measured = {name: value for name, value in row.items() if name != "epoch"}
        assert all(trace[name][i] == value for name, value in measured.items())
        assert all(name.startswith("layerwise/") for name in measured)
    kept = [row["step"] for row in trainer.state.log_history if "layerwise/norm/fc" in row]
    assert kept == [0, 10, 20]


def test_the_last_look_is_at_the_last_weights_and_not_at_the_best(tmp_path):
    watcher, probe = Watcher(), ProbeCallback(every=20, measures="motion")
    net = Net()
    trainer = trainer_of(
        tmp_path,
        net,
        [probe, watcher],
        learning_rate=3.0,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    trainer.train()
    assert trainer.state.best_global_step < 20
    assert not torch.equal(net.fc.weight.double(), watcher.weights[20])
    wanted = motion(watcher.weights, 20)
    assert probe.trace()["layerwise/motion/fc"][-1] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("step", [6, 7, 10])
def test_a_resumed_training_gives_the_trace_of_an_uninterrupted_one(tmp_path, step):
    settings = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps"}
    settings |= {"eval_steps": 5}
    whole, resumed = (ProbeCallback(probed_batch(), every=3) for _ in range(2))
    trainer_of(tmp_path, Net(), [whole], **settings).train()
    for later in range(step + 1, 21):
        shutil.rmtree(tmp_path / f"checkpoint-{later}")
    net = Net()
    nn.init.ones_(net.fc.weight)  # what is compared with the start must come from the checkpoint
    trainer = trainer_of(tmp_path, net, [resumed], **settings)
    trainer.train(resume_from_checkpoint=True)
    assert whole.trace().clock.tolist() == [0, 3, 6, 9, 12, 15, 18, 20]
    assert resumed.trace() == whole.trace()


def test_a_checkpoint_elsewhere_is_found_by_the_arguments(tmp_path):
    first = ProbeCallback(every=5, measures="motion")
    settings = {"save_strategy": "steps", "save_steps": 10}
    trainer_of(tmp_path / "first", Net(), [first], **settings).train()
    path = str(tmp_path / "first" / "checkpoint-10")
    probe = ProbeCallback(every=5, measures="motion")
    trainer = trainer_of(tmp_path / "other", Net(), [probe], resume_from_checkpoint=path)
    trainer.train(resume_from_checkpoint=path)
    assert probe.trace() == first.trace()


def test_the_state_of_another_run_is_not_taken(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 10}
    for i, folder in enumerate((tmp_path / "one", tmp_path / "other")):
        probe = ProbeCallback(every=5, measures="motion")
        trainer_of(folder, Net(), [probe], learning_rate=0.1 + i, **settings).train()
    probe = ProbeCallback(every=5, measures="motion")
    trainer = trainer_of(tmp_path / "other", Net(), [probe])
    with pytest.warns(RuntimeWarning, match="no state of a probe in .*: what it compares with"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-10"))
    assert probe.trace().clock.tolist() == [10, 15, 20]
    assert probe.trace()["layerwise/motion/fc"][0] == 0.0


def test_what_breaks_in_the_training_does_not_break_it(tmp_path):
    class Breaks(Net):
        calls = 0

        def forward(self, x, labels=None):
            self.calls += self.training
            if self.calls > 7 and not self.training:
                raise RuntimeError("no evaluation any more")
            return super().forward(x, labels)

    probe = ProbeCallback(probed_batch(), every=5)
    trainer = trainer_of(tmp_path, Breaks(), [probe])
    with pytest.warns(RuntimeWarning, match="left out from step 10 on: .*no evaluation any more"):
        trainer.train()
    assert trainer.state.global_step == 20
    assert np.isfinite(probe.trace()["layerwise/norm/fc"]).all()


def test_a_transformer_of_the_library_is_probed(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    net = BertForSequenceClassification(config)
    ids = torch.randint(0, 11, (24, 5), generator=torch.Generator().manual_seed(1))
    labels = ids[:, 0] % 3
    mask = torch.ones_like(ids)
    data = [
        {"input_ids": ids[i], "attention_mask": mask[i], "labels": labels[i]} for i in range(24)
    ]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    probe = ProbeCallback(batch, every=3, features="bert.pooler")
    trainer = trainer_of(tmp_path, net, [probe], optim="adamw_torch", max_steps=6)
    trainer.train_dataset = data
    trainer.train()
    trace = probe.trace()
    assert trace.clock.tolist() == [0, 3, 6]
    assert np.isfinite(trace["layerwise/nc1/bert.pooler"]).all()
    assert trace["layerwise/feature_distance/bert.pooler"][-1] > 0
    assert trace.provenance.config["optimizer"]["kind"] == "AdamW"
    assert trace.provenance.config["samples"] == 24


def test_bad_settings_are_told_before_the_first_step(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'evry'"):
        ProbeCallback(evry=3)
    with pytest.raises(TypeError, match=r"mapping of the model's inputs by keyword.*got Tensor"):
        ProbeCallback(torch.zeros(3, 6))
    for settings, said in (
        ({"features": "fcc"}, r"unknown module 'fcc'; did you mean 'fc'\?"),
        ({"batch": {"x": torch.zeros(4, 5)}}, "the model does not run on the batch"),
        ({"batch": {"z": torch.zeros(4, 6)}}, "the model does not run on the batch: .*'z'"),
    ):
        watcher = Watcher()
        probe = ProbeCallback(**({"batch": probed_batch()} | settings))
        with pytest.raises(ValueError, match=said):
            trainer_of(tmp_path, Net(), [watcher, probe]).train()
        assert list(watcher.weights) == [0]


def test_before_the_training_there_is_no_trace():
    probe = ProbeCallback()
    assert probe.probe is None
    with pytest.raises(lw.TraceError, match="nothing was probed yet: train with this callback"):
        probe.trace()
