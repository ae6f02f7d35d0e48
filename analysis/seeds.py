"""Is it the labelled images or the model's seed? The variance of a study that crosses the two, split.

python sweeps/grid.py --grid label_seed=0,1,2 --grid tau=0,1 --seeds 3
python analysis/seeds.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.analysis import script
from sweeps.analysis.one_study import OneStudy


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments(OneStudy):
    """Split the variance of each metric into that of labelled sets, that of models' seeds, and the rest.

    Of a study that crosses the two."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, split, arguments)


def split(arguments: Arguments) -> None:
    """Load, split, write, and print. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import seeds  # late: `--help` needs no pandas
    from sweeps.analysis.drawn import csv_files

    members, place = arguments.read(seeds.find_study)
    found = seeds.components(place.study, members)
    contents = csv_files({"seeds.csv": seeds.components_frame(found)})
    place.write(contents)
    print(seeds.components_table(place.study, found))
    place.tell(contents)


if __name__ == "__main__":
    sys.exit(main())
