"""Pure functions of weights and curves: numpy or torch in, the same out.

No state and no input or output: theory, networks and probes all call these same functions, so a
number has one meaning everywhere.
"""

from layerwise.measures.balance import drift, imbalance, pair_imbalance
from layerwise.measures.collapse import (
    NC2,
    ClassMoments,
    Collapse,
    Estimate,
    Moments,
    Simplex,
    bias_collapse,
    centred_spectrum,
    d_lr,
    nc1,
    nc2,
    nc3,
    nc3_zhu,
    nc4,
    neural_collapse,
    simplex,
    top_energy,
)
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
    "NC2",
    "ClassMoments",
    "Collapse",
    "Estimate",
    "Moments",
    "Simplex",
    "alignment",
    "bias_collapse",
    "centred_spectrum",
    "crossing_time",
    "d_lr",
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
    "nc1",
    "nc2",
    "nc3",
    "nc3_zhu",
    "nc4",
    "neural_collapse",
    "numerical_rank",
    "pair_imbalance",
    "product",
    "rank_of_spectrum",
    "sharpness",
    "simplex",
    "skill_strength",
    "stable_rank",
    "top_energy",
    "weight_to_target",
]
