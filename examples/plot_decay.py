"""
With decay: the clock of grokking
=================================

Large weights fit the target at once and lazily: the map is right, the weights have hardly moved
and are not aligned. Then nothing happens, until weight decay has worn them down to the size of the
target; only then does the network become rich. The wait is ``ln(Sigma0/S) / (2 decay)``.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory.laws.decay import rich_time

DECAY = 0.01
t = np.geomspace(1e-3, 1e3, 500)

figure, (fit, rich) = plt.subplots(1, 2, sharex=True, sharey=True)
for ratio in (3.0, 10.0, 30.0, 100.0):
    size = np.sqrt(ratio / 2)
    sol = lw.solve(lw.Scalar(1.0, [size, size], [size, -size], decay=DECAY), t)
    fit.semilogx(t, sol["map"], label=f"{ratio:g}")
    rich.semilogx(t, sol["alignment"])
    color = rich.lines[-1].get_color()
    clock = rich_time(ratio / (1 - DECAY), DECAY)
    rich.axvline(clock, color=color, linestyle="--", linewidth=1)
rich.plot([], [], "k--", linewidth=1, label=r"$\ln(\Sigma_0/S)\;/\;(2\,\mathrm{decay})$")
rich.axhline(0.5**0.5, color="0.4", linewidth=1, linestyle=":", label=r"$1/\sqrt{2}$: rich above")

fit.set(title="fits early", xlabel="time", ylabel="map / target")
fit.legend(title=r"$\Sigma_0/S$", loc="lower right")
rich.set(title="becomes rich late", xlabel="time", ylabel=r"alignment $\Theta/\Sigma$")
rich.tick_params(labelleft=True)
rich.legend(loc="upper left")
plt.show()
