"""
Depth in ReLU networks: longer waits, the same jump
===================================================

One skill, the parity of two bits, is learned by ReLU networks of two, three and four layers from
He's start times a scale s. The wait grows as ln(1/s), 1/s and 1/s^2, as it does in the product of
as many layers; the jump itself takes as long from any start. Depth turns the sigmoid into a step.

Nine trainings take a few seconds.
"""  # noqa: D205, D400

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

from layerwise.measures import crossing_time, sharpness
from layerwise.phenomena.base import run
from layerwise.phenomena.depth import Depth

SCALES = {2: (0.3, 0.03, 0.003), 3: (0.3, 0.2, 0.1), 4: (0.3, 0.4, 0.6)}  # the first is drawn

figure, (course, sharp) = plt.subplots(1, 2)
for layers, scales in SCALES.items():
    with tempfile.TemporaryDirectory() as folder:
        traces = [run(Depth(layers=layers, scale=scale), Path(folder)).trace for scale in scales]
    halves = [float(crossing_time(one.clock, one["strength"], 0.5)) for one in traces]
    ratios = [float(sharpness(one.clock, one["strength"], 1.0)) for one in traces]
    (line,) = course.plot(
        traces[0].clock / halves[0], traces[0]["strength"], label=f"{layers} layers, s = 0.3"
    )
    sharp.loglog(scales, ratios, "o", color=line.get_color(), label=f"{layers} layers")
    if layers > 2:
        s = np.array(scales)
        guide = ratios[0] * (s / s[0]) ** (layers - 2)
        sharp.loglog(s, guide, "--", color=line.get_color(), label=f"slope {layers - 2}")
sharp.set_yticks([0.1, 0.2, 0.5], ["0.1", "0.2", "0.5"])
sharp.yaxis.set_minor_formatter(NullFormatter())
course.set(title="on its own clock", xlabel="steps / half time", ylabel="strength R/S", xlim=(0, 2))
course.legend(loc="upper left")
sharp.set(title="sharpness", xlabel="initial scale s", ylabel=r"$(t_{90} - t_{10})/t_{50}$")
sharp.legend(loc="lower left")
plt.show()
