"""Finding: what a rule says of a run, from which numbers, and what it takes for granted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from layerwise.diagnosis.advice import Remedy
from layerwise.diagnosis.forecast import Forecast
from layerwise.trace import Trace

__all__ = ["SEVERITIES", "Finding", "NotJudged", "Premise", "counted", "plain", "told"]

Severity = Literal["fault", "warning", "note"]

SEVERITIES: Final[tuple[Severity, ...]] = ("fault", "warning", "note")  # the worst first


class NotJudged(ValueError):
    """A rule cannot be judged on this trace; the message says what is missing."""


@dataclass(frozen=True)
class Premise:
    """What a rule takes for granted, and whether the trace bears it out.

    Attributes
    ----------
    name
        What is taken for granted.
    holds
        None where the trace does not say.
    seen
        What the trace says of it, with its numbers.
    """

    name: str
    holds: bool | None
    seen: str

    def __str__(self) -> str:
        word = {True: "holds", False: "fails", None: "not known"}[self.holds]
        return f"{self.name}: {word} ({self.seen})"


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    Attributes
    ----------
    rule
        Name of the rule.
    severity
        ``"fault"``: data or code are likely wrong; ``"warning"``: the run will likely not do what
        is wanted of it; ``"note"``: a stage that a sound run passes through.
    sentence
        What was found, in words.
    evidence
        The numbers it was found from, by name.
    premises
        What the rule takes for granted.
    remedies
        What to change, each with its predicted effect.
    forecast
        What will happen if nothing is changed, where the theory says it.

    Examples
    --------
    >>> held = Premise("plain descent", True, "SGD without momentum")
    >>> Finding("idle layer", "fault", "fc1 gets no gradient", {"motion": 0.0}, (held,)).confidence
    'high'
    """

    rule: str
    severity: Severity
    sentence: str
    evidence: Mapping[str, float]
    premises: tuple[Premise, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    forecast: Forecast | None = None

    @property
    def confidence(self) -> Literal["high", "medium", "low"]:
        """``"high"`` if all premises hold, ``"low"`` if one fails, else ``"medium"``."""
        if any(premise.holds is False for premise in self.premises):
            return "low"
        return "high" if all(premise.holds for premise in self.premises) else "medium"

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON values; a number that is not finite becomes null."""
        return {name: plain(value) for name, value in asdict(self).items()} | {
            "confidence": self.confidence
        }


def told(rule: Callable[[Trace], Finding | None], trace: Trace) -> Finding | None:
    """Return what a rule finds; None also where it cannot be judged."""
    try:
        return rule(trace)
    except NotJudged:
        return None


def counted(steps: float) -> str:
    """Write a number of steps with three digits.

    Examples
    --------
    >>> counted(2704.0), counted(38.0)
    ('2,700', '38')
    """
    return f"{float(f'{steps:.3g}'):,.0f}"


def plain(value: Any) -> Any:
    """Return nested mappings and sequences as JSON values, null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
