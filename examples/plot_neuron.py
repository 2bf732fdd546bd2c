"""
One neuron: three ways to the same target
=========================================

A single hidden unit, from the same map to the same target. With a light first layer (lam > 0) it
turns at once, and the map goes straight to the target; with a heavy one (lam < 0) it first grows
along the direction that it has, and turns late.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

target = np.array([[0.3, 1.0]])
start = 0.1 * np.array([[1.0, 0.1]])
t = np.concatenate([[0.0], np.geomspace(1e-3, 60, 400)])

figure, (paths, fits) = plt.subplots(1, 2)
for lam, mark in ((4.0, "o"), (0.0, "s"), (-4.0, "^")):
    size = np.linalg.norm(start)
    total = np.hypot(lam, 2 * size)  # |w1|^2 + |w2|^2
    w2 = np.sqrt((total + lam) / 2)
    sol = lw.solve(lw.Linear(start / w2, [[w2]], target), t)
    x, y = sol["map"][:, 0].T
    paths.plot(x, y, marker=mark, markevery=40, markersize=5, label=rf"$\lambda = {lam:g}$")
    fits.loglog(t[1:], sol["loss"][1:], marker=mark, markevery=40, markersize=5)
paths.plot(*start[0], "ko", markersize=6)
paths.plot(*target[0], "k*", markersize=12)
paths.annotate("start", start[0], (-34, 4), textcoords="offset points")
paths.annotate("target", target[0], (8, 0), textcoords="offset points")
paths.set(
    title="the map on its way",
    xlabel="weight of input 1",
    ylabel="weight of input 2",
    xlim=(0, 0.95),
)
paths.legend(loc="lower right")
fits.set(title="loss", xlabel="time", ylabel="loss", ylim=(1e-12, 2))
plt.show()
