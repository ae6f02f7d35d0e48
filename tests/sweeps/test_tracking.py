from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from larvae.errors import InvalidInputError
from sweeps.study import Study, StudyDirectory
from sweeps.tracking.tracker import Tracker, outbox, require_reachable, tracker

Build = Callable[..., Study]

IMAGES = {"dsprites": "fingerprint"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def runs_of(uri: str, study: Study) -> dict[str, Run]:
    """The study's runs by member's hash, the parent's under `study`."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("larvae.member", "study"): run for run in runs}


def statuses(uri: str, study: Study) -> list[str]:
    runs = runs_of(uri, study)
    return [runs[name].info.status for name in ("study", *(m.content_hash for m in study.members))]


def steps(uri: str, run: Run, metric: str = "loss") -> list[int]:
    return [point.step for point in MlflowClient(uri).get_metric_history(run.info.run_id, metric)]


def row(iteration: int, **metrics: float) -> dict[str, float]:
    return {"iteration": iteration, "timestamp": 1e9 + iteration, "seconds": 1.0, "loss": 10.0 / iteration, **metrics}


def test_runs_tell_a_members_life(uri: str, small_study: Build, study_directory: StudyDirectory) -> None:
    study = small_study("life", taus=(0.0, 1.0, 5.0, 10.0))
    finished, failed, stopped, _ = (member.content_hash for member in study.members)
    tracker = Tracker(uri, study, study_directory, IMAGES, {"tag": "value"})
    assert statuses(uri, study) == ["RUNNING"] + 4 * ["SCHEDULED"]
    for member in (finished, failed, stopped):
        tracker.start(member)
    assert tracker.flush()
    assert statuses(uri, study) == 4 * ["RUNNING"] + ["SCHEDULED"]
    tracker.log(finished, [row(2), row(4, mig=0.2, l2=0.5)])
    tracker.end(finished, "finished")
    tracker.end(failed, "failed", "loss not finite")
    tracker.end(stopped, "stopped")
    assert tracker.close("failed")
    assert statuses(uri, study) == ["FAILED", "FINISHED", "FAILED", "KILLED", "SCHEDULED"]
    runs = runs_of(uri, study)
    assert runs[failed].data.tags["larvae.reason"] == "loss not finite"
    assert runs[finished].data.metrics == {"loss": 2.5, "mig": 0.2, "l2": 0.5}
    assert runs[finished].data.params == {k: "" if v == [] else str(v) for k, v in study.members[0].to_dict().items()}
    assert runs[finished].data.tags["larvae.fingerprint"] == "fingerprint"
    assert runs[finished].data.tags["larvae.directory"] == str(study_directory.member(study.members[0]).path)
    assert runs[finished].data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert runs[finished].info.run_name == "tau=0 label_rate=0.01 seed=0"


def test_rows_reported_again_are_logged_once(uri: str, small_study: Build, study_directory: StudyDirectory) -> None:
    study = small_study("again")
    member = study.members[0].content_hash
    trained_again = [row(i) | {"timestamp": 2e9 + i} for i in (2, 4, 6, 8)]  # MLflow itself drops equal points
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    tracker.log(member, [row(2), row(4)])
    tracker.log(member, trained_again[:3])
    assert tracker.flush()
    again = Tracker(uri, study, study_directory, IMAGES, {})
    again.log(member, trained_again)
    assert again.flush()
    assert steps(uri, runs_of(uri, study)[member]) == [2, 4, 6, 8]


def test_run_that_a_killed_command_left_running_is_killed(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("left")
    killed = Tracker(uri, study, study_directory, IMAGES, {})
    killed.start(study.members[0].content_hash)
    assert killed.flush()
    assert statuses(uri, study) == ["RUNNING", "RUNNING", "SCHEDULED"]
    fewer = small_study("left", taus=(1.0,))  # the run left over is not even a member of the next command
    Tracker(uri, fewer, study_directory, IMAGES, {}).close("finished")
    assert statuses(uri, study) == ["FINISHED", "KILLED", "SCHEDULED"]


def test_index_is_rebuilt_from_the_folder(
    uri: str, small_study: Build, study_directory: StudyDirectory, tmp_path: Path
) -> None:
    study = small_study("rebuilt")
    history = [row(2), row(4, mig=0.2, l2=0.5)]
    for member in study.members:
        study_directory.member(member).write_result(member, "finished", history)
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    assert tracker.close("finished")
    assert statuses(uri, study) == 3 * ["FINISHED"]
    for member in study.members:
        run = runs_of(uri, study)[member.content_hash]
        assert steps(uri, run) == [2, 4]
        assert run.data.metrics["mig"] == 0.2


def test_member_that_trains_on_to_a_raised_end_is_not_finished(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("raised", taus=(0.0,))
    member = study.members[0]
    study_directory.member(member).write_result(member, "finished", [row(2), row(4, mig=0.2, l2=0.5)])
    Tracker(uri, study, study_directory, IMAGES, {}).close("finished")
    raised = small_study("raised", taus=(0.0,), iterations=8)
    tracker = Tracker(uri, raised, study_directory, IMAGES, {})
    assert statuses(uri, raised) == ["RUNNING", "SCHEDULED"]
    tracker.start(member.content_hash)
    assert tracker.flush()
    assert runs_of(uri, raised)[member.content_hash].data.tags["larvae.iterations"] == "8"


def test_server_that_goes_away_loses_nothing(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study("away")
    first, second = (member.content_hash for member in study.members)
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    tracker.log(first, [row(2)])
    assert tracker.flush()

    def unreachable(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError("gone")

    with monkeypatch.context() as outage:
        outage.setattr(MlflowClient, "log_batch", unreachable)
        tracker.log(first, [row(4)])
        tracker.log(second, [row(2)])
        tracker.end(first, "finished")
        assert not tracker.close("finished")
    assert steps(uri, runs_of(uri, study)[first]) == [2]
    assert tracker.close("finished")
    assert steps(uri, runs_of(uri, study)[first]) == [2, 4]
    assert steps(uri, runs_of(uri, study)[second]) == [2]
    assert statuses(uri, study)[1] == "FINISHED"


@pytest.mark.parametrize("bad", ["file:///tmp/mlruns", "mlruns", "ftp://host"])
def test_addresses_that_mlflow_does_not_write_are_refused(bad: str) -> None:
    with pytest.raises(InvalidInputError, match="`tracking_uri` must be sqlite:///FILE"):
        require_reachable(bad)


# Outages


class Outage:
    """A server that is away, as MlflowClient shows it, from the given number of calls on."""

    METHODS = ("create_run", "log_batch", "update_run", "set_terminated", "get_metric_history", "log_dict")

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception, after: int = 0) -> None:
        self.calls = 0
        for name in self.METHODS:
            patch.setattr(MlflowClient, name, self._failing(getattr(MlflowClient, name), error, after))

    def _failing(self, method: Callable[..., Any], error: Exception, after: int) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > after:
                raise error
            return method(*arguments, **named)

        return call


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("refused"), MlflowException("500"), OSError("broken pipe")], ids=repr
)
def test_nothing_is_lost_however_the_server_fails(
    uri: str,
    small_study: Build,
    study_directory: StudyDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    study = small_study(f"fails-{type(error).__name__}")
    first = study.members[0].content_hash
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    with monkeypatch.context() as patch:
        Outage(patch, error)
        tracker.start(first)
        tracker.log(first, [row(2)])
        tracker.end(first, "failed", "loss not finite")
        assert not tracker.close("failed")
    assert capsys.readouterr().err.count("MLflow does not answer") >= 1
    assert tracker.close("failed")
    assert statuses(uri, study) == ["FAILED", "FAILED", "SCHEDULED"]
    run = runs_of(uri, study)[first]
    assert steps(uri, run) == [2]
    assert run.data.tags["larvae.reason"] == "loss not finite"


def test_a_server_that_is_away_is_left_alone_for_a_while(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each report of a trial would wait for it."""
    study = small_study("left-alone")
    member = study.members[0].content_hash
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "FIRST_RETRY_SECONDS", 60.0)
        tracker = Tracker(uri, study, study_directory, IMAGES, {})
        outage = Outage(patch, requests.ConnectionError())
        tracker.log(member, [row(2)])
        assert not tracker.flush()
        asked = outage.calls
        assert asked >= 1
        for iteration in (4, 6, 8):
            tracker.log(member, [row(iteration)])
            assert not tracker.flush()
        assert outage.calls == asked
    tracker.log(member, [row(10)])
    assert tracker.close("finished")
    assert steps(uri, runs_of(uri, study)[member]) == [2, 4, 6, 8, 10]


