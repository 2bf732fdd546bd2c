"""
Features: classes under squared error, margins under cross-entropy
==================================================================

Features that are free to move, and a classifier on top. Under squared error each class is a mode of
a two-layer linear network: large classes come first, and weight decay takes the same off all, which
is all of the smallest. Under cross-entropy a margin leaves its plateau in the same way, but then
never stops: it grows as the logarithm of time, at a pace that no longer knows the classes' number.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.laws import features

counts = np.array([40, 20, 10, 5, 2])
C, N = len(counts), counts.sum()
labels = np.repeat(np.eye(C), counts, axis=1)  # one column a sample
START = 0.01  # of every class's mode


def classes(decay, t):
    """Return the strength of every class's mode over time, as a share of its target."""
    w = np.sqrt(START) * np.eye(C)
    h = w @ (labels / np.sqrt(counts)[:, None])
    network = lw.Linear(h, w, labels / N, np.eye(N) / N, decay=decay)
    return lw.solve(network, t)["modes"] / np.sqrt(counts)


figure, (squared, entropy) = plt.subplots(1, 2)
t = np.linspace(0, 450, 400)
for k, (free, decayed) in enumerate(zip(classes(0.0, t).T, classes(0.02, t).T, strict=True)):
    squared.plot(t, free, color=f"C{k}")
    squared.plot(t, decayed, "--", color=f"C{k}")
    squared.text(t[-1] + 10, decayed[-1], f"$n_c = {counts[k]}$", color=f"C{k}", va="center")
squared.set(title="squared error; dashed: with decay", xlabel="time", ylabel="learned of the class")
squared.set(xlim=(0, 580))

n, t = 10, np.geomspace(1, 1e8, 400)
for C in (2, 10, 100, 1000):
    entropy.semilogx(t, features.margin(0.01, C, n, t), label=f"{C} classes")
late = t[t > 1e4]
entropy.semilogx(late, np.log(late), ":", color="0.3", label="ln t")
entropy.set(title="cross-entropy", xlabel="time", ylabel="margin")
entropy.legend(loc="upper left")
plt.show()
