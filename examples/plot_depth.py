"""
Depth: the deeper the product, the sharper the jump
===================================================

All products start from the same map, ``u = 1e-4``, and have the same target. Seen on the clock of
their own half time, the shallow model rises at once; with every further layer more of the time is
spent waiting, and less rising. The half time itself is not monotone in depth.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw

TARGET, START = 1.0, 1e-4


def product(depth):
    """Return `depth` equal layers whose product is START."""
    return lw.Deep(TARGET, weight=START ** (1 / depth), depth=depth)


figure, (rise, times) = plt.subplots(1, 2)
for depth in (1, 2, 3, 4, 6):
    half = float(lw.time_to(product(depth), level=TARGET / 2))
    t = np.linspace(0, 2, 800)
    rise.plot(t, lw.solve(product(depth), t * half)["map"], label=f"L = {depth}")
rise.set(title="course on its own clock", xlabel="time / half time", ylabel="map / target")
rise.legend(loc="lower right")

depths = np.unique(np.concatenate([np.linspace(1, 4, 25), np.geomspace(4, 64, 25)]))
early, half, late = (
    np.array([float(lw.time_to(product(depth), level=share)) for depth in depths])
    for share in (0.1, 0.5, 0.9)
)
times.loglog(depths, half, label=r"half time $t_{50}$")
times.loglog(depths, late - early, "--", label=r"rise $t_{90} - t_{10}$")
times.loglog(depths, (late - early) / half, ":", label=r"sharpness $(t_{90} - t_{10})/t_{50}$")
times.set(title="waiting and rising", xlabel="depth L", ylabel="time, or ratio", ylim=(1e-3, 2e4))
ticks = [1, 2, 4, 8, 16, 32, 64]
times.set_xticks(ticks, ticks, minor=False)
times.minorticks_off()
times.legend(loc="upper left")
plt.show()
