"""
Weights: the Grams do not tell them
===================================

The matrix law gives the map and both Gram matrices. The weights that it is often said to give as
well (dashed) have the right Grams and are not those of the network, which `weights` integrates.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm, sqrtm

import layerwise as lw
from layerwise.theory.starts import balanced

LAM = 0.5
rng = np.random.default_rng(6)
w1, w2 = balanced((2, 2, 2), LAM, 1.2, seed=6)
cross = rng.standard_normal((2, 2)) + np.diag([2.0, 1.0])
t = np.linspace(0, 4, 120)
sol = lw.solve(lw.Linear(w1, w2, cross), t)

# as published: e^{Ft} Q0 M^{-1/2}
F = np.block([[-LAM / 2 * np.eye(2), cross.T], [cross, LAM / 2 * np.eye(2)]])
Q = np.concatenate([w1.T, w2])
published = []
for time in t:
    grown, inverse = expm(F * time), np.linalg.inv(F)
    M = np.eye(2) + Q.T @ (grown @ inverse @ grown - inverse) @ Q / 2
    published.append(np.real(grown @ Q @ np.linalg.inv(sqrtm(M)))[:2])
published = np.swapaxes(published, 1, 2)  # first layers (T, h, i)

figure, (grams, weights) = plt.subplots(1, 2, sharex=True)
true = sol.weights()[0]
for k, (p, q) in enumerate(((0, 0), (0, 1), (1, 1))):
    gram = published.transpose(0, 2, 1) @ published
    grams.plot(t, sol["gram_in"][:, p, q], color=f"C{k}", label=f"entry {p + 1}, {q + 1}")
    grams.plot(t, gram[:, p, q], "--", color="k", linewidth=1)
for k, (p, q) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
    weights.plot(t, true[:, p, q], color=f"C{k}", label=f"entry {p + 1}, {q + 1}")
    weights.plot(t, published[:, p, q], "--", color=f"C{k}", linewidth=1.2)
grams.plot([], [], "k--", linewidth=1, label="as published")
grams.set(title=r"Gram matrix $W_1^T W_1$: as in the network", xlabel="time", ylabel="entry")
weights.set(title=r"weights $W_1$: not those of the network", xlabel="time", ylabel="entry")
weights.set_ylim(bottom=-1.6)
weights.legend(loc="lower right", ncols=2)
grams.legend()
plt.show()
