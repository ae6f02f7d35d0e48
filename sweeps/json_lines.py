"""Files of a line of JSON each, of which whatever kills a process spares all whole lines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line at the end, over what a killed process left of one."""
    text = json.dumps(line) + "\n"
    content = path.read_text() if path.exists() else ""
    with path.open("r+" if content else "w") as file:
        file.seek(content.rfind("\n") + 1)
        file.truncate()
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; none where there is no file."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
