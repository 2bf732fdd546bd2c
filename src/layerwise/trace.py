"""Trace: named series on a common clock, with their provenance.

Every producer (a solved model, a network experiment, a probe) fills a `Trace`; every consumer
(plot, report, claim, diagnosis, storage) reads nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.files import write_folder
from layerwise.names import nearest

__all__ = ["Provenance", "Trace", "TraceError", "versions"]

Array = npt.NDArray[Any]

FORMAT = 1
SERIES_FILE = "trace.npz"
RECORD_FILE = "run.json"
SERIES_PREFIX = "series/"  # keeps series of any name apart from the clock


class TraceError(ValueError):
    """A trace that cannot be built, read or written; the message says which part and why."""


@dataclass(frozen=True)
class Provenance:
    """Where the series come from.

    Attributes
    ----------
    source
        The producer: ``"theory"``, ``"network"`` or ``"probe"``.
    clock
        What one unit of the clock is, in words: ``"optimiser steps"``, ``"gradient-flow time"``.
    config
        The settings that determine the run (JSON values).
    seed
        Seed of the run; None where nothing is random.
    data
        The data set really used; None where there is none.
    versions
        Package versions by name, see `versions`.
    """

    source: str
    clock: str
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    data: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(self.as_json(), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TraceError(f"a provenance must hold JSON values only: {error}") from None
        object.__setattr__(self, "config", MappingProxyType(plain["config"]))
        object.__setattr__(self, "versions", MappingProxyType(plain["versions"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return Provenance, tuple(self.as_json().values())

    def as_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {"config": dict(self.config), "versions": dict(self.versions)}


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of layerwise, numpy and the given packages.

    Examples
    --------
    >>> sorted(versions("scipy"))
    ['layerwise', 'numpy', 'scipy']
    """
    return {name: metadata.version(name) for name in ("layerwise", "numpy", *packages)}


@dataclass(frozen=True, eq=False)
class Trace:
    """Named series on a common clock, immutable.

    Parameters
    ----------
    clock
        Shape (T,), finite and strictly increasing; its unit is said by ``provenance.clock``.
    series
        Name -> array of shape (T, ...). NaN marks a value that was not measured.
    provenance
        Where the series come from.

    Raises
    ------
    TraceError
        If the clock is not strictly increasing, or a series has another length.

    Examples
    --------
    >>> trace = Trace([0, 1, 2], {"loss": [1.0, 0.5, 0.25]}, Provenance("theory", "time"))
    >>> trace["loss"][-1]
    np.float64(0.25)
    >>> trace.resample([0.5])["loss"]
    array([0.75])
    """

    clock: Array
    series: Mapping[str, Array]
    provenance: Provenance

    def __post_init__(self) -> None:
        clock = _frozen(self.clock, "the clock")
        if clock.ndim != 1 or clock.size == 0:
            raise TraceError(f"the clock must have shape (T,) with T >= 1, got {clock.shape}")
        if not np.all(np.isfinite(clock)):
            raise TraceError("the clock holds NaN or infinite values")
        stalled = clock[1:] <= clock[:-1]
        if np.any(stalled):
            at = int(np.argmax(stalled))
            raise TraceError(
                f"the clock must increase strictly, but clock[{at}] = {clock[at]} and "
                f"clock[{at + 1}] = {clock[at + 1]}"
            )
        series = {}
        for name, values in self.series.items():
            if not isinstance(name, str) or not name or not name.isprintable():
                raise TraceError(f"a series needs a printable name, got {name!r}")
            array = _frozen(values, f"series {name!r}")
            if array.shape[:1] != clock.shape:
                raise TraceError(
                    f"series {name!r} has shape {array.shape}, the clock has shape {clock.shape}"
                )
            series[name] = array
        object.__setattr__(self, "clock", clock)
        object.__setattr__(self, "series", MappingProxyType(series))

    def __getitem__(self, name: str) -> Array:
        if name not in self.series:
            raise KeyError(nearest(name, self.series, kind="series"))
        return self.series[name]

    def __contains__(self, name: object) -> bool:
        return name in self.series

    def __iter__(self) -> Iterator[str]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.clock)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return (
            self.provenance == other.provenance
            and self.series.keys() == other.series.keys()
            and _same(self.clock, other.clock)
            and all(_same(self.series[name], other.series[name]) for name in self.series)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Trace, (self.clock, dict(self.series), self.provenance)

    def resample(self, clock: npt.ArrayLike) -> Trace:
        """Return the trace on another clock by linear interpolation.

        Raises
        ------
        TraceError
            If the new clock leaves the range of the old one: a trace is never extrapolated.
        """
        new = Trace(clock, {}, self.provenance).clock.astype(float)  # type: ignore[arg-type]
        if new[0] < self.clock[0] or new[-1] > self.clock[-1]:
            raise TraceError(
                f"cannot resample to [{new[0]}, {new[-1]}]: the trace covers "
                f"[{self.clock[0]}, {self.clock[-1]}]"
            )
        old = self.clock.astype(float)
        series = {}
        for name, values in self.series.items():
            flat = values.reshape(len(old), -1).astype(float)
            columns = [np.interp(new, old, column) for column in flat.T]
            series[name] = np.reshape(np.transpose(columns), (len(new), *values.shape[1:]))
        return Trace(new, series, self.provenance)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the folder `path` holding ``trace.npz`` and ``run.json``; return its path.

        The folder is written aside and then renamed, so that it is there whole or not at all.

        Raises
        ------
        FileExistsError
            If `path` exists and `force` is false.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"{SERIES_PREFIX}{name}": self.series[name] for name in self}
        np.savez_compressed(buffer, clock=self.clock, **arrays)
        record = {
            "format": FORMAT,
            "provenance": self.provenance.as_json(),
            "series": {name: list(values.shape) for name, values in self.series.items()},
            "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        }
        text = json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"
        files = {SERIES_FILE: buffer.getvalue(), RECORD_FILE: text.encode()}
        return write_folder(Path(path), files, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a folder written by `save`.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        TraceError
            If a file is missing, truncated or not the one that was recorded.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"no trace folder at {folder}")
        missing = [n for n in (SERIES_FILE, RECORD_FILE) if not (folder / n).is_file()]
        if missing:
            raise TraceError(
                f"{folder} is half-written: {' and '.join(missing)} missing"
                "; delete it and run again"
            )
        try:
            record = json.loads((folder / RECORD_FILE).read_text())
            provenance, expected = Provenance(**record["provenance"]), record["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(f"{folder / RECORD_FILE} is damaged: {error}") from None
        if record.get("format") != FORMAT:
            raise TraceError(
                f"{folder} has trace format {record.get('format')}, this version reads {FORMAT}"
            )
        content = (folder / SERIES_FILE).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise TraceError(
                f"{folder / SERIES_FILE} is truncated or altered: its SHA-256 is {found}, "
                f"{RECORD_FILE} expects {expected}"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            # by the full member name: "loss" and "loss.npy" are two series
            series = {
                key.removeprefix(SERIES_PREFIX): arrays[f"{key}.npy"]
                for key in arrays.files
                if key.startswith(SERIES_PREFIX)
            }
            return cls(arrays["clock"], series, provenance)


def _frozen(values: npt.ArrayLike, what: str) -> Array:
    array = np.array(values)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind not in "biuf":
        raise TraceError(f"{what} must hold real numbers, got dtype {array.dtype}")
    array.flags.writeable = False
    return array


def _same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
