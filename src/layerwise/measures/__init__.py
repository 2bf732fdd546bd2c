"""Pure functions of weights and curves: numpy or torch in, the same out.

No state and no input or output: theory, networks and probes all call these same functions, so a
number has one meaning everywhere.
"""

from layerwise.measures.balance import drift, imbalance, pair_imbalance
from layerwise.measures.kernel import kernel_distance
from layerwise.measures.modes import alignment, mode_strengths, skill_strength
from layerwise.measures.rank import (
    effective_rank,
    numerical_rank,
    rank_of_spectrum,
    stable_rank,
)
from layerwise.measures.scale import gain, gamma_plus, magnitude, product, weight_to_target
from layerwise.measures.timing import crossing_time, delay_ratio, first_reached, sharpness

__all__ = [
    "alignment",
    "crossing_time",
    "delay_ratio",
    "drift",
    "effective_rank",
    "first_reached",
    "gain",
    "gamma_plus",
    "imbalance",
    "kernel_distance",
    "magnitude",
    "mode_strengths",
    "numerical_rank",
    "pair_imbalance",
    "product",
    "rank_of_spectrum",
    "sharpness",
    "skill_strength",
    "stable_rank",
    "weight_to_target",
]
