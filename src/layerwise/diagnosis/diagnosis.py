"""Diagnosis: everything the rules say of a run, the worst first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from layerwise.diagnosis.advice import Remedy
from layerwise.diagnosis.finding import SEVERITIES, Finding, NotJudged, counted, plain
from layerwise.diagnosis.forecast import Forecast
from layerwise.diagnosis.rules import RULES
from layerwise.names import nearest
from layerwise.trace import Trace

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Diagnosis", "diagnose"]

FINDING: Final = 24  # characters of the column of findings: at 80 in all a call keeps to its line


@dataclass(frozen=True)
class Diagnosis:
    """What the rules say of a run.

    Attributes
    ----------
    findings
        The worst first; in one severity, the surest first.
    clear
        Rules that were judged and found nothing.
    not_judged
        Rules for which the trace lacks something, and what.
    """

    findings: tuple[Finding, ...]
    clear: tuple[str, ...]
    not_judged: Mapping[str, str]

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """The remedies of all findings, each once."""
        calls = {one.call: one for finding in self.findings for one in finding.remedies}
        return tuple(calls.values())

    def remedy(self, name: str) -> Remedy:
        """Return the remedy of this name.

        Raises
        ------
        KeyError
            If no finding has one; those that there are are named.
        """
        named = {one.name: one for one in reversed(self.remedies)}
        if name not in named:
            raise KeyError(nearest(name, named, kind="remedy"))
        return named[name]

    @property
    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Why rules were not judged, each reason once, and which rules."""
        found: dict[str, tuple[str, ...]] = {}
        for rule, why in self.not_judged.items():
            found[why] = (*found.get(why, ()), rule)
        return found

    @property
    def forecast(self) -> Forecast | None:
        """The forecast of the first finding that has one."""
        told = (finding.forecast for finding in self.findings)
        return next((one for one in told if one is not None), None)

    def as_json(self) -> dict[str, Any]:
        """Return the diagnosis as plain JSON values; numbers that are not finite become null."""
        return {
            "findings": [finding.as_json() for finding in self.findings],
            "clear": list(self.clear),
            "not_judged": plain(dict(self.not_judged)),
        }

    def to_json(self) -> str:
        """Return `as_json` as text."""
        return json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n"

    def table(self) -> Table:
        """Return the findings as a table of rich, to be printed."""
        from rich.table import Table
        from rich.text import Text

        table = Table(show_lines=True)
        table.add_column("finding", max_width=FINDING)
        table.add_column("what, what it rests on, and what to try", overflow="fold")
        for finding in self.findings:
            head = f"{finding.severity}: {finding.rule}\nconfidence {finding.confidence}"
            table.add_row(Text(head), Text("\n".join((*_grounds(finding), *_tries(finding)))))
        return table

    def __str__(self) -> str:
        lines = [f"findings: {len(self.findings)}, rules that found nothing: {len(self.clear)}"]
        for finding in self.findings:
            lines += ["", f"{finding.severity}: {finding.rule} (confidence {finding.confidence})"]
            lines += [f"  {line}" for line in (*_grounds(finding), *_tries(finding))]
        if self.clear:
            lines += ["", f"nothing found by: {', '.join(self.clear)}"]
        if self.not_judged:
            lines += [""]
            lines += [
                f"not judged: {', '.join(rules)}: {why}" for why, rules in self.reasons.items()
            ]
        return "\n".join(lines)


def _grounds(finding: Finding) -> list[str]:
    lines = [finding.sentence, *(f"- {premise}" for premise in finding.premises)]
    if finding.forecast is not None:
        told = finding.forecast
        lines.append(
            f"forecast: step {counted(told.time)}, with 90 % from {counted(told.low)} to "
            f"{counted(told.high)}"
        )
    return lines


def _tries(finding: Finding) -> list[str]:
    return [f"> {one.call}: {one.effect}" for one in finding.remedies]


def diagnose(trace: Trace) -> Diagnosis:
    """Say which regime a run is in, what will happen to it, and what to change.

    Parameters
    ----------
    trace
        Of `layerwise.Probe`, or any with series of its names. The more it holds (a batch with
        labels, the optimiser, train and test accuracy), the more rules can be judged.

    Raises
    ------
    TypeError
        If it is no trace.
    ValueError
        If no rule can be judged; the message says what each of them lacks.

    Examples
    --------
    >>> from layerwise.trace import Provenance
    >>> series = {"layerwise/weight_to_target": [20.0, 20.0], "layerwise/gamma_plus": [1.05, 1.05]}
    >>> found = diagnose(Trace([0, 100], series, Provenance("probe", "optimiser steps")))
    >>> [(one.rule, one.confidence) for one in found.findings]
    [('lazy by scale', 'medium')]
    >>> found.remedies[1].call
    'lw.remedies.scale_output(model, 0.05)'
    """
    if not isinstance(trace, Trace):
        raise TypeError(
            f"a diagnosis reads a layerwise.Trace, got {type(trace).__name__}; a probe's is "
            "probe.trace(), a saved one Trace.load(folder)"
        )
    findings, clear, not_judged = [], [], {}
    for rule in RULES:
        name = rule.__name__.replace("_", " ")
        try:
            finding = rule(trace)
        except NotJudged as reason:
            not_judged[name] = str(reason)
            continue
        if finding is None:
            clear.append(name)
        else:
            findings.append(finding)
    if len(not_judged) == len(RULES):
        lacks = "\n".join(f"  {name}: {why}" for name, why in not_judged.items())
        raise ValueError(f"no rule can be judged on this trace:\n{lacks}")
    sure = ("high", "medium", "low")
    findings.sort(key=lambda f: (SEVERITIES.index(f.severity), sure.index(f.confidence)))
    return Diagnosis(tuple(findings), tuple(clear), not_judged)
