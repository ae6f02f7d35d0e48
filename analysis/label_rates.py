"""LaRVAE against semi-supervised baselines over label rates (Figs. 2, E.1 and E.2) from what a sweep has logged.

python analysis/label_rates.py
python analysis/label_rates.py --kept docs/results/label-rates    results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.analysis import script
from sweeps.analysis.one_study import OneStudy


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments(OneStudy):
    """Draw each metric against the label rate, a row a data set and a column a regulariser, and test differences.

    Of a study that compares τ = 0 with τ > 0 at several label rates."""

    tau: float | None = None
    """LaRVAE's τ; needed where the study has several > 0."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import label_rates_report, load  # late: `--help` needs no pandas

    members, place = arguments.read(load.find_label_rate_study)
    label_rates_report.write_report(members, arguments.tau, place)


if __name__ == "__main__":
    sys.exit(main())
