"""What cannot be solved, and why."""

from __future__ import annotations

__all__ = ["NotSolvable"]


class NotSolvable(ValueError):
    """No closed form covers the request; the message says why and what to do instead."""
