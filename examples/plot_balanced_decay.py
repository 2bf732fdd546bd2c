"""
Decay: a soft threshold on the modes
====================================

L2 decay takes its own size off every mode of a zero-balanced network, and so takes the weak ones
altogether.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.starts import balanced

rng = np.random.default_rng(5)
strengths = np.array([4.0, 3.0, 2.0, 1.0, 0.5])
U, V = (np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(2))
cross = U @ np.diag(strengths) @ V.T
w1, w2 = balanced((5, 5, 5), scale=0.1, seed=2)
t = np.linspace(0, 12, 400)

figure, (course, ends) = plt.subplots(1, 2, sharey=True)
sol = lw.solve(lw.Linear(w1, w2, cross, decay=1.0), t)
for k, strength in enumerate(strengths):
    course.plot(t, sol["modes"][:, k], label=f"s = {strength:g}")
course.set(title="decay 1", xlabel="time", ylabel=r"mode strength $u_k^T W v_k$")
course.legend(loc="upper left", ncols=2)

grid = np.linspace(0, 4.3, 100)
for decay, mark in ((0.0, "o"), (1.0, "s"), (2.0, "^")):
    end = lw.solve(lw.Linear(w1, w2, cross, decay=decay), 1e4)["modes"][0]
    (line,) = ends.plot(strengths, end, mark, markersize=7, label=f"decay {decay:g}")
    ends.plot(grid, np.maximum(grid - decay, 0), color=line.get_color(), linewidth=1)
ends.plot([], [], color="0.4", linewidth=1, label="max(s - decay, 0)")
ends.set(title="in the end", xlabel="singular value s of the target")
ends.legend(loc="upper left")
plt.show()
