"""The page of a diagnosis: what was found in a run, what it rests on, and what to try."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import count
from pathlib import Path
from shlex import quote
from string import Template
from typing import Final

from layerwise.diagnosis.advice import Remedy
from layerwise.diagnosis.diagnosis import Diagnosis
from layerwise.diagnosis.evidence import config, known, last, optimizer
from layerwise.diagnosis.finding import SEVERITIES, Finding, Premise
from layerwise.diagnosis.forecast import Forecast
from layerwise.files import write_file
from layerwise.show.dashboard import dashboard
from layerwise.show.number import number
from layerwise.show.page import figure, page, pairs
from layerwise.trace import Trace

__all__ = ["PAGE_FILE", "RECORD_FILE", "write"]

PAGE_FILE: Final = "index.html"
RECORD_FILE: Final = "diagnosis.json"

# Severities and premises are told by word and symbol; colour only repeats them.
SYMBOLS: Final = {"fault": "✗", "warning": "!", "note": "i"}
HOLDS: Final = {True: "✓ holds", False: "✗ fails", None: "? not known"}

LEAD = Template("""\
<section class="lead short" aria-labelledby="run">
<h2 id="run">$run</h2>
<ul class="tally" aria-label="Findings">
$tally
</ul>
$verdict<p class="facts">$facts</p>
</section>
""")

SECTION = Template("""\
<section aria-labelledby="$id">
<h2 id="$id">$heading</h2>
$body
</section>
""")

FINDING = Template("""\
<article class="finding" aria-labelledby="$id">
<h3 id="$id"><span class="verdict $severity">$symbol $severity</span> $rule</h3>
<p>$sentence</p>
$forecast<p class="small">Confidence: $confidence.</p>
<div class="grounds">
<div>
<h4>What the trace says</h4>
$evidence
</div>
$premises</div>
$remedies</article>
""")

PREMISES = Template("""\
<div>
<h4>What this takes for granted</h4>
<ul class="premises">
$premises
</ul>
</div>
""")

REMEDIES = Template("""\
<h4>What to try</h4>
<dl class="remedies">
$remedies
</dl>
""")


def write(
    found: Diagnosis, trace: Trace, folder: str | Path, *, name: str, force: bool = False
) -> Path:
    """Write a diagnosis as a page, ``index.html``, and as ``diagnosis.json``; return the page.

    The page is a single file, asks nothing of the network and runs no script. Each file is written
    aside and then renamed.

    Parameters
    ----------
    found, trace
        The diagnosis and what it was made of.
    folder
        Made if it is not there.
    name
        What the trace is called, best its folder. The page says how to make it again by this name,
        and a diagnosis of a trace of another name is not replaced.
    force
        Write into a folder that holds other files, or replace the diagnosis of another trace.

    Raises
    ------
    FileExistsError
        If `folder` holds something else, see `force`.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import layerwise as lw
    >>> from layerwise.show import findings
    >>> found = lw.diagnose(trace)  # doctest: +SKIP
    >>> findings.write(found, trace, "diagnosis", name="runs/mine")  # doctest: +SKIP
    PosixPath('diagnosis/index.html')
    """
    folder = Path(folder)
    _need_own(folder, name, force=force)
    text = _page(found, trace, f"layerwise diagnose {quote(name)} --out {quote(str(folder))}")
    record = json.dumps({"trace": name} | found.as_json(), indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / RECORD_FILE, record.encode())
    return write_file(folder / PAGE_FILE, text.encode())


def _need_own(folder: Path, name: str, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, not a folder")
    if force or not folder.exists() or not any(folder.iterdir()):
        return
    other = _subject(folder / RECORD_FILE)
    if other is None:
        raise FileExistsError(
            f"{folder} is not empty and holds no diagnosis; choose another --out, or --force to "
            "write into it"
        )
    if other != name:
        raise FileExistsError(
            f"{folder} holds the diagnosis of {other}, not of {name}; choose another --out, or "
            "--force to replace it"
        )


def _subject(record: Path) -> str | None:
    """Return the name of the trace that a diagnosis was made of; None if it is none."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["trace"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _page(found: Diagnosis, trace: Trace, command: str) -> str:
    panels = enumerate(dashboard(trace, found), start=1)
    figures = "".join(figure(panel, prefix=f"figure-{i}") for i, panel in panels)
    parts = {
        "Findings": "".join(map(_finding, count(1), found.findings)),
        "The run": figures and f'<div class="figures">\n{figures}</div>',
        "Rules that found nothing": _list(found.clear),
        "Rules not judged": found.not_judged and pairs(found.not_judged, "Rule", "Why"),
        "Notes of the probe": _list(config(trace, "notes") or ()),
    }
    sections = (
        SECTION.substitute(id=heading.lower().replace(" ", "-"), heading=heading, body=body)
        for heading, body in parts.items()
        if body
    )
    return page(
        "Diagnosis of a training run",
        "\n".join([_lead(found, trace), *sections]),
        command=command,
        versions=trace.provenance.versions,
        role="The paper whose theory the rules apply",
        styles=("style.css", "findings.css"),
    )


