"""Modular arithmetic: grokking where the remedies of images cut the delay and do not remove it."""

from layerwise.phenomena.modular.claims import CLAIMS
from layerwise.phenomena.modular.experiment import QuadraticModular, TransformerModular
from layerwise.phenomena.modular.plan import Plan, plan
from layerwise.phenomena.modular.results import Results
from layerwise.phenomena.modular.study import study

__all__ = [
    "CLAIMS",
    "Plan",
    "QuadraticModular",
    "Results",
    "TransformerModular",
    "plan",
    "study",
]
