"""layerwise: solve, reproduce and probe layerwise linear models.

A layerwise linear model is linear in its input and a product of layers in its parameters. Each
layer sets the speed at which the others learn; that feedback alone produces stage-like emergence,
neural collapse, the lazy and rich regimes, and grokking.

Names load on first use (PEP 562), so that importing the package costs nothing and those who only
solve never load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerwise import diagnosis, integrations, measures, networks, tasks, theory
    from layerwise.diagnosis import diagnose
    from layerwise.networks import remedies
    from layerwise.probe import Probe
    from layerwise.reproduction import reproduce
    from layerwise.show.figures import plot
    from layerwise.theory import (
        Deep,
        DeepLinear,
        Diagonal,
        Features,
        Fit,
        Linear,
        NotSolvable,
        Scalar,
        Shallow,
        Skills,
        Solution,
        fit,
        solve,
        time_to,
    )
    from layerwise.trace import Provenance, Trace, TraceError

__all__ = [
    "Deep",
    "DeepLinear",
    "Diagonal",
    "Features",
    "Fit",
    "Linear",
    "NotSolvable",
    "Probe",
    "Provenance",
    "Scalar",
    "Shallow",
    "Skills",
    "Solution",
    "Trace",
    "TraceError",
    "diagnose",
    "diagnosis",
    "fit",
    "integrations",
    "measures",
    "networks",
    "plot",
    "remedies",
    "reproduce",
    "solve",
    "tasks",
    "theory",
    "time_to",
]

_ROOMS = ("diagnosis", "integrations", "measures", "networks", "tasks", "theory")
_HOMES = {
    "layerwise.theory": (
        "Deep",
        "DeepLinear",
        "Diagonal",
        "Features",
        "Fit",
        "Linear",
        "NotSolvable",
        "Scalar",
        "Shallow",
        "Skills",
        "Solution",
        "fit",
        "solve",
        "time_to",
    ),
    "layerwise.trace": ("Provenance", "Trace", "TraceError"),
    "layerwise.diagnosis": ("diagnose",),
    "layerwise.networks": ("remedies",),
    "layerwise.show.figures": ("plot",),
    "layerwise.probe": ("Probe",),
    "layerwise.reproduction": ("reproduce",),
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        try:
            return import_module(f"layerwise.{name}")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            hint = f"layerwise.{name} needs PyTorch: pip install 'layerwise[torch]'"
            raise ModuleNotFoundError(hint, name="torch") from None
    if name == "__version__":
        from importlib.metadata import version

        return version("layerwise")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'layerwise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
