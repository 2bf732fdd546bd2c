"""
A probe in Hugging Face's Trainer: a transformer that learns by heart
=====================================================================

Sixteen words, one of them the name of one of ten classes: which? A small BERT with random weights
learns to tell from 400 such sentences, unless it starts too large; then it learns them by heart.
The probe is a callback of the Trainer; its diagnosis names the regime and a remedy. Three seeds,
half a minute.
"""  # noqa: D205, D400

import copy
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

import layerwise as lw
from layerwise.integrations.huggingface import ProbeCallback

torch.set_num_threads(1)
CLASSES, WORDS, LENGTH = 10, 40, 16


def sentences(number, draws):
    """Return sentences (number, LENGTH) of words, each with the name of its class at one place."""
    labels = torch.arange(number) % CLASSES
    words = torch.randint(CLASSES, WORDS, (number, LENGTH), generator=draws)
    words[torch.arange(number), torch.randint(LENGTH, (number,), generator=draws)] = labels
    return {"input_ids": words, "labels": labels}


def rows(batch):
    """Return a batch as the list of samples that a Trainer asks for."""
    return [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]


def accuracy(predicted):
    """Return what the Trainer is to log of an evaluation."""
    return {"accuracy": float((predicted.predictions.argmax(1) == predicted.label_ids).mean())}


def train(net, known, unseen):
    """Train for 200 steps under a probe, and return its trace."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=200, per_device_train_batch_size=64, learning_rate=1e-3,
            weight_decay=0.3, lr_scheduler_type="constant", eval_strategy="steps", eval_steps=25,
            eval_on_start=True, per_device_eval_batch_size=500, save_strategy="no",
            report_to="none", use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(
            net, settings, train_dataset=rows(known), compute_metrics=accuracy,
            eval_dataset={"train": rows(known), "test": rows(unseen)},
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        probe = ProbeCallback(known, every=25, batch_every=25, log=trainer.log)
        trainer.add_callback(probe)
        trainer.train()
    return probe.trace()


# %%
# What the diagnosis says
# -----------------------
#
# ``initializer_range=0.3`` is fifteen times the usual one.

starts, data, traces = [], [], []
for seed in range(3):
    draws = torch.Generator().manual_seed(seed)
    data.append((sentences(400, draws), sentences(500, draws)))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=LENGTH, num_labels=CLASSES,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=None,
        initializer_range=0.3,
    )  # fmt: skip
    net = BertForSequenceClassification(config)
    starts.append(copy.deepcopy(net))
    traces.append(train(net, *data[-1]))
found = [lw.diagnose(trace) for trace in traces]
print(found[0])
told = [diagnosis.findings[0].evidence["steps"] for diagnosis in found]
print("\nsteps that the three seeds are told:", *map("{:,.0f}".format, told))

# %%
# From the same start, with every weight times the factor that the diagnosis names
# --------------------------------------------------------------------------------

cured = []
for start, (known, unseen), diagnosis in zip(starts, data, found, strict=True):
    factor = diagnosis.remedy("scale_weights").value
    lw.remedies.scale_weights(start, factor)
    cured.append(train(start, known, unseen))

for name, look in (
    ("train_accuracy", -1),
    ("test_accuracy", -1),
    ("layerwise/weight_to_target", 0),
):
    pairs = zip(traces, cured, strict=True)
    changes = (f"{one[name][look]:.3g} -> {two[name][look]:.3g}" for one, two in pairs)
    print(f"{name}:", ", ".join(changes))

# %%
# The remedy works, but not by the number that led to it: in a network with norms the
# weight-to-target ratio is a convention, and here it rises in two of the seeds. That the runs will
# generalise late is right. When is a guess, of a clock calibrated on deep tanh networks, and so
# comes without an interval: left alone, which takes a minute and is not done here, they reach a
# test accuracy of 0.85 at steps 1700, 2200 and 2225, up to a third earlier than was told.

figure, (right, spread) = plt.subplots(1, 2)
for seed in range(3):
    for trace, color, name in (
        (cured[seed], "C1", f"weights x {factor:.3g}"),
        (traces[seed], "C0", "as it was"),
    ):
        label = name if seed == 0 else None
        right.plot(trace.clock, trace["train_accuracy"], ":", color=color)
        right.plot(trace.clock, trace["test_accuracy"], color=color, label=label)
        nc1 = trace["layerwise/nc1/penultimate"]
        seen = np.isfinite(nc1)
        spread.semilogy(trace.clock[seen], nc1[seen], color=color, label=label)
right.set(title="unseen sentences (dotted: known ones)", xlabel="step", ylabel="accuracy")
spread.set(title="spread of the known classes", xlabel="step", ylabel="NC1")
right.legend()
plt.show()
