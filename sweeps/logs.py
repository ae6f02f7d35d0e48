"""What happened to a member: how it ended, where it ran, its traceback, and what its processes wrote.

MEMBER is the start of its hash, or its values as tables show them (all words must fit one member). Left out: all
members that have failed.

    python -m sweeps.logs
    python -m sweeps.logs 3fb2a1
    python -m sweeps.logs "tau=1 seed=0" --study tau-sweep-paper --storage-path /shared/larvae
    python -m sweeps.logs 3fb2a1 --address auto        with what its processes wrote on other nodes
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import ray
import tyro
from ray.util import state
from rich.console import Console
from rich.table import Table
from rich.text import Text

from larvae import command_line
from larvae.errors import InvalidInputError
from larvae.member_directory import MemberDirectory
from sweeps.driver import connection
from sweeps.driver.ray_folders import ray_folders
from sweeps.session import new_console
from sweeps.study import StudyDirectory
from sweeps.trial.member_log import Event, MemberLog


@dataclass(frozen=True, kw_only=True, slots=True)
class LogsOptions:
    """What to show."""

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


class FoundMember(NamedTuple):
    """A member on disk."""

    study: str
    label: str
    name: str
    """Its content hash."""
    files: MemberDirectory

    @property
    def log(self) -> MemberLog:
        return MemberLog(self.files.path)


def run(arguments: Sequence[str]) -> int:
    """Parse a command line and show; 0, or 1 where a member that was looked for has failed."""
    options = command_line.parse(lambda: tyro.cli(LogsOptions, args=list(arguments), description=__doc__))
    console = new_console()
    members = list(find_members(options.storage_path, options.study))
    if not options.member:
        return _show_failures(members, options, console)
    member = choose(members, options)
    show(member, console)
    for title, text in process_logs(member.log.read(), options.address, options.lines):
        console.print(f"\n{title}", style="bold")
        console.print(text)
    result = member.files.read_result()
    return 1 if result and result["status"] == "failed" else 0


def find_members(storage: Path, study: str = "") -> Iterator[FoundMember]:
    """All members of studies below a folder. Raises InvalidInputError where none is such a study, or one is damaged."""
    records = sorted(storage.glob(f"{study or '*'}/study.json"))
    if not records:
        known = ", ".join(sorted(file.parent.name for file in storage.glob("*/study.json"))) or "none"
        raise InvalidInputError(f"`storage_path` must hold the study, got `{storage}`, which holds {known}")
    for record in records:
        members = (StudyDirectory(record.parent).read_record() or {}).get("members", {})
        for name, member in members.items():
            files = MemberDirectory(record.parent / "members" / name)
            yield FoundMember(record.parent.name, member["label"], name, files)


def choose(members: Sequence[FoundMember], options: LogsOptions) -> FoundMember:
    """The one member that is meant. Raises InvalidInputError where none is, or several are."""
    words = options.member.split()
    by_hash = [member for member in members if member.name.startswith(options.member)]
    found = by_hash or [member for member in members if set(words) <= set(member.label.split())]
    if len(found) == 1:
        return found[0]
    rule = "`member` must be the start of one member's hash, or values that one member has"
    if not found:
        raise InvalidInputError(f"{rule}, got {options.member!r}, which none of {len(members)} has")
    some = ", ".join(f"{member.name} ({member.study}: {member.label})" for member in found[:4])
    raise InvalidInputError(f"{rule}, got {options.member!r}, which {len(found)} have: {some}{' …' * (len(found) > 4)}")


def show(member: FoundMember, console: Console) -> None:
    """A member's end, where it ran, and its traceback."""
    result = member.files.read_result()
    console.print(Text.assemble((f"{member.study}: {member.label}", "bold"), f"  {member.name}"))
    console.print(f"{member.files.path}")
    ended = f"{result['status']} {result['reason']}".strip() if result else "has not ended"
    console.print(ended)
    events = member.log.read()
    if events:
        console.print(_events_table(events))
    if result and result.get("traceback"):
        console.print(result["traceback"].rstrip())


def process_logs(events: Sequence[Event], address: str | None, lines: int) -> Iterator[tuple[str, str]]:
    """What the processes that trained a member wrote, each with a title; Ray keeps it while its session lasts."""
    if address:
        connection.connect(address)
    for event in {event["worker"]: event for event in events if "worker" in event}.values():
        for ending in ("out", "err"):
            text = _from_ray(event, ending, lines) if address else _from_disk(event, ending, lines)
            if text.strip():
                yield f"{ending} of process {event['pid']} on {event['host']}", text.rstrip()


def _from_disk(event: Event, ending: str, lines: int) -> str:
    places = [folder.glob(f"session_2*/logs/worker-{event['worker']}-*.{ending}") for folder in ray_folders()]
    found = sorted(itertools.chain(*places))
    return "\n".join(found[-1].read_text(errors="replace").splitlines()[-lines:]) if found else ""


def _from_ray(event: Event, ending: str, lines: int) -> str:
    place = {"address": ray.get_runtime_context().gcs_address, "node_id": event["node"]}
    try:
        files = state.list_logs(**place, glob_filter=f"worker-{event['worker']}-*.{ending}")
        names = [name for group in files.values() for name in group]
        return "".join(state.get_log(**place, filename=names[0], tail=lines)) if names else ""
    except (ray.exceptions.RayError, state.exception.RayStateApiException, OSError) as error:
        return f"not to be had from node {event['address']}: {str(error).splitlines()[0]}"


def _show_failures(members: Sequence[FoundMember], options: LogsOptions, console: Console) -> int:
    table = Table(box=None, header_style="bold")
    for column in ("member", "study", "values", "reason"):
        table.add_column(column, overflow="fold")
    failed = [(member, result) for member in members if (result := member.files.read_result())]
    failed = [(member, result) for member, result in failed if result["status"] == "failed"]
    for member, result in failed:
        table.add_row(member.name, member.study, member.label, result["reason"])
    if failed:
        console.print(table)
    console.print(f"{len(failed)} of {len(members)} members in `{options.storage_path}` have failed")
    return 0


def _events_table(events: Sequence[Event]) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("time", "event", "iteration", "host", "process", ""):
        table.add_column(column, overflow="fold")
    for event in events:
        table.add_row(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"])), *_cells(event))
    return table


def _cells(event: Event) -> list[str]:
    host = f"{event['host']} {event.get('address', '')}".strip()
    return [event["event"], _text(event, "iteration"), host, str(event["pid"]), _text(event, "device", "reason")]


def _text(event: Event, *keys: str) -> str:
    return " ".join(str(event[key]) for key in keys if key in event)


if __name__ == "__main__":
    sys.exit(command_line.run(lambda: run(sys.argv[1:])))
