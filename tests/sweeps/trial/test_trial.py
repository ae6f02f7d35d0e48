"""A trial's process, without Ray: each member's own end, and whose fault is whose."""

from __future__ import annotations

import dataclasses
import errno
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from larvae import datasets
from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.errors import InvalidInputError
from larvae.member import Member, train_member
from larvae.member_directory import MemberDirectory, Row
from larvae.phases import phase
from larvae.together.training_together import Report, Together
from sweeps.trial import worker
from sweeps.trial.machine_faults import fault_in
from sweeps.trial.mailbox import Mailbox
from sweeps.trial.member_log import MOST_STARTS, MemberLog, starts_without_progress
from sweeps.trial.trial_settings import PreparedFile, TrialSettings
from sweeps.trial.worker import MachineFaultError, Worker
from tests.larvae import tiny_files
from tests.sweeps.commands import SCHEDULE, without_times

MEMBERS = [MemberConfig(batch_size=4, tau=0.0, z_dim=2, seed=seed) for seed in (0, 1)]
SHORT = dataclasses.replace(SCHEDULE, iterations=10)


def test_a_process_of_many_trials_keeps_no_thread_of_theirs(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "take_gpu", lambda gpus, submit: submit(lambda: None).result())
    trial.start(gpus=0.5)
    before = threading.active_count()
    for _ in range(20):
        assert trial.worker._takes_gpu()
    for thread in threading.enumerate():
        if thread.name == "trying its GPU":
            thread.join()
    assert threading.active_count() == before


class Trial:
    """A trial that is not Tune's, and what it leaves."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.folder = folder
        fingerprints = {"dsprites": dataset.fingerprint}
        self.dataset = dataset
        self.settings = TrialSettings(SHORT, folder, {}, fingerprints, cpus=1, gpus=0, compile=False, command="command")
        self.start(*MEMBERS)

    def start(self, *members: MemberConfig, gpus: float | None = None, **settings: object) -> None:
        """Another process begins. gpus: those that it holds, where they are others than all trials'."""
        self.settings = dataclasses.replace(self.settings, **settings)  # type: ignore[arg-type]
        self.worker = Worker(self.settings, gpus)
        self.worker.datasets = {"dsprites": self.dataset}
        self.worker.take_on(members)

    def finish(self) -> dict[str, Any]:
        """Train to the end; the last news of each member."""
        ends: dict[str, Any] = {}
        while True:
            answer = self.worker.step()
            ends |= answer["members"]
            if answer["done"]:
                return ends

    def result(self, member: MemberConfig) -> Any:
        return MemberDirectory(self.folder / member.content_hash).read_result()

    def news_of(self, *members: MemberConfig) -> dict[str, Any]:
        """Train until each of some members has told something; all news until then."""
        news: dict[str, Any] = {}
        while not {member.content_hash for member in members} <= news.keys():
            news |= self.worker.step()["members"]
        return news

    def rows(self, member: MemberConfig) -> list[Row]:
        return MemberDirectory(self.folder / member.content_hash).read_rows()[0]

    def events(self, member: MemberConfig) -> list[str]:
        return [event["event"] for event in MemberLog(self.folder / member.content_hash).read()]


