"""The rules of a diagnosis, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from layerwise.diagnosis.finding import Finding
from layerwise.diagnosis.rules.balance import (
    broken_conservation,
    exploding_imbalance,
    idle_layer,
    lazy_by_imbalance,
)
from layerwise.diagnosis.rules.collapse import (
    minority_below_the_threshold,
    not_yet_collapsed,
    rank_collapsed_too_early,
)
from layerwise.diagnosis.rules.diverged import diverged
from layerwise.diagnosis.rules.grokking import decay_too_weak, memorised_and_waiting
from layerwise.diagnosis.rules.noise import fits_noise
from layerwise.diagnosis.rules.scale import lazy_by_scale
from layerwise.diagnosis.rules.stages import learning_in_stages
from layerwise.trace import Trace

__all__ = ["RULES", "Rule"]

Rule = Callable[[Trace], Finding | None]

RULES: Final[tuple[Rule, ...]] = (
    diverged,
    broken_conservation,
    exploding_imbalance,
    idle_layer,
    lazy_by_scale,
    lazy_by_imbalance,
    memorised_and_waiting,
    decay_too_weak,
    fits_noise,
    rank_collapsed_too_early,
    minority_below_the_threshold,
    not_yet_collapsed,
    learning_in_stages,
)
