"""The place of a study's figures: a folder, and, of studies that MLflow has, the artifacts of the study's run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from larvae.errors import InvalidInputError
from sweeps.analysis.connect import connection
from sweeps.analysis.script import write_all
from sweeps.tracking.study_files import log_figures

FIGURES = Path("figures")


class Destination(NamedTuple):
    """The place of one study's figures."""

    study: str
    output: Path | None
    """The folder; None for one of the study's name in `figures`."""
    tracking_uri: str | None
    """MLflow's address; None for what it does not have, such as kept results, or several studies in one figure."""
    studies: tuple[str, ...] = ()
    """All studies that are drawn, where there may be several."""

    @property
    def folder(self) -> Path:
        return self.output or FIGURES / self.study

    def write(self, contents: dict[str, bytes]) -> None:
        """Write files, all or none. Raises InvalidInputError when the folder refuses them."""
        write_all(self.folder, contents)

    def tell(self, contents: dict[str, bytes]) -> None:
        """Print where the files are, and log them with the study's run; a line where MLflow does not take them."""
        paths = [self.folder / name for name in contents]
        for path in paths:
            print(path)
        if self.tracking_uri is not None:
            try:
                with connection(self.tracking_uri) as client:
                    log_figures(client, self.study, paths)
            except (InvalidInputError, OSError) as error:
                print(f"MLflow has not taken the figures: {error}", file=sys.stderr)


def destination(studies: Sequence[str], output: Path | None, tracking_uri: str | None) -> Destination:
    """The place of figures of one study, or of several together, which no single run of MLflow's can have."""
    return Destination("-".join(studies), output, tracking_uri if len(studies) == 1 else None, tuple(studies))
