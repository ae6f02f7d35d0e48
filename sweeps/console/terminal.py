"""The console that all commands print to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

LOADING = "loading PyTorch and Ray"


def print_nowhere(stream: int) -> None:
    """Print nowhere from now on what goes to a file descriptor, 1 or 2."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream)


class LastingConsole(Console):
    """A console whose command goes on where nobody reads it any more: Ctrl-C ends the `tee` of a pipe at once."""

    def on_broken_pipe(self) -> None:
        """Print nowhere from now on; rich would raise SystemExit, in the middle of whatever prints."""
        self.quiet = True
        print_nowhere(1)


def new_console() -> Console:
    """Make the console of a command: text as it is, `[x]` of a name too; wide where nobody's window limits tables."""
    console = LastingConsole(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if console.width < 1 or (not console.is_terminal and "COLUMNS" not in os.environ):
        console.width = 160
    return console


@contextlib.contextmanager
def working(words: str, console: Console | None = None) -> Iterator[None]:
    """Within this, the terminal names what a command does; where there is none, in a line. Not around other bars."""
    console = console or new_console()
    if not console.is_terminal:
        say(words, console)
        yield
        return
    with console.status(words):
        yield


def say(line: str, console: Console) -> None:
    """Print a line with the time of day."""
    console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False, highlight=False)
