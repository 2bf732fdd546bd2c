"""
Two-valued imbalance: the network of infinite width
===================================================

Independent random weights become, in the limit of many hidden units, a start with two-valued
imbalance, which is solved exactly. Networks of growing width approach it.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.starts import two_valued, wide

rng = np.random.default_rng(7)
U, V = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
cross = U @ np.diag([2.0, 1.0]) @ V.T
FIRST, SECOND = 0.2, 0.4
t = np.linspace(0, 5, 200)

limit = lw.Linear(*two_valued((2, 4, 2), upper=SECOND**2, lower=FIRST**2, mixing=0.0), cross)
exact = lw.solve(limit, t)["modes"]

figure, axes = plt.subplots(1, 3, sharex=True, sharey=True, figsize=(8.4, 3.2))
for ax, width in zip(axes, (10, 100, 1000), strict=True):
    for seed in range(5):
        w1, w2 = wide((2, width, 2), FIRST, SECOND, seed=seed)
        modes = lw.solve(lw.Linear(w1, w2, cross), t)["modes"]
        for k, color in enumerate(("C0", "C1")):
            label = f"target {2 - k}" if seed == 0 else None
            ax.plot(t, modes[:, k], color=color, linewidth=1, alpha=0.7, label=label)
    for k in range(2):
        ax.plot(t, exact[:, k], "k--", linewidth=1.4, label="infinite width" if k == 0 else None)
    ax.set(title=f"{width} hidden units", xlabel="time")
axes[0].set_ylabel(r"mode strength $u_k^T W v_k$")
axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.72))
plt.show()
