"""A member's story on the terminal: its end, where it ran, its traceback."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.member_logs.found_members import FoundMember
from sweeps.trial.member_log import Event


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


def show_failures(members: Sequence[FoundMember], storage: Path, console: Console) -> None:
    """A table of the members that have failed, and how many there are."""
    table = Table(box=None, header_style="bold")
    for column in ("member", "study", "values", "reason"):
        table.add_column(column, overflow="fold")
    failed = [(member, result) for member in members if (result := member.files.read_result())]
    failed = [(member, result) for member, result in failed if result["status"] == "failed"]
    for member, result in failed:
        table.add_row(member.name, member.study, member.label, result["reason"])
    if failed:
        console.print(table)
    console.print(f"{len(failed)} of {len(members)} members in `{storage}` have failed")


def _events_table(events: Sequence[Event]) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("time", "event", "iteration", "host", "process", ""):
        table.add_column(column, overflow="fold")
    for event in events:
        table.add_row(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"])), *_cells(event))
    return table


def _cells(event: Event) -> list[str]:
    host = f"{event['host']} {event.get('address', '')}".strip()
    return [event["event"], _text(event, "iteration"), host, _text(event, "pid"), _text(event, "device", "reason")]


def _text(event: Event, *keys: str) -> str:
    return " ".join(str(event[key]) for key in keys if key in event)
