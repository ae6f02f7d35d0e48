"""Trials of several members: how they are formed, each member's own end, and what happens when memory runs out."""

from __future__ import annotations

import errno
import io
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.group import Report, likeness
from larvae.member_directory import MemberDirectory
from sweeps.driver import tuner
from sweeps.driver.member_reporter import MemberReporter, trial_name
from sweeps.resources import shares
from sweeps.resources.probe import Measurement, Outcome
from sweeps.resources.shares import TrialResources, groups, trial_resources
from sweeps.study import StudyDirectory
from sweeps.trial import trainable
from sweeps.trial.member_log import MOST_STARTS, MemberLog
from sweeps.trial.trainable import MachineFaultError, MemberTrainable, TrialSettings
from tests.sweeps.commands import (
    SCHEDULE,
    assert_all_in_mlflow,
    assert_as_if_uninterrupted,
    read_results,
    statuses,
    sweep,
)

MEMBERS = [
    MemberConfig(batch_size=4, tau=tau, z_dim=z_dim, seed=seed)
    for z_dim in (2, 5)
    for tau in (0, 1, 5)
    for seed in (0, 1)
]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_groups_are_alike_complete_and_no_larger_than_asked(size: int) -> None:
    formed = groups(MEMBERS, size)
    assert sorted(member.content_hash for group in formed for member in group) == sorted(
        member.content_hash for member in MEMBERS
    )
    assert all(len(set(map(likeness, group))) == 1 and len(group) <= size for group in formed)
    smallest = {kind: sum(likeness(member) == kind for member in MEMBERS) for kind in map(likeness, MEMBERS)}
    assert len(formed) == sum(-(-number // size) for number in smallest.values())


def test_seeds_of_one_configuration_come_together() -> None:
    for group in groups(MEMBERS, 2):
        assert group[0].content_hash != group[1].content_hash
        assert (group[0].tau, group[0].z_dim) == (group[1].tau, group[1].z_dim)


@pytest.mark.usefixtures("ray_session")
def test_members_of_one_trial_each_have_their_own_end(
    folder_with_database: Path, dataset: Dataset, alone: Path
) -> None:
    folder = folder_with_database
    flags = ("--members-per-trial", "3", "--gpus-per-trial", "0", "--taus", "0", "1", "5")
    assert sweep(folder, *flags) == 0
    labels = [f"tau={tau} label_rate=0.01 seed=0" for tau in (0, 1, 5)]
    assert {label: result["status"] for label, result in read_results(folder).items()} == dict.fromkeys(
        labels, "finished"
    )
    assert_as_if_uninterrupted(folder, SCHEDULE, dataset, alone)  # bit for bit, on a CPU
    assert_all_in_mlflow(folder)

    assert sweep(folder, *flags, "10", "1e38") == 1
    broken = "tau=1e+38 label_rate=0.01 seed=0"
    expected = dict.fromkeys([*labels, "tau=10 label_rate=0.01 seed=0"], "FINISHED") | {broken: "FAILED"}
    assert {name: status for name, status in statuses(folder).items() if name in expected} == expected
    assert "not finite" in read_results(folder)[broken]["reason"]


def test_gpu_trials_take_as_many_members_as_the_probe_has_seen_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares.ray, "cluster_resources", lambda: {"CPU": 8, "GPU": 2})
    probed = []

    def probe(member: MemberConfig, together: int, tell: Callable[[str], None]) -> Measurement:
        probed.append(together)
        return measured if together <= fit else Measurement(Outcome.OUT_OF_MEMORY)

    monkeypatch.setattr(shares, "probe_gpu_memory", probe)
    measured = Measurement(Outcome.MEASURED, 3e9, 16e9)
    fit = 4
    assert trial_resources(1, None, None, MEMBERS) == TrialResources(1, 1 / 4, 4)  # τ = 1 and 5 have four alike
    assert trial_resources(1, None, 2, MEMBERS) == TrialResources(1, 1 / 4, 2)
    assert probed == [4, 2]
    fit = 1
    assert trial_resources(1, None, None, MEMBERS) == TrialResources(1, 1 / 4, 1)
    fit = 0
    assert trial_resources(1, None, None, MEMBERS) == TrialResources(1, 1 / 6, 1)
    assert probed == [4, 2, 4, 2, 1, 4, 2, 1]
    assert trial_resources(1, 0.5, None, MEMBERS) == TrialResources(1, 0.5, 4)
    assert trial_resources(1, 0.0, None, MEMBERS) == TrialResources(1, 0.0, 1)


@pytest.fixture
def trial(dataset: Dataset, cache_directory: Path, tmp_path: Path) -> MemberTrainable:
    """A trial of two members that is not Tune's."""
    made = MemberTrainable.__new__(MemberTrainable)
    made.settings = TrialSettings(
        SCHEDULE, tmp_path, {}, {"dsprites": dataset.fingerprint}, cpus=1, gpus=0, compile=False
    )
    made.datasets = {}
    made.reset_config({"members": [member.to_dict() for member in MEMBERS[:2]]})
    return made


def test_trial_out_of_memory_hands_back_the_members_that_have_not_ended(
    trial: MemberTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(members: list[Any], *, fused: bool) -> Iterator[Report]:
        yield Report(members[0], [{"iteration": 20}], "finished")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(trainable, "train_together", run_out)
    answer = trial.step()
    first, second = (member.content_hash for member in MEMBERS[:2])
    assert answer["done"]
    assert answer["members"][first] == {"rows": [{"iteration": 20}], "status": "finished", "reason": ""}
    assert answer["members"][second]["status"] == "out_of_memory"
    assert MemberDirectory(trial.settings.members_directory / second).read_result() is None  # it has not failed


def finish(trial: MemberTrainable) -> dict[str, str]:
    """Train to the end; what became of each member."""
    ends: dict[str, str] = {}
    while True:
        answer = trial.step()
        ends |= {name: news["status"] for name, news in answer["members"].items()}
        if answer["done"]:
            return ends


def test_a_full_disk_is_no_member_s_failure(trial: MemberTrainable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends with the reason, for Tune to start it again; all goes on once there is room."""

    def run_out(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainable, "FAULT_SECONDS", 0.0)
    with pytest.MonkeyPatch.context() as full:
        full.setattr("larvae.checkpoint.os.fsync", run_out)
        with pytest.raises(MachineFaultError, match=rf"^{platform.node()}: OSError: .*No space left on device"):
            finish(trial)
    folders = [trial.settings.members_directory / member.content_hash for member in MEMBERS[:2]]
    assert [MemberDirectory(folder).read_result() for folder in folders] == [None, None]
    assert [MemberLog(folder).read()[-1]["event"] for folder in folders] == ["fault", "fault"]
    trial.reset_config({"members": [member.to_dict() for member in MEMBERS[:2]]})
    finish(trial)
    results = [MemberDirectory(folder).read_result() for folder in folders]
    assert [result and result["status"] for result in results] == ["finished", "finished"]


def test_a_cache_out_of_reach_is_no_member_s_failure(trial: MemberTrainable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainable, "FAULT_SECONDS", 0.0)
    monkeypatch.setenv("LARVAE_CACHE_DIR", "/dev/null/cache")
    answer = trial.step()
    news = {"rows": [], "status": "running", "reason": trial.fault}
    assert answer == {"members": {member.content_hash: news for member in MEMBERS[:2]}, "done": False}
    assert "/dev/null/cache" in trial.fault
    with pytest.raises(MachineFaultError, match="/dev/null/cache"):
        trial.step()
    assert list(trial.settings.members_directory.glob("*/result.json")) == []


def test_a_member_at_its_end_stays_finished_however_often_its_trial_starts(trial: MemberTrainable) -> None:
    members = {"members": [member.to_dict() for member in MEMBERS[:2]]}
    for _ in range(MOST_STARTS + 2):
        trial.reset_config(members)
        statuses = finish(trial)
    assert set(statuses.values()) == {"finished"}


def test_error_of_the_common_step_fails_all_members_and_is_told(
    trial: MemberTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(members: list[Any], *, fused: bool) -> Iterator[Report]:
        raise RuntimeError("a kernel is broken")
        yield

    monkeypatch.setattr(trainable, "train_together", break_down)
    answer = trial.step()
    for member in MEMBERS[:2]:
        assert answer["members"][member.content_hash]["reason"] == "RuntimeError: a kernel is broken"
        result = MemberDirectory(trial.settings.members_directory / member.content_hash).read_result()
        assert result is not None
        assert (result["status"], "Traceback" in result["traceback"]) == ("failed", True)


class Recorder:
    """Stands in for the tracker and the terminal."""

    def __init__(self, names: list[str]) -> None:
        self.status = dict.fromkeys(names, "waiting")

    def start(self, name: str) -> None:
        self.status[name] = "running"

    def wait(self, name: str) -> None:
        self.status[name] = "waiting"

    def end(self, name: str, status: str, reason: str = "") -> None:
        self.status[name] = status

    def log(self, name: str, rows: list[Any]) -> None: ...

    update = log


@pytest.mark.parametrize("fits_alone", [True, False])
def test_members_out_of_memory_are_tried_again_alone_on_a_whole_gpu(
    fits_alone: bool, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [member.content_hash for member in MEMBERS[:3]]
    recorder: Any = Recorder(names)
    reporter = MemberReporter(recorder, recorder, study_directory)
    asked: list[tuple[list[int], float]] = []

    def train(trials: list[list[MemberConfig]], settings: TrialSettings, *_: object) -> bool:
        asked.append(([len(members) for members in trials], settings.gpus))
        for members in trials:
            made = SimpleNamespace(config={"members": [member.to_dict() for member in members]})
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
    todo = [MemberConfig(batch_size=4, seed=seed) for seed in range(3)]
    together = TrialResources(settings.cpus, settings.gpus, members=3)
    assert not tuner.train_all(todo, settings, together, study_directory, reporter, console)
    assert asked == [([3], 0.25), ([1, 1, 1], 1.0)]
    assert "3 members are tried again, each alone on a whole GPU" in console.file.getvalue()  # type: ignore[attr-defined]
    expected = "finished" if fits_alone else "failed"
    assert {recorder.status[member.content_hash] for member in todo} == {expected}
    assert not reporter.open
    if not fits_alone:
        result = study_directory.member(todo[0]).read_result()
        assert result is not None
        assert result["reason"] == "out of memory, alone on a whole GPU"
