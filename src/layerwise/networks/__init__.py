"""Plain torch modules with the explicit initial scales that the theory speaks about."""

from layerwise.networks import remedies
from layerwise.networks.cnn import CNN
from layerwise.networks.conserved import Conserved, conserved_quantities, conserved_values
from layerwise.networks.ensemble import Ensemble
from layerwise.networks.init import (
    downstream,
    lambda_balance,
    neuron_balance,
    rescale,
    set_weights,
    upstream,
)
from layerwise.networks.inputs import ScaledInput
from layerwise.networks.kernels import (
    KernelEstimate,
    KernelPlan,
    kernel_plan,
    ntk,
    ntk_random,
    ntk_summed,
)
from layerwise.networks.mlp import MLP
from layerwise.networks.outputs import CentredOutput, ScaledOutput, SymmetrisedOutput
from layerwise.networks.quadratic import Quadratic
from layerwise.networks.resnet import ResNet18
from layerwise.networks.stack import Stack, stacked_gradient
from layerwise.networks.transformer import Transformer
from layerwise.networks.two_layer import TwoLayer, blocked_gradient

__all__ = [
    "CNN",
    "MLP",
    "CentredOutput",
    "Conserved",
    "Ensemble",
    "KernelEstimate",
    "KernelPlan",
    "Quadratic",
    "ResNet18",
    "ScaledInput",
    "ScaledOutput",
    "Stack",
    "SymmetrisedOutput",
    "Transformer",
    "TwoLayer",
    "blocked_gradient",
    "conserved_quantities",
    "conserved_values",
    "downstream",
    "kernel_plan",
    "lambda_balance",
    "neuron_balance",
    "ntk",
    "ntk_random",
    "ntk_summed",
    "remedies",
    "rescale",
    "set_weights",
    "stacked_gradient",
    "upstream",
]
