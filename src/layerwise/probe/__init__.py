"""Attach to any training run, measure, never disturb.

`Probe` fills a `layerwise.Trace` from a run of the user's own, by the functions of
`layerwise.measures` that theory and experiments call too. The series it can hold, with L the name
of a weight matrix (``fc1``, or the full name of a parameter not called ``weight``), P that of a
pair of layers (``fc1-fc2``), F that of features (``avgpool``, ``penultimate``) and K a class
(``0``):

====================================  ============================================================
series                                what it is
====================================  ============================================================
``layerwise/weight_to_target``        ``Sigma/S`` of `Scale`: large lazy, small rich
``layerwise/gamma_plus``              growth of squared weights still to come, by the 1-h-1 model
``layerwise/norm/L``                  ``|W|``
``layerwise/motion/L``                ``|W - W_0| / |W_0|``
``layerwise/balance/P``               ``tr D / h`` of the conserved D: positive, later is larger
``layerwise/balance_share/P``         ``tr D`` over all squared weights in it, between -1 and 1
``layerwise/balance_drift/P``         ``|D - e^(-2 tau) D_0|`` over the squared weights at the start
``layerwise/balance_allowed/P``       what finite steps of plain SGD explain of the drift, at most
``layerwise/rank/F``                  effective rank of the centred features
``layerwise/feature_distance/F``      centred distance of the features' kernel from its start
``layerwise/sign_distance/F``         share of (input, unit) pairs that changed sign
``layerwise/d_lr/F``                  D_LR
``layerwise/nc1/F``                   NC1, ``tr(Sigma_W Sigma_B^+) / C``
``layerwise/nc2_norm/F``              NC2, spread of the lengths of the class means
``layerwise/nc2_angle/F``             NC2, mean distance of their cosines from ``-1/(C-1)``
``layerwise/nc3/F``                   NC3
``layerwise/nc4/F``                   NC4
``layerwise/class_accuracy/K``        accuracy on the batch of the samples of one class
``layerwise/kernel_distance``         centred distance of the tangent kernel from its start
``layerwise/kernel_growth``           its norm relative to the start
``layerwise/kernel_alignment``        its centred alignment with the targets
``layerwise/learning_rate``           of the optimiser, for the weight matrices
``layerwise/weight_decay``            of the optimiser, for the weight matrices
``layerwise/decay_budget``            tau, e-foldings by which decay alone shrank them so far
anything else                         what the user logged, under its own name
====================================  ============================================================

NaN stands for what was not measured at a look, or is not known: tau where decay is coupled to an
adaptive step, and the drift of a quantity whose parameters decay at different rates.
"""

from layerwise.probe.probe import Probe

__all__ = ["Probe"]
