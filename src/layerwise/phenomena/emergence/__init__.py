"""Emergence: skills that switch on one after another, and the scaling laws that follow."""

from layerwise.phenomena.emergence.claims import CLAIMS
from layerwise.phenomena.emergence.experiment import Emergence, LinearSkills, Widths
from layerwise.phenomena.emergence.plan import Plan, plan
from layerwise.phenomena.emergence.results import Results
from layerwise.phenomena.emergence.study import study

__all__ = ["CLAIMS", "Emergence", "LinearSkills", "Plan", "Results", "Widths", "plan", "study"]
