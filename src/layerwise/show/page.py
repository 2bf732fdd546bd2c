"""The frame of a page that asks nothing of the network and runs no script, and pieces of its body.

Figures, style and icon are in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template

from layerwise.phenomena.panel import Shown
from layerwise.show.figures import draw, svg
from layerwise.theory.sources import POSITION, SOFTWARE

__all__ = ["figure", "page", "pairs"]

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<link rel="icon" href="$icon">
<style>
$style</style>
</head>
<body>
<main>
<h1>$title</h1>
$body
<section class="short" aria-labelledby="reproduce">
<h2 id="reproduce">Reproduce</h2>
<p>This page is made by</p>
<pre><code>$command</code></pre>
<p>with these versions:</p>
$versions
</section>
<section class="short" aria-labelledby="cite">
<h2 id="cite">Cite</h2>
<p>The software:</p>
<pre><code>$software</code></pre>
<p>$role
(<a href="https://arxiv.org/abs/2502.21009">arXiv 2502.21009</a>):</p>
<pre><code>$paper</code></pre>
</section>
</main>
</body>
</html>
""")

FIGURE = Template("""\
<figure>
<h3>$title</h3>
$svg
<figcaption>$caption</figcaption>
</figure>
""")

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M1 13C9 13 7 3 15 3' fill='none' stroke='%230072B2' stroke-width='3'/%3E%3C/svg%3E"
)


def page(
    title: str,
    body: str,
    *,
    command: str,
    versions: Mapping[str, str],
    role: str,
    styles: Sequence[str] = ("style.css",),
) -> str:
    """Return a whole page around `body`, which is HTML; all else is text.

    `command` makes the page again, `role` says what the paper that is cited is to it; `styles` are
    files beside this one.
    """
    files = resources.files("layerwise.show")
    return PAGE.substitute(
        title=escape(title),
        icon=ICON,
        style="".join((files / name).read_text(encoding="utf-8") for name in styles),
        body=body,
        command=escape(command),
        versions=pairs(versions, "Package", "Version"),
        software=escape(SOFTWARE),
        role=escape(role),
        paper=escape(POSITION),
    )


def figure(panel: Shown, *, prefix: str) -> str:
    """Return a panel with title and caption; ids in it begin with `prefix`."""
    return FIGURE.substitute(
        svg=svg(draw(panel), prefix=prefix, alt=panel.alt),
        title=escape(panel.title),
        caption=escape(panel.caption),
    )


def pairs(named: Mapping[str, str], left: str, right: str) -> str:
    """Return a table of two columns, headed `left` and `right`."""
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in named.items()
    )
    head = f'<thead><tr><th scope="col">{left}</th><th scope="col">{right}</th></tr></thead>'
    return "\n".join(['<table class="pairs">', head, "<tbody>", *rows, "</tbody>", "</table>"])
