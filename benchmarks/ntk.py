"""CPU time of tangent kernels against the Jacobian contraction of torch.func and nngeometry.

Two networks on 256 inputs with 10 outputs: a dense 784-200-200-200-10 ReLU network with biases, and
a small convolutional one on 8x8 images, three convolutions and two dense layers, 9 610 parameters.

"torch_func" is the recipe of the PyTorch tutorial on tangent kernels, ``vmap(jacrev)`` and one
``einsum`` a parameter, in chunks of 32 inputs; "nngeometry" its dense Gram matrix, which is the
full kernel. It has no trace kernel: there "nngeometry" is that matrix, summed over equal outputs,
and "nngeometry_each_output" the sum of the matrices of each output alone, its cheapest way.
The estimates, six random probes and the summed outputs, are compared with the exact trace kernel,
plainly and centred.

CPU seconds of one thread; medians; those compared take turns. nngeometry asks for torchvision,
which it does not import: install it by ``pip install --no-deps nngeometry``.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/ntk.py
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)

import torch  # noqa: E402
from nngeometry.gram import GramMatrix  # noqa: E402
from nngeometry.layercollection import LayerCollection  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.func import functional_call, jacrev, vmap  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from layerwise.measures import kernel_distance  # noqa: E402
from layerwise.networks import MLP, kernel_plan, ntk, ntk_random, ntk_summed  # noqa: E402
from layerwise.trace import versions  # noqa: E402

RECORD = Path(__file__).with_suffix(".json")
INPUTS, OUTPUTS, CHUNK = 256, 10, 32
ROUNDS = 3


def dense() -> tuple[nn.Module, Tensor]:
    net = MLP((784, 200, 200, 200, OUTPUTS), weight_scale=2**0.5, activation="relu", seed=0)
    return net, torch.randn(INPUTS, 784, generator=torch.Generator().manual_seed(0))


def convolutional() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, OUTPUTS),
    )  # fmt: skip
    return net, torch.randn(INPUTS, 1, 8, 8)


def by_torch_func(net: nn.Module, x: Tensor, kind: str) -> Tensor:
    params = {name: p.detach() for name, p in net.named_parameters()}

    def single(params: dict[str, Tensor], one: Tensor) -> Tensor:
        return functional_call(net, params, (one[None],))[0]

    J = vmap(jacrev(single), (None, 0), chunk_size=CHUNK)(params, x)
    rule = {"trace": "Naf,Maf->NM", "full": "Naf,Mbf->NaMb"}[kind]
    parts = [torch.einsum(rule, j.flatten(2), j.flatten(2)) for j in J.values()]
    total = torch.stack(parts).sum(dim=0)
    return total if kind == "trace" else total.flatten(2).flatten(0, 1)


def by_nngeometry(net: nn.Module, x: Tensor, kind: str) -> Tensor:
    full = nngeometry_gram(net, x, slice(None))
    if kind == "full":
        return full
    return full.reshape(INPUTS, OUTPUTS, INPUTS, OUTPUTS).diagonal(dim1=1, dim2=3).sum(-1)


def by_each_output(net: nn.Module, x: Tensor) -> Tensor:
    return sum(nngeometry_gram(net, x, slice(c, c + 1)) for c in range(OUTPUTS))


def nngeometry_gram(net: nn.Module, x: Tensor, outputs: slice) -> Tensor:
    gram = GramMatrix(
        net,
        DataLoader(TensorDataset(x), batch_size=len(x)),
        function=lambda x: net(x)[:, outputs],
        layer_collection=LayerCollection.from_model(net),
    )
    K = gram.to_torch()  # (C, N, C, N)
    return K.permute(1, 0, 3, 2).flatten(2).flatten(0, 1)


def medians(rounds: int, **tasks: Callable[[], object]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            began = time.process_time()
            task()
            times[name].append(time.process_time() - began)
    # the first round warms up
    return {name: round(statistics.median(taken[1:]), 4) for name, taken in times.items()}


def exact(net: nn.Module, x: Tensor, kind: str) -> dict[str, object]:
    tasks = {
        "ours": lambda: ntk(net, x, kind),
        "our_jacobian_route": lambda: ntk(net, x, kind, "jacobian"),
        "torch_func": lambda: by_torch_func(net, x, kind),
        "nngeometry": lambda: by_nngeometry(net, x, kind),
    }
    if kind == "trace":
        tasks["nngeometry_each_output"] = lambda: by_each_output(net, x)
    cpu = medians(ROUNDS, **tasks)
    K, *others = (task() for task in tasks.values())
    return {
        "plan": str(kernel_plan(net, x, kind)),
        "cpu_seconds": cpu,
        "times_faster": {
            name: round(taken / cpu["ours"], 1) for name, taken in cpu.items() if name != "ours"
        },
        "largest_relative_difference": max(
            ((K - other).abs().max() / other.abs().max()).item() for other in others
        ),
    }


def estimates(net: nn.Module, x: Tensor) -> dict[str, object]:
    K, found = ntk(net, x), ntk_random(net, x)
    cpu = medians(
        ROUNDS,
        exact=lambda: ntk(net, x),
        six_random_probes=lambda: ntk_random(net, x),
        summed=lambda: ntk_summed(net, x),
    )
    return {
        "cpu_seconds": cpu,
        "six_random_probes": distances(K, found.kernel)
        | {
            "relative_error": ((found.kernel - K).norm() / K.norm()).item(),
            "its_estimate": found.relative_error,
        },
        "summed": distances(K, ntk_summed(net, x)),
    }


def distances(K: Tensor, other: Tensor) -> dict[str, float]:
    return {
        "kernel_distance": kernel_distance(K, other, centred=False).item(),
        "centred_kernel_distance": kernel_distance(K, other).item(),
    }


def main() -> None:
    record: dict[str, object] = {"rounds": ROUNDS}
    for name, (net, x) in {"dense": dense(), "convolutional": convolutional()}.items():
        record[name] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "trace": exact(net, x, "trace"),
            "full": exact(net, x, "full"),
            "estimates": estimates(net, x),
        }
    record["versions"] = versions("numpy", "torch", "nngeometry")
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
