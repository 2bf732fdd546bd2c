"""The claims about lazy and rich: each a prediction, a measurement per seed, and a rule."""

from __future__ import annotations

from collections.abc import Callable

from layerwise.phenomena.claim import Claim
from layerwise.phenomena.lazy_rich.claims import cnn, linear, maps
from layerwise.phenomena.lazy_rich.results import Results

__all__ = ["CLAIMS"]

CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    maps.balanced,
    maps.unbalanced,
    maps.funnel,
    linear.two_number,
    linear.limits,
    linear.upstream,
    linear.dial,
    cnn.activation,
    cnn.filters,
    cnn.features,
    cnn.kernel,
    cnn.accuracy,
)
