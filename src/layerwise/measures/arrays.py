"""Entry of every measure: bring the inputs to one array library, in floating point."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

__all__ = ["Array", "as_arrays", "need"]

Array = Any  # a numpy array, a torch tensor, or any array of the array API standard


def as_arrays(*values: Any) -> tuple[Any, ...]:
    """Return ``(xp, *arrays)``: the array library of the inputs and the inputs as its floats.

    Numbers and lists become numpy arrays, or arrays of the library (dtype, device) of the others.
    Integer and boolean arrays become the floats of the others, float64 where there are none.
    """
    import numpy as np

    arrays_given = [value for value in values if is_array_api_obj(value)]
    # a numpy scalar is a number beside arrays, and an array where there are none
    given = [v for v in arrays_given if not isinstance(v, np.generic)] or arrays_given
    xp = array_namespace(*given) if given else array_namespace(np.empty(0))
    floats = [value for value in given if xp.isdtype(value.dtype, "real floating")]
    default = xp.result_type(*floats) if floats else xp.asarray(0.0, dtype=xp.float64).dtype
    device = given[0].device if given else None
    arrays = []
    for value in values:
        if not any(value is array for array in given):
            value = xp.asarray(np.asarray(value, dtype=float).tolist(), dtype=default)
            value = value if device is None else xp.asarray(value, device=device)
        elif not xp.isdtype(value.dtype, "real floating"):
            if not xp.isdtype(value.dtype, ("integral", "bool")):
                raise TypeError(f"measures take real numbers, got dtype {value.dtype}")
            value = xp.astype(value, default)
        arrays.append(value)
    return (xp, *arrays)


def need(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)
