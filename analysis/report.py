"""A study as one page that needs no network: result, curves, members, traversals, failures, cost, provenance.

python analysis/report.py
python analysis/report.py --study tau-sweep-quick
python analysis/report.py --study tau-sweep-laptop --where label_rate=0.01
python analysis/report.py --kept docs/results/curve           results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.analysis import script
from sweeps.analysis.one_study import OneStudy


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments(OneStudy):
    """Write one HTML page of any study, grid or search, to send to a colleague."""

    iterations: int | None = None
    """Iteration at which to report results, with --kept. Left out: the end."""

    def __post_init__(self) -> None:
        OneStudy.__post_init__(self)  # `super()` does not know the class that slots make
        script.require_kept(self.iterations, self.kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, estimate, draw, write, and print the result. Raises InvalidInputError before anything is written."""
    from sweeps.analysis.report import read_kept, read_mlflow, write_page  # late: `--help` needs no pandas

    place = arguments.place(read_mlflow.newest)
    if arguments.kept is not None:
        record = read_kept.read_kept(arguments.kept, arguments.iterations)
    else:
        record = read_mlflow.read_mlflow(arguments.tracking_uri, place.study)
    write_page.write_page(record.where(arguments.where), place)


if __name__ == "__main__":
    sys.exit(main())
