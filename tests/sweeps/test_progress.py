from __future__ import annotations

import io
import itertools
import random
import time

import pytest
from rich.console import Console

from sweeps.progress import StudyProgress, duration, makespan


def test_makespan_is_that_of_list_scheduling() -> None:
    generator = random.Random(0)
    for slots, _ in itertools.product((1, 2, 3, 5), range(20)):
        jobs = [generator.uniform(0, 10) for _ in range(generator.randrange(8))]
        machines = [0.0] * slots
        for job in jobs:
            machines[machines.index(min(machines))] += job
        assert makespan(jobs, slots) == pytest.approx(max(machines))
        assert makespan(jobs, slots) >= max([sum(jobs) / slots, *jobs]) - 1e-9


def progress_of(members: str, slots: int = 2, iterations: int = 100) -> tuple[StudyProgress, io.StringIO]:
    output = io.StringIO()
    labels = {name: f"tau={name}" for name in members}
    return StudyProgress(labels, iterations, slots, Console(file=output, width=200)), output


def row(iteration: int, seconds: float, **metrics: float) -> dict[str, float]:
    return {"iteration": iteration, "seconds": seconds, **metrics}


def test_time_left_counts_running_and_waiting_members() -> None:
    progress, _ = progress_of("abc")
    with progress:
        assert progress.seconds_left() is None
        progress.start("a")
        progress.start("b")
        progress.update("a", [row(10, 500), row(20, 10), row(30, 10)])  # the first row compiled
        progress.update("b", [row(10, 500), row(20, 10)])
        # One second an iteration: a and b end after 70 and 80 s, then c takes 100.
        assert progress.seconds_left() == pytest.approx(170)
        progress.update("a", [row(100, 70)])
        progress.end("a", "finished")
        assert progress.seconds_left() == pytest.approx(100)
        progress.end("b", "failed")
        progress.update("c", [row(100, 100)])
        progress.end("c", "finished")
        assert progress.seconds_left() == 0


def test_rows_that_a_restarted_trial_repeats_count_once() -> None:
    progress, _ = progress_of("a", slots=1)
    with progress:
        progress.start("a")
        rows = [row(10, 10), row(20, 10), row(30, 10)]
        progress.update("a", rows)
        before = progress.seconds_left()
        progress.update("a", rows[:2])
        assert progress.done["a"] == 30
        assert progress.seconds_left() == before == pytest.approx(70)


def test_lines_are_plain_where_there_is_no_terminal() -> None:
    progress, output = progress_of("ab")
    with progress:
        progress.start("a")
        progress.update("a", [row(50, 80), row(100, 50, mig=0.25, l2=0.5)])
        progress.end("a", "finished")
    line = output.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert line.rstrip().endswith("tau=a finished  MIG 0.250  l2 0.500")
    assert progress.summary() == "50%: 1 finished, 1 waiting, 2 min left; best MIG 0.250 with tau=a"  # a second each


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ({}, ""),
        ({"sap": 0.5}, ""),
        ({"mig": 0.25}, "  MIG 0.250"),
        ({"l2": 0.5, "held_out_l2": 0.6}, "  l2 0.500"),
        ({"held_out_mig": 0.25, "held_out_l2": 0.5}, "  held-out  MIG 0.250  l2 0.500"),
        ({"held_out_l2": 0.5}, "  held-out  l2 0.500"),
    ],
)
def test_those_metrics_are_told_that_there_are(metrics: dict[str, float], told: str) -> None:
    progress, output = progress_of("a")
    with progress:
        progress.update("a", [row(100, 50, **metrics)])
        progress.end("a", "finished")
    assert output.getvalue().rstrip("\n").endswith(f"tau=a finished{told}")


def test_the_best_is_the_finished_member_of_the_best_mig_unless_something_else_is_told() -> None:
    progress, _ = progress_of("abcd")
    for member, mig, status in (("a", 0.2, "finished"), ("b", 0.4, "finished"), ("c", 0.9, "failed")):
        progress.start(member)
        progress.update(member, [row(100, 10, mig=mig, l2=0.5)])
        progress.end(member, status)
    progress.start("d")
    assert progress.summary().endswith("; best MIG 0.400 with tau=b")
    progress.best = "best held-out mig 0.3"
    assert progress.summary().endswith("; best held-out mig 0.3")


def test_members_that_come_later_and_those_expected_count_as_left() -> None:
    progress, _ = progress_of("a", slots=1)
    progress.expected = 300
    progress.add({"b": "tau=b"})
    progress.start("a")
    progress.update("a", [row(10, 50), row(20, 10), row(100, 80)])  # a second an iteration
    progress.end("a", "stopped")
    assert progress.seconds_left() == pytest.approx(100 + 300)
    assert progress.summary().startswith("20%: 1 stopped, 1 waiting")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_kept_up_to_date_is_what_a_recount_gives() -> None:
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


def test_a_report_of_one_of_very_many_members_takes_no_time() -> None:
    """It did by their number: 48,000 of them could not have reported."""

    def seconds_of_1000_reports(num_members: int) -> float:
        labels = {str(number): str(number) for number in range(num_members)}
        progress = StudyProgress(labels, 10_000, 100, Console(file=io.StringIO(), width=200, force_terminal=True))
        progress.start("0")
        progress.update("0", [row(1, 1.0), row(2, 1.0)])
        started = time.process_time()
        for iteration in range(3, 1003):
            progress.update("0", [row(iteration, 1.0)])
        return time.process_time() - started

    few, many = (min(seconds_of_1000_reports(number) for _ in range(2)) for number in (100, 20_000))
    assert many < 10 * few + 0.5, "recounting would make it 200 times as long"
