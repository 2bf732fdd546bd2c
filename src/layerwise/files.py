"""Writing files and folders so that they are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_file", "write_folder"]


def write_file(path: Path, content: bytes) -> Path:
    """Write `content` aside and rename it to `path`, replacing what was there; return `path`."""
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return path


def write_folder(path: Path, files: Mapping[str, bytes], *, force: bool = False) -> Path:
    """Write `files` (name -> content) as the folder `path`, aside first and then renamed.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is false.
    """
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already; choose another place or say force")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        for name, content in files.items():
            (aside / name).write_bytes(content)
        aside.chmod(0o755)
        replaced = aside.with_suffix(".old")
        if path.exists():
            path.replace(replaced)  # kept until the new folder stands
        aside.replace(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    return path
