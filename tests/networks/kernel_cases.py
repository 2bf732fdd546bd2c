"""Networks that between them hold every kind of layer, and the kernel by its definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerwise.networks import CNN, MLP, ResNet18, ScaledOutput, Transformer, TwoLayer


def jacobian(net: nn.Module, x: Tensor) -> Tensor:
    """Return the gradients of all outputs, one by one, shape (N, C, P)."""
    trained = list({id(p): p for p in net.parameters() if p.requires_grad}.values())
    rows = []
    for one in x:
        for y in net(one[None]).flatten():
            found = torch.autograd.grad(y, trained, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([g.flatten() for g in found]))
    return torch.stack(rows).detach().unflatten(0, (len(x), -1))


def full_kernel(net: nn.Module, x: Tensor) -> Tensor:
    J = jacobian(net, x).flatten(0, 1)
    return J @ J.T


def trace_kernel(net: nn.Module, x: Tensor) -> Tensor:
    J = jacobian(net, x)
    return torch.einsum("icp,jcp->ij", J, J)


def spread(net: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter and running statistic off its start, in float64."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    with torch.no_grad():
        for value in (*net.parameters(), *net.buffers()):
            if value.is_floating_point():
                noise = 0.3 * torch.rand(value.shape, dtype=value.dtype, generator=generator)
                value.add_(noise)
    return net


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tokens(N: int, length: int, most: int, seed: int = 0) -> Tensor:
    return torch.randint(most, (N, length), generator=torch.Generator().manual_seed(seed))


class Residual(nn.Module):
    """A block of ResNet18 that halves the image, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ResNet18(1, 2, width=3).blocks[2]
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(dim=(2, 3)))


class Attention(nn.Module):
    """A transformer of two tokens in three with what has no rule: loose, tied, packed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 4, padding_idx=0)
        self.positions = nn.Parameter(torch.zeros(3, 4))
        self.encoder = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.unembed = nn.Linear(4, 7, bias=False)
        self.unembed.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.unembed(self.encoder(self.tokens(x) + self.positions)[:, -1])


class Twice(nn.Module):
    """A layer that is called two times."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class Branching(nn.Module):
    """A loose weight, in a network that asks for the value of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gain = nn.Linear(4, 5), nn.Parameter(torch.ones(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.inner(x))
        return h @ self.gain if bool(h.isfinite().all()) else h[:, :3]


class Places(nn.Module):
    """Layers whose first axis is not that of the samples: positions, and time first."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.inner = nn.Embedding(2, 3), nn.Linear(3, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.places(torch.arange(2, device=x.device))
        return self.head(torch.tanh(self.inner(x.transpose(0, 1))).sum(dim=0))


def mixed_convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, (3, 2), padding="same", padding_mode="circular", dilation=2, bias=False),
        nn.GroupNorm(2, 4), nn.GELU(), nn.Conv2d(4, 4, 2, groups=4), nn.Flatten(),
        nn.Linear(4 * 2 * 2, 5), nn.LayerNorm(5), nn.Linear(5, 3, bias=False),
    )  # fmt: skip


def sequence() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, stride=2, padding=2), nn.BatchNorm1d(4), nn.Tanh(),
        nn.RMSNorm((4, 4), eps=1e-3), nn.Linear(4, 6), nn.LayerNorm((4, 6)), nn.Tanh(),
        nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip


def padded() -> nn.Module:
    return nn.Sequential(
        nn.Embedding(4, 3, padding_idx=0), nn.Linear(3, 4), nn.Tanh(), nn.Flatten(),
        nn.Linear(12, 2),
    )  # fmt: skip


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "dense": lambda: (MLP((5, 9, 8, 3), activation="relu"), inputs(6, 5)),
    "one output": lambda: (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), inputs(5, 4)),
    "one input": lambda: (MLP((4, 5, 3)), inputs(1, 4)),
    "scaled": lambda: (ScaledOutput(MLP((4, 6, 2)), 3.0), inputs(5, 4)),
    "cnn": lambda: (CNN(1, 4, widths=(3, 4, 5)), inputs(4, 1, 8, 8)),
    "convolutions": lambda: (mixed_convolutions(), inputs(5, 4, 6, 6)),
    "sequence": lambda: (sequence(), inputs(5, 3, 6)),
    "residual": lambda: (Residual(), inputs(4, 3, 4, 4)),
    "transformer": lambda: (Transformer(5, 3, 4, width=4, heads=2, hidden=6), tokens(6, 3, 5)),
    "padded": lambda: (padded(), tokens(6, 3, 4)),
    "attention": lambda: (Attention(), tokens(5, 3, 7)),
    "loose": lambda: (TwoLayer(3, 4, std=1.0), inputs(5, 3)),
    "twice": lambda: (Twice(), inputs(5, 4)),
    "branching": lambda: (Branching(), inputs(5, 4)),
    "places": lambda: (Places(), inputs(2, 2, 3)),
    "many outputs": lambda: (nn.Conv2d(2, 3, 2), inputs(4, 2, 3, 3)),
}  # networks made anew: a test may change them


def case(name: str) -> tuple[nn.Module, Tensor]:
    net, x = CASES[name]()
    return spread(net), x
