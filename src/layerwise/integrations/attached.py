"""A probe in a host's loop: begun, fed, saved and resumed with the training."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from layerwise.integrations.logged import measured, renamed
from layerwise.probe import Probe
from layerwise.trace import Trace, TraceError

__all__ = ["Attached"]


@final
class Attached:
    """The part of a callback that all hosts share.

    A step is looked at when the next one begins. Then all that was logged about it is known, such
    as the accuracy of an evaluation that follows it, and its clock says how many updates the
    weights have seen, from 0 on.

    Parameters
    ----------
    names
        Names of logged numbers in the host -> in the trace, beside those of `known_as`.
    settings
        Of `layerwise.Probe`, without the optimiser, which is the host's.
    """

    def __init__(self, names: Mapping[str, str] | None, settings: Mapping[str, Any]) -> None:
        inspect.signature(Probe).bind(None, optimizer=None, **settings)
        self.probe: Probe | None = None
        self._names, self._settings = dict(names or {}), dict(settings)
        self._logged: dict[str, Any] = {}
        self._last: int | None = None
        self._saved: Mapping[str, Any] = {}

    def begin(self, model: nn.Module, optimizer: Any, batch: Any) -> None:
        """Build the probe, with its batch where the model is; go on if a state was loaded."""
        device = next(model.parameters(), Tensor()).device
        settings = self._settings | {"batch": _on(device, batch)}
        self.probe = Probe(model, optimizer=optimizer, **settings)
        self._last = None
        if self._saved:
            self.probe.load_state_dict(self._saved["probe"])
            self._logged, self._last = dict(self._saved["logged"]), self._saved["last"]
            self._saved = {}

    def log(self, logged: Mapping[str, Any]) -> None:
        """Keep what the host logged for the next look."""
        if self.probe is not None:
            self._logged |= renamed(logged, self._names)

    def step(self, step: int, *, end: bool = False) -> dict[str, float]:
        """Look at the weights after `step` updates, if it is due; at the `end` it is."""
        if self.probe is None or step == self._last:
            return {}
        logged, self._logged, self._last = self._logged, {}, step
        look = self.probe.look if end else self.probe.step
        return measured(look(step, **logged))

    def trace(self) -> Trace:
        """Return the trace, or raise a TraceError if nothing was probed."""
        if self.probe is None:
            raise TraceError(
                "nothing was probed yet: train with this callback first (of several processes the "
                "first one probes)"
            )
        return self.probe.trace()

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs; empty where nothing is probed."""
        if self.probe is None:
            return {}
        return {
            "probe": self.probe.state_dict(),
            "logged": {
                name: value.detach() if isinstance(value, Tensor) else float(value)
                for name, value in self._logged.items()
            },
            "last": self._last,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state when the training begins."""
        self._saved = state


def _on(device: Any, batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _on(device, value) for name, value in batch.items()}
    return tuple(_on(device, v) for v in batch) if isinstance(batch, tuple | list) else batch
