"""A number that knows how far it can be trusted."""

from __future__ import annotations

__all__ = ["Estimate"]


class Estimate(float):
    """A float with the floor below which it is rounding, the rank it used and its error.

    It is a plain number wherever a number is wanted. Printed or formatted, a value below its floor
    shows as ``<`` and the floor.

    Attributes
    ----------
    floor
        What rounding of the features alone can produce; smaller values mean "nothing seen".
    rank
        Number of directions that were used.
    error
        Standard error of a random estimate; 0 where nothing was drawn.

    Examples
    --------
    >>> value = Estimate(2.5e-16, floor=1e-14, rank=9)
    >>> value < 1e-3, f"{value:.1e}", value
    (True, '<1.0e-14', Estimate(<1e-14, floor=1e-14, rank=9, error=0))
    """

    floor: float
    rank: int
    error: float

    def __new__(
        cls, value: float, floor: float = 0.0, rank: int = 0, error: float = 0.0
    ) -> Estimate:
        """Return `value` with its floor, rank and error."""
        self = super().__new__(cls, value)
        self.floor, self.rank, self.error = floor, rank, error
        return self

    def __format__(self, spec: str) -> str:
        below = float(self) < self.floor
        return ("<" if below else "") + format(self.floor if below else float(self), spec)

    def __str__(self) -> str:
        return format(self, "")

    def __repr__(self) -> str:
        return f"Estimate({self}, floor={self.floor:.3g}, rank={self.rank}, error={self.error:.3g})"
