"""Members that run out of GPU memory are tried again: half as many together, and alone on a whole GPU at last."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import TuneError
from rich.console import Console

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from sweeps.driver import tuner
from sweeps.driver.member_reporter import MemberReporter, members_of, trial_name
from sweeps.driver.queueing import MemberQueue
from sweeps.resources.places import Place
from sweeps.resources.shares import TrialResources
from sweeps.study import StudyDirectory
from sweeps.trial.trial_settings import TrialSettings
from tests.sweeps.commands import SCHEDULE

MEMBERS = [MemberConfig(batch_size=4, seed=seed) for seed in range(5)]


class Recorder:
    """Stands in for the tracker and the terminal."""

    def __init__(self, names: list[str]) -> None:
        self.status = dict.fromkeys(names, "waiting")
        self.labels = {name: name for name in names}
        self.notes: list[str] = []
        self.told_the_end_of: set[str] = set()

    def start(self, name: str) -> None:
        self.status[name] = "running"

    def wait(self, name: str) -> None:
        self.status[name] = "waiting"

    def end(self, name: str, status: str | None = None) -> None:
        self.status[name] = status or self.status[name]
        self.told_the_end_of.add(name)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def enter(self, name: str, phase: str) -> None: ...

    def update(self, name: str, rows: list[Any] | None = None) -> None: ...


@pytest.fixture
def recorder() -> Any:
    return Recorder([member.content_hash for member in MEMBERS])


def trial_of(members: list[MemberConfig]) -> Any:
    config = {"members": [member.to_dict() for member in members]}
    return SimpleNamespace(config=config, last_result={}, trial_id=members[0].content_hash)


@pytest.mark.parametrize(
    ("fitting", "asked", "status"),
    [
        (5, [([5], 0.25)], "finished"),
        (3, [([5], 0.25), ([3, 2], 0.25)], "finished"),
        (1, [([5], 0.25), ([3, 2], 0.25), ([2, 1, 1, 1], 0.25), ([1, 1], 0.25)], "finished"),
        (0, [([5], 0.25), ([3, 2], 0.25), ([2, 1, 1, 1], 0.25), ([1, 1], 0.25), ([1] * 5, 1.0)], "failed"),
    ],
)
def test_trials_out_of_memory_are_halved_and_a_whole_gpu_comes_last(
    fitting: int,
    asked: list[tuple[list[int], float]],
    status: str,
    recorder: Any,
    study_directory: StudyDirectory,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """fitting: members of a trial that a quarter of a GPU holds."""
    reporter = MemberReporter(recorder, recorder, study_directory)
    tried: list[tuple[list[int], float]] = []

    def fit(queue: MemberQueue, settings: TrialSettings, *_: object) -> None:
        tried.append(([], settings.gpus))
        while isinstance(suggestion := queue.suggest(str(len(tried[-1][0]))), dict):
            made = trial_of([MemberConfig.from_dict(fields) for fields in suggestion["members"]])
            names = [member.content_hash for member in members_of(made)]
            assert trial_name(made) == names[0] + (f"+{len(names) - 1}" if len(names) > 1 else "")
            tried[-1][0].append(len(names))
            reporter.on_trial_start(0, [], made)
            end, reason = ("out_of_memory", "CUDA out of memory") if len(names) > fitting else ("finished", "")
            news = {name: {"rows": [], "status": end, "reason": reason} for name in names}
            reporter.on_trial_result(0, [], made, {"members": news})

    monkeypatch.setattr(tuner, "fit", fit)
    settings = TrialSettings(SCHEDULE, tmp_path, {}, {}, cpus=1, gpus=0.25, compile=True)
    console = Console(file=io.StringIO())
    together = TrialResources(settings.cpus, settings.gpus, members=5)
    assert not tuner.train_all(MEMBERS, settings, together, study_directory, reporter, console)
    assert tried == asked
    assert set(recorder.status.values()) == {status}
    assert not reporter.open
    if status == "failed":
        assert "5 members are tried again, each alone on a whole GPU" in console.file.getvalue()  # type: ignore[attr-defined]
        result = study_directory.member(MEMBERS[0]).read_result()
        assert result is not None
        assert result["reason"] == "out of memory, alone on a whole GPU"


def test_a_command_that_was_told_to_stop_as_trials_ended_tries_none_again(
    recorder: Any, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reporter = MemberReporter(recorder, recorder, study_directory)
    reporter.on_trial_start(0, [], trial_of(MEMBERS))
    news = {member.content_hash: {"rows": [], "status": "out_of_memory"} for member in MEMBERS}
    reporter.on_trial_result(0, [], trial_of(MEMBERS), {"members": news})
    monkeypatch.setattr(tuner, "is_asked", lambda: True)
    settings = TrialSettings(SCHEDULE, tmp_path, {}, {}, cpus=1, gpus=0.25, compile=True)
    console, together = Console(file=io.StringIO()), TrialResources(1, 0.25, members=5)
    assert tuner.train_fewer_together(settings, together, study_directory, reporter, console)


def test_a_whole_gpu_is_one_of_those_with_the_most_memory() -> None:
    kinds = (Place("gpu_32GB", 0.125, 16), Place("gpu_8GB", 0.5, 4))
    found = TrialResources(1, 0.5, members=5, places=kinds).of_whole_gpus(1)
    assert (found.places, found.members) == ((Place("gpu_32GB", 1, 2),), 1)
    assert TrialResources(2, 0.5).of_whole_gpus(2) == TrialResources(2, 2)


def test_what_the_driver_cannot_write_is_told_as_it_is() -> None:
    """Tune makes an error of its own of a callback's, whose text is a traceback."""
    full = OSError(errno.ENOSPC, "No space left on device", "mailbox")

    def fit(error: Exception) -> None:
        with tuner._own_errors():
            try:
                raise error
            except Exception:
                raise TuneError("Traceback")  # noqa: B904

    for error, expected in ((full, OSError), (InvalidInputError("a rule"), InvalidInputError), (KeyError(), TuneError)):
        with pytest.raises(expected) as raised:
            fit(error)
        assert (raised.value is error) == (expected is not TuneError)


