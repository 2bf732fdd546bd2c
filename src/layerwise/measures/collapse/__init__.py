"""Neural collapse: NC1 to NC4 and their variants, each under the name of its convention.

Conventions. Features are the rows of an array (N, d) and labels whole numbers 0 ... C-1. ``mu_c``
is a class mean and ``mu_G`` their centre: the mean of the class means, or with ``weighted=True``
the mean of all samples (the same for classes of equal size). ``A`` has the rows ``mu_c - mu_G``,
the classifier is ``weight`` (C, d) and ``bias`` (C,). Covariances are

``Sigma_W = (1/N) sum_i (h_i - mu_y)(h_i - mu_y)^T`` and ``Sigma_B = (1/C) A^T A``.

Every measure reads the features block by block, subtracts the class mean before it multiplies and
keeps means and small eigenproblems in float64. Results are Python numbers.
"""

from layerwise.measures.collapse.duality import bias_collapse, nc3, nc3_zhu
from layerwise.measures.collapse.estimate import Estimate
from layerwise.measures.collapse.fused import Collapse, nc4, neural_collapse
from layerwise.measures.collapse.moments import ClassMoments, Moments
from layerwise.measures.collapse.simplex import NC2, Simplex, nc2, simplex
from layerwise.measures.collapse.spectrum import centred_spectrum, d_lr, top_energy
from layerwise.measures.collapse.variability import nc1

__all__ = [
    "NC2",
    "ClassMoments",
    "Collapse",
    "Estimate",
    "Moments",
    "Simplex",
    "bias_collapse",
    "centred_spectrum",
    "d_lr",
    "nc1",
    "nc2",
    "nc3",
    "nc3_zhu",
    "nc4",
    "neural_collapse",
    "simplex",
    "top_energy",
]
