"""The rows of a step: measured one after the other, written as each comes, and failures among them told at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from larvae.errors import one_line
from larvae.files import save_json

Figures = dict[str, Any]
"""The figures of a row; `failed` says why they do not count, `left_out` why there are none."""
LONGEST = 300.0
"""Seconds until a row is given up: a hanging one must not take the time of all others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings that all rows are measured with."""

    deadline: float
    """The end of the step, in seconds of `time.monotonic`."""
    device: str = "cuda"
    small: bool = False
    """True for a rehearsal: tiny batches, few members and iterations, nothing compiled."""
    seconds: float = 8.0
    """Seconds over which a rate is measured."""

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def timeout(self) -> float:
        """Seconds that a row which begins now may take."""
        return self.timeout_of(LONGEST)

    def timeout_of(self, seconds: float) -> float:
        """As many seconds, or those that are left."""
        return max(1.0, min(seconds, self.seconds_left))

    @property
    def batch_size(self) -> int:
        return 4 if self.small else 64

    def in_small(self, usual: Any, small: Any) -> Any:
        """One value or, in a rehearsal, the other."""
        return small if self.small else usual


class Row(NamedTuple):
    """Something to measure."""

    name: str
    measure: Callable[[], Figures]
    at_least: float = 15.0
    """Seconds that it needs: with fewer left it is left out."""


class LeftOutError(Exception):
    """A row cannot be measured here, for a reason that is no fault: the argument."""


class Report:
    """The rows of a step as a file."""

    def __init__(self, path: Path, about: Figures) -> None:
        self.path, self.about = path, about
        self.rows: list[Figures] = []

    @property
    def has_failed(self) -> bool:
        return any("failed" in row for row in self.rows)

    def add(self, row: Figures) -> None:
        """Write the file with one row more, and print the row."""
        self.rows.append(row)
        save_json(self.path, self.about | {"rows": self.rows})
        print(f"{row['row']:<64}{_in_a_line(row)}", flush=True)


def measure(rows: Iterable[Row], report: Report, settings: Settings) -> int:
    """Measure rows in their order until the deadline; the exit code: 1 if one has failed."""
    taken: dict[str, Row] = {}
    for row in rows:
        if taken.setdefault(row.name, row) is not row:
            continue  # in a rehearsal some come to the same
        started = time.monotonic()
        figures = _figures(row, settings)
        report.add({"row": row.name} | figures | {"row_seconds": round(time.monotonic() - started, 1)})
    return int(report.has_failed)


def _figures(row: Row, settings: Settings) -> Figures:
    if not settings.small and settings.seconds_left < row.at_least:
        return {"left_out": f"it needs {row.at_least:g} s, of which {max(0.0, settings.seconds_left):.0f} are left"}
    try:
        return row.measure()
    except LeftOutError as error:
        return {"left_out": str(error)}
    except Exception as error:  # whatever it is, the other rows go on
        return {"failed": one_line(error)}


def _in_a_line(row: Figures) -> str:
    if reason := row.get("failed") or row.get("left_out"):
        return f"{'FAILED' if 'failed' in row else 'left out'}: {reason}"[:200]
    return ", ".join(f"{name} {json.dumps(value)[:60]}" for name, value in row.items() if name != "row")
