"""
Modular addition: the delay is cut, not removed
===============================================

A two-layer quadratic network learns half of the table of a + b mod 23. It memorises in some twenty
steps and knows the other half only much later. A tenth of the output scale, which takes the delay
away on images, cuts it here and leaves a part. Right: meanwhile the weights of each neuron draw
together in one Fourier frequency, a progress measure that moves long before the accuracy.
"""  # noqa: D205, D400

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from layerwise.phenomena.base import run
from layerwise.phenomena.modular import QuadraticModular

torch.set_num_threads(1)
base = QuadraticModular()
runs = {"base": base, "output x 0.1": replace(base, output_scale=0.1)}
with tempfile.TemporaryDirectory() as folder:
    traces = {name: run(one, Path(folder)).trace for name, one in runs.items()}

figure, (accuracy, structure) = plt.subplots(1, 2)
for (name, trace), color in zip(traces.items(), ("C0", "C1"), strict=True):
    t = trace.clock[1:]
    accuracy.semilogx(t, trace["test_accuracy"][1:], color=color, label=f"test, {name}")
    accuracy.semilogx(t, trace["train_accuracy"][1:], ":", color=color, label=f"train, {name}")
    structure.semilogx(t, trace["concentration"][1:], color=color, label=name)
accuracy.set(title="a + b mod 23", xlabel="steps", ylabel="accuracy")
accuracy.legend()
structure.set(title="hidden structure", xlabel="steps", ylabel="Fourier concentration")
structure.legend()
plt.show()
