"""Plain torch modules with the explicit initial scales that the theory speaks about."""

from layerwise.networks.mlp import MLP

__all__ = ["MLP"]