def _lead(found: Diagnosis, trace: Trace) -> str:
    severities = [finding.severity for finding in found.findings]
    tally = (
        f'<li class="{one if one in severities else "none"}">{SYMBOLS[one]} '
        f"{_counted(severities.count(one), one)}</li>"
        for one in SEVERITIES
    )
    judged = _counted(len(found.clear), "rule")
    healthy = f"<p>Nothing was found: {judged} could be judged, and none applies.</p>\n"
    return LEAD.substitute(
        run=escape(_run(trace)),
        tally="\n".join(tally),
        verdict="" if found.findings else healthy,
        facts=escape(" ".join(_facts(trace))),
    )


def _run(trace: Trace) -> str:
    """Return what was trained for how long."""
    model, size = config(trace, "model"), config(trace, "parameters")
    parts = [model or f"A run of a {trace.provenance.source}"]
    parts += [_counted(size, "parameter")] if size else []
    return ", ".join([*parts, f"{number(float(trace.clock[-1]))} {trace.provenance.clock}"])


def _facts(trace: Trace) -> Iterator[str]:
    """Yield what else is known of the run, in sentences."""
    kind, samples = optimizer(trace).get("kind"), config(trace, "samples")
    numbers = {
        name.replace("_", " "): last(trace, name)
        for name in ("learning_rate", "weight_decay")
        if known(trace, name)
    }
    told = [*([kind] if kind else []), *(f"{name} {number(x)}" for name, x in numbers.items())]
    if told:
        yield f"Optimiser: {', '.join(told)}."
    if trace.provenance.data:
        yield f"Data: {trace.provenance.data}."
    classes = config(trace, "classes")
    of = f" of {_counted(classes, 'class', 'classes')}" if classes else ""
    at = f" at {_counted(samples, 'sample')}{of}" if samples else ""
    yield f"{_counted(len(trace), 'look')}{at}."


def _finding(i: int, finding: Finding) -> str:
    premises = "\n".join(map(_premise, finding.premises))
    remedies = "\n".join(map(_remedy, finding.remedies))
    return FINDING.substitute(
        id=f"finding-{i}",
        severity=finding.severity,
        symbol=SYMBOLS[finding.severity],
        rule=escape(finding.rule),
        sentence=escape(finding.sentence),
        forecast=_forecast(finding.forecast) if finding.forecast else "",
        confidence=finding.confidence,
        evidence=pairs(_numbers(finding.evidence), "Measure", "Value"),
        premises=PREMISES.substitute(premises=premises) if premises else "",
        remedies=REMEDIES.substitute(remedies=remedies) if remedies else "",
    )


def _forecast(told: Forecast) -> str:
    notes = f" ({'; '.join(told.notes)})" if told.notes else ""
    return (
        f"<p><strong>Forecast: step {number(told.time)}</strong>, with 90 % from "
        f"{number(told.low)} to {number(told.high)}{escape(notes)}.</p>\n"
    )


def _premise(premise: Premise) -> str:
    return (
        f'<li>{escape(premise.name)}: <strong class="verdict">{HOLDS[premise.holds]}</strong>'
        f'<span class="small">{escape(premise.seen)}</span></li>'
    )


def _remedy(remedy: Remedy) -> str:
    after = ", ".join(f"{name} {value}" for name, value in _numbers(remedy.predicted).items())
    small = [f"Predicted: {after}."] if after else []
    small += ["The outputs stay as they are."] if remedy.keeps_function else []
    said = f'<span class="small">{escape(" ".join(small))}</span>' if small else ""
    return f"<dt><code>{escape(remedy.call)}</code></dt>\n<dd>{escape(remedy.effect)}{said}</dd>"


def _numbers(named: Mapping[str, float]) -> dict[str, str]:
    """Return numbers as a reader sees them; names of layers stay as they are."""
    heads = {name: name.partition("/") for name in named}
    return {
        head.replace("_", " ") + slash + layer: number(named[name])
        for name, (head, slash, layer) in heads.items()
    }


def _list(lines: Iterable[str]) -> str:
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if items else ""


def _counted(number_of: int, what: str, many: str = "") -> str:
    return f"{number_of:,} {what if number_of == 1 else many or what + 's'}"
