"""Commands for a user to type next, as they work from where the user is."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def script(command: str) -> str:
    """A command of this project, such as `analysis/sensitivity.py --parameter tau`, with the Python that runs it."""
    path, *words = shlex.split(command)
    return shlex.join([program("python"), _nearest(PROJECT / path), *words])


def program(name: str) -> str:
    """A program of this Python's environment: its name where that is what the user's shell finds, else its path."""
    ours, on_path = Path(sys.executable).with_name(name), shutil.which(name)
    return name if on_path and Path(on_path) == ours else _nearest(ours)


def _nearest(path: Path) -> str:
    """A path as it is written shortest: from the working directory where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
