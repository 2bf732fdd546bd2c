"""
Lazy: how good the linearised network is
========================================

Freeze what multiplies the error, and the network becomes linear in its weights. All starts here
compute the same map; they differ in the imbalance. The error of the approximation falls with its
square, whichever layer is the larger one.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.laws.lazy import linearised

rng = np.random.default_rng(0)
U, V, P, R = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(4))
cross = P @ np.diag([1.5, 1.0, 0.5]) @ R.T
STRENGTHS = np.array([0.3, 0.2, 0.1])  # of the map at the start, in directions of its own


def start(lam):
    """Return two layers of imbalance `lam` with ``W2 W1 = U diag(STRENGTHS) V^T``."""
    size = np.hypot(lam, 2 * STRENGTHS)
    first = np.sqrt((size - lam) / 2)
    return first[:, None] * V.T, U * (STRENGTHS / first)


def compare(lam, t):
    """Return the exact map and the approximation."""
    w1, w2 = start(lam)
    return lw.solve(lw.Linear(w1, w2, cross), t)["map"], linearised(w1, w2, cross, t)


figure, (course, gaps) = plt.subplots(1, 2)
t = np.linspace(0, 6, 300)
for color, lam in (("C0", 1.0), ("C1", 3.0)):
    exact, lazy = (np.linalg.norm(cross - W, axis=(1, 2)) for W in compare(lam, t))
    course.plot(t, exact, color=color, label=rf"exact, $\lambda = {lam:g}$")
    course.plot(t, lazy, "--", color=color, label="lazy")
course.set(title="what is left to learn", xlabel="time", ylabel=r"$|S - W|$")
course.legend()

lams = np.geomspace(0.3, 1e3, 30)
for sign, mark, label in ((1, "o", "later layer larger"), (-1, "+", "earlier layer larger")):
    worst = []
    for lam in lams:
        exact, lazy = compare(sign * lam, np.linspace(0, 8 / lam, 100))
        worst.append(np.max(np.abs(exact - lazy)))
    gaps.loglog(lams, worst, mark, fillstyle="none", label=label)
gaps.loglog(lams[10:], 0.5 / lams[10:] ** 2, ":", color="0.3", label=r"$\propto 1/\lambda^2$")
gaps.set(title="error of the approximation", xlabel=r"$|\lambda|$", ylabel="largest, in the map")
gaps.legend()
plt.show()
