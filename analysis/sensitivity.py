"""Sensitivity to a swept field, such as τ or z_dim (Figs. 3a and 3b of the paper), from what a sweep has logged.

python analysis/sensitivity.py
python analysis/sensitivity.py --parameter z_dim
python analysis/sensitivity.py --parameter tau --where alpha=64
python analysis/sensitivity.py --study before after               two studies in one figure
python analysis/sensitivity.py --kept docs/results/curve          results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from larvae.errors import require_known
from sweeps.analysis import script
from sweeps.console.tracking_uri import TrackingUri
from sweeps.grid import SWEPT
from sweeps.tracking.addresses import default_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw MIG and ℓ2 against a swept field, a line a label rate, with intervals over seeds.

    A study that varies other fields besides gets a row of panels for each combination of their values."""

    parameter: str = "tau"
    """Field that the sweep varies, such as tau, z_dim or alpha."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Draw only members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the figure (PNG, PDF) and its numbers (CSV) are written to. Left out: figures/STUDY."""
    study: tuple[str, ...] = ()
    """Name of the study, by default the newest that varies the parameter. Of several, each gets panels of its own."""
    kept: tuple[Path, ...] = ()
    """Folder of kept results to draw in place of MLflow's, or several."""
    iterations: int | None = None
    """Iteration at which to draw results, with --kept. Left out: the end."""

    def __post_init__(self) -> None:
        require_known("parameter", self.parameter, SWEPT)
        script.require_one_source(self.study, self.kept)
        script.require_different(self.study, self.kept)
        script.require_kept(self.iterations, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the means. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import (  # late: `--help` needs no pandas
        load,
        load_kept,
        parameters,
        sensitivity_report,
        settings,
    )
    from sweeps.analysis.destination import destination

    parameter, uri = parameters.parameter(arguments.parameter), arguments.tracking_uri
    if arguments.kept:
        place = destination([folder.resolve().name for folder in arguments.kept], arguments.output, None)
        found = [load_kept.load_kept(folder, arguments.iterations) for folder in arguments.kept]
    else:
        names = arguments.study or (load.find_study(uri, parameter.name),)
        place = destination(names, arguments.output, uri)
        found = [load.load_members(uri, name) for name in names]
    members = settings.where(load.together(place.studies, found), arguments.where)
    sensitivity_report.write_report(members, parameter, place)


if __name__ == "__main__":
    sys.exit(main())
