"""
Skills: stages in the strengths, powers in the loss
===================================================

Skills of power-law frequency learn one after another, and their losses add up to a power of time.
Deeper products come in more and sharper stages, but their losses are parallel lines: the exponent
says nothing about layers. A sum over 100 skills leaves the line where its list ends, unless it is
completed by what the later skills would cost.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np

import layerwise as lw
from layerwise.theory import scaling

ALPHA, START = 0.6, 1e-4

figure, (strengths, losses) = plt.subplots(1, 2)
k = np.arange(1, 9)
for depth, style in ((2, "-"), (4, "--")):
    skills = lw.Skills(ALPHA, start=START, depth=depth)
    t = np.geomspace(0.3, 60, 500)
    learned = skills.strengths(k, t * skills.half_times(1))
    for rank, curve in zip(k, learned.T, strict=True):
        strengths.semilogx(t, curve, style, color=plt.cm.viridis((rank - 1) / len(k)))
    strengths.plot([], [], style, color="0.3", label=f"L = {depth}")
strengths.set(title="eight skills", xlabel="time / first half time", ylabel=r"$R_k/S$")
strengths.legend(loc="upper left")

t = np.geomspace(1e-1, 1e8, 200)
layered = lw.Skills(ALPHA, start=START)
models = {1: layered.linear(), 2: layered, 4: lw.Skills(ALPHA, start=START, depth=4)}
for depth, skills in models.items():
    losses.loglog(t, scaling.time_loss(skills, t).value, label=f"L = {depth}, infinitely many")
few = lw.Skills(ALPHA, 100, start=START)
t = np.geomspace(1e-1, 1.3 * few.half_times(100), 100)
loss = scaling.time_loss(few, t).value
losses.loglog(t, loss, ":", color="0.3", label="L = 2, 100 skills")
losses.loglog(t, scaling.completed(few, loss), "--", color="0.3", label="the same, completed")
losses.set(title="loss", xlabel="time", ylabel="loss", ylim=(1e-4, 1))
losses.legend(loc="lower left")
plt.show()
