"""The log of a member while trials train it: a line for each start and end, in the member's folder.

Lines are appended, each whole, by the trial that has the member, or believes it has: they tell what a killed process
could not.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from larvae.files import append_lines, has_shape, read_lines
from larvae.member_directory import ENDLESS

Event = dict[str, Any]
"""`event` (started, trained, finished, failed, out_of_memory, silent: ended by the sweep, or fault: of its machine),
`time` since the epoch, `host`, `pid` and more."""
MOST_STARTS = 4
"""Starts of a member at one iteration, within one command, before it is given up: its process dies there each time."""


class MemberLog:
    """The log of one member."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def write(self, event: str, **more: object) -> None:
        """Append an event of this process."""
        line = {"event": event, "time": time.time(), "host": platform.node(), "pid": os.getpid(), **_place(), **more}
        append_lines(self.path, [line])  # a trial on a host that is cut off may be writing too

    def read(self) -> list[Event]:
        """All events in their order; lines that are none, or not whole, are left out."""
        lines = read_lines(self.path)[0]
        kinds: dict[str, Any] = {"event": str, "host": str, "time": (int, float)}
        return [line for line in lines if has_shape(line, **kinds) and 0 <= line["time"] < ENDLESS]


def starts_without_progress(events: Sequence[Event], command: str, iteration: int) -> int:
    """Count a command's starts of a member at an iteration, but for those that ended by a fault of the machine: by one
    that their own process has told, or the driver of it.

    Nor count those that lacked memory: fewer members together, down to one, are no repetition; nor those of a member
    that has trained, and waits for its evaluation while others' processes die.
    """
    nothing: Event = {"event": ""}
    return sum(
        (event["event"], event.get("command"), event.get("iteration")) == ("started", command, iteration)
        for event, following in itertools.pairwise([*events, nothing])
        if following["event"] not in ("fault", "out_of_memory", "trained")
        or following.get("pid") not in (event.get("pid"), "")
    )


def silence(events: Sequence[Event]) -> str:
    """The reason why a member's last process was ended, where that was its silence; empty otherwise."""
    silent = [event for event in events[-2:] if event["event"] == "silent"]
    return str(silent[-1].get("reason", "")) if silent else ""


def _place() -> dict[str, str]:
    """The place where Ray runs this process, by the names that its own logs have."""
    if not ray.is_initialized():
        return {}
    context = ray.get_runtime_context()
    return {"node": context.get_node_id(), "worker": context.get_worker_id(), "address": ray.util.get_node_ip_address()}
