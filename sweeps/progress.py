"""What a running study looks like on the terminal: bars and an ETA, or plain lines where there is none."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from larvae.member import Row

PLAIN_LINE_SECONDS = 30.0


def makespan(remaining_seconds: list[float], slots: int) -> float:
    """Seconds until the last of some jobs ends when `slots` run at once, in the order given."""
    ends = [0.0] * max(1, slots)
    for seconds in remaining_seconds:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


class _Speed(NamedTuple):
    """How long some iterations took; a member's first ones may include compilation."""

    seconds: float
    iterations: int
    warming_up: bool


class StudyProgress:
    """Counts iterations of members and shows them.

    labels: names of the members by hash. iterations: what each trains to.
    """

    def __init__(self, labels: Mapping[str, str], iterations: int, slots: int, console: Console) -> None:
        self.labels = dict(labels)
        self.iterations = iterations
        self.slots = slots
        self.console = console
        self.done: dict[str, int] = dict.fromkeys(labels, 0)
        self.status: dict[str, str] = dict.fromkeys(labels, "waiting")
        self.latest: dict[str, Row] = {}
        self.expected = 0
        """Iterations that are likely to be trained beside those of the members that are known."""
        self.best = ""
        """What to say of the best result so far, in place of the finished member of the best MIG."""
        self._speeds: list[_Speed] = []
        self._printed_at = time.monotonic()
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[note]}"))
        self._best_line = Text(overflow="fold")
        self._screen = Live(Group(self._bars, self._best_line), console=console)
        self._overall = self._bars.add_task("", total=iterations * len(labels), note="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StudyProgress:
        if self.console.is_terminal:
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._screen.stop()

    def add(self, labels: Mapping[str, str]) -> None:
        """More members, by hash, are to be trained."""
        self.labels |= labels
        self.done |= dict.fromkeys(labels, 0)
        self.status |= dict.fromkeys(labels, "waiting")

    def start(self, member: str) -> None:
        """A member has begun."""
        self.status[member] = "running"

    def wait(self, member: str) -> None:
        """A member will be tried again."""
        self.status[member] = "waiting"

    def update(self, member: str, rows: list[Row]) -> None:
        """A member has reported rows."""
        rows = [row for row in rows if row["iteration"] > self.done[member]]  # a restarted trial repeats some
        if not rows:
            return
        for row in rows:
            iterations = int(row["iteration"]) - self.done[member]
            self._speeds.append(_Speed(row["seconds"], iterations, warming_up=self.done[member] == 0))
            self.done[member] = int(row["iteration"])
            self.latest[member] = self.latest.get(member, {}) | row
        self._show(member)

    def end(self, member: str, status: str) -> None:
        """A member has finished, failed or been stopped."""
        self.status[member] = status
        if member in self._tasks:
            self._bars.remove_task(self._tasks.pop(member))
        self._show_overall()
        self._print(f"{self.labels[member]} {status}{self._metrics(member)}")

    def seconds_left(self) -> float | None:
        """Time until the last member ends, running and waiting ones counted; None before it can be told."""
        known = [speed for speed in self._speeds if not speed.warming_up]
        if not known:
            return None
        rate = sum(speed.seconds for speed in known) / sum(speed.iterations for speed in known)
        order = ("running", "waiting")
        open_members = [member for status in order for member in self.labels if self.status[member] == status]
        known_work = [(self.iterations - self.done[member]) * rate for member in open_members]
        return makespan(known_work + [self.expected * rate / self.slots] * self.slots, self.slots)

    def _iterations_left(self) -> int:
        open_members = [member for member, status in self.status.items() if status in ("running", "waiting")]
        return self.expected + sum(self.iterations - self.done[member] for member in open_members)

    def _show(self, member: str) -> None:
        if member not in self._tasks:
            self._tasks[member] = self._bars.add_task(self.labels[member], total=self.iterations, note="")
        note = f"{self.done[member]:,} of {self.iterations:,}{self._metrics(member)}"
        self._bars.update(self._tasks[member], completed=self.done[member], note=note)
        self._show_overall()
        if time.monotonic() - self._printed_at > PLAIN_LINE_SECONDS:
            self._print(self.summary())

    def _show_overall(self) -> None:
        done = sum(self.done.values())
        total = done + self._iterations_left()
        self._bars.update(self._overall, completed=done, total=total, description="all", note=self._state())
        self._best_line.plain = self._best()

    def summary(self) -> str:
        """One line: share done, members by status, time left, the best so far."""
        return "; ".join(part for part in (self._state(), self._best()) if part)

    def _state(self) -> str:
        statuses = list(self.status.values())
        counts = {status: statuses.count(status) for status in ("finished", "stopped", "failed", "running", "waiting")}
        done = sum(self.done.values())
        share = done / max(1, done + self._iterations_left())
        left = self.seconds_left()
        eta = "" if left is None else f", {duration(left)} left"
        return f"{share:.0%}: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n) + eta

    def _best(self) -> str:
        if self.best:
            return self.best
        migs = {m: self.latest.get(m, {}).get("mig") for m, status in self.status.items() if status == "finished"}
        known = {member: mig for member, mig in migs.items() if mig is not None}
        if not known:
            return ""
        best = max(known, key=lambda member: known[member])
        return f"best MIG {known[best]:.3f} with {self.labels[best]}"

    def _metrics(self, member: str) -> str:
        row = self.latest.get(member, {})
        if "mig" in row:
            return f"  MIG {row['mig']:.3f}  l2 {row['l2']:.3f}"
        held_out = {"MIG": row.get("held_out_mig"), "l2": row.get("held_out_l2")}
        known = [f"{name} {value:.3f}" for name, value in held_out.items() if value is not None]
        return f"  held-out {'  '.join(known)}" if known else ""

    def _print(self, line: str) -> None:
        self._printed_at = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False, highlight=False)


def duration(seconds: float) -> str:
    """A length of time as people say it: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def results_table(labels: Mapping[str, str], results: Mapping[str, tuple[str, Row]]) -> Table:
    """The final table, a row a member: status, metrics and speed; labels and results by hash."""
    table = Table(box=None, header_style="bold")
    table.add_column("member", overflow="fold")
    for heading in ("status", "MIG", "MIG of y", "l2", "s/iter"):
        table.add_column(heading, justify="left" if heading == "status" else "right", no_wrap=True)
    for member, label in labels.items():
        status, row = results[member]
        numbers = [f"{row[key]:.3f}" if key in row else "" for key in ("mig", "mig_y", "l2", "seconds_per_iteration")]
        table.add_row(label, status, *numbers)
    return table
