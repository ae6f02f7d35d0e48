"""A study as one page that needs no network: result, curves, members, traversals, failures, cost, provenance.

python analysis/report.py
python analysis/report.py --study tau-sweep-quick
python analysis/report.py --study tau-sweep-laptop --where label_rate=0.01
python analysis/report.py --kept docs/results/curve           results that the repository keeps
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
    """Write one HTML page of any study, grid or search, to send to a colleague."""

    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Report only on members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: str = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the page, report.html, is written to. Left out: figures/STUDY."""
    study: str | None = None
    """Name of the study, by default the newest."""
    kept: Path | None = None
    """Folder of kept results to report on in place of MLflow's."""
    iterations: int | None = None
    """Iteration at which to report results, with --kept. Left out: the end."""

    def __post_init__(self) -> None:
        script.require_one_source(self.study, self.kept)
        script.require_kept(self.iterations, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the result. Raises InvalidInputError before anything is written."""
    from sweeps.analysis.destination import Destination  # late: `--help` needs no pandas
    from sweeps.analysis.report import read_kept, read_mlflow, write_page

    if arguments.kept is not None:
        record = read_kept.read_kept(arguments.kept, arguments.iterations)
        place = Destination(record.study, arguments.output, None)
    else:
        study = arguments.study or read_mlflow.newest(arguments.tracking_uri)
        record = read_mlflow.read_mlflow(arguments.tracking_uri, study)
        place = Destination(study, arguments.output, arguments.tracking_uri)
    write_page.write_page(record.where(arguments.where), place)


if __name__ == "__main__":
    sys.exit(main())
