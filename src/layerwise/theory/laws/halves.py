"""A balanced network at given times as factors, whose products are its map and Grams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Halves", "joined"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Halves:
    """A balanced network at T times, in the coordinates of the target's modes.

    ``W = U [alpha, c] [V^T; B N]``, ``W2 W2^T = U gram U^T`` and ``W1^T W1 = [V, (B N)^T] [[A, x],
    [x^T, y]] [V^T; B N] + e^{-2 decay t} N^T (I - B^T B) N``, all of them products of

    Attributes
    ----------
    out, into
        Shapes (T, rho, o) and (T, rho, k).
    rest
        Shape (T, rho, rho); None where S sees all inputs.
    """

    out: Array
    into: Array
    rest: Array | None

    @property
    def alpha(self) -> Array:
        """What the map holds of the modes, shape (T, o, k)."""
        return np.swapaxes(self.out, 1, 2) @ self.into

    @property
    def c(self) -> Array | None:
        """What the map makes of inputs that S does not see, shape (T, o, rho)."""
        return None if self.rest is None else np.swapaxes(self.out, 1, 2) @ self.rest

    @property
    def gram(self) -> Array:
        """Shape (T, o, o)."""
        return np.swapaxes(self.out, 1, 2) @ self.out

    @property
    def inputs(self) -> tuple[Array, Array, Array]:
        """A, x and y; the last two of no columns where S sees all inputs."""
        back = np.swapaxes(self.into, 1, 2)
        rest = self.into[..., :0] if self.rest is None else self.rest
        return back @ self.into, back @ rest, np.swapaxes(rest, 1, 2) @ rest


def joined(parts: list[Halves]) -> Halves:
    """Return the network at the times of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    rest = [part.rest for part in parts if part.rest is not None]
    return Halves(
        np.concatenate([part.out for part in parts]),
        np.concatenate([part.into for part in parts]),
        np.concatenate(rest) if rest else None,
    )
