"""Cheaper stand-ins for the trace kernel: random directions in output space, the summed output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.networks.kernels.ntk import along

__all__ = ["KernelEstimate", "ntk_random", "ntk_summed"]


@dataclass(frozen=True, eq=False)
class KernelEstimate:
    """A random estimate of a kernel with its standard error.

    Attributes
    ----------
    kernel
        The estimate, shape (N, M).
    error
        Standard error of every entry, shape (N, M). The entries' errors are not independent.
    probes
        Number of draws that were averaged.
    """

    kernel: Tensor
    error: Tensor
    probes: int

    @property
    def relative_error(self) -> float:
        """Return the expected Frobenius error relative to the norm of the estimate."""
        return (self.error.norm() / self.kernel.norm()).item()


def ntk_random(
    model: nn.Module,
    x: Tensor,
    probes: int = 6,
    *,
    seed: int = 0,
    method: str = "auto",
    x2: Tensor | None = None,
    limit_gb: float = 4.0,
) -> KernelEstimate:
    """Estimate the trace kernel of `ntk` without bias from a few random combinations of outputs.

    Each probe draws signs v_c = +-1, the same for every input, and takes the kernel of the single
    output ``sum_c v_c f_c``, by one backward pass::

        K_v[i, j] = sum_{c,c'} v_c v_c' <J[i, c], J[j, c']>    E[K_v] = K

    since ``E[v_c v_c'] = 1`` for c = c' and 0 else. The estimate is the mean over the probes, its
    error their standard deviation over sqrt(probes). What a probe adds to K are the blocks of the
    full kernel with c != c', so the variance is ``2 sum_{c != c'} Ksym[c, c']^2 / probes`` an
    entry, with ``Ksym`` the block's part symmetric in c, c'. With C probes or more it costs as
    much as the exact kernel. Of few probes the error is uncertain too: with 6, two errors covered
    84 % of the entries of a small transformer's kernel, not 95 %.

    Parameters
    ----------
    model, x, method, x2, limit_gb
        As for `ntk`.
    probes
        Number of probes, at least 2 for an error.
    seed
        Seed of the signs. They are drawn on the CPU by a generator of their own.

    Examples
    --------
    >>> from layerwise.networks import MLP, ntk
    >>> net, x = MLP((5, 400, 100), seed=0), torch.eye(5)
    >>> found = ntk_random(net, x, probes=16)
    >>> (found.kernel - ntk(net, x)).norm() < 3 * found.error.norm()
    tensor(True)
    """
    if probes < 2:
        raise ValueError(f"probes must be at least 2, else there is no error, got {probes}")
    generator = torch.Generator().manual_seed(seed)

    def signs(C: int) -> Tensor:
        return 2.0 * torch.randint(2, (probes, C), generator=generator) - 1

    each = along(model, x, "each", method, x2, limit_gb, probes, signs)
    mean = each.mean(dim=0)
    # torch's own deviation along a first axis takes as long as the kernels
    error = (each - mean).square_().sum(dim=0).div_(probes * (probes - 1)).sqrt_()
    return KernelEstimate(mean, error, probes)


def ntk_summed(
    model: nn.Module,
    x: Tensor,
    *,
    method: str = "auto",
    x2: Tensor | None = None,
    limit_gb: float = 4.0,
) -> Tensor:
    """Return the kernel of the summed outputs, a biased stand-in for the trace kernel of `ntk`.

    With one backward pass for all C outputs::

        K_s[i, j] = <g_i, g_j> = K[i, j] + sum_{c != c'} <J[i, c], J[j, c']>     g_i = sum_c J[i, c]

    Its bias, the last sum, vanishes on average over a start whose last layer is drawn with mean
    zero and without correlations, and is small there for wide networks: relative order
    width^(-1/2). Training makes it order 1. Divided by C it is the "pseudo-NTK".

    Parameters
    ----------
    model, x, method, x2, limit_gb
        As for `ntk`.

    References
    ----------
    Mohamadi, Bae and Sutherland 2023, arXiv 2206.12543.

    Examples
    --------
    >>> from layerwise.networks import MLP, ntk
    >>> net, x = MLP((5, 400, 1), seed=0), torch.eye(5)
    >>> torch.allclose(ntk_summed(net, x), ntk(net, x), rtol=1e-5)  # one output: nothing is added
    True
    """
    return along(model, x, "trace", method, x2, limit_gb, 1, lambda C: torch.ones(1, C))[0]
