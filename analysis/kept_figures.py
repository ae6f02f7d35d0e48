"""The pictures of README and docs, from the results that the repository keeps: `make figures`, `make check-figures`.

python analysis/kept_figures.py
python analysis/kept_figures.py --check           whether pictures and numbers agree
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.analysis import script


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw the pictures of kept results, or check that they show the numbers that these give."""

    check: bool = False
    """Draw nothing; end with 2 where a picture shows other numbers."""
    results: Path = Path("docs/results")
    """Folder of kept results: of each study in a folder of its name."""
    output: Path = Path("docs")
    """Folder of the pictures (PNG)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Draw and write, or check. Raises InvalidInputError, before anything is written."""
    from sweeps.analysis import drawn, kept_pictures  # late: `--help` needs no pandas

    pictures = kept_pictures.kept_pictures(arguments.results)
    paths = {arguments.output / f"{name}.png": one for one in pictures for name in one.figures}
    if arguments.check:
        for path, one in paths.items():
            drawn.require_up_to_date(path, one)
    else:
        script.write_all(arguments.output, {name: c for one in pictures for name, c in one.pictures("png").items()})
    for path in paths:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
