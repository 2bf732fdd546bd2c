"""Depth: the deeper the product, the later and the sharper the jump; and lottery tickets."""

from layerwise.phenomena.depth.claims import CLAIMS
from layerwise.phenomena.depth.experiment import Depth, Ticket
from layerwise.phenomena.depth.plan import Plan, plan
from layerwise.phenomena.depth.results import Results
from layerwise.phenomena.depth.study import study

__all__ = ["CLAIMS", "Depth", "Plan", "Results", "Ticket", "plan", "study"]
