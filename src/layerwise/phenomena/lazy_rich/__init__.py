"""Lazy and rich: whether the tangent kernel turns while a network learns, and which layers."""

from layerwise.phenomena.lazy_rich.claims import CLAIMS
from layerwise.phenomena.lazy_rich.cnn import Convolution
from layerwise.phenomena.lazy_rich.dial import Dial
from layerwise.phenomena.lazy_rich.funnel import Funnel
from layerwise.phenomena.lazy_rich.linear import Limits, TwoNumber
from layerwise.phenomena.lazy_rich.maps import BalancedMap, UnbalancedMap
from layerwise.phenomena.lazy_rich.plan import Plan, plan
from layerwise.phenomena.lazy_rich.results import Results
from layerwise.phenomena.lazy_rich.study import study
from layerwise.phenomena.lazy_rich.upstream import LinearUpstream

__all__ = [
    "CLAIMS",
    "BalancedMap",
    "Convolution",
    "Dial",
    "Funnel",
    "Limits",
    "LinearUpstream",
    "Plan",
    "Results",
    "TwoNumber",
    "UnbalancedMap",
    "plan",
    "study",
]
