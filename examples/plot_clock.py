"""
The clock of grokking: a linear network that groks on command
=============================================================

A two-layer linear network on fewer samples than inputs fits at once, whatever its start; it
generalises when decay has shrunk what the start put where no gradient reaches. Left, its errors
from two initial scales; right, that unseen part, which falls as ``e^(-decay t)`` exactly, and the
delay it causes.
"""  # noqa: D205, D400

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from layerwise.phenomena.base import run
from layerwise.phenomena.clock import LinearGrokking

networks = {scale: LinearGrokking(scale=scale, decay=0.04) for scale in (0.3, 1.0, 3.0, 5.0)}
with tempfile.TemporaryDirectory() as folder:
    traces = {scale: run(one, Path(folder)).trace for scale, one in networks.items()}

figure, (errors, unseen) = plt.subplots(1, 2)
for scale, color in ((5.0, "C0"), (0.3, "C1")):
    trace = traces[scale]
    errors.loglog(trace.clock[1:], trace["excess"][1:], color=color, label=f"test, scale {scale:g}")
    errors.loglog(trace.clock[1:], trace["train_error"][1:], ":", color=color,
                  label=f"train, scale {scale:g}")  # fmt: skip
errors.set(title="fitted at once, general late", xlabel="time", ylabel="squared error",
           xlim=(0.1, None), ylim=(1e-3, None))  # fmt: skip
errors.legend(loc="lower left")

trace = traces[5.0]
unseen.semilogy(trace.clock, trace["unseen"], label="network, scale 5")
t = np.linspace(0, trace.clock[-1], 100)
unseen.semilogy(t, np.exp(-0.04 * t), "--", label="$e^{-decay\\,t}$")
unseen.set(title="what no gradient reaches", xlabel="time", ylabel="size / size at the start")
unseen.legend()
plt.show()
