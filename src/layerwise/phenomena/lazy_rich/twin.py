"""The exact maps beside the trained ones, and the boundary between lazy and rich."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from layerwise.measures import kernel_distance
from layerwise.phenomena.lazy_rich.descent import folded
from layerwise.phenomena.lazy_rich.funnel import Funnel
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.turn import turned
from layerwise.theory import Linear, solve
from layerwise.trace import Provenance, Trace, versions

__all__ = [
    "LEVEL",
    "agreement",
    "boundary",
    "exact_funnel",
    "exact_map",
    "lazy_map",
    "limit_distance",
]

LEVEL = 0.01  # the kernel distance that separates lazy from rich
NEGLIGIBLE, HUGE = 1e-6, 1e6  # shares of the target between which the boundary is looked for


def limit_distance(target: np.ndarray, c: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    r"""Return how far the kernel has turned once a network of imbalance ``2 c`` has learned W.

    If the imbalance has the values ``upper`` (for each output) and ``-lower`` (for each input),
    then, by its conservation, at all times

        W2 W2^T = alpha/2 + sqrt(W W^T + c^2),   W1^T W1 = -alpha/2 + sqrt(W^T W + c^2)

    with ``alpha = upper - lower``, ``c = (upper + lower)/2``. The kernel ``K = I (x) X^T W1^T W1 X
    + W2 W2^T (x) X^T X`` of the trained network is therefore known from the target W alone, and
    alpha drops out of it. Where it starts from ``W1^T W1 = a I``, ``W2 W2^T = b I``, as all the
    maps here do or nearly do, K_0 is proportional to ``I (x) X^T X``, and so is the distance known.
    For white inputs and a square W of singular values s_j

        1 - (1 + v/2)^{-1/2},   v the relative variance (CV^2) of r_j = sqrt(s_j^2 + c^2):

    lazy if, and only if, ``c >> |W|``. Neither time nor the size of the map at the start enter.

    Domain: exact for white inputs, two-valued imbalance (square balanced networks: ``lower = 0``,
    ``c = |lam|/2``) and a start from which all of W is learned; for other inputs, if ``c >> |W|``.

    Parameters
    ----------
    target
        W, shape (o, i).
    c
        Shape (...).
    inputs
        X, shape (i, n).

    References
    ----------
    The Grams are those of `layerwise.theory.laws.two_valued`; derived here.

    Examples
    --------
    >>> c = np.array([0.0, 1.0, 3.0])
    >>> limit_distance(np.diag([2.0, 1.0]), c, np.eye(2)).round(6)
    array([0.026671, 0.012437, 0.001071])
    """
    u, s, vt = np.linalg.svd(target)
    o, i = target.shape
    sides = []
    for vectors, size in ((vt.T, i), (u, o)):
        full = np.zeros(size)
        full[: len(s)] = s
        r = np.hypot(full, c[..., None])
        sides.append(vectors * r[..., None, :] @ vectors.T)
    return kernel_distance(
        folded(np.eye(i), np.eye(o), inputs), folded(*sides, inputs), centred=False
    )


def boundary(one: BalancedMap | UnbalancedMap, level: float = LEVEL) -> np.ndarray:
    r"""Return \|lam\| at which the kernel distance is predicted to be `level`, for every scale.

    Nearer to lam = 0 learning is rich, beyond it lazy; 0 where all of it is lazy. By
    `limit_distance` the distance depends on ``c`` over the target only, so that one root ``c_1``
    serves all scales: ``c = c_1/scale``. In the balanced map ``c = |lam|/2``. In the unbalanced one
    the Grams of the start are on average ``hidden std_l^2 I`` and ``c`` is the mean of both,
    ``hidden ((std + |lam|)^2 + std^2)/2``.

    Parameters
    ----------
    one
        The map.
    level
        Between 0 and 1.

    Examples
    --------
    >>> boundary(BalancedMap(points=3)).round(3)
    array([1.048, 0.1  , 0.052])
    """
    scales = one.axes[0]
    networks = one.networks
    target = networks.cross[0, 0] / networks.variances * scales[0]
    size = float(np.linalg.norm(target))

    def excess(log: float) -> float:
        c = np.array(size * np.exp(log))
        return float(limit_distance(target, c, networks.inputs)) - level

    low, high = np.log(NEGLIGIBLE), np.log(HUGE)
    c = size * np.exp(brentq(excess, low, high)) / scales if excess(low) > 0 else 0 * scales
    if isinstance(one, BalancedMap):
        return 2 * c
    squares = 2 * c / one.hidden - one.std**2
    return np.maximum(np.sqrt(np.maximum(squares, 0)) - one.std, 0)


def agreement(one: BalancedMap | UnbalancedMap, found: np.ndarray, level: float = LEVEL) -> float:
    """Return how well the boundary separates a map: the share on its right side, of each kind.

    The mean of the share of the points with a distance above `level` that lie on the rich side,
    and of the share of the others that lie on the lazy side; 1/2 for a boundary that knows nothing.
    NaN for a map that is all lazy or all rich.

    Parameters
    ----------
    found
        Kernel distances (points, points) over scale and lam.
    level
        That of the boundary, and the one to compare with.
    """
    rich = np.abs(one.axes[1]) < boundary(one, level)[:, None]
    above = found > level
    if above.all() or not above.any():
        return np.nan
    return float(np.mean(rich[above]) + np.mean(~rich[~above])) / 2


def exact_map(one: BalancedMap) -> Trace:
    """Return the exact kernel distances of a balanced map at its last step, and its boundary.

    On the clock of the map, the scale: `distance` (points, points) and `boundary` (points,).
    """
    networks, t = one.networks, [0.0, one.learning_rate * one.steps]
    found = np.empty((one.points, one.points))
    for k in np.ndindex(found.shape):
        model = Linear(networks.w1[k], networks.w2[k], networks.cross[k[0], 0])
        found[k] = solve(model, t)["kernel_distance"][-1]
    origin = Provenance("theory", "scale", one.config(), one.seed, versions=versions())
    return Trace(one.axes[0], {"distance": found, "boundary": boundary(one)}, origin)


def lazy_map(one: UnbalancedMap) -> Trace:
    """Return the kernel distances that an unbalanced map would have if all of it were lazy.

    To the leading order in the target, each point from its own start: see
    `layerwise.phenomena.lazy_rich.turn`. On the clock of the map, the scale: `distance`
    (points, points) and `boundary` (points,).
    """
    networks = one.networks
    start = networks.w1.mT @ networks.w1, networks.w2 @ networks.w2.mT
    end = turned(
        networks.w1, networks.w2, networks.cross, networks.inputs, one.learning_rate * one.steps
    )
    found = kernel_distance(
        *(folded(*grams, networks.inputs) for grams in (start, end)), centred=False
    )
    origin = Provenance("theory", "scale", one.config(), one.seed, versions=versions())
    return Trace(one.axes[0], {"distance": found, "boundary": boundary(one)}, origin)


def exact_funnel(one: Funnel, t: np.ndarray) -> Trace:
    """Return the exact kernel distances (T, points) of a funnel at times t, as `distance`."""
    networks = one.networks
    models = (
        Linear(w1, w2, networks.cross) for w1, w2 in zip(networks.w1, networks.w2, strict=True)
    )
    found = np.stack([solve(model, t)["kernel_distance"] for model in models], axis=1)
    origin = Provenance("theory", "gradient-flow time", one.config(), one.seed, versions=versions())
    return Trace(t, {"distance": found}, origin)
