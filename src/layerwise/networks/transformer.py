"""A transformer of one layer that answers at its last position, without norms and biases."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Transformer"]


class Transformer(nn.Module):
    """One-layer transformer ``tokens (n, length) -> output_scale * unembed(r)``, r (n, width).

    With ``x_t = tokens[t] + positions[t]`` and T the last position, for each head of size k::

        p_t = softmax_t(<query x_T, key x_t> / sqrt(k))    a = output sum_t p_t value x_t
        r = h + mlp_out relu(mlp_in h)                     h = x_T + a

    Only the last position is queried and answers, so a causal mask would change nothing. There are
    no norm layers and no biases: the function is homogeneous in the weights but for the softmax.

    Every matrix is drawn from N(0, (weight_scale / sqrt(fan_in))^2). An embedding of one token
    counts as fed by its `width` entries, so that its expected squared norm is weight_scale^2.

    Parameters
    ----------
    vocabulary, length, outputs
        Number of tokens, length of every sequence, number of outputs.
    width, heads, hidden
        Size of the residual stream, number of heads (a divisor of it), ReLU units of the MLP.
    weight_scale
        Standard deviation of every weight times sqrt(fan_in).
    embedding_scale
        Further factor on the embeddings of tokens and positions.
    output_scale
        Factor on the outputs.
    seed
        Seed of the initial weights. The draw is made on the CPU with a generator of its own, so
        that it depends on nothing else.

    Attributes
    ----------
    tokens, positions
        ``nn.Embedding`` of shapes (vocabulary, width) and (length, width).
    query, key, value, output
        ``nn.Linear`` of shape (width, width). Head j owns the rows ``j k ... (j + 1) k`` of the
        first three, the same columns of the last.
    mlp_in, mlp_out, unembed
        ``nn.Linear`` of shapes (hidden, width), (width, hidden) and (outputs, width).

    References
    ----------
    Vaswani et al. 2017, arXiv 1706.03762; for modular addition Nanda et al. 2023, arXiv 2301.05217.

    Examples
    --------
    >>> net = Transformer(47, 2, 47)
    >>> tokens = torch.tensor([[3, 4], [46, 1], [0, 0]])
    >>> net(tokens).shape, net.features(tokens).shape
    (torch.Size([3, 47]), torch.Size([3, 64]))
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        outputs: int,
        *,
        width: int = 64,
        heads: int = 4,
        hidden: int = 128,
        weight_scale: float = 1.0,
        embedding_scale: float = 1.0,
        output_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        sizes = (vocabulary, length, outputs, width, heads, hidden)
        if min(sizes) < 1:
            raise ValueError(
                f"vocabulary, length, outputs, width, heads and hidden must be at least 1, "
                f"got {sizes}"
            )
        if width % heads:
            raise ValueError(f"heads must divide the width, got {heads} heads and width {width}")
        super().__init__()
        self.heads = heads
        self.output_scale = output_scale
        self.tokens = nn.utils.skip_init(nn.Embedding, vocabulary, width)
        self.positions = nn.utils.skip_init(nn.Embedding, length, width)
        self.query = _linear(width, width)
        self.key = _linear(width, width)
        self.value = _linear(width, width)
        self.output = _linear(width, width)
        self.mlp_in = _linear(width, hidden)
        self.mlp_out = _linear(hidden, width)
        self.unembed = _linear(width, outputs)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in self.children():
                scale = weight_scale / math.sqrt(layer.weight.shape[1])
                if isinstance(layer, nn.Embedding):
                    scale *= embedding_scale
                layer.weight.normal_(0.0, scale, generator=generator)

    def features(self, tokens: Tensor) -> Tensor:
        """Map tokens (n, length) to the residual stream at the last position, shape (n, width)."""
        length = self.positions.num_embeddings
        if tokens.shape[1:] != (length,):
            raise ValueError(f"tokens must be (n, {length}), got {tuple(tokens.shape)}")
        # one row of positions for each sample: what reads a layer's inputs sees the samples apart
        places = torch.arange(length, device=tokens.device).expand_as(tokens)
        x = self.tokens(tokens) + self.positions(places)
        last = x[:, -1]
        h = last + self.output(self._attend(last, x))
        return h + self.mlp_out(torch.relu(self.mlp_in(h)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (n, length), integers below `vocabulary`, to outputs (n, outputs)."""
        return self.output_scale * self.unembed(self.features(tokens))

    def _attend(self, last: Tensor, x: Tensor) -> Tensor:
        """Return what the last position (n, width) reads of all x (n, length, width), by heads."""
        query = self.query(last).unflatten(-1, (self.heads, -1))  # (n, heads, k)
        key = self.key(x).unflatten(-1, (self.heads, -1))  # (n, length, heads, k)
        value = self.value(x).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("nhk,nthk->nht", query, key) / math.sqrt(query.shape[-1])
        return torch.einsum("nht,nthk->nhk", scores.softmax(dim=-1), value).flatten(1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.utils.skip_init(  # drawn by the network's own generator
        nn.Linear, inputs, outputs, bias=False
    )
