"""A search's suggestions on disk, a line of JSON each: what was once suggested is never suggested otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeps.adaptive.sampling import Suggestion
from sweeps.json_lines import append_line, read_lines


@dataclass(frozen=True, slots=True)
class SuggestionLog:
    """The file of one study. Its first line tells how many jobs ran at once, which later commands keep."""

    path: Path

    def start(self, parallel: int) -> None:
        """Begin the file, unless it is there."""
        if not read_lines(self.path):
            self.path.unlink(missing_ok=True)
            append_line(self.path, {"parallel": parallel})

    @property
    def parallel(self) -> int | None:
        """Jobs at once when the search was started; None before."""
        lines = read_lines(self.path)
        return int(lines[0]["parallel"]) if lines else None

    def read(self) -> list[Suggestion]:
        """All suggestions by number."""
        return [Suggestion(line["point"], line["attributes"]) for line in read_lines(self.path)[1:]]

    def append(self, number: int, suggestion: Suggestion) -> None:
        """Remember the next suggestion, before anything comes of it."""
        append_line(self.path, {"number": number, "point": suggestion.point, "attributes": suggestion.attributes})
