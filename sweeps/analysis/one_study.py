"""Options of scripts that read one study, of MLflow's or of the results that the repository keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from sweeps.analysis import script
from sweeps.console.tracking_uri import TrackingUri
from sweeps.tracking.addresses import default_uri

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.analysis.destination import Destination


@dataclass(frozen=True, kw_only=True, slots=True)
class OneStudy:
    """A study, members of it, and a folder for what is made of them."""

    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Take only members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that what is made is written to. Left out: figures/STUDY."""
    study: str | None = None
    """Name of the study. Left out: the newest that fits."""
    kept: Path | None = None
    """Folder of kept results to read in place of MLflow's."""

    def __post_init__(self) -> None:
        script.require_one_source(self.study, self.kept)

    def place(self, newest: Callable[[str], str]) -> Destination:
        """The place of the study's figures, by its name.

        newest: finds the name of the newest study that fits, by MLflow's address.
        Raises InvalidInputError where there is none.
        """
        from sweeps.analysis.destination import Destination  # late: `--help` needs no pandas

        if self.kept is not None:
            return Destination(self.kept.resolve().name, self.output, None)
        return Destination(self.study or newest(self.tracking_uri), self.output, self.tracking_uri)

    def read(self, newest: Callable[[str], str]) -> tuple[pd.DataFrame, Destination]:
        """The members that are meant, and the place of their figures. newest: as of `place`.

        Raises InvalidInputError where study or members cannot be found.
        """
        from sweeps.analysis import load, load_kept, settings

        place = self.place(newest)
        if self.kept is not None:
            members = load_kept.load_kept(self.kept)
        else:
            members = load.load_members(self.tracking_uri, place.study)
        return settings.where(members, self.where), place
