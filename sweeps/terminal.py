"""What all commands print to."""

from __future__ import annotations

import os

from rich.console import Console


def new_console() -> Console:
    """What commands print to: as it is, `[x]` of a name too; wide enough for tables where nobody's window limits it."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console
