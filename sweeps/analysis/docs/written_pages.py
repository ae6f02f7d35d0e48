"""Pages with tables that are written into them, each between two comments."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from larvae.errors import InvalidInputError


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], num_texts: int | None = None) -> str:
    """A table in Markdown. num_texts: columns from the left that hold text, numbers are in the others; None for all."""
    rules = ["---" if num_texts is None or column < num_texts else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rules, *rows))


def number_text(value: float) -> str:
    """A number as a cell of a table; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


def with_table(page: str, table: str, name: str = "table") -> str:
    """A page with a table in the place of the one that it shows. InvalidInputError for a page without such a place."""
    within = re.compile(rf"(?<=<!-- {name} -->\n\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    found, number = within.subn(lambda _: f"{table}\n\n", page)
    if number != 1:
        raise InvalidInputError(f"a page must have one place for its {name}, got {number}")
    return found


def require_written(path: Path, page: str) -> None:
    """Raise InvalidInputError where a page on disk is another one."""
    if path.read_text("utf-8") != page:
        raise InvalidInputError(f"`{path}` must show the numbers of kept results: `make figures` writes them")
