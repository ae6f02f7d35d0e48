"""The files of a member, and the rows that its history is made of.

A row is a plain dictionary: `iteration`, the mean of each loss term since the row before, metrics
where the member was evaluated, `seconds` of this process since the row before, evaluation
included, `seconds_per_iteration` of training alone, and the `timestamp` in seconds since the epoch.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larvae.config import FORMAT, MemberConfig
from larvae.errors import InvalidInputError, one_line
from larvae.files import append_lines, has_shape, load_json, read_lines, save_json

Row = dict[str, float]
TIMES = ("seconds", "seconds_per_iteration", "timestamp")
"""Entries of a row that differ between equal runs."""
ENDLESS = 1e11
"""More than any iteration, or any time in seconds, that was written can be."""


def _is_row(value: Mapping[str, Any]) -> bool:
    """Tell whether an object is a row: numbers, of which a metric may be none, but an iteration or a time may not."""
    if "iteration" not in value or not all(isinstance(number, int | float) for number in value.values()):
        return False
    return all(0 <= value.get(name, 0) < ENDLESS for name in ("iteration", *TIMES))


def is_result(value: Any) -> bool:
    """Tell whether what was read is a member's end, whole: files may be damaged."""
    if not has_shape(value, status=str, reason=str, config=dict, history=list):
        return False
    is_ended = {"finished": bool(value["history"]), "stopped": isinstance(value.get("stopped_at"), int), "failed": True}
    return is_ended.get(value["status"], False) and all(has_shape(row) and _is_row(row) for row in value["history"])


def last_evaluation(result: Mapping[str, Any] | None, iterations: int) -> Row | None:
    """The final row of what `read_result` gave, if the member finished at least `iterations`; None otherwise."""
    if result and result["status"] == "finished" and result["history"][-1]["iteration"] >= iterations:
        return result["history"][-1]
    return None


def last_iteration(rows: Sequence[Row]) -> int:
    """The iteration of the last of some rows; 0 without any."""
    return int(rows[-1]["iteration"]) if rows else 0


@dataclass(frozen=True, slots=True)
class MemberDirectory:
    """The files of one member."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def rows(self) -> Path:
        """The rows so far, a line of JSON each, in their order and each once."""
        return self.path / "rows.jsonl"

    @property
    def traversal(self) -> Path:
        """All label traversals as one picture, written at the member's end."""
        return self.path / "traversal.png"

    def read_rows(self, start: int = 0) -> tuple[list[Row], int]:
        """The rows from a byte on, and the byte behind them: where the next ones will start."""
        lines, end = read_lines(self.rows, start)
        return list(filter(_is_row, lines)), end

    def reached(self) -> int:
        """Iterations so far: those to its end, if it has finished, or to its last row where it has gone on."""
        result = self.read_result()
        history = result["history"] if result and result["status"] == "finished" else []
        return max(last_iteration(history), last_iteration(self.read_rows()[0]))

    def append_rows(self, rows: Sequence[Row]) -> None:
        """Append rows of one process; those that the file has before them are of the same one, or of earlier ones."""
        append_lines(self.rows, rows)

    def read_result(self) -> dict[str, Any] | None:
        """`status` (finished, failed or stopped), `reason`, `config`, `history` and more; None before the end.

        None too where the file is damaged: the checkpoint has the history, and whoever goes on from it writes the
        same end anew.
        """
        try:
            result = load_json(self.result)
        except (FileNotFoundError, InvalidInputError):
            return None
        return result if is_result(result) else None

    def write_result(
        self, config: MemberConfig, status: str, history: Sequence[Row], reason: str = "", **more: object
    ) -> None:
        """Write the member's end, whole and atomically. A failure keeps rows that were known, if they are more."""
        if status == "failed":
            earlier = self.read_result() or {"history": []}
            history = max(history, earlier["history"], self.read_rows()[0], key=len)
        result = {"format": FORMAT, "status": status, "reason": reason, "config": config.to_dict()}
        save_json(self.result, result | {"history": list(history), **more})

    def write_failure(self, config: MemberConfig, error: Exception, history: Sequence[Row] = ()) -> str:
        """Write the member's end by an error; return its reason, a line."""
        reason, trace = one_line(error), "".join(traceback.format_exception(error))
        self.write_result(config, "failed", history, reason, traceback=trace)
        return reason

    @property
    def stopped_at(self) -> int | None:
        """The iteration at which a search found the member to be none of the best and stopped it, if one did."""
        result = self.read_result()
        return result["stopped_at"] if result and result["status"] == "stopped" else None

    def last_evaluation(self, iterations: int) -> Row | None:
        """The final row of a member that finished at least `iterations`; None otherwise."""
        return last_evaluation(self.read_result(), iterations)
