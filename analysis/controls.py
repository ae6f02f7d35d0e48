"""Is it the true label that helps? Controls for label replacement, from what a sweep has logged.

python analysis/controls.py
python analysis/controls.py --kept docs/results/control           results that the repository keeps
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.analysis import script
from sweeps.analysis.one_study import OneStudy


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments(OneStudy):
    """Compare the baseline, LaRVAE and controls, seed by seed, and draw them: of a study that has controls."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, draw, arguments)


def draw(arguments: Arguments) -> None:
    """Load, compare, draw, write, and print the differences. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import controls, controls_report  # late: `--help` needs no pandas

    members, place = arguments.read(controls.find_study)
    controls_report.write_report(members, place)


if __name__ == "__main__":
    sys.exit(main())
