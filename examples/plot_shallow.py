"""
Shallow: no feedback, no wait
=============================

A linear model moves at full speed from the first moment. Give the same input a second layer, and
nothing seems to happen for a long time: each layer must wait for the other one to grow. That wait
is the mark of layerwise dynamics, and the shallow model is the control that lacks it.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

t = np.linspace(0, 12, 300)
targets = [3.0, 1.5, 1.0]
start = 1e-3  # the same map at the start, for both models

shallow = lw.solve(lw.Shallow(targets, theta=start), t)
layered = lw.solve(lw.Diagonal(targets, a=start**0.5, b=start**0.5), t)

figure, axes = plt.subplots(1, 2, sharey=True)
for ax, sol, title in zip(
    axes,
    (shallow, layered),
    ("one layer: all at once", "two layers: one after another"),
    strict=True,
):
    for k, target in enumerate(targets):
        ax.plot(t, sol["map"][:, k], label=f"target {target:g}")
    ax.set(title=title, xlabel="time (1 / input variance)")
axes[0].set_ylabel("learned coefficient")
axes[0].legend(loc="lower right")
plt.show()
