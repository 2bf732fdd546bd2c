"""Plain torch modules with the explicit initial scales that the theory speaks about."""

from layerwise.networks.mlp import MLP
from layerwise.networks.resnet import ResNet18
from layerwise.networks.stack import Stack, stacked_gradient
from layerwise.networks.two_layer import TwoLayer, blocked_gradient

__all__ = ["MLP", "ResNet18", "Stack", "TwoLayer", "blocked_gradient", "stacked_gradient"]
