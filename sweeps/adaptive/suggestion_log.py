"""A search's suggestions on disk, a line of JSON each: what was once suggested is never suggested otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larvae.errors import InvalidInputError
from larvae.files import append_lines, has_shape, read_lines
from sweeps.adaptive.sampling import Suggestion


@dataclass(frozen=True, slots=True)
class SuggestionLog:
    """The file of one study. Its first line tells how many jobs ran at once, which later commands keep."""

    path: Path

    def start(self, parallel: int) -> None:
        """Begin the file, unless it is there."""
        if not self._lines():
            self._append({"parallel": parallel})

    @property
    def parallel(self) -> int | None:
        """Jobs at once when the search was started; None before."""
        lines = self._lines()
        if lines and not (has_shape(lines[0], parallel=int) and lines[0]["parallel"] > 0):
            raise self.damaged()
        return int(lines[0]["parallel"]) if lines else None

    def read(self) -> list[Suggestion]:
        """All suggestions by number. Raises InvalidInputError where one is missing."""
        lines = self._lines()[1:]
        whole = [line["number"] for line in lines if has_shape(line, number=int, point=dict, attributes=dict)]
        if whole != list(range(len(lines))):
            raise self.damaged()
        return [Suggestion(line["point"], line["attributes"]) for line in lines]

    def append(self, number: int, suggestion: Suggestion) -> None:
        """Remember the next suggestion, before anything comes of it."""
        self._append({"number": number, "point": suggestion.point, "attributes": suggestion.attributes})

    def damaged(self) -> InvalidInputError:
        """The error of a file that has something else than suggestions."""
        rule = f"`{self.path}` must have all suggestions in their order: a line of it is damaged"
        return InvalidInputError(f"{rule}; put back a copy, or give another --study")

    def _append(self, line: dict[str, Any]) -> None:
        append_lines(self.path, [line], durable=True)

    def _lines(self) -> list[dict[str, Any]]:
        return read_lines(self.path)[0]
