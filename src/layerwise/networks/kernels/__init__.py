"""Empirical tangent kernels of any torch module: exact, estimated, and what they cost."""

from layerwise.networks.kernels.estimates import KernelEstimate, ntk_random, ntk_summed
from layerwise.networks.kernels.ntk import kernel_plan, ntk
from layerwise.networks.kernels.plan import KernelPlan

__all__ = ["KernelEstimate", "KernelPlan", "kernel_plan", "ntk", "ntk_random", "ntk_summed"]
