"""Is it the true label that helps? Controls for label replacement, from what a sweep has logged.

python analysis/controls.py
python analysis/controls.py --kept docs/results/control           results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from sweeps.analysis import script
from sweeps.tracking.addresses import default_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Compare the baseline, LaRVAE and controls, seed by seed, and draw them."""

    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Compare only members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: str = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the figure (PNG, PDF) and its numbers (CSV) are written to. Left out: figures/STUDY."""
    study: str | None = None
    """Name of the study, by default the newest that has controls."""
    kept: Path | None = None
    """Folder of kept results to compare in place of MLflow's."""

    def __post_init__(self) -> None:
        script.require_one_source(self.study, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import controls, controls_report, load, load_kept, settings  # late: `--help` needs no pandas
    from sweeps.analysis.destination import Destination

    if arguments.kept is not None:
        place = Destination(arguments.kept.resolve().name, arguments.output, None)
        members = load_kept.load_kept(arguments.kept)
    else:
        study = arguments.study or controls.find_study(arguments.tracking_uri)
        place = Destination(study, arguments.output, arguments.tracking_uri)
        members = load.load_members(arguments.tracking_uri, study)
    controls_report.write_report(settings.where(members, arguments.where), place)


if __name__ == "__main__":
    sys.exit(main())
