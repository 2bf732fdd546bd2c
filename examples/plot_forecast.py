"""
A forecast of grokking, made before training
============================================

The step at which a deep tanh network will generalise, from its initial weights, its training images
and its settings: 53 runs that the rule has not seen, of other widths, depths, scales, learning
rates and data sets than those it was calibrated on. Bars: 90 % intervals. Right, the accuracy on
left-out images that theory computes for the initial network, over the shrink by decay.
"""  # noqa: D205, D400

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from layerwise.diagnosis import Start
from layerwise.tasks import load, split

with Path("../records/forecast/heldout.csv").open() as file:
    rows = [row for row in csv.DictReader(file) if row["family"] != "other level"]

figure, (told, theory) = plt.subplots(1, 2)
for family, color, marker in (
    ("mnist", "C0", "o"),
    ("fashion-mnist", "C1", "s"),
    ("digits", "C2", "^"),
):
    own = [row for row in rows if row["run_data"] == family]
    time, value, low, high = (
        np.array([float(row[name]) for row in own])
        for name in ("time", "before", "before_low", "before_high")
    )
    told.errorbar(time, value, [value - low, high - value], fmt=marker, color=color, markersize=4,
                  elinewidth=0.8, label=family)  # fmt: skip
ends = np.array([20, 4000])
told.plot(ends, ends, "k:", linewidth=1)
told.set(title="53 unseen runs", xlabel="measured step", ylabel="forecast before training",
         xscale="log", yscale="log")  # fmt: skip
told.legend()

x, labels, *_ = split(load("digits"), 400, 1, seed=0)
for scale in (3.0, 5.0, 8.0):
    shrink, accuracy = Start.drawn((64, 200, 200, 200, 10), scale, x, labels).curve(0.9)
    theory.plot(shrink, accuracy, label=f"initial scale {scale:g}")
theory.axhline(0.85, color="0.6", linestyle=":")
theory.set(title="theory, 8x8 digits", xlabel="learning rate x decay x steps",
           ylabel="accuracy on left-out images")  # fmt: skip
theory.legend()
plt.show()
