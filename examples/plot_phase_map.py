"""
Lazy and rich: a phase map, solved
==================================

How far the tangent kernel of a lambda-balanced linear network turns, over the scale of its target
and the imbalance of its layers: 1681 networks, each solved exactly (figure 6(a) of arXiv
2502.21009, with the product's singular values equal to the scale). Dashed: the boundary that theory
draws at a distance of 0.01. Right: one row of the map beside the formula of the trained network.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

from layerwise.phenomena.lazy_rich.maps import BalancedMap
from layerwise.phenomena.lazy_rich.twin import boundary, exact_map, limit_distance

networks = BalancedMap(points=41, published=True)
scales, lams = networks.axes
distance = exact_map(networks)["distance"]

figure, (whole, row) = plt.subplots(1, 2)
cells = whole.pcolormesh(scales, lams, np.log10(distance + 1e-6).T, cmap="cividis")
for sign in (-1, 1):
    whole.plot(scales, sign * boundary(networks), "--", color="tab:orange")
whole.set(
    title="how far the kernel turns",
    xlabel="scale (the target is divided by it)",
    ylabel="imbalance $\\lambda$ (above 0: later layer larger)",
)
figure.colorbar(cells, label="log10(kernel distance + 1e-6)")

target = networks.networks.cross[0, 0] / networks.networks.variances
fine = np.linspace(0.05, 9, 200)
row.loglog(fine, limit_distance(target, fine / 2, networks.networks.inputs), "--", label="formula")
upper = lams > 0
row.loglog(lams[upper], distance[0, upper], "o", markersize=4, label="exact solution, scale 1")
row.axhline(0.01, color="0.6", linestyle=":", label="boundary level")
row.set(title="one row", xlabel="imbalance $\\lambda$", ylabel="kernel distance")
row.legend()
plt.show()
