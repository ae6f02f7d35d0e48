"""The findings of an adaptive search: best configurations, pictures, numbers, a page, and a journal for Optuna.

python analysis/search_report.py
python analysis/search_report.py --study search-quick
optuna-dashboard figures/search-quick/search_journal.log
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.analysis import script
from sweeps.console.tracking_uri import TrackingUri
from sweeps.tracking.addresses import default_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Report on a search over τ, the dimension of z and more: on held-out labels, over seeds, against budget."""

    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that figures (PNG, PDF), numbers (CSV, Parquet), page (HTML) and journal are written to. Left out:
    figures/STUDY."""
    study: str | None = None
    """Name of the study, by default the newest search."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, summarise, draw, write, and print the best. Raises InvalidInputError before anything is written."""
    from sweeps.analysis.destination import Destination  # late: `--help` needs no pandas
    from sweeps.analysis.search import load_search, report

    study = arguments.study or load_search.find_search(arguments.tracking_uri)
    place = Destination(study, arguments.output, arguments.tracking_uri)
    report.write_report(load_search.load_search(arguments.tracking_uri, study), place)


if __name__ == "__main__":
    sys.exit(main())
