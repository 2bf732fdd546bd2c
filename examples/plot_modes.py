"""
Aligned modes: stages from frequency alone
==========================================

Five skills of the same size, but each half as frequent as the one before: the inputs are not
white. Every mode is a network of its own, and its covariance with the output is its rate. Two
layers learn the skills in stages, at times known beforehand; one layer (dotted) blurs them.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.starts import aligned

rng = np.random.default_rng(0)
variances = 0.5 ** np.arange(5)
V, U = (np.linalg.qr(rng.standard_normal((5, 5)))[0] for _ in range(2))
cov = V @ np.diag(variances) @ V.T
cross = U @ np.diag(variances) @ V.T  # y = U V^T x: every coefficient is 1

START = 1e-4
w1, w2 = aligned(cross, a=START**0.5, b=START**0.5, width=8, input_cov=cov)
t = np.linspace(0, 120, 600)
learned = lw.measures.mode_strengths(lw.solve(lw.Linear(w1, w2, cross, cov), t)["map"], U, V)
control = lw.solve(lw.Shallow(1.0, theta=START, rate=variances), t)

figure, ax = plt.subplots()
for k, variance in enumerate(variances):
    (line,) = ax.plot(t, learned[:, k], label=f"{variance:g}")
    ax.plot(t, control["map"][:, k], ":", color=line.get_color(), linewidth=1.2)
    ax.plot(np.log(1 / START - 1) / (2 * variance), 0.5, "o", color=line.get_color(), markersize=7)
ax.plot([], [], "o", color="0.4", label="half time, by formula")
ax.plot([], [], ":", color="0.4", linewidth=1.2, label="one layer")
ax.set(xlabel="time", ylabel="share of the skill that is learned")
ax.legend(title="variance", loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
