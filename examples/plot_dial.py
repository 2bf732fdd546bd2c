"""
The non-linearity dial: how far linear predictions carry
========================================================

Two-layer networks on whitened digits with the activation ``(1 - k) z + k max(z, 0)``, and beside
them the exact linear network of the mean slope ``1 - k/2``, from the same initial weights and
without a free number. Left, the share learned of the first mode, k = 0, 1/2 and 1 (dashed: exact);
right, the transfer errors.
"""  # noqa: D205, D400

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from layerwise.phenomena.base import run
from layerwise.phenomena.lazy_rich.dial import Dial, transfer, twin

dials = (0.0, 0.25, 0.5, 0.75, 1.0)
experiments = [Dial(k=k) for k in dials]
with tempfile.TemporaryDirectory() as folder:
    traces = [run(one, Path(folder)).trace for one in experiments]

figure, (modes, errors) = plt.subplots(1, 2)
for k, color in ((0, "C0"), (2, "C1"), (4, "C2")):
    exact = twin(experiments[k], traces[k].clock)
    modes.plot(traces[k].clock, traces[k]["modes"][:, :1], color=color, label=f"k = {dials[k]:g}")
    modes.plot(exact.clock, exact["modes"][:, :1], "--", color=color)
modes.set(title="first mode", xlabel="time", ylabel="share learned", xlim=(0, 30))
modes.legend()

found = [transfer(one, trace) for one, trace in zip(experiments, traces, strict=True)]
for name, label in (
    ("modes", "half times"),
    ("modes_unscaled", "half times, slope 1"),
    ("kernel", "kernel distance"),
):
    errors.plot(dials, [getattr(one, name) for one in found], "o-", label=label)
errors.set(title="transfer error", xlabel="dial k (1: ReLU)", ylabel="|ln(network / theory)|")
errors.legend()
plt.show()
