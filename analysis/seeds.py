"""Is it the labelled images or the model's seed? The variance of a study that crosses the two, split.

python sweeps/grid.py --grid label_seed=0,1,2 --grid tau=0,1 --seeds 3
python analysis/seeds.py
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
    """Split the variance of each metric into that of labelled sets, that of models' seeds, and the rest."""

    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Take only members with this value of a field, NAME=VALUE. Give it again for another field."""
    tracking_uri: str = field(default_factory=default_uri)
    """MLflow's address: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    output: Path | None = None
    """Folder that the numbers (CSV) are written to. Left out: figures/STUDY."""
    study: str | None = None
    """Name of the study, by default the newest that crosses seeds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 2 when the input breaks a rule."""
    return script.run(Arguments, split, arguments)


def split(arguments: Arguments) -> None:
    """Load, split, write, and print. Raises InvalidInputError before anything is written."""
    from sweeps.analysis import load, seeds, settings  # late: `--help` needs no pandas
    from sweeps.analysis.destination import Destination

    study = arguments.study or seeds.find_study(arguments.tracking_uri)
    members = settings.where(load.load_members(arguments.tracking_uri, study), arguments.where)
    found = seeds.components(study, members)
    place = Destination(study, arguments.output, arguments.tracking_uri)
    contents = {"seeds.csv": seeds.components_frame(found).to_csv(index=False).encode()}
    place.write(contents)
    print(seeds.components_table(study, found))
    place.tell(contents)


if __name__ == "__main__":
    sys.exit(main())
