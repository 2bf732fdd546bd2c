"""
A run that memorises, its diagnosis, and the remedy
===================================================

A deep tanh network with large initial weights learns 1000 images by heart. A probe watches it; 300
steps in, its diagnosis says which regime this is, when the run will generalise if nothing is
changed, and what to change. From there the run goes on twice: as it was, and with one of the
remedies. Three seeds, less than a minute.
"""  # noqa: D205, D400

import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import mse_loss, one_hot

import layerwise as lw
from layerwise.networks import MLP
from layerwise.tasks import load_or_stand_in, split

torch.set_num_threads(1)
DIAGNOSED, LEVEL, SCALE = 300, 0.85, 3.0
images = load_or_stand_in("mnist")  # digits of 8x8 pixels where MNIST is not in the cache
sizes = (1000, 1000) if images.name == "mnist" else (200, 797)
print("data:", images.source)


def train(net, data, begin, steps, goal=1.0):
    """Train up to a test accuracy and return the trace: a plain loop, and two calls of a probe."""
    x, y, x_test, y_test = data
    targets = SCALE * one_hot(y, 10)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.3, fused=True)
    draws = torch.Generator().manual_seed(begin)
    probe = lw.Probe(
        net, batch=(x[:500], y[:500]), every=50, batch_every=100, optimizer=optimizer,
        target_scale=SCALE,
    )  # fmt: skip
    for step in range(begin, begin + steps + 1):
        if step % 50 == 0:
            with torch.no_grad():
                train_accuracy, test_accuracy = (
                    (net(inputs).argmax(1) == labels).double().mean().item()
                    for inputs, labels in ((x, y), (x_test, y_test))
                )
            probe.step(step, train_accuracy=train_accuracy, test_accuracy=test_accuracy)
            if test_accuracy >= goal:
                break
        chosen = torch.randint(len(x), (128,), generator=draws)
        loss = mse_loss(net(x[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return probe.trace()


# %%
# What the diagnosis says
# -----------------------
#
# A finding comes with the numbers it rests on, with what it takes for granted, and with the calls
# that would change it, each with its predicted effect.

starts, nets, drawn, traces = [], [], [], []
for seed in range(3):
    drawn.append([torch.from_numpy(array) for array in split(images, *sizes, seed)])
    nets.append(MLP((drawn[-1][0].shape[1], 200, 200, 200, 10), weight_scale=5.0, seed=seed))
    starts.append(copy.deepcopy(nets[-1]))
    traces.append(train(nets[-1], drawn[-1], 0, DIAGNOSED))
found = [lw.diagnose(trace) for trace in traces]
print(found[0])

# %%
# The same network, without and with a remedy
# -------------------------------------------
#
# ``scale_output`` returns a network that multiplies the outputs of this one by the factor that the
# diagnosis names. Nothing else is changed: not the weights as they have become, the data, the loss,
# the rate, nor the decay. Both go on with a new optimiser. The remedy does the same to a start of
# which nothing is trained yet, and there brings the weight-to-target ratio down as it predicts.

left, cured, anew = [], [], []
for start, net, data, diagnosis in zip(starts, nets, drawn, found, strict=True):
    factor = diagnosis.remedy("scale_output").value
    left.append(train(copy.deepcopy(net), data, DIAGNOSED, 4000, goal=LEVEL + 0.01))
    cured.append(train(lw.remedies.scale_output(net, factor), data, DIAGNOSED, 600))
    anew.append(train(lw.remedies.scale_output(start, factor), data, 0, 500))

print(f"step of test accuracy {LEVEL}")
print("forecast, 90 % interval    as it was   remedy   remedy at the start   ratio")
for seed, diagnosis in enumerate(found):
    told = diagnosis.forecast
    reached = [
        lw.measures.first_reached(one.clock, one["test_accuracy"], LEVEL)
        for one in (left[seed], cured[seed], anew[seed])
    ]
    ratios = [one["layerwise/weight_to_target"][0] for one in (traces[seed], anew[seed])]
    print(f"{told.time:8.0f}, {told.low:.0f} to {told.high:.0f}", end="")
    print("{:15.0f}{:9.0f}{:22.0f}".format(*reached), "  {:.0f} to {:.1f}".format(*ratios))

# %%
# Left alone, the run generalises when the forecast says, after two thousand steps and more; its
# features move slowly meanwhile, and decay shrinks what the large start left behind. With the
# remedy it is there within 200 steps of the diagnosis, and learns new features to get there.

figure, (accuracy, features) = plt.subplots(1, 2, sharex=True)
for seed in range(3):
    told = found[seed].forecast
    names = f"output x {factor:.3g}", "as it was", "forecast, 90 %", "train"
    with_it, without, forecast, fit = names if seed == 0 else 4 * (None,)
    early = traces[seed]
    accuracy.plot(early.clock, early["train_accuracy"], ":", color="0.4", label=fit)
    accuracy.plot(early.clock, early["test_accuracy"], color="0.4")
    for trace, color, name in ((cured[seed], "C1", with_it), (left[seed], "C0", without)):
        accuracy.plot(trace.clock, trace["test_accuracy"], color=color, label=name)
        moved = trace["layerwise/feature_distance/penultimate"]
        seen = np.isfinite(moved)
        features.plot(trace.clock[seen], moved[seen], color=color, label=name)
    accuracy.hlines(LEVEL, told.low, told.high, "0.6", linewidth=5, zorder=0, label=forecast)
accuracy.axvline(DIAGNOSED, color="0.6", linestyle=":")
accuracy.set(title=f"diagnosed at step {DIAGNOSED}", xlabel="step", ylabel="test accuracy")
accuracy.legend(loc="lower right")
features.set(title="what the features do then", xlabel="step", ylabel="kernel distance")
features.legend()
plt.show()
