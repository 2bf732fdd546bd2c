"""What to say when a host is not installed."""

from __future__ import annotations

__all__ = ["missing"]


def missing(error: ModuleNotFoundError, extra: str, *hosts: str) -> ModuleNotFoundError:
    """Return the error to raise for one that met no host: which extra brings it.

    An error of another module, inside of a host, is returned as it is.

    Examples
    --------
    >>> missing(ModuleNotFoundError(name="torchmetrics"), "torchmetrics", "torchmetrics")
    ModuleNotFoundError("layerwise.integrations.torchmetrics needs torchmetrics:
    pip install 'layerwise[torchmetrics]'")
    """
    name = (error.name or "").partition(".")[0]
    if name not in ("torch", *hosts):
        return error
    return ModuleNotFoundError(
        f"layerwise.integrations.{extra} needs {name}: pip install 'layerwise[{extra}]'", name=name
    )
