"""
Upstream: early layers that start small learn
=============================================

A small CNN on scikit-learn's digits from three starts of one and the same function: the first layer
is multiplied by a number and the head divided by it. Left, filters of the first layer before and
after training; right, how many activations of the first layer change their sign.

The three trainings take about ten seconds.
"""  # noqa: D205, D400

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich import Convolution

torch.set_num_threads(1)  # layers this small only lose by being shared
balanced = Convolution(steps=600)
starts = {
    "upstream": replace(balanced, a=0.1),
    "balanced": balanced,
    "downstream": replace(balanced, a=10.0),
}
with tempfile.TemporaryDirectory() as folder:
    traces = {name: run(one, Path(folder)).trace for name, one in starts.items()}

figure = plt.figure()
left, right = figure.subfigures(1, 2)
shown = np.argsort(-np.sum(traces["upstream"]["filters"][-1] ** 2, axis=(1, 2, 3)))[:5]
rows = {"before": traces["balanced"]["filters"][0]}
rows |= {name: trace["filters"][-1] for name, trace in traces.items()}
axes = left.subplots(len(rows), len(shown))
for line, (name, filters) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(line, filters[shown, 0], strict=True):
        ax.imshow(image, cmap="PuOr_r", vmin=-np.abs(image).max(), vmax=np.abs(image).max())
        ax.set(xticks=[], yticks=[])

ax = right.subplots()
for name, trace in traces.items():
    ax.semilogx(trace.clock[1:], trace["sign_distance"][1:, 0], label=name)
ax.set(xlabel="steps", ylabel="changed signs, first layer", title="who learns early features")
ax.legend()
plt.show()
