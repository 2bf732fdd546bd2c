"""
Balanced: half of all starts never learn the weakest mode
=========================================================

Two starts that differ by the sign of one direction of the second layer. Nothing is aligned at the
start, yet modes are learned in the order of their strength. On the right the sign of
``det(W2 W1)``, which the flow conserves, is not that of the target: the weakest mode is never
learned. A numerical flow (dashed) leaves the saddle all the same, on rounding noise.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.starts import singular

rng = np.random.default_rng(3)
U, V = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(2))
strengths = np.array([3.0, 2.0, 1.0])
cross = U @ np.diag(strengths) @ V.T

w1, w2 = singular(cross, scale=0.02, seed=1)
mirror = np.eye(3) - 2 * np.outer(U[:, 0], U[:, 0])  # keeps the balance, turns the determinant
t = np.linspace(0, 60, 601)

figure, axes = plt.subplots(1, 2, sharey=True)
starts = {"excites all modes": (w1, mirror @ w2), "misses the weakest": (w1, w2)}
for ax, (title, (first, second)) in zip(axes, starts.items(), strict=True):
    network = lw.Linear(first, second, cross)
    exact, flow = lw.solve(network, t), lw.solve(network, t, method="flow")
    for k, strength in enumerate(strengths):
        (line,) = ax.plot(t, exact["modes"][:, k], label=f"s = {strength:g}")
        ax.plot(t, flow["modes"][:, k], "--", color="0.2", linewidth=1)
    ax.set(title=f"{title}: {exact.unexcited_modes} unexcited", xlabel="time")
axes[0].set_ylabel(r"mode strength $u_k^T W v_k$")
axes[0].plot([], [], "--", color="0.2", linewidth=1, label="numerical flow")
axes[0].legend(loc="center right")
plt.show()
