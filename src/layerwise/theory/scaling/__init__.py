"""Scaling laws of power-law skills: the loss over time, data, parameters and compute.

Each is an exact sum over any number of skills, with an estimate of its error, and for infinitely
many a power law with its prefactor. `Skills.linear` gives the linear model to draw beside it: its
exponents are the same wherever targets do not vary with rank.
"""

from layerwise.theory.scaling.compute import (
    ComputeFront,
    compute_front,
    compute_loss,
    front_constant,
)
from layerwise.theory.scaling.curve import PowerLaw
from layerwise.theory.scaling.data import (
    RULES,
    Rule,
    binomial,
    data_law,
    data_loss,
    data_shares,
    hard,
    linear,
    one_shot,
    square_root,
)
from layerwise.theory.scaling.fits import ExponentFit, completed, fit_exponent
from layerwise.theory.scaling.parameters import (
    parameter_law,
    parameter_loss,
    parameter_shares,
    unseen_loss,
)
from layerwise.theory.scaling.sums import Sum
from layerwise.theory.scaling.time import time_law, time_loss

__all__ = [
    "RULES",
    "ComputeFront",
    "ExponentFit",
    "PowerLaw",
    "Rule",
    "Sum",
    "binomial",
    "completed",
    "compute_front",
    "compute_loss",
    "data_law",
    "data_loss",
    "data_shares",
    "fit_exponent",
    "front_constant",
    "hard",
    "linear",
    "one_shot",
    "parameter_law",
    "parameter_loss",
    "parameter_shares",
    "square_root",
    "time_law",
    "time_loss",
    "unseen_loss",
]
