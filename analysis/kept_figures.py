"""Pictures and tables of docs, from the results that the repository keeps: `make figures`, `make check-figures`.

python analysis/kept_figures.py
python analysis/kept_figures.py --check           whether they agree with the numbers
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from larvae.errors import InvalidInputError
from sweeps.analysis import script


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw and write what pages show of kept results, or check that it is what these give."""

    check: bool = False
    """Write nothing; end with 2 where a picture or a table shows other numbers."""
    results: Path = Path("docs/results")
    """Folder of kept results: of each study in a folder of its name."""
    output: Path = Path("docs")
    """Folder of the pictures (PNG) and of the pages (Markdown)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Draw and write, or check. Raises InvalidInputError, before anything is written."""
    from sweeps.analysis import drawn  # late: `--help` needs no pandas
    from sweeps.analysis.docs import kept_pictures, kept_tables, written_pages
    from sweeps.analysis.docs.kept_results import KeptResults

    kept = KeptResults(arguments.results)
    if not kept.results:
        raise InvalidInputError(f"`results` must be a folder with kept studies, got `{arguments.results}`")
    pictures = kept_pictures.kept_pictures(kept)
    paths = {arguments.output / f"{name}.png": one for one in pictures for name in one.figures}
    pages = kept_tables.pages_with_tables(kept, arguments.output)
    if arguments.check:
        for path, one in paths.items():
            drawn.require_up_to_date(path, one)
        for path, page in pages.items():
            written_pages.require_written(path, page)
    else:
        contents = {name: content for one in pictures for name, content in one.pictures("png").items()}
        script.write_all(arguments.output, contents | {path.name: page.encode() for path, page in pages.items()})
    for path in (*paths, *pages):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
