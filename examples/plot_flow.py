"""
Flow and descent: each is the other's test
==========================================

A closed form, a numerical flow and plain gradient descent solve the same model. The flow differs
from the closed form by its tolerance, and a descent by the size of its step.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

net = lw.Scalar(target=1.0, a=[0.02, 0.05, -0.01], b=[0.03, -0.04, 0.02])
t = np.linspace(0.05, 12, 80)
exact = lw.solve(net, t, method="exact")

figure, (errors, drifts) = plt.subplots(1, 2, sharex=True, sharey=True)
for label, settings in {
    "descent, step 0.01": {"method": "descent", "step": 1e-2},
    "descent, step 0.001": {"method": "descent", "step": 1e-3},
    "flow": {"method": "flow"},
}.items():
    sol = lw.solve(net, t, **settings)
    gap = np.abs(sol["map"] - lw.solve(net, sol.t)["map"])
    errors.semilogy(sol.t, gap, label=label)
    start = net.b**2 - net.a**2
    drifts.semilogy(sol.t, np.max(np.abs(sol["conserved"] - start), axis=1))
drifts.semilogy(t, np.max(np.abs(exact["conserved"] - start), axis=1), color="0.4", label="exact")

errors.set(title="difference from the closed form", xlabel="time", ylabel="absolute, in the map")
drifts.set(title="drift of the conserved quantity", xlabel="time", ylabel=r"absolute, in $b^2-a^2$")
drifts.tick_params(labelleft=True)
errors.legend(loc="lower left", bbox_to_anchor=(0, 0.35))
drifts.legend(loc="lower left", bbox_to_anchor=(0, 0.35))
plt.show()
