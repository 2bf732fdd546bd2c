"""The clock of grokking: why a delay ends, and when, in two models that can be solved."""

from layerwise.phenomena.clock.claims import CLAIMS
from layerwise.phenomena.clock.experiment import LinearGrokking, ScalarClock
from layerwise.phenomena.clock.plan import Plan, plan
from layerwise.phenomena.clock.results import Results
from layerwise.phenomena.clock.study import study

__all__ = ["CLAIMS", "LinearGrokking", "Plan", "Results", "ScalarClock", "plan", "study"]
