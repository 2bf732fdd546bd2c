"""How the documentation is built: `make docs`. Nothing here needs the network."""

from __future__ import annotations

import contextlib
import io
import os
import re
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger

import layerwise
from layerwise.theory.errata import ERRATA, Erratum

logger = getLogger(__name__)
HERE = Path(__file__).parent
os.environ["MATPLOTLIBRC"] = str(HERE / "matplotlibrc")  # the look of all figures

project = "layerwise"
author = "The layerwise developers"
copyright = author
version = release = installed("layerwise")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_collapse_definitions.md"]  # the latter is part of a page
default_role = "py:obj"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["layerwise.css"]
html_title = f"layerwise {release}"
html_show_copyright = False
html_show_sphinx = False

myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 2

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say types and shapes in words
napoleon_google_docstring = False
napoleon_attr_annotations = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "image_srcset": ["2x"],
    "reset_modules": (),  # they would put matplotlib's own look back
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "within_subsection_order": "ExampleTitleSortKey",
    "download_all_examples": False,
}


class Errata(SphinxDirective):
    """All errata, from `layerwise.theory.errata`."""

    def run(self) -> list[Any]:
        """Return one section for each."""
        return self.parse_text_to_nodes("\n\n".join(map(page, ERRATA)), allow_section_headings=True)


class Run(SphinxDirective):
    """Python code, and what it prints when the page is built."""

    has_content = True

    def run(self) -> list[Any]:
        """Return the code and its output."""
        code = "\n".join(self.content)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})  # the pages' own code
        out = printed.getvalue()
        return [
            nodes.literal_block(code, code, language="python"),
            nodes.literal_block(out, out, language="text", classes=["printed"]),
        ]


def page(item: Erratum) -> str:
    """Return one erratum as Markdown."""
    lines = [
        f"({item.key})=",
        f"## {item.key}. {item.where}",
        f"**Printed.** {item.printed}",
        f"**Correct.** {item.correct}",
        f"**Evidence.** {item.evidence}",
        f"**Here.** {item.library}",
    ]
    if item.test is not None:
        lines.append(f"Test: `tests/theory/test_errata.py::{item.test}`")
    return "\n\n".join(lines)


PLAIN = re.compile(r"\||(?<=[( ])\*(?=\w+[,)])")  # markup to Sphinx, but not meant so


def to_markup(*event: Any) -> None:
    """Turn a docstring, written for readers of the source, into what Sphinx takes for the same.

    Indented blocks between paragraphs are formulas, not quotations; bars, and stars as in
    (*blocks, d), are themselves.
    """
    lines: list[str] = event[-1]
    out: list[str] = []
    above, formula, literal = "", False, False  # the last line with anything on it
    for line in lines:
        indented = line.startswith("    ")
        if indented and not formula and out and not out[-1] and re.match(r"[^\s*-]", above):
            out += [".. code-block:: text", ""]
            formula = True
        elif line and not indented:
            formula = False
        above = line or above
        if not formula and not line.lstrip().startswith((">>>", "...")):
            parts = line.split("``")  # literal text may go on from one line to the next
            parts[literal::2] = (PLAIN.sub(r"\\\g<0>", part) for part in parts[literal::2])
            literal = literal != (len(parts) % 2 == 0)
            line = "``".join(parts)
        out.append(line)
    lines[:] = out


def must_be_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names that the reference does not have."""
    known = env.domains.python_domain.objects
    for module in (layerwise, layerwise.measures):
        for name in module.__all__:
            full = f"{module.__name__}.{name}"
            if full not in known and not isinstance(getattr(module, name), ModuleType):
                logger.warning("the reference lacks %s", full)


def setup(app: Sphinx) -> None:
    """Register what this file adds."""
    app.add_directive("errata", Errata)
    app.add_directive("run", Run)
    app.connect("autodoc-process-docstring", to_markup, priority=400)
    app.connect("env-check-consistency", must_be_complete)
