"""
Pair: the imbalance decides between rich and lazy
=================================================

All five networks compute the same thing at the start, ``a b = 0.01``, and have the same target.
They differ in the conserved imbalance ``lam = b^2 - a^2`` alone. Without imbalance both weights
grow together: a plateau, then a jump (rich). With a large one only the lighter weight moves, at
once and exponentially (lazy).
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

TARGET, START = 1.0, 0.01


def pair(lam):
    """Return the pair of imbalance `lam` with a b = START."""
    size = np.hypot(lam, 2 * START)  # a^2 + b^2
    return lw.Diagonal(TARGET, np.sqrt((size - lam) / 2), np.sqrt((size + lam) / 2))


figure, (curves, orbits) = plt.subplots(1, 2)
t = np.linspace(0, 6, 400)
for lam in (0.0, 0.3, 1.0, 3.0, -1.0):
    sol = lw.solve(pair(lam), t)
    dashed = {"linestyle": "--"} if lam < 0 else {}
    curves.plot(t, sol["map"], label=rf"$\lambda = {lam:g}$", **dashed)
    a, b = sol.weights()
    orbits.plot(a, b, **dashed)
    orbits.plot(a[0], b[0], "o", color=orbits.lines[-1].get_color(), markersize=5)

curves.set(title="what it computes", xlabel="time", ylabel="map a b")
curves.legend(loc="lower right")

a = np.linspace(0.4, 2.2, 100)
orbits.plot(a, TARGET / a, color="0.4", linewidth=1, label="a b = target")
orbits.set(
    title="how it gets there",
    xlabel="first weight a",
    ylabel="second weight b",
    xlim=(-0.05, 2.2),
    ylim=(-0.05, 2.2),
    aspect="equal",
)
orbits.legend(loc="upper right")
plt.show()
