"""What a linear network is trained on: its best map, and the singular modes of that map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from layerwise.theory.model import matrix

__all__ = ["Regression"]

Array = npt.NDArray[np.float64]

SYMMETRIC = 1e-10  # relative to the largest entry
NO_VARIANCE = 1e-12  # relative to the largest eigenvalue


@dataclass(frozen=True, eq=False, init=False)
class Regression:
    """``S = E[y x^T]`` and ``Sxx = E[x x^T]`` of a regression on whitened or other inputs.

    Parameters
    ----------
    kind
        Name of the model, for messages.
    cross
        S, shape (o, i).
    input_cov
        Sxx, shape (i, i); None for the identity.

    Raises
    ------
    ValueError
        If Sxx has another shape, is asymmetric or has a negative eigenvalue, or if S sees inputs
        that have no variance.
    """

    cross: Array
    input_cov: Array | None

    def __init__(self, kind: str, cross: npt.ArrayLike, input_cov: npt.ArrayLike | None) -> None:
        S = matrix(kind, "cross", cross)
        object.__setattr__(self, "cross", S)
        object.__setattr__(self, "input_cov", None)
        if input_cov is None:
            return
        cov = matrix(kind, "input_cov", input_cov)
        if cov.shape != (S.shape[1], S.shape[1]):
            raise ValueError(
                f"{kind}: input_cov (i, i) does not fit cross (o, i): {cov.shape} and {S.shape}"
            )
        largest = float(np.max(np.abs(cov)))
        skew = float(np.max(np.abs(cov - cov.T)))
        if skew > SYMMETRIC * largest:
            raise ValueError(
                f"{kind}: input_cov must be symmetric, but differs from its transpose by {skew:.2g}"
            )
        cov = (cov + cov.T) / 2
        cov.flags.writeable = False
        object.__setattr__(self, "input_cov", cov)
        values, _ = self.variances
        if values[0] < -SYMMETRIC * max(values[-1], 0) or values[-1] < 0:
            raise ValueError(
                f"{kind}: input_cov must have no negative eigenvalue, got {values[0]:.3g}"
            )
        blind = self._blind
        outside = float(np.max(np.abs(S @ blind), initial=0.0))
        if outside > SYMMETRIC * max(float(np.max(np.abs(S))), NO_VARIANCE):
            raise ValueError(
                f"{kind}: cross E[y x^T] has entries up to {outside:.2g} on inputs to which "
                "input_cov gives no variance; no data can do that"
            )

    @cached_property
    def variances(self) -> tuple[Array, Array]:
        """Eigenvalues of Sxx, ascending, and its eigenvectors as columns."""
        if self.input_cov is None:
            return np.ones(self.cross.shape[1]), np.eye(self.cross.shape[1])
        values, vectors = np.linalg.eigh(self.input_cov)
        return values, vectors

    @property
    def _blind(self) -> Array:
        values, vectors = self.variances
        return np.asarray(vectors[:, values <= NO_VARIANCE * values[-1]])

    @cached_property
    def best(self) -> Array:
        """The best map ``W* = S Sxx^+``."""
        if self.input_cov is None:
            return self.cross
        values, vectors = self.variances
        seen = values > NO_VARIANCE * values[-1]
        basis = vectors[:, seen]
        return np.asarray((self.cross @ basis / values[seen]) @ basis.T)

    @cached_property
    def modes(self) -> tuple[Array, Array, Array]:
        """Thin singular value decomposition of W*: u (o, k), s (k,) descending, v (i, k)."""
        u, s, vt = np.linalg.svd(self.best, full_matrices=False)
        return u, s, vt.T

    @cached_property
    def extent(self) -> tuple[float, float, float]:
        """Smallest positive and largest eigenvalue of Sxx, and its trace."""
        if self.input_cov is None:
            return 1.0, 1.0, float(self.cross.shape[1])
        values, _ = self.variances
        seen = values[values > NO_VARIANCE * values[-1]]
        least = float(seen[0]) if len(seen) else 0.0
        return least, float(max(values[-1], 0.0)), float(np.trace(self.input_cov))

    def error(self, maps: Array) -> Array:
        """Return ``S - W Sxx`` of maps (..., o, i)."""
        return self.cross - (maps if self.input_cov is None else maps @ self.input_cov)

    def loss(self, maps: Array) -> Array:
        """Return ``1/2 tr((W - W*) Sxx (W - W*)^T)``, the loss without its irreducible part."""
        left = maps - self.best
        seen = left if self.input_cov is None else left @ self.input_cov
        return np.asarray(np.einsum("...ij,...ij->...", left, seen) / 2)

    def strengths(self, maps: Array) -> Array:
        """Return ``u_k^T W v_k`` for every mode, shape (..., k)."""
        u, _, v = self.modes
        return np.asarray(np.einsum("ok,...oi,ik->...k", u, maps, v, optimize=True))
