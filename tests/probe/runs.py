"""Small training runs with and without a probe."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

import layerwise as lw
from layerwise.networks import MLP


class Net(nn.Module):
    """A user's own module, whose order of layers nobody knows."""

    def __init__(self, width=16):
        super().__init__()
        self.fc1 = nn.Linear(6, width)
        self.fc2 = nn.Linear(width, width)
        self.act = nn.ReLU()
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.act(self.fc2(torch.relu(self.fc1(x)))))


def data(n=48, classes=3, shape=(6,)):
    draws = torch.Generator().manual_seed(5)
    y = torch.arange(n) % classes
    x = torch.randn(n, *shape, generator=draws)
    x.view(n, -1)[:, :classes] += 2.0 * nn.functional.one_hot(y, classes)
    return x, y


def mlp(**settings):
    return MLP((6, 16, 16, 3), activation="relu", seed=0, **settings)


def seeded(build):
    """Return `build()` with the global random numbers of a seed, which go on from there."""
    torch.manual_seed(3)
    return build()


def train(net, optimizer, x, y, steps, probe=None, *, start=0, amp=False, wrapped=None):
    """Train on random halves of the data; the halves and dropout use the global random numbers."""
    forward = net if wrapped is None else wrapped
    for i in range(start, steps):
        rows = torch.randperm(len(x))[: len(x) // 2]
        with torch.autocast("cpu", torch.bfloat16) if amp else contextlib.nullcontext():
            loss = nn.functional.cross_entropy(forward(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        if probe is not None:
            probe.step(i, train_loss=loss.item())
        optimizer.step()
    return net


def probed(steps=21, *, build=mlp, lr=0.1, decay=0.0, **settings):
    """Return a trained network and its probe, which looked at everything every ten steps."""
    x, y = data()
    net = seeded(build)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, weight_decay=decay)
    defaults = {"batch": (x, y), "every": 10, "batch_every": 10, "optimizer": optimizer}
    probe = lw.Probe(net, **(defaults | settings))
    train(net, optimizer, x, y, steps, probe)
    return net, probe
