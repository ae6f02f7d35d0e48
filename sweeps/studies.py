"""Lists studies with their state, size on disk and date, or removes one with its runs in MLflow.

python -m sweeps.studies
python -m sweeps.studies --remove tau-sweep-quick
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from larvae import command_line
from larvae.errors import InvalidInputError
from sweeps.console.tracking_uri import TrackingUri
from sweeps.tracking.addresses import default_uri, take_passwords_off_command_line


@dataclass(frozen=True, kw_only=True, slots=True)
class StudiesOptions:
    """The place of the studies, and the one to remove, if any."""

    storage_path: Path = Path("results")
    """Folder of checkpoints and results."""
    tracking_uri: TrackingUri = field(default_factory=default_uri)
    """MLflow: sqlite:///FILE, http://HOST:PORT or a database's URL."""
    remove: str | None = None
    """Name of a study to remove: its folder, and its runs in MLflow, which keeps them until `mlflow gc`."""
    yes: bool = False
    """Remove without asking."""


def run(arguments: Sequence[str]) -> int:
    """Parse a command line, list or remove; 0, or 1 where the user says no."""
    options = command_line.parse(lambda: tyro.cli(StudiesOptions, args=list(arguments), description=__doc__))
    if options.remove is not None:
        return _remove(options, options.remove)
    from rich.table import Table

    from sweeps.console.terminal import new_console
    from sweeps.found_studies import found_studies

    table = Table(box=None, header_style="bold")
    for heading in ("study", "state", "members", "MB", "last written"):
        table.add_column(heading, justify="right" if heading in ("members", "MB") else "left", no_wrap=True)
    for study in found_studies(options.storage_path):
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.written_at))
        members = f"{study.ended} of {study.members} ended"
        table.add_row(study.name, study.state, members, f"{study.size / 1e6:,.1f}", written)
    new_console().print(table)
    return 0


def _remove(options: StudiesOptions, name: str) -> int:
    from rich.prompt import Confirm

    from sweeps.found_studies import found_studies
    from sweeps.study import StudyDirectory, require_name

    require_name(name)
    known = {study.name: study for study in found_studies(options.storage_path)}
    directory = StudyDirectory(options.storage_path / name)
    if study := known.get(name):
        what = f"`{directory.path}` ({study.members} members, {study.size / 1e6:,.1f} MB) and its runs in MLflow"
    else:
        from sweeps.tracking.tracker import living_experiment  # late: it loads MLflow

        if living_experiment(options.tracking_uri, name) is None:
            names = ", ".join(known) or "none"
            raise InvalidInputError(f"`remove` must name a study in `{options.storage_path}`, {names}, got {name}")
        what = f"{name}'s runs in MLflow, of which nothing is in `{options.storage_path}`"
    with directory.locked() if study else contextlib.nullcontext():
        if not options.yes and not (sys.stdin.isatty() and Confirm.ask(f"Remove {what}?", default=False)):
            print("Nothing was removed: answer y, or give --yes", file=sys.stderr)
            return 1
        from sweeps.tracking.tracker import delete_runs  # late: it loads MLflow

        runs = delete_runs(options.tracking_uri, name)
        if study:
            directory.delete()
    print(f"Removed {what}: {runs} runs, which MLflow keeps as deleted until `mlflow gc`")
    return 0


if __name__ == "__main__":
    take_passwords_off_command_line()
    sys.exit(command_line.run(lambda: run(sys.argv[1:])))