@pytest.fixture
def trial(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial of two members, whose faults wait for nothing."""
    monkeypatch.setattr(worker, "FAULT_SECONDS", 0.0)
    return Trial(tmp_path / "members", dataset)


def test_members_of_one_trial_each_have_their_own_end(trial: Trial, dataset: Dataset, tmp_path: Path) -> None:
    """One diverges, and one goes on from a checkpoint: bit for bit as if it trained alone, in one go."""
    first, second = MEMBERS
    broken = dataclasses.replace(first, tau=1e38)
    training = train_member(
        second,
        dataclasses.replace(SHORT, checkpoint_seconds=0),
        dataset,
        MemberDirectory(trial.folder / second.content_hash),
    )
    assert next(training)["iteration"] == 5
    training.close()
    trial.start(first, broken, second)
    ends = trial.finish()
    assert [ends[m.content_hash]["status"] for m in (first, broken, second)] == ["finished", "failed", "finished"]
    assert ends[broken.content_hash]["reason"].startswith("NonFiniteLossError: ")
    assert "Traceback" in trial.result(broken)["traceback"]
    for member in (first, second):
        rows = list(train_member(member, SHORT, dataset, MemberDirectory(tmp_path / member.content_hash)))
        assert without_times(trial.result(member)["history"]) == without_times(rows)
        assert without_times(trial.rows(member)) == without_times(rows)
        assert trial.events(member) == ["started", "finished"]
    assert trial.events(broken) == ["started", "failed"]


def test_members_come_and_go_by_the_mailbox_and_each_is_as_if_alone(
    trial: Trial, dataset: Dataset, tmp_path: Path
) -> None:
    """Also those that a new process of the trial finds there; nothing ends the trial but who stops it."""
    first, second = MEMBERS
    third, fourth = (dataclasses.replace(first, seed=seed) for seed in (2, 3))
    mailbox = Mailbox(tmp_path / "mailbox.jsonl")
    trial.worker.settings = dataclasses.replace(trial.worker.settings, report_seconds=0.01)
    trial.worker.take_on([first, second], mailbox)
    trial.news_of(first, second)
    mailbox.send([third], [second.content_hash])
    news = trial.news_of(third)
    assert second.content_hash not in trial.worker.open
    trial.worker.take_on([first, second], mailbox)
    mailbox.send([fourth])
    while trial.worker.open or not news.keys() >= {fourth.content_hash}:
        answer = trial.worker.step()
        assert not answer["done"]
        news |= answer["members"]
    assert trial.worker.step() == {"members": {}, "done": False, "advice": [], "phase": "", "is_waiting": False}
    assert trial.result(second) is None
    for member in (first, third, fourth):
        assert news[member.content_hash]["status"] == "finished"
        rows = list(train_member(member, SHORT, dataset, MemberDirectory(tmp_path / member.content_hash)))
        assert without_times(trial.rows(member)) == without_times(rows)


def test_a_trial_that_is_told_to_stop_after_every_step_still_advances_and_makes_the_same_rows(
    trial: Trial, dataset: Dataset, tmp_path: Path
) -> None:
    """What is open is saved at the iteration that it is in, and the next process goes on from there."""
    member = MEMBERS[0]
    starts = []
    while trial.result(member) is None:
        trial.start(member, report_seconds=0.01)
        for _ in range(2):  # it opens the member, then trains
            trial.worker.step()
        trial.worker.close()
        starts.append(MemberLog(trial.folder / member.content_hash).read()[-1].get("iteration"))
        assert len(starts) <= SHORT.iterations
    assert len(starts) > 2
    rows = list(train_member(member, SHORT, dataset, MemberDirectory(tmp_path / member.content_hash)))
    assert without_times(trial.result(member)["history"]) == without_times(rows)


def test_work_that_takes_long_gives_signs_of_life_that_name_its_phase(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def compile_for_long(together: Together) -> list[Report]:
        with phase("compiling"):
            assert may_go_on.wait(60)
        ended, together.members = together.members, []
        return [Report(member.name, [], "finished") for member in ended]

    monkeypatch.setattr(Together, "iterate", compile_for_long)
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.01)
    trial.start(*MEMBERS, report_seconds=60)
    assert trial.worker.step()["phase"] == "compiling"
    trial.worker.settings = dataclasses.replace(trial.worker.settings, report_seconds=0.05)
    monkeypatch.setattr(worker, "SIGN_SECONDS", 0)
    assert trial.worker.step() == {"members": {}, "done": False, "advice": [], "phase": "compiling", "is_waiting": True}
    may_go_on.set()
    while not (answer := trial.worker.step())["done"]:
        assert answer["phase"] in ("compiling", "")
    assert answer["phase"] == ""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_hands_back_the_members_that_have_not_ended(
    error: Exception, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterations = iter(([Report(MEMBERS[0].content_hash, [{"iteration": 20}], "finished")],))

    def run_out(together: Together) -> list[Report]:
        for reports in iterations:
            return reports
        raise error

    monkeypatch.setattr(Together, "iterate", run_out)
    answer = trial.worker.step()
    first, second = (answer["members"][member.content_hash] for member in MEMBERS)
    assert answer["done"]
    assert first == Report(MEMBERS[0].content_hash, [{"iteration": 20}], "finished")._asdict()
    assert second["status"] == "out_of_memory"
    assert trial.result(MEMBERS[1]) is None  # it has not failed


def test_error_of_the_common_step_fails_all_members_and_is_told(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(together: Together) -> list[Report]:
        raise RuntimeError("a kernel is broken")

    monkeypatch.setattr(Together, "iterate", break_down)
    answer = trial.worker.step()
    for member in MEMBERS:
        assert answer["members"][member.content_hash]["reason"] == "RuntimeError: a kernel is broken"
        assert (trial.result(member)["status"], "Traceback" in trial.result(member)["traceback"]) == ("failed", True)


def _full_disk(trial: Trial, patch: pytest.MonkeyPatch) -> str:
    def run_out(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr("larvae.files.os.fsync", run_out)
    return "No space left on device"


def _cache_out_of_reach(trial: Trial, patch: pytest.MonkeyPatch) -> str:
    trial.worker.datasets = {}
    patch.setenv("LARVAE_CACHE_DIR", "/dev/null/cache")
    return "/dev/null/cache"


def _no_gpu_there(trial: Trial, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(trial, "settings", dataclasses.replace(trial.settings, gpus=0.5))
    patch.setattr("torch.cuda.is_available", lambda: False)
    trial.start(*MEMBERS)
    return "MissingGpuError: PyTorch must find the GPUs that Ray has"


def _gpu_that_does_not_compute(trial: Trial, patch: pytest.MonkeyPatch) -> str:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    patch.setattr(worker, "HELD_SECONDS", 0.0)
    patch.setattr("torch.ones", break_down)
    trial.start(*MEMBERS, gpus=0.5)
    return "BrokenGpuError: GPU 0 must compute, but RuntimeError: CUDA error: uncorrectable ECC"


@pytest.mark.parametrize("break_machine", [_full_disk, _cache_out_of_reach, _no_gpu_there, _gpu_that_does_not_compute])
def test_a_fault_of_the_machine_is_no_members_failure(
    trial: Trial, break_machine: Callable[[Trial, pytest.MonkeyPatch], str]
) -> None:
    """The process ends with the reason, for Tune to start it again; all goes on once there is room."""
    for member in MEMBERS:
        for _ in range(MOST_STARTS):  # which do not count as the members' own deaths
            MemberLog(trial.folder / member.content_hash).write("started", command="command", iteration=0)
            MemberLog(trial.folder / member.content_hash).write("fault")
    with pytest.MonkeyPatch.context() as patch:
        fault = break_machine(trial, patch)
        with pytest.raises(MachineFaultError, match=rf"^{platform.node()}: .*{fault}"):
            trial.finish()
    assert [trial.result(member) for member in MEMBERS] == [None, None]
    assert [trial.events(member)[-1] for member in MEMBERS] == ["fault", "fault"]
    trial.start(*MEMBERS)
    assert {news["status"] for news in trial.finish().values()} == {"finished"}


def test_a_gpu_that_does_not_work_is_kept_from_others_for_a_while(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial says so at once, and gives signs of life meanwhile."""
    _gpu_that_does_not_compute(trial, monkeypatch)
    monkeypatch.setattr(worker, "HELD_SECONDS", 60.0)
    first = trial.worker.step()
    monkeypatch.setattr(worker, "SIGN_SECONDS", 0.0)
    trial.worker.settings = dataclasses.replace(trial.worker.settings, report_seconds=0.0)
    later = [trial.worker.step() for _ in range(3)]
    trial.worker._leaves_at = 0.0
    assert "GPU 0 must compute, but" in first["advice"][0]
    assert [answer["phase"] for answer in later] == [worker.RESTING] * 3
    assert all("uncorrectable ECC" in fault_in(answer) for answer in (first, *later))
    with pytest.raises(MachineFaultError, match="uncorrectable ECC"):
        trial.finish()
    assert [trial.result(member) for member in MEMBERS] == [None, None]


def test_a_broken_process_ends_and_no_member_has_failed_until_it_breaks_each_one(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of CUDA's leaves nothing that its process could do; its members go on in another one."""

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "FAULT_SECONDS", 0.0)
        patch.setattr(Member, "after_step", break_down)
        for _ in range(MOST_STARTS):
            trial.start(*MEMBERS)
            with pytest.raises(MachineFaultError, match="illegal memory access"):
                trial.finish()
            assert [trial.result(member) for member in MEMBERS] == [None, None]
        trial.start(*MEMBERS)
        ends = trial.finish()
    assert {news["status"] for news in ends.values()} == {"failed"}
    assert all(f"its process died {MOST_STARTS} times" in news["reason"] for news in ends.values())
    with monkeypatch.context() as patch:  # a GPU that PyTorch cannot use opens none, wherever it goes on
        patch.setattr(worker, "Member", break_down)
        trial.start(*MEMBERS)
        assert all("illegal memory access" in news["reason"] for news in trial.finish().values())


def test_gpus_need_not_exist_where_that_is_said(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    trial.start(*MEMBERS, gpus=0.5, gpus_may_be_missing=True)
    assert {news["status"] for news in trial.finish().values()} == {"trained"}


def test_a_gpu_is_held_for_training_alone_and_another_trial_evaluates(
    trial: Trial, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is as if one trial had done all; only the trained row comes twice, for those who wait for it."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    alone = Trial(tmp_path / "alone", dataset)
    alone.finish()
    for _ in range(2):  # one that is trained is not trained again, wherever it goes on
        trial.start(*MEMBERS, gpus=0.5, gpus_may_be_missing=True)
        ends = trial.finish()
    assert all(ends[m.content_hash]["rows"][-1]["iteration"] == SHORT.iterations for m in MEMBERS)
    assert all(trial.rows(m)[-1]["iteration"] < SHORT.iterations for m in MEMBERS)
    assert [trial.result(m) for m in MEMBERS] == [None, None]
    first, second = MEMBERS
    for member in MEMBERS:
        trial.start(member, gpus=0)
        assert trial.finish()[member.content_hash]["status"] == "finished"
        ours, theirs = trial.result(member), alone.result(member)
        assert without_times(ours["history"]) == without_times(theirs["history"]) == without_times(trial.rows(member))
        assert ours["environments"] == theirs["environments"]
    assert trial.events(first) == ["started", "trained"] * 2 + ["started", "finished"]
    trial.start(second, gpus=0)
    assert trial.finish()[second.content_hash]["status"] == "finished"


def test_a_member_whose_metrics_always_kill_its_process_is_given_up(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Member, "evaluate", die)
    member = MEMBERS[0]
    for _ in range(MOST_STARTS + 1):  # the first start is of training
        trial.start(member)
        with pytest.raises(KeyboardInterrupt):
            trial.finish()
    trial.start(member)
    end = trial.finish()[member.content_hash]
    assert (end["status"], f"{MOST_STARTS} times after iteration {SHORT.iterations}" in end["reason"]) == (
        "failed",
        True,
    )


def test_the_folder_has_each_row_once_also_those_that_a_full_disk_refused_and_told(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MemberDirectory, "append_rows", run_out)
        trial.start(*MEMBERS, report_seconds=0.01)
        while not trial.worker.fault:
            last_words = trial.worker.step()["members"]
        assert {news["reason"] for news in last_words.values() if news["status"] == "running"} == {trial.worker.fault}
        with pytest.raises(MachineFaultError, match="No space left on device"):
            trial.worker.step()
    for _ in range(2):
        trial.start(*MEMBERS)
        trial.finish()
        for member in MEMBERS:
            assert trial.rows(member) == trial.result(member)["history"]


def test_a_member_whose_process_always_dies_at_one_iteration_is_given_up_until_the_next_command(trial: Trial) -> None:
    """One at its end stays finished, however often its trial starts."""
    first, second = MEMBERS
    trial.start(first)
    trial.finish()
    for member, iteration in ((first, 10), (second, 0)):
        for _ in range(MOST_STARTS):
            MemberLog(trial.folder / member.content_hash).write("started", command="command", iteration=iteration)
    trial.start(*MEMBERS)
    ends = trial.finish()
    assert [ends[member.content_hash]["status"] for member in MEMBERS] == ["finished", "failed"]
    assert f"its process died {MOST_STARTS} times after iteration 0" in ends[second.content_hash]["reason"]
    trial.start(second, command="the next")
    assert trial.finish()[second.content_hash]["status"] == "finished"


def test_starts_are_counted_at_one_iteration_of_one_command_and_cut_lines_left_out(tmp_path: Path) -> None:
    def start(command: str, iteration: int) -> dict[str, Any]:
        return {"event": "started", "command": command, "iteration": iteration}

    events = [start("a", 0), start("b", 0), {"event": "failed"}, start("b", 0), start("b", 5)]
    counts = [starts_without_progress(events, *which) for which in (("b", 0), ("b", 5), ("c", 0))]
    assert counts == [2, 1, 0]
    for harmless in ("fault", "out_of_memory", "trained"):  # fewer together are tried after the second
        assert starts_without_progress([start("b", 0), {"event": harmless}, start("b", 0)], "b", 0) == 1
    died, others = start("b", 0) | {"pid": 1}, {"event": "fault", "pid": 2}
    assert starts_without_progress([died, others, start("b", 0)], "b", 0) == 2
    assert starts_without_progress([died, others | {"pid": ""}, start("b", 0)], "b", 0) == 1  # the driver knows of it
    log = MemberLog(tmp_path)
    assert log.read() == []
    log.write("started", iteration=1)
    with log.path.open("a") as file:
        file.write('{"event": "fini')
    assert [event["event"] for event in log.read()] == ["started"]


def test_a_trial_refuses_images_that_are_not_the_studys(trial: Trial) -> None:
    trial.start(fingerprints={"dsprites": "another renderer's"})
    trial.worker.datasets = {}
    with pytest.raises(InvalidInputError, match="must hold the study's images, another renderer's, got"):
        trial.worker._dataset("dsprites")


@pytest.mark.usefixtures("ray_session")
def test_a_prepared_file_reaches_a_node_that_lacks_it(
    dataset: Dataset, cache_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only such a node: where the driver's file is, with these images, it is used as it is."""
    path = cache_directory / "dsprites-rendered-2.h5"
    content = ray.put(np.fromfile(path, np.uint8))
    assert PreparedFile(path, content, dataset.fingerprint).on_this_node("dsprites") == path
    monkeypatch.setenv("LARVAE_CACHE_DIR", str(tmp_path))
    sent = PreparedFile(tmp_path / "elsewhere.h5", content, dataset.fingerprint).on_this_node("dsprites")
    assert sent == tmp_path / f"dsprites-{dataset.fingerprint[:12]}.h5"
    assert datasets.open_dataset("dsprites", sent).fingerprint == dataset.fingerprint


def test_an_altered_prepared_file_is_refused_or_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched where a cluster's object store has it, into a file of the node's own."""
    tiny = tiny_files.dsprites(tmp_path)
    tiny_files.register(tiny, monkeypatch, tmp_path / "cache")
    path = datasets.prepare("dsprites", tiny.source)
    fingerprint, whole = datasets.fingerprint("dsprites", path), np.fromfile(path, np.uint8)
    assert PreparedFile(path, None, fingerprint).on_this_node("dsprites") == path
    path.write_bytes(whole[:-4000].tobytes() + bytes(range(250)) * 16)
    with pytest.raises(InvalidInputError, match=r"^`[^\n]+ or without --data-file, makes it anew$"):
        PreparedFile(path, None, fingerprint).on_this_node("dsprites")
    monkeypatch.setattr(ray, "get", lambda content: content)
    fetched = PreparedFile(path, whole, fingerprint).on_this_node("dsprites")
    assert fetched != path
    assert datasets.fingerprint("dsprites", fetched) == fingerprint
