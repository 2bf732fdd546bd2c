"""The report: one self-contained HTML page that says what was run, what came out and whether."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from layerwise.files import write_file
from layerwise.phenomena.base import Study
from layerwise.phenomena.claim import Claim, Verdict
from layerwise.phenomena.panel import Table
from layerwise.show.number import number
from layerwise.show.page import figure, page, pairs

__all__ = ["write"]

# Verdicts are told by word and symbol; colour only repeats them.
SYMBOLS = {Verdict.SUPPORTED: "✓", Verdict.REFUTED: "✗", Verdict.UNDECIDED: "?"}

LEAD = Template("""\
<section class="lead short" aria-labelledby="lead-$name">
<h2 id="lead-$name"><a href="#$name">$title</a></h2>
<p>$summary</p>
<ul class="tally" aria-label="Verdicts">
$tally
</ul>
$banner<p class="facts">Data: $data. Size: $size. Runs: $runs.</p>
</section>
""")

BANNER = Template("""\
<p class="stand-in" role="note"><strong>Stand-in data: $data.</strong> The claims are about a larger
data set, and this small one took its place: its numbers need not be those of the larger one.</p>
""")

SECTION = Template("""\
<section aria-labelledby="$name">
<h2 id="$name">$heading</h2>
<div class="figures">
$figures</div>
$tables<h3>Claims</h3>
<table class="claims">
<thead>
<tr><th scope="col">Verdict</th><th scope="col">Claim</th><th scope="col">Predicted</th>
<th scope="col">Measured</th><th scope="col">Seeds</th></tr>
</thead>
<tbody>
$claims</tbody>
</table>
<p class="small">Predicted is what theory says, measured the mean over seeds, in brackets its 95 %
interval. A verdict is reached only where at least three seeds were run.</p>
<h3>Settings</h3>
$settings
</section>
""")

TABLE = Template("""\
<h3>$title</h3>
<div class="wide"><table class="values">
<thead><tr>$header</tr></thead>
<tbody>
$rows
</tbody>
</table></div>
<p class="small">$caption</p>
""")

CLAIM = Template("""\
<tr id="$id">
<td class="verdict $verdict">$symbol $verdict</td>
<th scope="row">$statement<span class="small"><code>$id</code> · $source</span></th>
<td class="number" data-label="Predicted">$predicted</td>
<td class="number" data-label="Measured"><span>$measured$interval</span></td>
<td class="number" data-label="Seeds">$seeds</td>
</tr>
""")


def write(studies: Sequence[Study], path: Path, *, command: str) -> Path:
    """Write the report of `studies` to the file `path` and return it.

    `command` is the line that makes the report again. The page is written aside and then renamed:
    a page that stood there is replaced whole or not at all. The same input gives the same bytes.

    Raises
    ------
    ValueError
        If there is no study, or two have the same name.
    """
    names = [study.name for study in studies]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs studies with different names, got {names or 'none'}")
    text = _page(studies, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_file(path, text.encode())


def _page(studies: Sequence[Study], command: str) -> str:
    # The title of a single study stands right above already.
    headings = [study.title for study in studies] if len(studies) > 1 else ["Figures and claims"]
    sections = map(_section, studies, headings)
    return page(
        "Layerwise linear models beside real networks",
        "\n".join([*map(_lead, studies), *sections]),
        command=command,
        versions=_versions(studies),
        role="The paper whose claims are tested",
    )


def _lead(study: Study) -> str:
    verdicts = [claim.verdict for claim in study.claims]
    tally = (
        f'<li class="{verdict if verdict in verdicts else "none"}">'
        f"{SYMBOLS[verdict]} {verdicts.count(verdict)} {verdict}</li>"
        for verdict in Verdict
    )
    data = escape(study.data)
    return LEAD.substitute(
        name=escape(study.name),
        title=escape(study.title),
        summary=escape(study.summary),
        tally="\n".join(tally),
        banner=BANNER.substitute(data=data) if study.stand_in else "",
        data=data,
        size=escape(study.size),
        runs=len(study.runs),
    )


def _section(study: Study, heading: str) -> str:
    figures = (
        figure(panel, prefix=f"{study.name}-{i}") for i, panel in enumerate(study.panels, start=1)
    )
    return SECTION.substitute(
        name=escape(study.name),
        heading=escape(heading),
        figures="".join(figures),
        tables="".join(_table(table) for table in study.tables),
        claims="".join(_claim(claim) for claim in study.claims),
        settings=pairs(study.settings, "Setting", "Value"),
    )


def _table(table: Table) -> str:
    rows = (
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    return TABLE.substitute(
        title=escape(table.title),
        header="".join(f'<th scope="col">{escape(name)}</th>' for name in table.header),
        rows="\n".join(rows),
        caption=escape(table.caption),
    )


def _claim(claim: Claim) -> str:
    return CLAIM.substitute(
        id=escape(claim.id),
        verdict=claim.verdict,
        symbol=SYMBOLS[claim.verdict],
        statement=escape(claim.statement),
        source=escape(claim.source),
        predicted=number(claim.predicted),
        measured=number(claim.measured),
        interval=_interval(claim.interval),
        seeds=claim.seeds,
    )


def _interval(ends: tuple[float | None, float | None]) -> str:
    """Write an interval; nothing where neither end is known."""
    if not any(end is not None and math.isfinite(end) for end in ends):
        return ""
    return f' <span class="small">[{number(ends[0])}, {number(ends[1])}]</span>'


def _versions(studies: Iterable[Study]) -> dict[str, str]:
    """Return the versions by package that the runs were made with; several where they differ."""
    found: dict[str, dict[str, None]] = {}
    for study in studies:
        for run in study.runs:
            for package, version in run.trace.provenance.versions.items():
                found.setdefault(package, {})[version] = None
    return {package: ", ".join(found[package]) for package in sorted(found)}
