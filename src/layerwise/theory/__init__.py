"""What is exactly known: models, their closed forms, and the flow that checks them."""

from layerwise.theory.model import Model
from layerwise.theory.models import Diagonal, Scalar, Shallow
from layerwise.theory.solve import NotSolvable, Solution, solve, time_to

__all__ = ["Diagonal", "Model", "NotSolvable", "Scalar", "Shallow", "Solution", "solve", "time_to"]
