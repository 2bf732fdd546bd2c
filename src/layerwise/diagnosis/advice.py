r"""What a remedy will do, before it is applied.

For outputs homogeneous of degree L in the weights, ``Theta/S`` (the share of the target that the
start has) and the weight-to-target ratio ``Sigma/S`` decide, up to the unit of time, how a network
learns (`layerwise.measures.weight_to_target`). A remedy of factor k multiplies both by the power of
k of the table, and the speed of a lazy fit by plain descent at the same learning rate, which is the
size of the tangent kernel, by another:

    ==================  ====================  =============
    remedy              Sigma/S, Theta/S      speed
    ==================  ====================  =============
    ``scale_weights``   L                     2 L - 2
    ``scale_output``    1                     2
    ``scale_input``     1                     2
    ``scale_targets``   -1                    0
    ==================  ====================  =============

Inputs count as written for networks without biases, homogeneous of degree 1 in their input.
``rate`` and squared error as in the theory; Adam hardly changes its speed.

Source: derived from the scalar model of arXiv 2502.21009, extended to degree L by homogeneity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from layerwise.measures import gamma_plus, weight_to_target
from layerwise.names import nearest

__all__ = [
    "SCALES",
    "Remedy",
    "balanced",
    "decayed",
    "scale_to",
    "scaled",
    "spared",
    "stopped",
    "turned",
]

SCALES: Final = ("scale_weights", "scale_output", "scale_input", "scale_targets")


@dataclass(frozen=True)
class Remedy:
    """A change to a run, and what it is predicted to do.

    Attributes
    ----------
    name
        A function of `layerwise.remedies`, or ``"stop"``.
    call
        How to call it; of a stop, when.
    effect
        What it does, in words.
    predicted
        Numbers after the change, by name: ``weight_to_target``, ``gamma_plus``,
        ``smallest_class``, ``test_accuracy``; ``speed``, ``steps`` and ``squared_weights``
        relative to before.
    keeps_function
        Whether the outputs stay as they are.
    value
        The number in the call: a factor, a decay, a step; NaN where there is none.
    """

    name: str
    call: str
    effect: str
    predicted: Mapping[str, float]
    keeps_function: bool = False
    value: float = math.nan


def scaled(
    name: str, factor: float, ratio: float, growth: float = math.nan, degree: float = 2.0
) -> Remedy:
    """Return what a remedy that scales does to a network before it is trained.

    Parameters
    ----------
    name
        One of `SCALES`.
    factor
        Positive.
    ratio, growth
        Weight-to-target ratio and gamma_plus before; of both follows what the start has of the
        target. Without gamma_plus that is taken to be nothing.
    degree
        Degree L of the outputs in the weights.

    Raises
    ------
    ValueError
        If the name is unknown, or a number is not positive.

    Examples
    --------
    >>> after = scaled("scale_output", 0.1, ratio=5.0)
    >>> {name: round(value, 4) for name, value in after.predicted.items()}
    {'weight_to_target': 0.5, 'gamma_plus': 4.2361, 'speed': 0.01}
    """
    if name not in SCALES:
        raise ValueError(nearest(name, SCALES, kind="remedy that scales"))
    _need_positive(factor=factor, ratio=ratio, degree=degree)
    size = factor ** {"scale_weights": degree, "scale_targets": -1.0}.get(name, 1.0)
    speed = factor ** {"scale_weights": 2 * degree - 2, "scale_targets": 0.0}.get(name, 2.0)
    a, b = _pair(ratio, growth)
    root = math.sqrt(size)
    after, grown = (
        float(measure([root * a], [root * b], 1.0)) for measure in (weight_to_target, gamma_plus)
    )
    pace = "as fast as before" if speed == 1 else f"{speed:.3g} times as fast"
    what = "model" if name != "scale_targets" else "targets"
    return Remedy(
        name,
        f"lw.remedies.{name}({what}, {factor:.3g})",
        f"weight-to-target ratio {ratio:.3g} becomes {after:.3g}, so that squared weights grow "
        f"{grown:.3g}-fold; a lazy fit by plain descent is {pace}",
        {"weight_to_target": after, "gamma_plus": grown, "speed": speed},
        value=factor,
    )


def scale_to(
    goal: float,
    ratio: float,
    growth: float = math.nan,
    degree: float = 2.0,
    saturated: int | None = None,
) -> tuple[Remedy, ...]:
    """Return the remedies that scale, each strong enough to make the ratio `goal`.

    `saturated` is the number of layers of a network that is not homogeneous, as one of tanh is not:
    its degree grows as weights shrink. Then outputs and targets are still exact; of smaller weights
    only the direction is said, and nothing of inputs.

    Examples
    --------
    >>> [one.call.split("remedies.")[1] for one in scale_to(0.5, ratio=8.0)]
    ['scale_weights(model, 0.25)', 'scale_output(model, 0.0625)', 'scale_input(model, 0.0625)',
     'scale_targets(targets, 16)']
    >>> [bool(one.predicted) for one in scale_to(0.5, ratio=8.0, saturated=4)]
    [True, True, False]
    """
    share = goal / ratio
    factors = {
        "scale_weights": share ** (1 / degree),
        "scale_output": share,
        "scale_input": share,
        "scale_targets": 1 / share,
    }
    if saturated is None:
        return tuple(scaled(name, f, ratio, growth, degree) for name, f in factors.items())
    smaller = share ** (1 / saturated)
    return (
        *(scaled(name, factors[name], ratio, growth) for name in ("scale_output", "scale_targets")),
        Remedy(
            "scale_weights",
            f"lw.remedies.scale_weights(model, {smaller:.3g})",
            f"smaller weights beside the same target; what becomes of the ratio {ratio:.3g} is not "
            "predicted, since the outputs are not homogeneous in the weights",
            {},
            value=smaller,
        ),
    )


def balanced(share: float, ratio: float = math.nan) -> Remedy:
    """Return what balancing the units of two layers does: each unit gets in what it gives out.

    `share` is their imbalance over the sum of their squared weights, between -1 and 1. The function
    stays; of the squares ``a^2 + b^2`` of a unit ``2 |a b|`` stay, so that of all squared weights
    at most ``sqrt(1 - share^2)`` is left, and exactly that where all units have one share. In the
    1-h-1 network the weight-to-target `ratio`, if it is known, falls alike; elsewhere that is a
    guide.

    Examples
    --------
    >>> balanced(-0.8, ratio=10.0).predicted
    {'squared_weights': 0.6, 'weight_to_target': 6.0}
    """
    if not abs(share) <= 1:
        raise ValueError(f"share must lie in [-1, 1], got {share}")
    left = math.sqrt((1 - share) * (1 + share))
    after = {} if math.isnan(ratio) else {"weight_to_target": ratio * left}
    falls = f"; the weight-to-target ratio {ratio:.3g} falls alike in the 1-h-1 network"
    return Remedy(
        "balance",
        "lw.remedies.balance(model)",
        f"the same function from balanced layers, which learn at one speed: of the squared weights "
        f"of these two {left:.3g} are left at most{falls if after else ''}",
        {"squared_weights": left} | after,
        keeps_function=True,
    )


def turned(share: float) -> Remedy:
    """Return what turning two layers upstream does: their imbalance changes its sign.

    With `share` as for `balanced` and negative, the earlier layer larger, `upstream` by ``alpha =
    sqrt((1 - share)/(1 + share))`` makes the later one larger by as much: of a network of two
    layers, whose function stays, the share is then ``-share``. The early layer learns, and with it
    the features of a ReLU network.

    Examples
    --------
    >>> turned(-0.98).call, turned(-0.98).predicted
    ('lw.remedies.upstream(model, 9.95)', {'balance_share': 0.98})
    """
    if not -1 < share < 0:
        raise ValueError(f"share must lie between -1 and 0, got {share}")
    alpha = math.sqrt((1 - share) / (1 + share))
    return Remedy(
        "upstream",
        f"lw.remedies.upstream(model, {alpha:.3g})",
        f"the same function, the later layer now the larger one: the imbalance {share:.2g} becomes "
        f"{-share:.2g}, and the early layer learns",
        {"balance_share": -share},
        keeps_function=True,
        value=alpha,
    )


def decayed(decay: float, factor: float) -> Remedy:
    """Return what more decay does to the end of a delay: it comes as many times sooner.

    The clock of delayed generalisation is ``learning rate x decay x steps``.

    Examples
    --------
    >>> decayed(0.1, 3.0).call, round(decayed(0.1, 3.0).predicted["steps"], 3)
    ('lw.remedies.set_decay(optimizer, 0.3)', 0.333)
    """
    _need_positive(decay=decay, factor=factor)
    effect = f"what decay has still to shrink takes {1 / factor:.3g} times as many steps"
    return _decay(decay, factor, effect, {"steps": 1 / factor})


def spared(decay: float, smallest: float, learned: float) -> Remedy:
    """Return what less decay does to classes of `smallest` samples, where those of `learned` live.

    A class of n_c samples has the strength ``sqrt(n_c) - N c``, c proportional to the decay. Those
    that live bound ``N c``; lower by half the root of their ratio, it leaves the smallest at least
    half of the strength that they have without decay.

    Examples
    --------
    >>> spared(0.1, smallest=4, learned=100).call
    'lw.remedies.set_decay(optimizer, 0.01)'
    """
    _need_positive(decay=decay, smallest=smallest, learned=learned)
    factor = math.sqrt(smallest / learned) / 2
    effect = f"classes as small as {smallest:g} samples rise to half their strength, or more"
    return _decay(decay, factor, effect, {"smallest_class": smallest})


def _decay(decay: float, factor: float, effect: str, predicted: Mapping[str, float]) -> Remedy:
    new = factor * decay
    call = f"lw.remedies.set_decay(optimizer, {new:.3g})"
    return Remedy("set_decay", call, effect, predicted, keeps_function=True, value=new)


def stopped(step: float, accuracy: float) -> Remedy:
    """Return what it does to stop at a step, of which the test accuracy is known.

    Examples
    --------
    >>> stopped(300.0, 0.81).effect
    'the test accuracy stays at 0.81'
    """
    return Remedy(
        "stop",
        f"stop at step {step:g}",
        f"the test accuracy stays at {accuracy:.2g}",
        {"test_accuracy": accuracy},
        value=step,
    )


def _need_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


def _pair(ratio: float, growth: float) -> tuple[float, float]:
    """Return one pair of weights of this ratio and gamma_plus, for a target of 1.

    ``gamma_plus u - 1 = sqrt(u v + 1)`` with ``u = Sigma + Theta``, ``v = Sigma - Theta`` is linear
    in u once squared: ``u = 2 (Sigma + gamma_plus)/(1 + gamma_plus^2)``.
    """
    up = 2 * (ratio + growth) / (1 + growth**2) if math.isfinite(growth) else ratio
    up = min(max(up, 0.0), 2 * ratio)
    plus, minus = math.sqrt(2 * up), math.sqrt(2 * (2 * ratio - up))
    return (plus + minus) / 2, (plus - minus) / 2
