"""Members that run out of GPU memory are tried again, each alone on a whole GPU."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from larvae.config import MemberConfig
from sweeps.driver import tuner
from sweeps.driver.member_reporter import MemberReporter, trial_name
from sweeps.resources.shares import TrialResources
from sweeps.study import StudyDirectory
from sweeps.trial.worker import TrialSettings
from tests.sweeps.commands import SCHEDULE

MEMBERS = [MemberConfig(batch_size=4, seed=seed) for seed in range(3)]


class Recorder:
    """Stands in for the tracker and the terminal."""

    def __init__(self, names: list[str]) -> None:
        self.status = dict.fromkeys(names, "waiting")
        self.labels = {name: name for name in names}
        self.notes: list[str] = []

    def start(self, name: str) -> None:
        self.status[name] = "running"

    def wait(self, name: str) -> None:
        self.status[name] = "waiting"

    def end(self, name: str, status: str | None = None) -> None:
        self.status[name] = status or self.status[name]

    def note(self, line: str) -> None:
        self.notes.append(line)

    def update(self, name: str, rows: list[Any] | None = None) -> None: ...


@pytest.fixture
def recorder() -> Any:
    return Recorder([member.content_hash for member in MEMBERS])


def trial_of(members: list[MemberConfig]) -> Any:
    return SimpleNamespace(config={"members": [member.to_dict() for member in members]}, last_result={})


@pytest.mark.parametrize("fits_alone", [True, False])
def test_members_out_of_memory_are_tried_again_alone_on_a_whole_gpu(
    fits_alone: bool, recorder: Any, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reporter = MemberReporter(recorder, recorder, study_directory)
    asked: list[tuple[list[int], float]] = []

    def train(trials: list[list[MemberConfig]], settings: TrialSettings, *_: object) -> bool:
        asked.append(([len(members) for members in trials], settings.gpus))
        for members in trials:
            made = trial_of(members)
            assert trial_name(made) == members[0].content_hash + (f"+{len(members) - 1}" if len(members) > 1 else "")
            reporter.on_trial_start(0, [], made)
            ran_out = len(members) > 1 or not fits_alone
            status, reason = ("out_of_memory", "CUDA out of memory") if ran_out else ("finished", "")
            news = {member.content_hash: {"rows": [], "status": status, "reason": reason} for member in members}
            reporter.on_trial_result(0, [], made, {"members": news})
        return False

    monkeypatch.setattr(tuner, "_train", train)
    settings = TrialSettings(SCHEDULE, tmp_path, {}, {}, cpus=1, gpus=0.25, compile=True)
    console = Console(file=io.StringIO())
    together = TrialResources(settings.cpus, settings.gpus, members=3)
    assert not tuner.train_all(MEMBERS, settings, together, study_directory, reporter, console)
    assert asked == [([3], 0.25), ([1, 1, 1], 1.0)]
    assert "3 members are tried again, each alone on a whole GPU" in console.file.getvalue()  # type: ignore[attr-defined]
    assert set(recorder.status.values()) == {"finished" if fits_alone else "failed"}
    assert not reporter.open
    if not fits_alone:
        result = study_directory.member(MEMBERS[0]).read_result()
        assert result is not None
        assert result["reason"] == "out of memory, alone on a whole GPU"


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
