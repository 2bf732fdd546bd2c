"""A layer's share of a tangent kernel from its patches and signals, without its Jacobian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, final

import torch
from torch import Tensor

__all__ = ["Gram", "by_gradients", "by_pairs", "pairs_pay"]

CACHE: Final = 2**18  # numbers in a block of a product that is worked on further, by measurement
DEVICE_BLOCK: Final = 2**26  # the same where there is no cache to stay in, but launches to save
WORK: Final = 2**24  # numbers in a block of per-sample gradients
ELEMENTWISE: Final = 64  # flops of a matrix product in the time of one addcmul, by measurement


@final
@dataclass(frozen=True)
class Gram:
    """A kernel that is summed up block by block.

    Of Q directions q in output space, ``kind`` "trace" sums over q, "each" keeps one kernel for
    every q, and "full" keeps all pairs (q, q').

    Attributes
    ----------
    kernel
        Shape (E, n, a, m, a): E kernels between `a` rows of n and of m samples.
    symmetric
        Whether both are the same samples; if not, those of the columns follow those of the rows.
    kind
        "trace", "each" or "full".
    """

    kernel: Tensor
    symmetric: bool
    kind: str

    @classmethod
    def zeros(cls, like: Tensor, kind: str, n: int, m: int | None, Q: int) -> Gram:
        """Return an empty sum for Q directions, n samples and, unless None, m other samples."""
        E, a = (Q if kind == "each" else 1), (Q if kind == "full" else 1)
        kernel = like.new_zeros(E, n, a, n if m is None else m, a)
        return cls(kernel, m is None, kind)

    def directions(self, start: int, stop: int) -> Gram:
        """Return the part of the sum to which the directions in a range belong."""
        kernel = self.kernel[start:stop] if self.kind == "each" else self.kernel
        return Gram(kernel, self.symmetric, self.kind)

    def arranged(self, values: Tensor) -> Tensor:
        """Return ``values`` (N, Q, ...) as (N, E, a, F), what is summed over in the last axis."""
        N, Q = values.shape[:2]
        E, a = (Q if self.kind == "each" else 1), (Q if self.kind == "full" else 1)
        return values.reshape(N, E, a, -1)

    def blocks(self, rows: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield samples of rows, samples of columns and the block of the kernel they fill.

        A block has up to about CACHE numbers if a sample has `rows` rows in it. Blocks below the
        diagonal of a symmetric kernel are left out.
        """
        E, n, _, m, _ = self.kernel.shape
        size = CACHE if self.kernel.device.type == "cpu" else DEVICE_BLOCK
        step = max(1, int(math.sqrt(size / E) / rows))
        step = min(step, math.ceil(n / 2)) if self.symmetric else step  # a quarter less to do
        shift = 0 if self.symmetric else n
        for i in range(0, n, step):
            for j in range(i if self.symmetric else 0, m, step):
                r, c = slice(i, min(i + step, n)), slice(j, min(j + step, m))
                yield r, slice(c.start + shift, c.stop + shift), self.kernel[:, r, :, c]

    def result(self) -> Tensor:
        """Return the kernel, shape (E, n*a, m*a), with its lower half filled in."""
        E, n, a, m, _ = self.kernel.shape
        if self.symmetric:
            for q in range(E):
                whole = self.kernel[q].view(n * a, m * a)
                for r in range(0, n * a, 512):  # by blocks: no second kernel in memory
                    s = slice(r, r + 512)
                    whole[s, s] = whole[s, s].triu() + whole[s, s].triu(1).T
                    whole[s.stop :, s] = whole[s, s.stop :].T
        return self.kernel.view(E, n * a, m * a)


def pairs_pay(kind: str, N: int, Q: int, factors: tuple[int, int, int, int]) -> tuple[bool, float]:
    """Return whether products over pairs of positions cost less than gradients, and the flops."""
    g, o, p, D = factors
    E, a, F = {"trace": (1, 1, Q * o), "each": (Q, 1, o), "full": (1, Q, o)}[kind]
    half = N * (N + 1) / 2
    gradients = 2.0 * N * Q * g * o * p * D + 2 * half * E * a**2 * F * g * D
    if g > 1:
        return False, gradients
    pairs = half * p**2 * (2 * D + E * a**2 * (2 * F + ELEMENTWISE))
    return pairs < gradients, min(pairs, gradients)


def by_pairs(gram: Gram, A: Tensor | None, G: Tensor, bias: bool) -> None:
    """Add ``sum_{t,s} (<A_it, A_js> + 1) <G_it, G_js>``, over pairs of positions.

    For one position that is the Hadamard product of the Gram matrices of inputs and signals.
    Patches are (N, p, D) or None, signals (N, Q, o, p); the 1 is the bias.
    """
    p = G.shape[-1]
    G = gram.arranged(G).unflatten(-1, (-1, p)).permute(1, 4, 0, 2, 3).contiguous()
    E, _, _, a, F = G.shape  # kernels, positions, samples, rows, numbers summed over
    A = None if A is None else A.transpose(0, 1).contiguous()
    for r, c, kernel in gram.blocks(a):
        n, m = r.stop - r.start, c.stop - c.start
        S = G.new_empty(E, n * a, m * a)
        for t, s in product(range(p), range(p)):
            torch.bmm(G[:, t, r].view(E, -1, F), G[:, s, c].view(E, -1, F).mT, out=S)
            found = S.view(E, n, a, m, a)
            if A is None:
                kernel += found
            else:
                U = A[t, r] @ A[s, c].T
                kernel.addcmul_(found, (U.add_(1) if bias else U)[None, :, None, :, None])


def by_gradients(gram: Gram, A: Tensor | None, G: Tensor, bias: bool) -> None:
    """Add the Gram matrix of per-sample gradients, a block of output channels at a time.

    Patches are (N, g, p, D) or None, signals (N, Q, g, o, p).
    """
    N, Q, g, _, p = G.shape
    if bias:
        add_gram(gram, G.sum(dim=-1))
    if A is None:
        return
    D = A.shape[-1]
    A = A.reshape(N * g, p, D)
    step = max(1, WORK // (N * Q * g * D))
    for G_part in G.permute(0, 2, 1, 3, 4).split(step, dim=3):
        J = torch.bmm(G_part.reshape(N * g, -1, p), A)
        add_gram(gram, J.view(N, g, Q, -1, D).transpose(1, 2))


def add_gram(gram: Gram, J: Tensor) -> None:
    """Add the Gram matrix of per-sample gradients (N, Q, ...)."""
    J = gram.arranged(J).transpose(0, 1)  # (E, N, a, F)
    E, _, a, F = J.shape
    for r, c, kernel in gram.blocks(a):
        left, right = (J[:, s].reshape(E, -1, F) for s in (r, c))
        kernel += torch.bmm(left, right.mT).view(kernel.shape)
