"""Names: what marks those of a probe's series, and what to say when a name is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["PREFIX", "nearest"]

PREFIX = "layerwise/"  # of the series that a probe measures, beside those of the user's own


def nearest(name: str, known: Iterable[str], *, kind: str) -> str:
    """Return the sentence for an unknown `name` of the given `kind`.

    Examples
    --------
    >>> nearest("los", ["loss", "map"], kind="quantity")
    "unknown quantity 'los'; did you mean 'loss'? Known: loss, map"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r};{hint} Known: {', '.join(names) or 'none'}"
