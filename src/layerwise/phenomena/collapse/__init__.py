"""Neural collapse: features that draw together at the corners of a simplex, and when they do."""

from layerwise.phenomena.collapse.claims import CLAIMS
from layerwise.phenomena.collapse.experiment import Collapse, LinearFeatures
from layerwise.phenomena.collapse.plan import Plan, plan
from layerwise.phenomena.collapse.results import Results
from layerwise.phenomena.collapse.study import study

__all__ = ["CLAIMS", "Collapse", "LinearFeatures", "Plan", "Results", "plan", "study"]
