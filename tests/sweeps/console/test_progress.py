"""A study's progress, as it is told: counted once, the time that is left, the best so far."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console

from sweeps.console.progress import StudyProgress, duration, makespan


def test_makespan_is_that_of_list_scheduling() -> None:
    generator = random.Random(0)
    for slots in (1, 2, 3, 5) * 20:
        jobs = [generator.uniform(0, 10) for _ in range(generator.randrange(8))]
        machines = [0.0] * slots
        for job in jobs:
            machines[machines.index(min(machines))] += job
        assert makespan(jobs, slots) == pytest.approx(max(machines))
        assert makespan(jobs, slots) >= max([sum(jobs) / slots, *jobs]) - 1e-9


def progress_of(members: str, slots: int = 2) -> tuple[StudyProgress, io.StringIO]:
    output = io.StringIO()
    return StudyProgress({name: f"tau={name}" for name in members}, 100, slots, Console(file=output, width=200)), output


def row(iteration: int, seconds: float, **metrics: float) -> dict[str, float]:
    return {"iteration": iteration, "seconds": seconds, **metrics}


def test_time_left_counts_running_and_waiting_members_and_repeated_rows_once() -> None:
    progress, _ = progress_of("abc")
    with progress:
        assert progress.seconds_left() is None
        progress.start("a")
        progress.start("b")
        rows = [row(10, 500), row(20, 10), row(30, 10)]  # the first row compiled
        progress.update("a", rows)
        progress.update("b", [row(10, 500), row(20, 10)])
        # One second an iteration: a and b end after 70 and 80 s, then c takes 100.
        assert progress.seconds_left() == pytest.approx(170)
        progress.update("a", rows[:2])  # of a trial that was started again
        assert (progress.done["a"], progress.seconds_left()) == (30, pytest.approx(170))
        progress.update("a", [row(100, 70)])
        progress.end("a", "finished")
        assert progress.seconds_left() == pytest.approx(100)
        progress.end("b", "failed")
        progress.update("c", [row(100, 100)])
        progress.end("c", "finished")
        assert progress.seconds_left() == 0
    console = Console(file=io.StringIO(), width=200)
    progress = StudyProgress({"a": "tau=a", "b": "tau=b"}, 100, 1, console, {"a": 90, "b": 50})  # of earlier commands
    assert progress.summary().startswith("70%: 2 waiting")
    progress.start("a")
    progress.update("a", [row(10, 500), row(20, 10), row(80, 60)])  # of the checkpoint, which lies before its last row
    assert (progress.done["a"], progress.latest["a"]["iteration"]) == (90, 80)
    assert progress.seconds_left() == pytest.approx(10 + 50)
    progress.update("a", [row(100, 20)])
    assert progress.done["a"] == 100
    progress = StudyProgress({"a": "tau=a"}, 100, 1, console, {"a": 300})  # of a longer schedule
    assert progress.summary().startswith("100%: 1 waiting")
    progress, _ = progress_of("a", slots=1)  # members that come later, and those expected
    progress.expected = 300
    progress.add({"b": "tau=b"})
    progress.update("a", [row(10, 50), row(20, 10), row(100, 80)])
    progress.end("a", "stopped")
    assert progress.seconds_left() == pytest.approx(100 + 300)
    assert progress.summary().startswith("20%: 1 stopped, 1 waiting")


def test_lines_are_plain_where_there_is_no_terminal_and_tell_the_metrics_that_there_are() -> None:
    told = {
        "": {"sap": 0.5},
        "  MIG 0.250": {"mig": 0.25},
        "  MIG 0.250  l2 0.500": {"mig": 0.25, "l2": 0.5, "held_out_l2": 0.6},
        "  held-out  MIG 0.250  l2 0.500": {"held_out_mig": 0.25, "held_out_l2": 0.5},
    }
    for words, metrics in told.items():
        progress, output = progress_of("a")
        with progress:
            progress.update("a", [row(50, 80), row(100, 50, **metrics)])
            progress.end("a", "finished")
        line = output.getvalue()
        assert (line.count("\n"), "\x1b" in line) == (1, False)
        assert line.rstrip("\n").endswith(f"tau=a finished{words}")


def test_phases_are_told_once_and_counted_while_they_last() -> None:
    progress, output = progress_of("ab")
    for member in "ab":
        progress.start(member)
        progress.enter(member, "compiling")
    assert progress.summary() == "0%: 2 running (2 compiling)"
    progress.enter("a", "")
    progress.update("a", [row(1, 1.0)])
    assert progress.summary() == "0%: 2 running (1 compiling)"
    progress.wait("b")
    assert progress.summary() == "0%: 1 waiting, 1 running"
    assert [line.partition("] ")[2] for line in output.getvalue().splitlines()] == ["compiling"]


def test_a_row_that_comes_after_a_members_end_shows_no_bar_again() -> None:
    progress, _ = progress_of("ab")
    progress.console = Console(file=io.StringIO(), force_terminal=True)
    for member in "ab":
        progress.start(member)
        progress.update(member, [row(1, 1.0)])
    progress.end("a", "stopped")
    progress.update("a", [row(2, 1.0)])
    assert list(progress._tasks) == ["b"]


def test_the_best_is_the_finished_member_of_the_best_mig_unless_something_else_is_told() -> None:
    progress, _ = progress_of("abcd")
    for member, mig, status in (("a", 0.2, "finished"), ("b", 0.4, "finished"), ("c", 0.9, "failed")):
        progress.start(member)
        progress.update(member, [row(50, 80), row(100, 50, mig=mig, l2=0.5)])
        progress.end(member, status)
    expected = "75%: 2 finished, 1 failed, 1 waiting, 2 min left; best MIG 0.400 with tau=b"  # a second each
    assert progress.summary() == expected
    progress.best = "best held-out mig 0.3"
    assert progress.summary().endswith("; best held-out mig 0.3")


def test_durations_read_as_people_say_them() -> None:
    told = {0: "0 s", 89: "89 s", 91: "2 min", 3599: "1 h 0 min", 12_000: "3 h 20 min"}
    assert {seconds: duration(seconds) for seconds in told} == told


def test_what_is_kept_up_to_date_is_what_a_recount_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to members in whatever order."""
    generator = random.Random(0)
    names = [f"member-{number}" for number in range(30)]
    progress, _ = progress_of("", slots=4)
    progress.add({name: name for name in names[:20]})
    for _ in range(2000):
        member = generator.choice(list(progress.status))
        if progress.status[member] in ("finished", "failed"):
            continue
        what = generator.randrange(12)
        if what == 0 and len(progress.status) < len(names):
            progress.add({name: name for name in names[20:25]} if len(progress.status) == 20 else {names[-1]: "last"})
        elif what <= 2:
            generator.choice([progress.start, progress.wait])(member)
        elif what == 3 and progress.done[member] > 80:
            progress.end(member, generator.choice(["finished", "failed", "stopped"]))
        else:
            first = generator.randrange(1, 95)
            progress.update(member, [row(first, 1.0), row(first + generator.randrange(1, 6), 2.0)])
        left = [100 - progress.done[m] for m, status in progress.status.items() if status in ("running", "waiting")]
        assert progress._iterations_left == sum(left)
        assert progress._iterations_done == sum(progress.done.values())
        statuses = list(progress.status.values())
        assert {k: n for k, n in progress._numbers.items() if n} == {k: statuses.count(k) for k in set(statuses)}


def test_a_report_of_one_of_very_many_members_does_not_look_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the screen, now and then: 48,000 of them could not have reported."""
    looks: list[int] = []
    monkeypatch.setattr(StudyProgress, "seconds_left", lambda self: looks.append(1))
    monkeypatch.setattr("sweeps.console.progress.time.monotonic", lambda: 0.0)
    progress = StudyProgress({"0": "0", "1": "1"}, 10_000, 100, Console(file=io.StringIO(), force_terminal=True))
    progress._refresh_at = 1.0
    progress.start("0")
    for iteration in range(1, 1000):
        progress.update("0", [row(iteration, 1.0)])
    assert looks == []
