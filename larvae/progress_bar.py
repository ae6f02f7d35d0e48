"""Tells on stderr how far long work is: as a bar where somebody watches, else in a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from larvae.phases import phase

LINE_SECONDS = 30.0


@contextlib.contextmanager
def progress_bar(
    total: int | None, description: str, unit: str = "images", *, done: int = 0, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how much more has been done.

    total: all there is to do; None where that is not known. unit: of these numbers, `bytes` are written as such.
    done: how much has been done before.
    """
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        with phase(description):
            yield _Lines(total, description, unit, done, console) if shown else lambda more: None
        return
    count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(20), count, TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, completed=done)
        yield lambda more: bar.advance(task, more)


class _Lines:
    """The first and the last news, and some in between."""

    def __init__(self, total: int | None, description: str, unit: str, done: int, console: Console) -> None:
        self.total, self.description, self.unit, self.done, self.console = total, description, unit, done, console
        self._told_at = float("-inf")

    def __call__(self, more: int) -> None:
        self.done += more
        now = time.monotonic()
        if now - self._told_at >= LINE_SECONDS or self.done == self.total:
            self._told_at = now
            of_all = "" if self.total is None else f" of {self.total:,}"
            self.console.print(f"{self.description}: {self.done:,}{of_all} {self.unit}", highlight=False, markup=False)