def test_members_that_ended_before_memory_ran_out_are_not_tried_again(
    recorder: Any, study_directory: StudyDirectory
) -> None:
    reporter = MemberReporter(recorder, recorder, study_directory)
    reporter.on_trial_start(0, [], trial_of(MEMBERS))
    ends = ["finished", "out_of_memory", "failed", "out_of_memory", "out_of_memory"]
    news = {m.content_hash: {"rows": [], "status": end} for m, end in zip(MEMBERS, ends, strict=True)}
    reporter.on_trial_result(0, [], trial_of(MEMBERS), {"members": news})
    assert reporter.take_out_of_memory() == [[MEMBERS[1], *MEMBERS[3:]]]
    assert reporter.take_out_of_memory() == []
    assert sorted(recorder.told_the_end_of) == sorted(member.content_hash for member in MEMBERS)  # no run stays RUNNING


@pytest.mark.parametrize("late", ["trained", "out_of_memory"])
def test_late_news_of_a_member_that_has_ended_change_nothing(
    recorder: Any, study_directory: StudyDirectory, late: str
) -> None:
    """Its evaluation may end before its restarted trial says again that it has trained."""
    reporter = MemberReporter(recorder, recorder, study_directory)
    trial, first = trial_of(MEMBERS), MEMBERS[0].content_hash
    reporter.on_trial_start(0, [], trial)
    for status in ("finished", late):
        news = {first: {"rows": [], "status": status, "reason": ""}}
        reporter.on_trial_result(0, [], trial, {"members": news})
    assert (recorder.status[first], reporter.out_of_memory) == ("finished", [])
    assert reporter.open.keys() == {member.content_hash for member in MEMBERS[1:]}


def test_a_process_that_dies_is_told_and_only_what_is_no_machines_fault_fails(
    recorder: Any, study_directory: StudyDirectory
) -> None:
    reporter = MemberReporter(recorder, recorder, study_directory)
    for members, fault in ((MEMBERS[:2], ""), (MEMBERS[2:], "host7: OSError: No space left on device")):
        trial, names = trial_of(members), [member.content_hash for member in members]
        reporter.on_trial_start(0, [], trial)
        news = {name: {"rows": [], "status": "running", "reason": fault} for name in names}
        trial.last_result = {"members": news}
        reporter.on_trial_recover(0, [], trial)
        assert {recorder.status[name] for name in names} == {"waiting"}
        assert (fault or "and 1 more: its process died; its checkpoint waits for a place") in recorder.notes[-1]
        reporter.on_trial_error(0, [], trial)
        assert {recorder.status[name] for name in names} == {"waiting" if fault else "failed"}
        assert [study_directory.member(m).read_result() is None for m in members] == [bool(fault)] * len(members)
