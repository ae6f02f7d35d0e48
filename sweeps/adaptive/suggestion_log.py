"""A search's suggestions on disk, a line of JSON each: what was once suggested is never suggested otherwise."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.adaptive.sampling import Suggestion


@dataclass(frozen=True, slots=True)
class SuggestionLog:
    """The file of one study. Its first line tells how many jobs ran at once, which later commands keep."""

    path: Path

    def start(self, parallel: int) -> None:
        """Begin the file, unless it is there."""
        if not self._lines():
            self.path.unlink(missing_ok=True)
            self._append({"parallel": parallel})

    @property
    def parallel(self) -> int | None:
        """Jobs at once when the search was started; None before."""
        lines = self._lines()
        return int(lines[0]["parallel"]) if lines else None

    def read(self) -> list[Suggestion]:
        """All suggestions by number."""
        return [Suggestion(line["point"], line["attributes"]) for line in self._lines()[1:]]

    def append(self, number: int, suggestion: Suggestion) -> None:
        """Remember the next suggestion, before anything comes of it."""
        self._append({"number": number, "point": suggestion.point, "attributes": suggestion.attributes})

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        content = self.path.read_text() if self.path.exists() else ""
        with self.path.open("r+" if content else "w") as file:
            file.seek(content.rfind("\n") + 1)  # over what a killed process left of a line
            file.truncate()
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]
