"""Every line of the documentation pages runs: consoles in bash, Python blocks as doctests."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START = ROOT / "docs" / "start.md"


def consoles(page: Path) -> list[tuple[str, list[str]]]:
    """Return (script, lines of output shown) of every console block."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    pairs = []
    for block in blocks:
        lines = block.splitlines()
        script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
        pairs.append((script, [line for line in lines if not line.startswith("$ ")]))
    return pairs


@pytest.mark.parametrize(("script", "shown"), consoles(START))
def test_console_lines_of_the_start_page_run_and_print_what_is_shown(script, shown):
    if "make install" in script and Path(sys.prefix).resolve() != ROOT / ".venv":
        pytest.skip("the installation lines are those of `make test`, which runs in .venv")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in shown:
        assert line in done.stdout


def test_python_lines_of_the_start_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    copy = shutil.copy(START, tmp_path / "start.txt")
    result = doctest.testfile(
        str(copy), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.attempted > 15
    assert result.failed == 0


def test_readme_shows_both_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
