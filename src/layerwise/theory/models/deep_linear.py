"""The deep linear network: any number of layers, of any sizes, on any inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate, pairwise
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from layerwise import measures
from layerwise.theory.model import LARGEST, Model, matrix
from layerwise.theory.regression import Regression

__all__ = ["DeepLinear"]

Array = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, init=False)
class DeepLinear(Model):
    """Deep linear network ``f(x) = W_L ... W_1 x``, trained on ``E[y x^T]`` and ``E[x x^T]``.

    ``W_l' = (W_L ... W_{l+1})^T (S - W Sxx) (W_{l-1} ... W_1)^T`` with ``W = W_L ... W_1``. Between
    neighbours ``W_{l+1}^T W_{l+1} - W_l W_l^T`` is conserved.

    Parameters
    ----------
    weights
        Initial layers ``[W_1, ..., W_L]``, L >= 1; W_1 has shape (h_1, i), W_L (o, h_{L-1}).
    cross
        ``S = E[y x^T]``, shape (o, i). (For targets ``y = A x`` it is ``A Sxx``.)
    input_cov
        ``Sxx = E[x x^T]``, shape (i, i), symmetric, no negative eigenvalue; None for whitened
        inputs, ``Sxx = I``.

    Raises
    ------
    ValueError
        If there is no layer, shapes do not fit (both are named), a number is not finite,
        `input_cov` is not a covariance, or `cross` sees inputs that have no variance.

    Notes
    -----
    Quantities: ``map`` W (T, o, i); ``error`` ``S - W Sxx`` (T, o, i); ``loss`` (T,),
    ``1/2 E|W* x - W x|^2`` with the best map ``W* = S Sxx^+``, that is without the irreducible
    ``1/2 E|y - W* x|^2``; ``modes`` ``u_k^T W v_k`` (T, k), what the map holds of each singular
    mode of W*; ``singular_values`` and ``effective_rank`` of W; ``conserved`` (T, n), the entries
    of ``W_{l+1}^T W_{l+1} - W_l W_l^T``, row by row, for l = 1, ..., L - 1 one after the other
    (n = h_1^2 + ... + h_{L-1}^2, which is 0 for one layer).

    Examples
    --------
    >>> import numpy as np
    >>> import layerwise as lw
    >>> model = lw.DeepLinear(3 * [0.5 * np.eye(2)], cross=np.diag([3.0, 1.0]))
    >>> sol = lw.solve(model, [0.0, 1.0, 30.0])
    >>> sol.law
    'deep modes'
    >>> sol["modes"].round(3)
    array([[0.125, 0.125],
           [2.997, 0.489],
           [3.   , 1.   ]])
    """

    weights: tuple[Array, ...]
    cross: Array
    input_cov: Array | None

    quantities: ClassVar[tuple[str, ...]] = (
        "conserved",
        "effective_rank",
        "error",
        "loss",
        "map",
        "modes",
        "singular_values",
    )
    traced = ("effective_rank", "loss", "modes", "singular_values")

    def __init__(
        self,
        weights: Sequence[npt.ArrayLike],
        cross: npt.ArrayLike,
        input_cov: npt.ArrayLike | None = None,
    ) -> None:
        layers = _layers(weights)
        target = Regression("DeepLinear", cross, input_cov)
        wanted = len(layers[-1]), layers[0].shape[1]
        if target.cross.shape != wanted:
            raise ValueError(
                f"DeepLinear: cross (o, i) must have shape {wanted} for a first layer "
                f"{layers[0].shape} and a last layer {layers[-1].shape}, got {target.cross.shape}"
            )
        object.__setattr__(self, "weights", layers)
        object.__setattr__(self, "cross", target.cross)
        object.__setattr__(self, "input_cov", target.input_cov)

    @cached_property
    def regression(self) -> Regression:
        """What the network is trained on."""
        return Regression("DeepLinear", self.cross, self.input_cov)

    def config(self) -> dict[str, Any]:
        return {
            "model": "DeepLinear",
            "weights": [layer.tolist() for layer in self.weights],
            "cross": self.cross.tolist(),
            "input_cov": None if self.input_cov is None else self.input_cov.tolist(),
        }

    def size_of(self, name: str) -> int:
        kept = sum(len(layer) ** 2 for layer in self.weights[:-1])
        return {"map": self.cross.size, "error": self.cross.size, "conserved": kept}.get(name, 1)

    @property
    def start(self) -> Array:
        return np.concatenate([layer.ravel() for layer in self.weights])

    def split(self, state: Array) -> tuple[Array, ...]:
        ends = np.cumsum([layer.size for layer in self.weights[:-1]])
        parts = np.split(state, ends, axis=-1)
        lead = state.shape[:-1]
        shapes = [layer.shape for layer in self.weights]
        return tuple(part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True))

    def velocity(self, state: Array) -> Array:
        layers = self.split(state)
        below = list(accumulate(layers, _times))
        pull, slopes = self.regression.error(below[-1]), []
        for layer, before in zip(layers[:0:-1], below[-2::-1], strict=True):
            slopes.append(pull @ np.swapaxes(before, -1, -2))
            pull = np.swapaxes(layer, -1, -2) @ pull
        return _flat([pull, *slopes[::-1]], state.shape[:-1])

    def jacobian(self, state: Array) -> Array:
        layers = self.split(state)
        i = layers[0].shape[1]
        cov = np.eye(i) if self.input_cov is None else self.input_cov
        below = list(accumulate(layers[:-1], _times, initial=np.eye(i)))
        above = list(accumulate(layers[:0:-1], np.matmul, initial=np.eye(len(self.cross))))[::-1]
        error = self.regression.error(layers[-1] @ below[-1])
        rows = []
        for m, after in enumerate(above):
            row = []
            for k, before in enumerate(below[: m + 1]):  # the layer moved is not above the other
                block = -np.kron(above[k].T @ after, before @ cov @ below[m].T)
                if k < m:
                    between = reduce(_times, layers[k + 1 : m], np.eye(len(layers[k])))
                    pulled = after.T @ error @ before.T
                    # axes: output, input of the layer below; output, input of the one above
                    block += np.einsum("da,cb->abcd", between, pulled).reshape(block.shape)
                row.append(block)
            rows.append(row)
        count = len(layers)
        return np.block(
            [[rows[m][k] if k <= m else rows[k][m].T for m in range(count)] for k in range(count)]
        )

    def fastest(self) -> float:
        least, most, _ = self.regression.extent
        if most == 0:
            return 0.0
        loss = float(self.regression.loss(reduce(_times, self.weights)))
        reach = float(self.regression.modes[1][0]) + math.sqrt(2 * loss / least)
        size = np.sqrt(self._largest(reach))
        alone = np.eye(len(size), dtype=bool)
        rest = np.where(alone, 1.0, size)
        others = np.prod(rest, axis=1)
        pairs = np.prod(np.where(alone, 1.0, rest[:, None, :]), axis=-1)
        turn = float(np.max(np.sum(np.where(alone, 0.0, pairs), axis=1)))
        return most * float(np.sum(others**2)) + turn * math.sqrt(2 * most * loss)

    def _largest(self, reach: float) -> Array:
        """Return bounds of every ``|W_l|^2`` on the way, of a map that never exceeds `reach`.

        On a top singular vector of W_L, ``|W|^2 >= prod_l (|W_L|^2 - e_l)``: each layer passes on
        the square of what the next one holds, less what their imbalance allows (Cauchy-Schwarz),
        and e_l adds this up from l to L. The same holds from the first layer.
        """
        values, vectors = self.regression.variances
        seen = vectors[:, values > self.regression.extent[0] / 2]
        layers = [self.weights[0] @ seen, *self.weights[1:]]
        extremes = [
            np.linalg.eigvalsh(measures.imbalance(*both))[[0, -1]] for both in pairwise(layers)
        ]
        fall, rise = np.array([[-low, high] for low, high in extremes]).reshape(-1, 2).T
        share = reach ** (2 / len(layers))
        from_first, from_last = _bounds(fall, rise, share), _bounds(rise[::-1], fall[::-1], share)
        return np.maximum(np.minimum(from_first, from_last[::-1]), 0.0)

    def parts(self) -> Iterator[DeepLinear]:
        yield self

    def quantity(self, name: str, state: Array) -> Array:
        layers = self.split(state)
        if name == "conserved":
            kept = [measures.imbalance(*both) for both in pairwise(layers)]
            return _flat(kept, state.shape[:-1])
        maps = reduce(_times, layers)
        match name:
            case "map":
                return maps
            case "error":
                return self.regression.error(maps)
            case "loss":
                return self.regression.loss(maps)
            case "modes":
                return self.regression.strengths(maps)
            case "singular_values":
                return np.asarray(np.linalg.svd(maps, compute_uv=False))
            case "effective_rank":
                return np.asarray(measures.effective_rank(maps))
        raise self.unknown(name)


def _times(product: Array, layer: Array) -> Array:
    return layer @ product


def _flat(arrays: Iterable[Array], lead: tuple[int, ...]) -> Array:
    """Return matrices (*lead, n, m) as one array (*lead, d)."""
    return np.concatenate([np.empty((*lead, 0)), *(a.reshape(*lead, -1) for a in arrays)], axis=-1)


def _bounds(ahead: Array, behind: Array, share: float) -> Array:
    """Return bounds of squared norms, from one end of the chain to the other.

    The layer at that end, the first here, exceeds its neighbour by at most ``ahead[0]`` and falls
    short of it by at most ``behind[0]``, and so on; `share` is what all would have if equal.
    """
    end = share + np.max(np.cumsum(ahead), initial=0.0)
    return np.asarray(end + np.concatenate([[0.0], np.cumsum(behind)]))


def _layers(weights: Sequence[npt.ArrayLike]) -> tuple[Array, ...]:
    """Return the layers as matrices that fit, with a product within the range of float64."""
    if not isinstance(weights, Iterable) or isinstance(weights, str):
        raise TypeError(
            f"DeepLinear: weights must be a sequence of layers, got {type(weights).__name__}"
        )
    layers = tuple(matrix("DeepLinear", f"weights[{k}]", w) for k, w in enumerate(weights))
    if not layers:
        raise ValueError("DeepLinear: weights must have at least one layer")
    for k, (before, after) in enumerate(pairwise(layers)):
        if after.shape[1] != len(before):
            raise ValueError(
                f"DeepLinear: weights[{k}] (h, .) and weights[{k + 1}] (., h) do not fit: "
                f"{before.shape} and {after.shape}"
            )
    sizes = sum(math.log(max(float(np.linalg.norm(layer)), 1.0)) for layer in layers)
    if sizes > math.log(LARGEST):
        raise ValueError(
            f"DeepLinear: the product of the layers is larger than {LARGEST:g} in size"
        )
    return layers
