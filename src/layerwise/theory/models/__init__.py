"""Layerwise linear models: linear in the input, a product of layers in the parameters.

Every model is a frozen dataclass of float64 arrays. The loss is ``1/2 E|y - f(x)|^2`` without its
irreducible part, and time is that of the gradient flow ``dw/dt = -dLoss/dw``.
"""

from layerwise.theory.models.deep import Deep
from layerwise.theory.models.deep_linear import DeepLinear
from layerwise.theory.models.diagonal import Diagonal
from layerwise.theory.models.features import Features
from layerwise.theory.models.linear import Linear
from layerwise.theory.models.scalar import Scalar
from layerwise.theory.models.shallow import Shallow
from layerwise.theory.models.skills import Skills

__all__ = [
    "Deep",
    "DeepLinear",
    "Diagonal",
    "Features",
    "Linear",
    "Scalar",
    "Shallow",
    "Skills",
]
