"""
1-h-1: one dial from rich to lazy
=================================

However wide the network, its course depends on the start through the weight-to-target ratio
``Sigma0/S`` alone (here with ``Theta0 = 0``). Small weights must grow by a large factor and align;
large ones fit the target without moving much.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

rng = np.random.default_rng(1)
H = 50
a, b = rng.standard_normal((2, H))
b -= (a @ b) / (a @ a) * a  # Theta0 = 0

figure, (course, growth) = plt.subplots(1, 2)
t = np.geomspace(1e-3, 30, 400)
for ratio in (0.01, 0.1, 1.0, 10.0):
    size = np.sqrt(ratio / lw.measures.magnitude(a, b))
    sol = lw.solve(lw.Scalar(1.0, size * a, size * b), t)
    course.semilogx(t, sol["map"], label=f"{ratio:g}")
course.set(title="course of the map", xlabel="time", ylabel="map / target")
course.legend(title=r"$\Sigma_0/S$", loc="upper left")

ratios = np.geomspace(1e-3, 1e2, 21)
sizes = np.sqrt(ratios / lw.measures.magnitude(a, b))[:, None]
networks = lw.Scalar(np.ones(21), sizes * a, sizes * b)
first, second = lw.solve(networks, 1e4).weights()
measured = ((first + second)[0] / (sizes * (a + b)))[:, 0]
growth.loglog(ratios, measured, "o", markersize=6, label="weights after training")
growth.loglog(
    ratios, np.exp(np.arcsinh(1 / ratios) / 2), label=r"$\exp(\mathrm{asinh}(S/\Sigma_0)/2)$"
)
growth.loglog(ratios, np.sqrt(2 / ratios), ":", label=r"rich: $\sqrt{2S/\Sigma_0}$", color="0.3")
growth.axhline(1, color="0.3", linewidth=1, linestyle="--", label="lazy: no growth")
growth.set(
    title="growth of the weights",
    xlabel=r"weight-to-target ratio $\Sigma_0/S$",
    ylabel="growth of every a + b",
    ylim=(0.7, 60),
)
growth.legend()
plt.show()
