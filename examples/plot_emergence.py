"""
Emergence: skills switch on one after another
=============================================

A two-layer ReLU network learns five skills, each the parity of two bits of its input; skill k is
asked for with frequency ``P_k ~ k^-1.6``. The skills come one after another. The exact model, a
product of two layers for each skill, predicts when: its one number, the rate divisor, is read off
networks with a single skill. The linear model of the same skills has no stages.

Four trainings of a single skill and one of five take a few seconds.
"""  # noqa: D205, D400

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from layerwise.measures import crossing_time
from layerwise.phenomena.base import run
from layerwise.phenomena.emergence import Emergence
from layerwise.phenomena.emergence.twin import divisor, linear_twin, trace, twin

staged = Emergence(n_skills=5, skill_bits=2, width=200, steps=8000)
single = replace(staged, n_skills=1, steps=2000)
with tempfile.TemporaryDirectory() as folder:
    network = run(staged, Path(folder)).trace
    alone = [run(replace(single, draw=draw), Path(folder)).trace for draw in range(4)]

half_times = [float(crossing_time(one.clock, one["strength"][:, 0], 0.5)) for one in alone]
kappa = divisor(single, np.mean(half_times))
steps = np.geomspace(10, staged.steps, 400)
exact, linear = trace(twin(staged, kappa), steps), trace(linear_twin(staged), steps)

figure, (skills, loss) = plt.subplots(1, 2)
for k in range(staged.n_skills):
    (line,) = skills.semilogx(network.clock[1:], network["strength"][1:, k], label=f"skill {k + 1}")
    skills.semilogx(steps, exact["strength"][:, k], "--", color=line.get_color())
skills.set(
    title=f"strengths (dashed: exact, divisor {kappa:.1f})",
    xlabel="SGD steps",
    ylabel="strength R/S",
    xlim=(40, staged.steps),
)
skills.legend(loc="upper left")

loss.loglog(network.clock[1:], network["loss"][1:], label="network")
loss.loglog(steps, exact["loss"], "--", label="two layers, exact")
loss.loglog(steps, linear["loss"], ":", label="linear, exact")
loss.set(title="loss", xlabel="SGD steps", ylabel="half the mean squared error", ylim=(0.02, 20))
loss.set_xlim(3, staged.steps)
loss.legend(loc="lower left")
plt.show()