def long_history(num_rows: int) -> list[dict[str, float]]:
    """Rows of 7 metrics, which do not divide MLflow's 1000 points a batch."""
    return [row(i, **{f"metric_{k}": 1.0 for k in range(6)}) for i in range(1, num_rows + 1)]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_history_that_is_cut_off_between_batches_is_completed(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    study = small_study(f"cut-off-{restarted}")
    member = study.members[0].content_hash
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    history = long_history(200)
    with monkeypatch.context() as patch:
        Outage(patch, requests.ConnectionError(), after=1)
        tracker.log(member, history)
        assert not tracker.flush()
    assert 0 < len(steps(uri, runs_of(uri, study)[member])) < 200
    if restarted:
        tracker = Tracker(uri, study, study_directory, IMAGES, {})
        tracker.log(member, history)
    assert tracker.close("finished")
    run = runs_of(uri, study)[member]
    for metric in ("loss", *(f"metric_{k}" for k in range(6))):
        assert sorted(steps(uri, run, metric)) == list(range(1, 201)), metric


def test_an_end_that_a_closed_command_could_not_send_is_sent_by_the_next(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where MLflow knows the member as finished, with fewer iterations."""
    study = small_study("next", taus=(0.0,))
    member = study.members[0]
    history = [row(2), row(4, mig=0.2, l2=0.5)]
    study_directory.member(member).write_result(member, "finished", history)
    assert Tracker(uri, study, study_directory, IMAGES, {}).close("finished")

    raised = small_study("next", taus=(0.0,), iterations=8)
    tracker = Tracker(uri, raised, study_directory, IMAGES, {})
    history += [row(6), row(8, mig=0.3, l2=0.4)]
    with monkeypatch.context() as patch:
        Outage(patch, requests.ConnectionError())
        tracker.start(member.content_hash)
        tracker.log(member.content_hash, history)
        study_directory.member(member).write_result(member, "finished", history)
        tracker.end(member.content_hash, "finished")
        assert not tracker.close("finished")

    assert Tracker(uri, raised, study_directory, IMAGES, {}).close("finished")
    run = runs_of(uri, raised)[member.content_hash]
    assert (run.info.status, run.data.tags["larvae.iterations"]) == ("FINISHED", "8")
    assert steps(uri, run) == [2, 4, 6, 8]
    assert run.data.metrics["mig"] == 0.3


def test_what_a_server_that_is_gone_raises_is_understood() -> None:
    """MlflowClient's own error at a port where nothing listens is one of those that tracking expects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(tracker.UNREACHABLE):
        MlflowClient(f"http://127.0.0.1:{port}").update_run("run", status="RUNNING")
    assert time.monotonic() - started < 30


def test_a_failure_that_is_mended_leaves_no_reason(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("mended", taus=(0.0,))
    member = study.members[0].content_hash
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    tracker.end(member, "failed", "out of memory")
    assert tracker.flush()
    assert statuses(uri, study)[1] == "FAILED"
    tracker.start(member)
    tracker.log(member, [row(2), row(4)])
    tracker.end(member, "finished")
    assert tracker.flush()
    run = runs_of(uri, study)[member]
    assert (run.info.status, run.data.tags.get("larvae.reason", "")) == ("FINISHED", "")


# What people delete in MLflow's pages


def remove_whole(uri: str, run: str) -> None:
    """What `mlflow gc` does to a deleted run."""
    MlflowClient(uri)._tracking_client.store._hard_delete_run(run)


@pytest.mark.parametrize("is_removed_whole", [False, True])
def test_a_run_that_is_deleted_is_made_anew_and_holds_up_no_other(
    uri: str,
    small_study: Build,
    study_directory: StudyDirectory,
    capsys: pytest.CaptureFixture[str],
    is_removed_whole: bool,
) -> None:
    study = small_study(f"deleted-{is_removed_whole}", taus=(0.0, 1.0, 5.0, 10.0))
    names = [member.content_hash for member in study.members]
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    for name in names:
        tracker.start(name)
        tracker.log(name, [row(2)])
    assert tracker.flush()
    lost = runs_of(uri, study)[names[0]].info.run_id
    (remove_whole if is_removed_whole else lambda uri, run: MlflowClient(uri).delete_run(run))(uri, lost)
    for name in names:
        tracker.log(name, [row(4)])
    assert not tracker.flush(), "what the folder does not have yet is missing"
    runs = runs_of(uri, study)
    assert [steps(uri, runs[name]) for name in names] == [[], [2, 4], [2, 4], [2, 4]]
    assert statuses(uri, study) == 5 * ["RUNNING"]
    for member in study.members:
        tracker.log(member.content_hash, [row(6)])
        study_directory.member(member).write_result(member, "finished", [row(2), row(4), row(6, mig=0.2)])
        tracker.end(member.content_hash, "finished")
    assert tracker.close("finished")
    runs = runs_of(uri, study)
    assert statuses(uri, study) == 5 * ["FINISHED"]
    assert [steps(uri, runs[name]) for name in names] == 4 * [[2, 4, 6]]
    assert runs[names[0]].info.run_id != lost
    assert runs[names[0]].data.params == {k: "" if v == [] else str(v) for k, v in study.members[0].to_dict().items()}
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "the run of tau=0 label_rate=0.01 seed=0 is no more in MLflow; it is made anew, with all rows at its end"
    ]


def after_a_row(uri: str, study: Study, directory: StudyDirectory) -> Tracker:
    """A tracker that has told MLflow the first row of the first member."""
    name = study.members[0].content_hash
    tracker = Tracker(uri, study, directory, IMAGES, {})
    tracker.start(name)
    tracker.log(name, [row(2)])
    assert tracker.flush()
    return tracker


def test_the_next_command_sends_what_a_deleted_run_had(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    """The command ends before the member does: the folder has no result, but a checkpoint whose rows come again."""
    study = small_study("deleted-next", taus=(0.0,))
    name = study.members[0].content_hash
    tracker = after_a_row(uri, study, study_directory)
    MlflowClient(uri).delete_run(runs_of(uri, study)[name].info.run_id)
    tracker.log(name, [row(4)])
    tracker.end(name, "stopped")
    assert not tracker.close("stopped")
    again = Tracker(uri, study, study_directory, IMAGES, {})
    again.start(name)
    again.log(name, [row(2), row(4), row(6)])
    again.end(name, "finished")
    assert again.close("finished")
    assert steps(uri, runs_of(uri, study)[name]) == [2, 4, 6]


def test_a_run_that_is_deleted_before_its_first_row_loses_none(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("deleted-early", taus=(0.0,))
    name = study.members[0].content_hash
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    MlflowClient(uri).delete_run(runs_of(uri, study)[name].info.run_id)
    tracker.start(name)
    tracker.log(name, [row(2)])
    tracker.log(name, [row(4)])
    assert tracker.flush()
    assert steps(uri, runs_of(uri, study)[name]) == [2, 4]
    assert statuses(uri, study) == ["RUNNING", "RUNNING"]


def test_an_experiment_that_is_deleted_is_restored_by_the_same_command(
    uri: str, small_study: Build, study_directory: StudyDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study("deleted-experiment", taus=(0.0,))
    name = study.members[0].content_hash
    tracker = after_a_row(uri, study, study_directory)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name(study.name).experiment_id)
    tracker.log(name, [row(4)])
    assert not tracker.close("failed")
    assert capsys.readouterr().err.splitlines() == [
        "MLflow refuses news of a member, whose experiment has been deleted, which the same command again restores; "
        "results are kept and sent later"
    ]
    again = Tracker(uri, study, study_directory, IMAGES, {})
    assert capsys.readouterr().err.startswith("MLflow's experiment deleted-experiment had been deleted; it is restored")
    again.start(name)
    again.log(name, [row(2), row(4)])
    again.end(name, "finished")
    assert again.close("finished")
    assert steps(uri, runs_of(uri, study)[name]) == [2, 4]


def test_what_is_refused_for_another_reason_is_kept_and_its_run_stays(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study("refused")
    first, second = (member.content_hash for member in study.members)
    tracker = Tracker(uri, study, study_directory, IMAGES, {})
    run = runs_of(uri, study)[first].info.run_id
    log_batch = MlflowClient.log_batch

    def refusing(client: MlflowClient, run_id: str, *arguments: Any, **named: Any) -> None:
        if run_id == run:
            raise MlflowException("no permission", PERMISSION_DENIED)
        log_batch(client, run_id, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", refusing)
        for iteration in (2, 4):
            tracker.log(first, [row(iteration)])
            tracker.log(second, [row(iteration)])
            assert not tracker.flush()
    assert steps(uri, runs_of(uri, study)[second]) == [2, 4]
    assert tracker.close("finished")
    assert runs_of(uri, study)[first].info.run_id == run
    assert steps(uri, runs_of(uri, study)[first]) == [2, 4]
