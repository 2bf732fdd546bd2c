"""
A probe on a ResNet: how far is it from collapse?
=================================================

A ResNet18 of width 8 learns 768 of scikit-learn's digits and trains on. The probe watches its
features draw together (NC1), its class means go to a simplex (NC2) and its classifier to the means
(NC3), and counts the work of decay that brings this about. Half-way, the diagnosis says how many
steps are left; at the end it finds nothing. One seed, fifteen seconds.
"""  # noqa: D205, D400

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import cross_entropy

import layerwise as lw
from layerwise.networks import ResNet18
from layerwise.tasks import load, split

torch.set_num_threads(1)
STEPS, HALF, DROP = 780, 330, 660
x, labels, *_ = map(torch.from_numpy, split(load("digits"), 768, 1, seed=0))
x = ((x - x.mean()) / x.std()).reshape(-1, 1, 8, 8)


class Writer:
    """Stands in for TensorBoard's, whose SummaryWriter has the same method."""

    def __init__(self):
        self.numbers = {}

    def add_scalar(self, name, value, step):
        """Keep a number."""
        self.numbers[name, step] = value


# %%
# Two lines in a loop
# -------------------
#
# A batch of some hundred samples, to look at the network with, and ``step`` in every iteration.
# What it returns is a flat dictionary, empty where no look is due: any logger takes it as it is.

net = ResNet18(1, 10, width=8, seed=0)
optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-2)
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [DROP], 0.1)
draws, writer = torch.Generator().manual_seed(0), Writer()
probe = lw.Probe(net, batch=(x[:500], labels[:500]), every=10, batch_every=30, optimizer=optimizer)
for step in range(STEPS + 1):
    chosen = torch.randint(len(x), (64,), generator=draws)
    logits = net(x[chosen])
    loss = cross_entropy(logits, labels[chosen])

    right = (logits.argmax(1) == labels[chosen]).double().mean()
    for name, value in probe.step(step, train_loss=loss, train_accuracy=right).items():
        writer.add_scalar(name, value, step)
    if step == HALF:
        print(lw.diagnose(probe.trace()))

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %%
# At the end
# ----------

trace = probe.trace()
end = lw.diagnose(trace)
print(f"findings: {len(end.findings)}; nothing found by: {', '.join(end.clear)}")
print(f"in the logger: {len(writer.numbers)} numbers, of step {STEPS} for example")
for name in ("nc1", "nc2_angle", "nc3"):
    full = f"layerwise/{name}/penultimate"
    print(f"  {full:32} {writer.numbers[full, STEPS]:.3f}")

# %%
# NC1 and NC3 in the bands of the rule (0.03 and 0.05) count as collapsed. The budget is the number
# of e-foldings by which decay alone would have shrunk the weights, about 2 of them being needed.
# While the rate is high the features rattle; they come to rest when it drops.

figure, (measures, budget) = plt.subplots(1, 2)
for name, label in (("nc1", "NC1"), ("nc2_angle", "NC2, angles"), ("nc3", "NC3")):
    values = trace[f"layerwise/{name}/penultimate"]
    seen = np.isfinite(values)
    measures.semilogy(trace.clock[seen], values[seen], label=label)
measures.axvline(DROP, color="0.6", linestyle="--", linewidth=1)
measures.set(title="distance from collapse", xlabel="step")
measures.legend()

tau = trace["layerwise/decay_budget"]
spent = tau[trace.clock == HALF][0]
budget.plot(trace.clock, tau, label="decay so far")
budget.plot([HALF, HALF * 2 / spent], [spent, 2], "k:", label="as told half-way")
budget.axhline(2, color="0.6", linewidth=1)
for axes in (measures, budget):
    axes.axvline(HALF, color="0.6", linestyle=":")
budget.set(title="the budget of decay", xlabel="step", ylabel="e-foldings")
budget.legend()
plt.show()
