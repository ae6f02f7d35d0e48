"""The project's own results, trained one member after another at the lowest priority, for weeks if need be.

A member that has ended is one small file under docs/results, written once and meant to be committed: it is never
trained again, on whatever machine. Stop this whenever you like; the same command goes on from 30 s before. Several may
run beside each other with one --storage-path.

    python sweeps/kept_study.py                     Section 5.2 on dSprites: τ at α = 1 and 64, z at α = 1
    python sweeps/kept_study.py --study curve       what decides whether label replacement helps
    python sweeps/kept_study.py --study control     whether it is the true label that helps
    python sweeps/kept_study.py --study label-rates three regularisers with τ = 0 and 1 at two label rates
    python sweeps/kept_study.py --study look-alike  the same of one on the look-alike of 3D Shapes
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from larvae import allocator, command_line
from larvae.errors import InvalidInputError, require_known
from sweeps.kept.kept_studies import STUDIES
from sweeps.kept.priority import take_lowest_priority


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """The study to train, its folders, and its threads."""

    study: str = "study"
    """study, curve, control, label-rates or look-alike."""
    results: Path = Path("docs/results")
    """Folder of the kept files: of each study in a folder of its name."""
    storage_path: Path = Path("results/kept")
    """Folder of checkpoints of members that have not ended: of each study in a folder of its name."""
    members: int | None = None
    """Members to train before it stops. Left out: all that are missing."""
    threads: int = 1
    """PyTorch's threads."""


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and train, at the lowest priority; the exit code: 1 where a member has failed."""
    chosen = command_line.parse(lambda: tyro.cli(Arguments, args=list(arguments), description=__doc__))
    require_known("study", chosen.study, STUDIES)
    for name, value in (("members", chosen.members), ("threads", chosen.threads)):
        if value is not None and value <= 0:
            raise InvalidInputError(f"`{name}` must be > 0, got {value}")
    if chosen.threads > (cores := os.cpu_count() or 1):
        raise InvalidInputError(f"`threads` must be at most the {cores} of this machine, got {chosen.threads}")
    allocator.require_environment()  # not before: a look at `--help` or a mistake needs none
    from sweeps.kept.keeping import kept_file, train_missing  # late: it loads PyTorch

    take_lowest_priority()
    study, kept = STUDIES[chosen.study](), chosen.results / chosen.study
    # A member may be in several studies, which train it longer or shorter: each has a folder of its own.
    storage = chosen.storage_path / chosen.study
    statuses = train_missing(study, kept, storage, chosen.members, chosen.threads)
    ended = sum(kept_file(member, kept).exists() for member in study.members)
    print(f"{ended} of {len(study.members)} members of {chosen.study} have ended: `{kept}`")
    return int("failed" in statuses)


def main() -> int:
    """Run on this process's command line; whoever ends it with SIGTERM loses no more."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return command_line.run(lambda: run(sys.argv[1:]), stopped="Stopped. The same command again goes on.")


if __name__ == "__main__":
    sys.exit(main())
