"""Tells what happened to a member: how it ended, where it ran, its traceback, and what its processes wrote.

MEMBER is the start of its hash, or its values as tables show them (all words must fit one member). Left out: all
members that have failed.

    python -m sweeps.logs
    python -m sweeps.logs 3fb2a1
    python -m sweeps.logs "tau=1 seed=0" --study tau-sweep-paper --storage-path /shared/larvae
    python -m sweeps.logs 3fb2a1 --address auto        with what its processes wrote on other nodes
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from larvae import command_line
from larvae.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class LogsOptions:
    """The members to show, and the place to look for them."""

    member: Annotated[str, tyro.conf.Positional] = ""
    """Start of a member's hash, or its values, such as "tau=1 seed=0". Left out: all that have failed."""
    storage_path: Path = Path("results")
    """Folder of checkpoints and results."""
    study: str = ""
    """Name of its study. Left out: any."""
    address: str | None = None
    """Ray cluster to ask for what processes wrote on its nodes: auto, or HOST:PORT. Left out: this machine's only."""
    lines: int = 40
    """Last lines to show of what a process wrote."""


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and show; 0, or 1 where a member that was looked for has failed."""
    options = command_line.parse(lambda: tyro.cli(LogsOptions, args=list(arguments), description=__doc__))
    if options.lines <= 0:
        raise InvalidInputError(f"`lines` must be > 0, got {options.lines}")
    from sweeps.console.terminal import new_console
    from sweeps.member_logs import found_members, process_logs, stories  # late: they load Ray

    console = new_console()
    members = list(found_members.find_members(options.storage_path, options.study))
    if not options.member:
        stories.show_failures(members, options.storage_path, console)
        return 0
    member = found_members.choose(members, options.member)
    stories.show(member, console)
    for title, text in process_logs.process_logs(member.log.read(), options.address, options.lines):
        console.print(f"\n{title}", style="bold")
        console.print(text)
    result = member.files.read_result()
    return 1 if result and result["status"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(command_line.run(lambda: run(sys.argv[1:])))
