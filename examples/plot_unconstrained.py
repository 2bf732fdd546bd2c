"""
Unconstrained features: the collapse that decay allows, and when classes get there
==================================================================================

Features that are free to move, and a classifier on top, both with weight decay. Their optimum is a
collapse that shrinks with decay and is gone at one threshold, whatever the loss. Behind more linear
layers it goes by a jump. Without decay, and from a small start, classes are learned one after the
other: each at a time that falls as the root of its number of samples.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.laws import features_deep as deep

C, n = 5, 12
edge = 1 / (C * np.sqrt(n))
decays = np.geomspace(1e-3, 1.3 * edge, 60)

figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
norms, jumps, times = axes
for label, kind in (
    ("cross-entropy", {"loss": "ce"}),
    ("squared error", {}),
    ("squared error, bias", {"bias": True}),
):
    best = [lw.Features(C, n, C, decay=(decay, decay), **kind).optimum() for decay in decays]
    norms.semilogx(decays, [one.weight_norms[0] for one in best], label=label)
norms.axvline(edge, color="0.5", ls=":")
norms.text(edge, 0.5 * norms.get_ylim()[1], "threshold ", color="0.4", rotation=90, ha="right")
norms.set(title="classifier at the optimum", xlabel="decay of both layers", ylabel="norm of a row")
norms.legend(fontsize="small")

for k, depth in enumerate((2, 3, 4)):
    last = float(deep.largest_decay(depth, C, n))
    fine = np.linspace(0, last, 400)
    z = deep.branch(depth, fine, C, n) / np.sqrt(n)
    best = fine < deep.critical_decay(depth, C, n)
    jumps.plot(fine[best], z[best], color=f"C{k}", label=f"{depth} layers")
    jumps.plot(fine[~best], z[~best], "--", color=f"C{k}")
    if depth > 2:
        jumps.plot([deep.critical_decay(depth, C, n)] * 2, [0, deep.jump(depth)], f"C{k}:")
jumps.set(
    title="more layers: a jump", xlabel="decay of every layer", ylabel="mode, share of target"
)
jumps.legend(fontsize="small")

counts = np.array([80, 40, 20, 10, 5, 2])
for start in (1e-6, 1e-3):
    race = lw.Features(len(counts), counts, len(counts), start=start)
    times.loglog(counts, race.learning_times(), "o", label=f"start {start:g}")
line = np.array([2, 80])
slope = counts.sum() * np.log(1e6) / (2 * np.sqrt(line))
times.loglog(line, slope, ":", color="0.5", label=r"$\propto 1/\sqrt{n_c}$")
times.set(title="unequal classes", xlabel="samples of the class", ylabel="half learned at")
times.set_xticks(counts, counts)
times.set_yticks([100, 200, 400, 800], [100, 200, 400, 800])
times.minorticks_off()
times.legend(fontsize="small", loc="lower left")
plt.show()
