"""The empirical tangent kernel of any torch module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerwise.networks.kernels.contract import Gram
from layerwise.networks.kernels.jacobian import add_jacobian
from layerwise.networks.kernels.plan import KernelPlan, plan_of
from layerwise.networks.kernels.runs import need_batch
from layerwise.networks.kernels.signals import add_layers
from layerwise.networks.kernels.survey import Survey, survey

__all__ = ["along", "kernel_plan", "ntk"]

KINDS = ("trace", "full")


def ntk(
    model: nn.Module,
    x: Tensor,
    kind: str = "trace",
    method: str = "auto",
    *,
    x2: Tensor | None = None,
    limit_gb: float = 4.0,
) -> Tensor:
    """Return the empirical neural tangent kernel of a module on a batch of inputs.

    With ``J[i, c]`` the gradient of output c at input i with respect to all P parameters that
    require gradients, the trace kernel is the sum over the outputs (not their mean)::

        K[i, j] = sum_c <J[i, c], J[j, c]>                 (N, N)

    and the full kernel, its rows in the order input first, is::

        K[i C + c, j C + c'] = <J[i, c], J[j, c']>         (N C, N C)

    Parameters
    ----------
    model
        Any module that maps a batch (N, ...) to a tensor (N, C), (N,) or (N, ...), flattened to C
        outputs, and each input by itself. It is left as it was: mode, gradients, hooks, buffers
        and random numbers. Frozen parameters do not count; shared ones count once.
    x
        Inputs (N, ...), numbers or tokens, on the device of the model.
    kind
        ``"trace"`` or ``"full"``.
    method
        ``"layers"``: no Jacobian. A dense layer with inputs A (N, D) and signals
        ``G_c = dy_c/dz`` (N, o) adds ``(A A^T + 1) * sum_c G_c G_c^T``, the 1 for its bias;
        convolutions, dense layers at many positions, norms and embeddings the like, by pairs of
        positions or per-sample gradients, whichever costs less. ``"jacobian"``: by `torch.func`,
        for any parameter; input by input, and slower, where the model does what that cannot
        vectorise. ``"auto"``: layers where there is a rule, the Jacobian of the other parameters;
        `kernel_plan` tells.
    x2
        Other inputs (M, ...), for the rectangular kernel (N, M) or (N C, M C).
    limit_gb
        Refuse what is estimated to need more memory, in units of 1e9 bytes.

    Returns
    -------
    Tensor
        The kernel in the precision of the outputs, at least float32, without a graph.

    Raises
    ------
    ValueError
        If an input has no gradient of its own (batch norm or dropout in training mode, a model
        that mixes samples), or no parameter requires one.
    MemoryError
        If the estimated memory exceeds `limit_gb`, before the work.

    References
    ----------
    Jacot et al. 2018, arXiv 1806.07572. Novak et al. 2022, arXiv 2206.08720, for such rules.

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> net, x = MLP((5, 30, 3), seed=0), torch.eye(5)[:4]
    >>> ntk(net, x).shape, ntk(net, x, kind="full").shape
    (torch.Size([4, 4]), torch.Size([12, 12]))
    >>> blocks = ntk(net, x, kind="full").view(4, 3, 4, 3)
    >>> torch.allclose(ntk(net, x), torch.einsum("icjc->ij", blocks), rtol=1e-4)
    True
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    return along(model, x, kind, method, x2, limit_gb)[0]


def kernel_plan(
    model: nn.Module,
    x: Tensor,
    kind: str = "trace",
    method: str = "auto",
    *,
    x2: Tensor | None = None,
    limit_gb: float = 4.0,
) -> KernelPlan:
    """Return how `ntk` with the same arguments would proceed, why so, and what it would cost.

    Examples
    --------
    >>> from layerwise.networks import MLP
    >>> print(kernel_plan(MLP((784, 200, 200, 200, 10)), torch.zeros(256, 784)))
    trace kernel of 256 inputs, 10 outputs, 239410 parameters: method layers (all 4 layers have a
    gradient rule); about ... GB and ... Gflop
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    found, m = survey(model, _joined(x, x2)), None if x2 is None else len(x2)
    return plan_of(found, kind, method, len(x), m, found.outputs.numel(), limit_gb)


@torch.inference_mode(False)
def along(
    model: nn.Module,
    x: Tensor,
    kind: str,
    method: str,
    x2: Tensor | None,
    limit_gb: float,
    Q: int | None = None,
    directions: Callable[[int], Tensor] = torch.eye,
    found: Survey | None = None,
) -> Tensor:
    """Return kernels (E, ..., ...) of the outputs' products with Q directions, (Q, C) given C.

    A survey of the same model, with the same parameters trained, spares another.
    """
    whole = _joined(x, x2)
    found = found or survey(model, whole)
    n, m, Q = len(x), None if x2 is None else len(x2), Q or found.outputs.numel()
    plan = plan_of(found, kind, method, n, m, Q, limit_gb)
    if plan.gigabytes > limit_gb:
        advice = "Take fewer inputs at a time (x2 gives a kernel's other blocks)"
        if kind == "full":
            least = plan_of(found, "trace", method, n, m, 1, limit_gb).gigabytes
            advice = f'Use kind="trace" or ntk_random (from {least:.3g} GB on) or fewer inputs'
        raise MemoryError(
            f"this kernel of {plan.inputs} inputs with {plan.outputs} outputs, kind {kind!r}, "
            f"needs about {plan.gigabytes:.3g} GB, more than limit_gb={limit_gb:g}. {advice}, or "
            "raise limit_gb"
        )
    V = directions(found.outputs.numel()).to(x.device, found.work)
    gram = Gram.zeros(V, kind, n, m, Q)
    if plan.by_layers:
        add_layers(gram, model, whole, found.layers, V, plan.chunk)
    if plan.by_jacobian:
        add_jacobian(gram, model, whole, plan.by_jacobian, V, plan.chunk, plan.rows)
    return gram.result()


def _joined(x: Tensor, x2: Tensor | None) -> Tensor:
    need_batch(x)
    if x2 is None:
        return x
    need_batch(x2, "x2")
    if x.shape[1:] != x2.shape[1:] or x.dtype != x2.dtype or x.device != x2.device:
        raise ValueError(
            f"x and x2 must hold inputs of one kind, got {tuple(x.shape)} {x.dtype} on {x.device} "
            f"and {tuple(x2.shape)} {x2.dtype} on {x2.device}"
        )
    return torch.cat([x, x2])
