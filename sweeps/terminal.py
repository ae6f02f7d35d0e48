"""The console that all commands print to."""

from __future__ import annotations

import os

from rich.console import Console


def new_console() -> Console:
    """Make the console of a command: text as it is, `[x]` of a name too; wide where nobody's window limits tables."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console
