"""Trials without a sign of life: named, then started again; a process that is stopped for good costs its time alone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from sweeps.driver import watchdog
from sweeps.driver.many_trials import report_seconds
from sweeps.driver.watchdog import MOST_GAPS, MOST_REPORTS, SILENT_SECONDS, Watchdog
from sweeps.study import StudyDirectory
from sweeps.trial.member_log import MOST_STARTS, MemberLog
from tests.sweeps.commands import (
    SCHEDULE,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    sweep,
)
from tests.sweeps.processes import trials_below, wait_until

MEMBER = MemberConfig(batch_size=4)


class Sweep:
    """A sweep's reporter and clock, and a trial that is told about."""

    def __init__(self, directory: StudyDirectory, patch: pytest.MonkeyPatch, seconds: float = 5.0) -> None:
        self.now = 0.0
        self.notes: list[str] = []
        self.killed: list[Any] = []
        patch.setattr(watchdog.time, "monotonic", lambda: self.now)
        patch.setattr(watchdog.ray, "kill", self.killed.append)
        self.open = {MEMBER.content_hash: MEMBER}
        self.directory = directory
        self.progress = SimpleNamespace(note=self.notes.append)
        self.named = lambda members: "tau=1"
        self.members_of = lambda trial: [MEMBER]
        self.dog = Watchdog(self, seconds)  # type: ignore[arg-type]
        state = SimpleNamespace(ray_actor="its actor")
        self.trial = SimpleNamespace(trial_id="1", temporary_state=state, last_result={"pid": 7, "hostname": "there"})
        self.dog.on_trial_start(0, [], self.trial)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1
            self.dog.on_step_end(0, [])

    def tell(self, **result: object) -> None:
        self.dog.on_trial_result(0, [], self.trial, result)


@pytest.fixture
def running(study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return Sweep(study_directory, monkeypatch)


def test_a_silent_trial_is_named_then_started_again_and_a_sign_of_life_is_any_report(running: Sweep) -> None:
    for _ in range(40):
        running.wait(5)
        running.tell(phase="", is_waiting=False)
    running.wait(SILENT_SECONDS / 2 + 6)
    [told] = running.notes
    assert told.startswith("tau=1: no sign of life for ")
    assert "from process 7 on there; after 2 min it is started again" in told
    assert running.killed == []
    running.wait(SILENT_SECONDS / 2)
    assert running.killed == ["its actor"]
    assert "; it is started again from its checkpoints" in running.notes[-1]
    [event] = MemberLog(running.directory.member(MEMBER).path).read()
    assert (event["event"], event["host"], event["pid"]) == ("silent", "there", "")  # not this process's
    running.wait(10 * SILENT_SECONDS)  # it is Tune's now
    assert len(running.killed) == 1


def test_a_phase_is_life_for_an_hour_and_an_iteration_that_never_ends_is_none(running: Sweep) -> None:
    for _ in range(100):
        running.wait(7)
        running.tell(phase="computing dci", is_waiting=True)
    assert running.notes == []
    for _ in range(20):
        running.wait(7)
        running.tell(phase="", is_waiting=True)
    assert running.killed == ["its actor"]


def test_the_limit_grows_with_what_is_usual_here(running: Sweep) -> None:
    running.wait(SILENT_SECONDS / 2 - 1)
    running.tell(phase="", is_waiting=False)
    assert running.dog.limit == pytest.approx(MOST_GAPS * (SILENT_SECONDS / 2 - 1))
    running.wait(2 * SILENT_SECONDS)
    assert (running.notes, running.killed) == ([], [])


def test_trials_of_many_that_seldom_report_are_no_silent_ones(
    study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even before their first report, whose gap tells what is usual."""
    seconds = report_seconds(48_000)
    running = Sweep(study_directory, monkeypatch, seconds)
    running.wait(seconds + 30)
    assert (running.notes, running.killed) == ([], [])
    running.wait(MOST_REPORTS * seconds)
    assert running.killed == ["its actor"]


def test_a_driver_that_was_stopped_itself_ends_nobody(running: Sweep) -> None:
    running.now += 1000
    running.tell(phase="", is_waiting=False)  # what has waited: no gap of a trial's
    running.wait(20)
    assert (running.notes, running.killed) == ([], [])
    assert running.dog.limit == SILENT_SECONDS


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial is started again after 15 s without a sign of life."""
    monkeypatch.setattr(watchdog, "SILENT_SECONDS", 15.0)
    monkeypatch.setattr(watchdog, "MOST_GAPS", 0.0)
    monkeypatch.setattr(watchdog, "MOST_REPORTS", 0.0)
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 1.0)


@pytest.mark.slow
@pytest.mark.fault(
    "a trial's process stopped for good (SIGSTOP)", "named, started again; as if uninterrupted, bit for bit"
)
@pytest.mark.usefixtures("ray_session", "impatient")
def test_a_process_that_is_stopped_for_good_costs_its_time_alone(
    folder_with_database: Path, dataset: Dataset, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_one() -> None:
        wait_until(lambda: list(folder_with_database.glob("results/*/members/*/log.jsonl")), "a start")
        [trial, *_] = wait_until(lambda: trials_below(os.getpid()), "a trial in training")
        os.kill(trial.pid, signal.SIGSTOP)

    threading.Thread(target=stop_one, daemon=True).start()
    assert sweep(folder_with_database, "--gpus-per-trial", "0", "--taus", "0", "1") == 0
    assert "; it is started again from its checkpoints" in capsys.readouterr().out
    assert_as_if_uninterrupted(folder_with_database, SCHEDULE, dataset, alone)


@pytest.mark.slow
@pytest.mark.fault(
    "each process of a member stopped for good (SIGSTOP)",
    "given up after three more starts, with its reason; the others finish, and the same command trains it",
)
@pytest.mark.usefixtures("ray_session", "impatient")
def test_a_member_whose_every_process_is_stopped_is_given_up_and_the_others_finish(
    folder_with_database: Path, dataset: Dataset, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("--gpus-per-trial", "0", "--taus", "0", "1")
    stopped: list[int] = []

    def stop_each() -> None:
        [log, *_] = wait_until(lambda: list(folder_with_database.glob("results/*/members/*/log.jsonl")), "a start")
        for count in range(1, MOST_STARTS + 1):
            starts = wait_until(lambda count=count: started(log)[count - 1 :], "a start of it")
            os.kill(starts[0], signal.SIGSTOP)
            stopped.append(starts[0])

    thread = threading.Thread(target=stop_each, daemon=True)  # a test that fails shall end all the same
    thread.start()
    assert sweep(folder_with_database, *grid) == 1
    thread.join()
    assert capsys.readouterr().out.count("; it is started again from its checkpoints") == MOST_STARTS == len(stopped)
    finished, failed = sorted(read_results(folder_with_database).values(), key=lambda result: -len(result["history"]))
    assert (finished["status"], failed["status"]) == ("finished", "failed")
    assert f"its process died {MOST_STARTS} times after iteration 0 (no sign of life for " in failed["reason"]
    assert sweep(folder_with_database, *grid) == 0
    assert_all_in_mlflow(folder_with_database)
    assert_as_if_uninterrupted(folder_with_database, SCHEDULE, dataset, alone)


def started(log: Path) -> list[int]:
    """The processes that have started a member, by its log."""
    return [event["pid"] for event in MemberLog(log.parent).read() if event["event"] == "started"]
