"""Grokking: delayed generalisation, its four remedies, and the clock of weight decay."""

from layerwise.phenomena.grokking.claims import CLAIMS
from layerwise.phenomena.grokking.experiment import Grokking
from layerwise.phenomena.grokking.plan import Plan, plan
from layerwise.phenomena.grokking.results import Results
from layerwise.phenomena.grokking.study import study

__all__ = ["CLAIMS", "Grokking", "Plan", "Results", "plan", "study"]
