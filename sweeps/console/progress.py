"""The progress of a running study on the terminal: bars and an ETA, or plain lines where there is no terminal."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from larvae.member_directory import Row
from larvae.metrics import held_out
from sweeps.console.terminal import say

PLAIN_LINE_SECONDS = 30.0
MOST_BARS = 24
"""Running members that have a bar of their own: more would not fit on a screen, and each costs time to draw."""
REFRESH_SHARE = 0.02
"""Share of the driver's time, at most, for showing the whole: the more members there are, the longer that takes."""
_OPEN = ("running", "waiting")


def makespan(remaining_seconds: list[float], slots: int) -> float:
    """Seconds until the last of some jobs ends when `slots` run at once, in the order given."""
    ends = [0.0] * max(1, slots)
    for seconds in remaining_seconds:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


class StudyProgress:
    """Counts iterations of members and shows them.

    labels: names of the members by hash. iterations: what each trains to.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        iterations: int,
        slots: int,
        console: Console,
        reached: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """labels: of members by hash. reached: iterations that earlier commands have trained of some of them."""
        self.labels = dict(labels)
        self.iterations = iterations
        self.slots = slots
        self.console = console
        self.done: dict[str, int] = {}
        self.status: dict[str, str] = {}
        self.latest: dict[str, Row] = {}
        self._told: dict[str, int] = {}
        self.expected = 0
        """Iterations that are likely to be trained beside those of the members that are known."""
        self.best = ""
        """Words on the best result so far, in place of the finished member of the best MIG."""
        # What sums over members would tell: a report of one of 48,000 must not look at all of them.
        self._numbers: Counter[str] = Counter()
        self._phases: dict[str, str] = {}
        self._told_phases: set[str] = set()
        self._iterations_done = 0
        self._iterations_left = 0
        self._warm_seconds = 0.0
        self._warm_iterations = 0
        self._best_finished: tuple[float, str] | None = None
        self._printed_at = time.monotonic()
        self._refresh_at = self._printed_at
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[note]}"))
        self._best_line = Text(overflow="fold")
        self._screen = Live(Group(self._bars, self._best_line), console=console)
        self._overall = self._bars.add_task("", total=iterations * len(labels), note="")
        self._tasks: dict[str, TaskID] = {}
        self.add(labels, reached)

    def __enter__(self) -> StudyProgress:
        if self.console.is_terminal:
            self._refresh()
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._refresh()
            self._screen.stop()

    def add(self, labels: Mapping[str, str], reached: Mapping[str, int] = MappingProxyType({})) -> None:
        """More members, by hash, are to be trained."""
        self.labels |= labels
        for member in labels:
            known = reached.get(member, 0)  # of a later end, perhaps
            self._change(member, min(self.iterations, known), "waiting")

    def start(self, member: str) -> None:
        """A member has begun."""
        self._change(member, self.done[member], "running")

    def enter(self, member: str, phase: str) -> None:
        """A member is in a phase that takes long; none where it is empty."""
        if phase != self._phases.get(member, ""):
            self._phases.pop(member, None)
            if phase:
                self._phases[member] = phase
            self._show(member)
        if phase and phase not in self._told_phases:
            self._told_phases.add(phase)
            self._print(phase)
        self._now_and_then()

    def wait(self, member: str) -> None:
        """A member will be tried again."""
        self._change(member, self.done[member], "waiting")

    def update(self, member: str, rows: list[Row]) -> None:
        """A member has reported rows."""
        latest = self.latest.setdefault(member, {})
        before = self._told.get(member, 0)  # rows of earlier commands come, too, and tell their rate
        rows = [row for row in rows if row["iteration"] >= before]  # a restarted trial repeats others
        for row in rows:
            latest.update(row)
        rows = [row for row in rows if row["iteration"] > before]  # the last one comes again, with metrics
        if not rows:
            return
        reached = self._told[member] = int(rows[-1]["iteration"])
        warm = rows if before else rows[1:]  # a member's first row may include compilation
        if warm:
            self._warm_seconds += sum(row["seconds"] for row in warm)
            self._warm_iterations += reached - (before or int(rows[0]["iteration"]))
        self._change(member, max(reached, self.done[member]), self.status[member])
        self._show(member)
        self._now_and_then()

    def end(self, member: str, status: str) -> None:
        """A member has finished, failed or been stopped."""
        self._change(member, self.done[member], status)
        mig = self.latest.get(member, {}).get("mig")
        if status == "finished" and mig is not None and (self._best_finished is None or mig > self._best_finished[0]):
            self._best_finished = (mig, self.labels[member])
        if member in self._tasks:
            self._bars.remove_task(self._tasks.pop(member))
        self._refresh_now_and_then()
        self._print(f"{self.labels[member]} {status}{self._metrics(member)}")

    def note(self, line: str) -> None:
        """Tell something out of the ordinary."""
        say(line, self.console)

    def seconds_left(self) -> float | None:
        """Time until the last member ends, running and waiting ones counted; None before it can be told."""
        if not self._warm_iterations:
            return None
        rate = self._warm_seconds / self._warm_iterations
        running = [member for member, status in self.status.items() if status == "running"]
        waiting = [member for member, status in self.status.items() if status == "waiting"]
        known_work = [(self.iterations - self.done[member]) * rate for member in (*running, *waiting)]
        return makespan(known_work + [self.expected * rate / self.slots] * self.slots, self.slots)

    def _change(self, member: str, done: int, status: str) -> None:
        """Change what is known of a member, and what sums over members would tell."""
        if status != "running":
            self._phases.pop(member, None)
        if member in self.status:
            self._numbers[self.status[member]] -= 1
            self._iterations_done -= self.done[member]
            self._iterations_left -= self._left(member)
        self.done[member], self.status[member] = done, status
        self._numbers[status] += 1
        self._iterations_done += done
        self._iterations_left += self._left(member)

    def _left(self, member: str) -> int:
        """Iterations that a member still has to train: none where it has ended."""
        return self.iterations - self.done[member] if self.status[member] in _OPEN else 0

    def _show(self, member: str) -> None:
        has_room = member not in self._tasks and len(self._tasks) < MOST_BARS
        if self.console.is_terminal and has_room and self.status[member] in _OPEN:
            self._tasks[member] = self._bars.add_task(self.labels[member], total=self.iterations, note="")
        if member in self._tasks:
            phase = self._phases.get(member, "")
            note = f"{self.done[member]:,} of {self.iterations:,}{self._metrics(member)}{phase and '  '}{phase}"
            self._bars.update(self._tasks[member], completed=self.done[member], note=note)
        self._refresh_now_and_then()

    def _now_and_then(self) -> None:
        """Print a line on the whole where nobody has seen one for long."""
        if time.monotonic() - self._printed_at > PLAIN_LINE_SECONDS:
            self._print(self.summary())

    def _refresh_now_and_then(self) -> None:
        """Refresh what is shown of the whole, unless it was moments ago as measured by what that takes."""
        if self.console.is_terminal and time.monotonic() >= self._refresh_at:
            started = time.monotonic()
            self._refresh()
            ended = time.monotonic()
            self._refresh_at = ended + (ended - started) / REFRESH_SHARE

    def _refresh(self) -> None:
        done, total = self._iterations_done, self._iterations_done + self.expected + self._iterations_left
        self._bars.update(self._overall, completed=done, total=total, description="all", note=self._state())
        self._best_line.plain = self._best()

    def summary(self) -> str:
        """One line: share done, members by status, time left, the best so far."""
        return "; ".join(part for part in (self._state(), self._best()) if part)

    def _state(self) -> str:
        total = self._iterations_done + self.expected + self._iterations_left
        share = self._iterations_done / max(1, total)
        order = ("finished", "stopped", "failed", "waiting", "running")
        counts = ", ".join(f"{self._numbers[status]} {status}" for status in order if self._numbers[status])
        if self._phases:
            phases = Counter(self._phases.values())
            counts += f" ({', '.join(f'{number} {phase}' for phase, number in phases.items())})"
        left = self.seconds_left()
        return f"{share:.0%}: {counts}" + ("" if left is None else f", {duration(left)} left")

    def _best(self) -> str:
        if self.best or self._best_finished is None:
            return self.best
        mig, label = self._best_finished
        return f"best MIG {mig:.3f} with {label}"

    def _metrics(self, member: str) -> str:
        row = self.latest.get(member, {})
        if words := _told(row.get("mig"), row.get("l2")):
            return words
        words = _told(row.get(held_out("mig")), row.get(held_out("l2")))
        return f"  held-out{words}" if words else ""

    def _print(self, line: str) -> None:
        self._printed_at = time.monotonic()
        if not self.console.is_terminal:
            self.note(line)


def _told(mig: float | None, l2: float | None) -> str:
    """The known values in words, such as `  MIG 0.512  l2 0.034`."""
    known = {"MIG": mig, "l2": l2}
    return "".join(f"  {name} {value:.3f}" for name, value in known.items() if value is not None)


def duration(seconds: float) -> str:
    """A length of time as people say it: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
