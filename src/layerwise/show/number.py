"""Numbers as a reader sees them."""

from __future__ import annotations

import math

__all__ = ["number"]

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """Write `value` with three significant digits; a dash where there is none.

    Examples
    --------
    >>> [number(x) for x in (None, 0.0, 0.12345, 1234.5, 1.26e-9, -2.0, float("inf"))]
    ['–', '0', '0.123', '1,230', '1.26 × 10⁻⁹', '−2', '∞']
    """
    if value is None or math.isnan(value):
        return "–"
    if value < 0:
        return f"−{number(-value)}"
    if math.isinf(value):
        return "∞"
    mantissa, exponent = f"{value:.2e}".split("e")
    if -4 < int(exponent) < 6:
        return f"{float(f'{abs(value):.3g}'):,g}"
    return f"{float(mantissa):g} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
