"""Measures that take gradients on the batch: the tangent kernel, and weights against the target."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from layerwise.measures import (
    gamma_plus,
    kernel_alignment,
    kernel_distance,
    kernel_growth,
    weight_to_target,
)
from layerwise.networks.kernels.ntk import along
from layerwise.probe.measure import Measure, Memory, NotApplicable, View, norm

__all__ = ["Kernel", "Scale"]

SAMPLES = 32
SIGNS = 4
SEED = 0
LIMIT = 4.0  # GB that a kernel may take


@dataclass(frozen=True)
class Kernel(Measure):
    """Centred distance of the tangent kernel from the start, growth, alignment with the targets.

    The trace kernel of at most 32 samples, evenly spaced in the batch. Of more than 4 outputs it is
    the kernel of 4 combinations of them with random signs, always the same: on average 4 times that
    of the outputs, as for `layerwise.networks.ntk_random`; no measure sees the factor. Keeps the
    kernel of the start.
    """

    name = "kernel"
    costly = True

    def begin(self, view: View) -> Memory:
        return {"kernel": _kernel(view)}

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        start = memory["kernel"]
        now = start if view.unchanged else _kernel(view)
        found = {
            "kernel_distance": float(kernel_distance(start, now)),
            "kernel_growth": float(kernel_growth(start, now)),
        }
        if view.scene.targets is not None:
            chosen = view.scene.targets[view.scene.subject.index(SAMPLES)].flatten(1).double()
            found["kernel_alignment"] = float(kernel_alignment(now, chosen))
        return found


@dataclass(frozen=True)
class Scale(Measure):
    """The weight-to-target ratio of any network, and the gain that the 1-h-1 model predicts.

    With outputs f and targets Y on the batch, trained parameters theta of which the outputs are
    homogeneous of degree L, and ``g`` the gradient of ``<Y, f>``::

        Theta/S = <Y, f> / |Y|^2        Sigma/S = |theta| |g| / (L |Y|^2) >= |Theta/S|
        gamma_plus = (1 + sqrt((Sigma/S)^2 - (Theta/S)^2 + 1)) / (Sigma/S + Theta/S)

    For the 1-h-1 network ``(x/Z) sum_i a_i b_i`` these are ``Theta``, ``Sigma`` and ``gamma_plus``
    of `layerwise.measures.scale` for every Z and every batch (for S < 0 gamma_plus is one over
    theirs: the growth of the sums or differences that do grow), and so for a diagonal model of
    equal modes. The four remedies change the ratio as theory says in any homogeneous network:
    weights times k by k^L, targets by 1/k, outputs by k, inputs of a network without biases by k.
    Elsewhere it is a definition: an upper bound, since weights that no input or target uses count
    in ``|theta|``, and of a model with norms, which have no scale, the size is a convention.

    Taken once, before the training. L is measured on 32 samples, from the growth of ``|g|`` between
    weights times ``2^(-1/2)`` and ``2^(1/2)``: exactly the number of layers of a ReLU network
    without biases; it is taken to be at least 1.
    """

    name = "scale"
    costly = True

    def begin(self, view: View) -> Memory:
        if not view.scene.targets.any():
            raise NotApplicable("all targets are zero")
        few, index = view.scene.subject.index(SAMPLES), view.scene.subject.index()
        up, down = (_slopes(view, few, math.sqrt(2.0) ** sign)[2] for sign in (1, -1))
        degree = max(1.0, 1.0 + math.log2(up / down)) if up and down else 1.0
        inner, size, slope = _slopes(view, index)
        square = float(view.scene.targets.double().square().sum())
        theta = inner / square
        sigma = max(size * slope / (degree * square), abs(theta))
        return {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in (("degree", degree), ("sigma", sigma), ("theta", theta))
        }

    def values(self, view: View, memory: Memory) -> dict[str, float]:
        if not view.first:
            return {}
        sigma, theta = float(memory["sigma"]), float(memory["theta"])
        plus, minus = math.sqrt(2 * (sigma + theta)), math.sqrt(2 * (sigma - theta))
        a, b = [(plus + minus) / 2], [(plus - minus) / 2]  # one pair of this theta and sigma
        return {
            "weight_to_target": float(weight_to_target(a, b, 1.0)),
            "gamma_plus": float(gamma_plus(a, b, 1.0)),
        }


def _slopes(view: View, index: Tensor, factor: float | None = None) -> tuple[float, float, float]:
    """Return ``<Y, f>``, ``|theta|`` and ``|g|`` on samples, with parameters times a factor."""
    with torch.enable_grad():
        outputs, own = view.scene.subject.run(index, factor)
        inner = (outputs * view.scene.targets[index].to(outputs)).sum()
        trained = [p for p in own.values() if p.requires_grad]
        found = torch.autograd.grad(inner, trained, allow_unused=True)
    pairs = [(p, g) for p, g in zip(trained, found, strict=True) if g is not None]
    sizes = torch.stack([norm(value) for values in zip(*pairs, strict=True) for value in values])
    theta, slope = sizes.double().view(2, -1).square().sum(dim=1).sqrt().tolist()
    return float(inner.detach()), theta, slope


def _kernel(view: View) -> Tensor:
    subject = view.scene.subject
    index = subject.index(SAMPLES)
    found = subject.surveyed(index)
    few = found.outputs.numel() <= SIGNS
    Q, directions = (None, torch.eye) if few else (SIGNS, _signs)
    found = along(subject, index, "trace", "auto", None, LIMIT, Q, directions, found)[0].double()
    if not found.isfinite().all():
        raise ValueError("the tangent kernel is not finite")
    return found


def _signs(C: int) -> Tensor:
    draws = torch.Generator().manual_seed(SEED)
    return 2.0 * torch.randint(2, (C, SIGNS), generator=draws).T - 1
