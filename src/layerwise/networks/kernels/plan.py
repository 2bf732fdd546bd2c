"""How a tangent kernel will be computed, what that will cost, and why so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from layerwise.networks.kernels.contract import WORK, pairs_pay
from layerwise.networks.kernels.survey import Survey

__all__ = ["METHODS", "KernelPlan", "plan_of"]

METHODS = ("auto", "layers", "jacobian")


@dataclass(frozen=True)
class KernelPlan:
    """The route to a tangent kernel, printable.

    Attributes
    ----------
    kind
        ``"trace"`` or ``"full"``.
    method
        ``"layers"``, ``"jacobian"`` or ``"layers and jacobian"``.
    reason
        Why that method, in words.
    inputs, outputs, parameters
        N, C and P.
    gigabytes
        Estimated peak memory beyond the model and the inputs.
    gigaflops
        Estimated work, 1e9 floating-point operations.
    by_jacobian
        Parameters whose share comes from their Jacobian, in the groups in which it is formed.
    chunk
        Directions in output space, the outputs or random signs, that are taken at a time.
    rows
        Inputs whose Jacobians are vectorised together.
    """

    kind: str
    method: str
    reason: str
    inputs: int
    outputs: int
    parameters: int
    gigabytes: float
    gigaflops: float
    by_jacobian: tuple[tuple[str, ...], ...] = field(repr=False)
    chunk: int = field(repr=False)
    rows: int = field(repr=False)

    @property
    def by_layers(self) -> bool:
        """Return whether layers with a gradient rule take part."""
        return self.method.startswith("layers")

    def __str__(self) -> str:
        return (
            f"{self.kind} kernel of {self.inputs} inputs, {self.outputs} outputs, "
            f"{self.parameters} parameters: method {self.method} ({self.reason}); about "
            f"{self.gigabytes:.2g} GB and {self.gigaflops:.2g} Gflop"
        )


def plan_of(
    found: Survey, kind: str, method: str, n: int, m: int | None, Q: int, limit_gb: float
) -> KernelPlan:
    """Plan the kernel between n samples and themselves or m others, along Q directions."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if method == "layers" and found.rest:
        raise ValueError(
            f'method="layers" needs a rule for every parameter; none for {_listed(found.rest)}. '
            'Use method="auto", which takes the Jacobian of these alone, or "jacobian"'
        )
    everything = method == "jacobian" or not found.layers
    layers = () if everything else found.layers
    names = tuple(found.sizes if everything else found.rest)
    N, C = n + (m or 0), math.prod(found.outputs)
    item = found.work.itemsize
    limit = limit_gb * 1e9 / item  # all that follows counts numbers
    E, a = (Q if kind == "each" else 1), (Q if kind == "full" else 1)
    kernel = E * n * a * (n if m is None else m) * a
    graph = N * found.saved / item
    through = sum(2.0 * math.prod(layer.factors(1)) for layer in found.layers)  # forward, a sample

    # the layers' share: all their signals along the directions of a chunk, one layer's patches
    factors = [layer.factors(N) for layer in layers]
    signals = [N * g * o * p for g, o, p, _ in factors]
    patches = [N * g * p * D for g, _, p, D in factors]
    fixed = kernel + graph + Q * C + 2 * max(patches, default=0) + sum(signals) + WORK
    along = sum(signals) + max(signals, default=0)
    chunk = Q if kind == "full" else _most(limit - fixed, along, Q)
    memory = fixed + chunk * along if layers else 0.0
    flops = N * (1 + Q) * through if layers else 0.0
    flops += sum(math.ceil(Q / chunk) * pairs_pay(kind, N, chunk, f)[1] for f in factors)

    # the Jacobian's share: N Q rows of a group of parameters, twice while they are joined
    groups: list[tuple[str, ...]] = []
    rows = N
    if names:
        largest = max(found.sizes[name] for name in names)
        fixed = kernel + Q * C + 4 * WORK  # the vectorised backward pass works on copies
        slice_ = chunk if kind == "full" else _most(limit - fixed, 2 * N * largest, chunk)
        chunk = min(chunk, slice_)
        groups = _grouped(found, names, (limit - fixed) / (2 * N * chunk))
        widest = max(sum(found.sizes[name] for name in group) for group in groups)
        memory = max(memory, fixed + 2.0 * N * chunk * widest)
        rows = max(1, min(N, int(WORK / (chunk * (widest + found.saved / item)))))
        flops += len(groups) * N * Q * max(through, 2.0 * sum(found.sizes.values()))
        flops += N * (N + 1) * E * a**2 * (Q if kind == "trace" else 1) * _total(found, names)
    return KernelPlan(
        kind=kind,
        method=" and ".join(["layers"] * bool(layers) + ["jacobian"] * bool(names)),
        reason=_reason(found, method, layers),
        inputs=N,
        outputs=C,
        parameters=sum(found.sizes.values()),
        gigabytes=memory * item / 1e9,
        gigaflops=flops / 1e9,
        by_jacobian=tuple(groups),
        chunk=chunk,
        rows=rows,
    )


def _most(room: float, each: float, wanted: int) -> int:
    return max(1, min(wanted, int(room / each))) if each else wanted


def _total(found: Survey, names: Sequence[str]) -> int:
    return sum(found.sizes[name] for name in names)


def _grouped(found: Survey, names: Sequence[str], room: float) -> list[tuple[str, ...]]:
    """Return names joined in their order, as many as have `room` numbers together."""
    groups: list[tuple[str, ...]] = []
    for name in names:
        if groups and _total(found, groups[-1]) + found.sizes[name] <= room:
            groups[-1] += (name,)
        else:
            groups.append((name,))
    return groups


def _reason(found: Survey, method: str, layers: Sequence[object]) -> str:
    if method == "jacobian":
        return "asked for"
    if not found.rest:
        return f"all {len(layers)} layers have a gradient rule"
    return f"{len(layers)} layers have a gradient rule, but not {_listed(found.rest)}"


def _listed(rest: dict[str, str], most: int = 3) -> str:
    listed = [f"{name}: {why}" for name, why in list(rest.items())[:most]]
    return "; ".join(listed) + (f"; and {len(rest) - most} more" if len(rest) > most else "")
