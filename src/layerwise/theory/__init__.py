"""What is exactly known: models, their closed forms, and the flow that checks them."""

from layerwise.theory import clock, errata, scaling, starts
from layerwise.theory.errors import NotSolvable
from layerwise.theory.fit import Fit, fit
from layerwise.theory.model import Model
from layerwise.theory.models import (
    Deep,
    DeepLinear,
    Diagonal,
    Features,
    Linear,
    Scalar,
    Shallow,
    Skills,
)
from layerwise.theory.regime import Regime
from layerwise.theory.solution import Solution
from layerwise.theory.solve import solve
from layerwise.theory.structure import Assumption
from layerwise.theory.times import time_to

__all__ = [
    "Assumption",
    "Deep",
    "DeepLinear",
    "Diagonal",
    "Features",
    "Fit",
    "Linear",
    "Model",
    "NotSolvable",
    "Regime",
    "Scalar",
    "Shallow",
    "Skills",
    "Solution",
    "clock",
    "errata",
    "fit",
    "scaling",
    "solve",
    "starts",
    "time_to",
]
