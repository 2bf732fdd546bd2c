"""
Neural collapse: the features of a network find a simplex
=========================================================

A ResNet18 of width 8 learns 768 of scikit-learn's digits, and trains on. The features of each
class draw together (NC1), the class means go to the corners of a simplex (NC2), the classifier to
the means (NC3). Right: the ten class means, folded to the plane so that the corners of a perfect
simplex are those of a regular polygon.

The training takes about ten seconds.
"""  # noqa: D205, D400

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from layerwise.phenomena.base import run
from layerwise.phenomena.collapse import Collapse
from layerwise.phenomena.collapse.study import folded

torch.set_num_threads(1)  # layers this small only lose by being shared
training = Collapse(train_size=768, width=8, epochs=60, weight_decay=1e-2, points=16)
with tempfile.TemporaryDirectory() as folder:
    trace = run(training, Path(folder)).trace


figure, (measures, simplex) = plt.subplots(1, 2)
for name, label in (
    ("nc1", "NC1"),
    ("equinorm", "NC2, norms"),
    ("angle", "NC2, angles"),
    ("nc3", "NC3"),
):
    measures.loglog(trace.clock[1:], trace[name][1:], label=label)
fitted = trace.clock[np.argmax(trace["train_accuracy"] == 1)]
measures.axvline(fitted, color="0.6", linestyle=":", label="no training error")
measures.set(title="distance from collapse", xlabel="epochs", ylabel="measure")
measures.legend(loc="lower left")

corners = np.exp(2j * np.pi * np.arange(11) / 10)
simplex.plot(corners.real, corners.imag, "k:", linewidth=1, label="perfect simplex")
for index, label, marker in ((0, "start", "o"), (-1, f"epoch {trace.clock[-1]}", "s")):
    simplex.plot(*folded(trace["means_gram"][index]), marker, label=label)
simplex.set(title="class means, folded", aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.9))
simplex.legend(loc="upper left", ncols=2)
plt.show()
