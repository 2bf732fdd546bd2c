"""What a model of unconstrained features is given, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.names import nearest
from layerwise.theory.model import matrix

__all__ = ["checked", "strengths_of", "weights_of"]

Array = npt.NDArray[np.float64]

LOSSES = ("ce", "mse")


def checked(
    n_classes: Any, n_per_class: Any, dim: Any, loss: Any, decay: Any, bias: Any
) -> dict[str, Any]:
    """Return the fields of `Features` but for its start; errors name the number."""
    C = _whole("n_classes", n_classes, 2)
    if loss not in LOSSES:
        raise ValueError(f"Features: {nearest(str(loss), LOSSES, kind='loss')}")
    if not isinstance(bias, (bool, np.bool_)):
        raise TypeError(f"Features: bias must be True or False, got {bias!r}")
    given = np.asarray(n_per_class)
    if given.shape not in ((), (C,)):
        raise ValueError(
            f"Features: n_per_class must be one number or {C}, one for each class, got shape "
            f"{given.shape}"
        )
    counts = np.array([_whole("n_per_class", n, 1) for n in np.broadcast_to(given, (C,))])
    counts.flags.writeable = False
    simplex = bool(bias) or loss == "ce"
    d = _whole("dim", dim, 1)
    if d < C - simplex:
        room = "the simplex" if simplex else "orthogonal class means"
        raise ValueError(
            f"Features: {room} of {C} classes needs dim >= {C - simplex}, got dim = {d}"
        )
    rates = np.asarray(decay)
    if rates.dtype.kind not in "biuf" or rates.shape != (2,):
        raise TypeError(f"Features: decay must be two numbers (l_w, l_h), got {decay!r}")
    if not np.all((rates >= 0) & np.isfinite(rates)):
        raise ValueError(f"Features: decay must be finite and not negative, got {decay!r}")
    return {
        "n_classes": C,
        "counts": counts,
        "dim": d,
        "loss": loss,
        "decay": (float(rates[0]), float(rates[1])),
        "bias": bool(bias),
    }


def strengths_of(start: Any, k: int, alike: bool) -> Array:
    """Return the k strengths of a start; all the same where they have to be `alike`."""
    given = np.asarray(start)
    if given.dtype.kind not in "biuf" or given.shape not in ((), (k,)):
        raise ValueError(
            f"Features: start must be one strength or {k}, one for each mode, or weights (W, H), "
            f"got {given.dtype} of shape {given.shape}"
        )
    fits = (given > 0) & (given < math.inf)
    if not np.all(fits):
        raise ValueError(f"Features: start must be positive and finite, got {given[~fits].flat[0]}")
    if alike and given.ndim and np.any(given != given[0]):
        raise ValueError(
            "Features: under cross-entropy all modes start alike, on the simplex: give one "
            "strength, or weights (W, H)"
        )
    found = np.array(np.broadcast_to(given.astype(float), (k,)))
    found.flags.writeable = False
    return found


def weights_of(
    start: Sequence[Any], of_w: tuple[int, int], of_h: tuple[int, int], bias: bool, rests: Array
) -> tuple[Array, Array, Array]:
    """Return W, H and the bias of a start, which is `rests` where it is not given."""
    w, h = matrix("Features", "W", start[0]), matrix("Features", "H", start[1])
    if w.shape != of_w or h.shape != of_h:
        raise ValueError(
            f"Features: start (W, H) must have shapes {of_w} and {of_h}, got {w.shape} and "
            f"{h.shape}"
        )
    if len(start) == 2:
        return w, h, rests
    b = np.array(start[2], dtype=float)
    if not bias or len(start) > 3 or b.shape != of_w[:1] or not np.all(np.isfinite(b)):
        raise ValueError(
            f"Features: start (W, H, b) needs bias=True and a finite b of shape {of_w[:1]}, got "
            f"bias={bias} and shape {b.shape}"
        )
    b.flags.writeable = False
    return w, h, b


def _whole(name: str, given: Any, least: int) -> int:
    number = np.asarray(given)
    if number.dtype.kind not in "iu" or number.ndim:
        raise TypeError(f"Features: {name} must be a whole number, got {given!r}")
    if number < least:
        raise ValueError(f"Features: {name} must be at least {least}, got {given}")
    return int(number)
