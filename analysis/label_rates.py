"""LaRVAE against semi-supervised baselines over label rates (Figs. 2, E.1 and E.2) from what a sweep has logged.

python analysis/label_rates.py
python analysis/label_rates.py --kept docs/results/label-rates    results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.analysis import script
from sweeps.tracking.addresses import default_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Draw each metric against the label rate, a row a data set and a column a regulariser, and test differences."""

    tracking_uri: str = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the figures (PNG, PDF) and their numbers (CSV) are written to. Left out: figures/STUDY."""
    study: str | None = None
    """Name of the study, by default the newest that compares τ = 0 with τ > 0 at several label rates."""
    tau: float | None = None
    """LaRVAE's τ; needed where the study has several > 0."""
    kept: Path | None = None
    """Folder of kept results to compare in place of MLflow's."""

    def __post_init__(self) -> None:
        script.require_one_source(self.study, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import label_rates_report, load, load_kept  # late: `--help` needs no pandas
    from sweeps.analysis.destination import Destination

    if arguments.kept is not None:
        place = Destination(arguments.kept.resolve().name, arguments.output, None)
        members = load_kept.load_kept(arguments.kept)
    else:
        study = arguments.study or load.find_label_rate_study(arguments.tracking_uri)
        place = Destination(study, arguments.output, arguments.tracking_uri)
        members = load.load_members(arguments.tracking_uri, study)
    label_rates_report.write_report(members, arguments.tau, place)


if __name__ == "__main__":
    sys.exit(main())
