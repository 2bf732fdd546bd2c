"""Pure functions of weights and curves: numpy or torch in, the same out.

No state and no input or output: theory, networks and probes all call these same functions, so a
number has one meaning everywhere.
"""

from layerwise.measures.balance import (
    Balance,
    balance_defect,
    balance_level,
    drift,
    imbalance,
    layer_imbalance,
    log_norm_ratio,
    neuron_imbalance,
    pair_imbalance,
)
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
from layerwise.measures.filters import filter_energy, filter_participation, filter_roughness
from layerwise.measures.fourier import fourier_concentration
from layerwise.measures.kernel import (
    kernel_alignment,
    kernel_distance,
    kernel_growth,
    kernel_velocity,
)
from layerwise.measures.modes import alignment, mode_strengths, skill_strength
from layerwise.measures.motion import linearised_gap, relative_motion, sign_distance
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
    "Balance",
    "ClassMoments",
    "Collapse",
    "Estimate",
    "Moments",
    "Simplex",
    "alignment",
    "balance_defect",
    "balance_level",
    "bias_collapse",
    "centred_spectrum",
    "crossing_time",
    "d_lr",
    "delay_ratio",
    "drift",
    "effective_rank",
    "filter_energy",
    "filter_participation",
    "filter_roughness",
    "first_reached",
    "fourier_concentration",
    "gain",
    "gamma_plus",
    "imbalance",
    "kernel_alignment",
    "kernel_distance",
    "kernel_growth",
    "kernel_velocity",
    "layer_imbalance",
    "linearised_gap",
    "log_norm_ratio",
    "magnitude",
    "mode_strengths",
    "nc1",
    "nc2",
    "nc3",
    "nc3_zhu",
    "nc4",
    "neural_collapse",
    "neuron_imbalance",
    "numerical_rank",
    "pair_imbalance",
    "product",
    "rank_of_spectrum",
    "relative_motion",
    "sharpness",
    "sign_distance",
    "simplex",
    "skill_strength",
    "stable_rank",
    "top_energy",
    "weight_to_target",
]
