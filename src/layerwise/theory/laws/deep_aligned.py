r"""Aligned chains: a deep linear network that falls apart into products of numbers.

If ``W_l = R_l diag(w_l) R_{l-1}^T + (rest)`` with orthonormal columns R_l, where ``R_0 = V``
diagonalises Sxx, and V and ``R_L = U`` both S and the map, and the rest touches no R, then every
mode k is a chain of L numbers of its own, with target ``s_k/xi_k`` and input variance xi_k:

    w_lk' = xi_k prod_{j != l} w_jk (s_k/xi_k - prod_j w_jk),      R_l constant.

Domain of this module: finding the chains, whatever the input spectrum, the signs and the widths. A
chain of equal layers, up to signs, has the depth law; one in which two layers or more vanish stands
still; all others have no closed form for L >= 3. Source: Saxe et al. 2014 (arXiv 1312.6120) for
whitened inputs; with covariance and detection derived here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from layerwise.theory.laws import aligned
from layerwise.theory.laws.aligned import Modes

__all__ = ["EQUAL", "NOISE", "TOLERANCE", "Chains", "find"]

Array = npt.NDArray[np.float64]

# Sizes apart by this share of the largest weight are equal but for rounding. The law takes their
# mean: the map then errs by the square of it.
EQUAL = 1e-13
TOLERANCE = 1e-10  # of being aligned, relative to the largest entry of each layer
NOISE = 1e-14  # what a layer passes on below this share of its size is rounding


@dataclass(frozen=True, eq=False)
class Chains:
    """The chains of a network.

    Attributes
    ----------
    modes
        Joint modes of map, target and inputs.
    which
        Indices (m,) of the modes whose layers all pass them on; others have at least one layer
        that is 0 there.
    sides
        ``R_0, ..., R_L`` of these, as columns (n_l, m).
    links
        Their weights, shape (L, m), any signs.
    unequal
        By how much the sizes of the weights of one chain differ at most, relative to the largest
        weight; 1 if some chain has exactly one weight that is 0.
    """

    modes: Modes
    which: npt.NDArray[np.intp]
    sides: tuple[Array, ...]
    links: Array
    unequal: float

    @property
    def signs(self) -> Array:
        """Signs of the weights, shape (L, m)."""
        return np.where(self.links < 0, -1.0, 1.0)

    @property
    def size(self) -> Array:
        """The size that the weights of a chain have in common, shape (m,)."""
        return np.asarray(np.mean(np.abs(self.links), axis=0))

    @property
    def unexcited(self) -> int:
        """How many modes of the target chains of equal layers never learn.

        Those that stand still, and those whose map starts with the opposite sign: they end on
        the saddle at 0.
        """
        s = self.modes.s
        aimed = np.abs(s) > aligned.SAME * np.max(np.abs(s), initial=0.0)
        towards = np.zeros(len(s), dtype=bool)
        towards[self.which] = np.prod(self.signs, axis=0) * s[self.which] > 0
        return int(np.sum(aimed & ~towards))


def find(layers: Sequence[Array], cross: Array, cov: Array | None) -> tuple[Chains | None, float]:
    """Return the chains of at least two layers, or None, and the deviation from being aligned.

    The bases at the ends are those of `aligned.find`, of the first layer and the product of the
    others. Inside, ``W_l R_{l-1}`` and ``W_l^T R_l`` must be diagonal between the bases that they
    themselves define, to 1e-10 of the largest entry of W_l. Inputs without variance must have been
    left out.

    Examples
    --------
    >>> layers = [np.diag([0.5, 0.1]), np.diag([0.5, -0.1]), np.diag([0.5, 0.1])]
    >>> chains, off = find(layers, np.diag([3.0, 1.0]), None)
    >>> chains.size, np.prod(chains.signs, axis=0), chains.unexcited
    (array([0.5, 0.1]), array([ 1., -1.]), 1)
    """
    modes, off = aligned.find(layers[0], reduce(_times, layers[1:]), cross, cov)
    if modes is None:
        return None, off
    k = len(modes.s)
    sides, off_ahead = _passed_on(layers, modes.v[:, :k])
    back, off_back = _passed_on([layer.T for layer in reversed(layers)], modes.u[:, :k])
    reach, reach_back = (_reach(way) for way in (sides, back))
    whole = (reach == len(layers)) & (reach_back == len(layers))
    # where one layer alone is 0 it moves at once; where two are, none ever does
    broken = (reach + reach_back >= len(layers) - 1) & ~whole
    which = np.flatnonzero(whole)
    chosen = [*(side[:, which] for side in sides[:-1]), modes.u[:, which]]
    ends = list(pairwise(chosen))
    links = np.array([_each(p, layer @ q) for layer, (q, p) in zip(layers, ends, strict=True)])
    left = [
        _share(image, layer)
        for layer, link, (q, p) in zip(layers, links, ends, strict=True)
        for image in (layer @ q - p * link, layer.T @ p - q * link)
    ]
    off = max(off, off_ahead, off_back, *left)
    if off > TOLERANCE:
        return None, off
    sizes = np.abs(links)
    spread = np.max(np.ptp(sizes, axis=0), initial=0.0) / (np.max(sizes, initial=0.0) or 1.0)
    unequal = 1.0 if np.any(broken) else float(spread)
    return Chains(modes, which, tuple(chosen), links, unequal), off


def _passed_on(layers: Iterable[Array], start: Array) -> tuple[list[Array], float]:
    """Return the bases that layers turn `start` into, 0 where they end, and how orthogonal."""
    sides, off = [start], 0.0
    for layer in layers:
        image = layer @ sides[-1]
        size = np.linalg.norm(image, axis=0)
        # smaller vectors are freed of rounding in the direction of larger ones
        alive = int(np.sum(size > NOISE * np.linalg.norm(layer)))
        order = np.argsort(-size)[: min(alive, len(layer))]
        q, r = np.linalg.qr(image[:, order])
        after = np.zeros_like(image)
        after[:, order] = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        off = max(off, _share(image - after * size, layer))
        sides.append(after)
    return sides, off


def _reach(sides: Sequence[Array]) -> npt.NDArray[np.int64]:
    """Return through how many layers each column is passed on."""
    return np.asarray(np.sum([np.any(side, axis=0) for side in sides[1:]], axis=0))


def _each(p: Array, q: Array) -> Array:
    """Return the inner products of columns."""
    return np.asarray(np.einsum("nk,nk->k", p, q))


def _share(deviation: Array, layer: Array) -> float:
    """Return the largest entry relative to that of the layer."""
    size = float(np.max(np.abs(layer)))
    return float(np.max(np.abs(deviation), initial=0.0)) / size if size else 0.0


def _times(product: Array, layer: Array) -> Array:
    return layer @ product
