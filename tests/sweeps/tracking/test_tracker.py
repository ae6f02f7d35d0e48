"""MLflow is told everything once, however it fails, and what people delete there is mended."""

from __future__ import annotations

import json
import shutil
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

from larvae.config import MemberConfig
from larvae.member_directory import Row
from sweeps.study import Study, StudyDirectory
from sweeps.tracking import backlog
from sweeps.tracking import tracker as tracker_module
from sweeps.tracking.addresses import read_place
from sweeps.tracking.member_runs import known_runs
from sweeps.tracking.tracker import UNREACHABLE, Tracker
from tests.sweeps.processes import free_port

ROW_2, ROW_4, ROW_6 = ({"iteration": i, "timestamp": 1e9 + i, "seconds": 1.0, "loss": 10.0 / i} for i in (2, 4, 6))
MEASURED = {"mig": 0.2, "l2": 0.5}

NO_RUN = "has not begun"


class Tracked:
    """A study's folder, MLflow, and what is there."""

    def __init__(self, uri: str, directory: StudyDirectory, build: Callable[..., Study]) -> None:
        self.uri, self.directory, self.build = uri, directory, build
        self.client = MlflowClient(uri)
        self.study = build("study")

    def command(self, *taus: float, iterations: int = 4) -> Tracker:
        """The tracker of a command that trains the study, with values of τ perhaps."""
        self.study = self.build("study", taus or (0.0, 1.0), iterations)
        return Tracker(self.uri, self.study, self.directory, {"dsprites": "fingerprint"}, {"tag": "value"})

    @property
    def members(self) -> dict[str, MemberConfig]:
        return {member.content_hash: member for member in self.study.members}

    @property
    def names(self) -> list[str]:
        return list(self.members)

    def runs(self) -> dict[str, Run]:
        """The study's runs by member's hash, the parent's under `study`."""
        experiment = self.client.get_experiment_by_name(self.study.name)
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id])
        runs = {run.data.tags.get("larvae.member", "study"): run for run in found}
        assert len(runs) == len(found)
        return runs

    def statuses(self) -> list[str]:
        runs = self.runs()
        return [runs[name].info.status if name in runs else NO_RUN for name in ("study", *self.names)]

    def steps(self, metric: str = "loss") -> list[list[int]]:
        """Of each member, those at which MLflow has a point, repeated ones included."""
        runs = self.runs()
        ids = [runs[name].info.run_id if name in runs else None for name in self.names]
        histories = [self.client.get_metric_history(run, metric) if run else [] for run in ids]
        return [sorted(point.step for point in history) for history in histories]

    def log(self, tracker: Tracker, name: str, *rows: Row) -> None:
        """New rows of a member in its folder."""
        self.directory.member(self.members[name]).append_rows(rows)
        tracker.update(name)

    def end(self, tracker: Tracker, name: str, status: str = "finished", reason: str = "") -> None:
        """A member's result in its folder."""
        files = self.directory.member(self.members[name])
        files.write_result(self.members[name], status, files.read_rows()[0], reason)
        tracker.end(name)


@pytest.fixture
def tracked(
    tmp_path: Path,
    empty_database: Path,
    study_directory: StudyDirectory,
    small_study: Callable[..., Study],
    monkeypatch: pytest.MonkeyPatch,
) -> Tracked:
    monkeypatch.setattr(tracker_module, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(tracker_module, "ASK_SECONDS", 0.01)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Tracked(f"sqlite:///{tmp_path / 'mlflow.db'}", study_directory, small_study)


class Outage:
    """A server that is away, as MlflowClient shows it, from the given number of calls on."""

    METHODS = ("create_run", "log_batch", "update_run", "set_terminated", "get_metric_history", "log_dict")

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception | None = None, after: int = 0) -> None:
        self.calls = 0
        for name in self.METHODS:
            patch.setattr(MlflowClient, name, self._failing(getattr(MlflowClient, name), error, after))

    def _failing(self, method: Callable[..., Any], error: Exception | None, after: int) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > after:
                raise error or requests.ConnectionError("refused")
            return method(*arguments, **named)

        return call


def test_runs_tell_a_members_life(tracked: Tracked) -> None:
    tracker = tracked.command(0.0, 1.0, 5.0, 10.0)
    finished, failed, stopped, _ = tracked.names
    assert tracked.statuses() == ["RUNNING"] + 4 * [NO_RUN]
    for member in (finished, failed, stopped):
        tracker.start(member)
    assert tracker.flush()
    assert tracked.statuses() == 4 * ["RUNNING"] + [NO_RUN]
    tracked.log(tracker, finished, ROW_2, ROW_4 | MEASURED)
    tracked.log(tracker, failed, ROW_2)
    tracked.log(tracker, stopped, ROW_2)
    tracked.end(tracker, finished)
    tracked.end(tracker, failed, "failed", "loss not finite")
    tracker.end(stopped)
    assert tracker.close("failed")
    assert tracked.statuses() == ["FAILED", "FINISHED", "FAILED", "KILLED", NO_RUN]
    runs = tracked.runs()
    assert runs[failed].data.tags["larvae.reason"] == "loss not finite"
    run, member = runs[finished], tracked.study.members[0]
    assert run.data.metrics == {"loss": 2.5, **MEASURED}
    assert run.data.params == {k: "" if v == [] else str(v) for k, v in member.to_dict().items()}
    assert run.data.tags["larvae.fingerprint"] == "fingerprint"
    assert read_place(run.data.tags["larvae.directory"], tracked.uri) == str(tracked.directory.member(member).path)
    assert run.data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert run.info.run_name == "tau=0"  # as short as it can be
    again = tracked.command(0.0, 1.0, 5.0, 10.0)
    again.start(failed)
    tracked.log(again, failed, ROW_4)
    tracked.end(again, failed)
    assert again.close("finished")
    assert tracked.statuses()[2] == "FINISHED"
    assert tracked.runs()[failed].data.tags.get("larvae.reason", "") == ""  # a failure that is mended leaves none


def test_a_sync_of_what_mlflow_has_sends_nothing(tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one command, and in the next, whatever the member's state."""
    tracker = tracked.command(0.0, 1.0, 5.0, 10.0)
    finished, failed, stopped, _ = tracked.names
    for name in (finished, failed, stopped):
        tracker.start(name)
        tracked.log(tracker, name, ROW_2, ROW_4)
    assert tracker.flush()
    with monkeypatch.context() as patch:
        writes = Outage(patch, after=10**6)
        for name in tracked.names:
            tracker.update(name)
        assert tracker.flush()
        assert writes.calls == 0
    tracked.end(tracker, finished)
    tracked.end(tracker, failed, "failed", "loss not finite")
    tracker.end(stopped)
    assert tracker.close("failed")
    with monkeypatch.context() as patch:
        again = tracked.command(0.0, 1.0, 5.0, 10.0)
        writes = Outage(patch, after=10**6)
        for name in tracked.names:
            again.update(name)
        assert again.flush()
        assert writes.calls == 0
    assert tracked.steps() == 3 * [[2, 4]] + [[]]


def test_rows_trained_again_are_logged_once_and_a_killed_commands_runs_are_killed(tracked: Tracked) -> None:
    """MLflow itself drops equal points only: those that are trained again have other times."""
    trained_again = [row | {"timestamp": 2e9} for row in (ROW_2, ROW_4, ROW_6)]
    killed = tracked.command()
    first = tracked.names[0]
    killed.start(first)
    tracked.log(killed, first, ROW_2, ROW_4)
    tracked.log(killed, first, *trained_again[:2])
    assert killed.flush()
    again = tracked.command()
    assert tracked.statuses()[1:] == ["KILLED", NO_RUN]
    again.start(first)
    tracked.log(again, first, *trained_again)
    assert again.flush()
    assert tracked.steps() == [[2, 4, 6], []]
    before = tracked.study
    assert tracked.command(1.0).close("finished")  # of which the run left over is not even a member
    tracked.study = before
    assert tracked.statuses() == ["FINISHED", "KILLED", NO_RUN]


def test_a_member_that_a_killed_search_left_running_runs_again_once_the_next_command_comes_to_it(
    tracked: Tracked,
) -> None:
    """A search knows its members one by one: at first the run left over is nobody's."""
    killed, name = tracked.command(), tracked.names[0]
    killed.start(name)
    tracked.log(killed, name, ROW_2)
    assert killed.flush()
    known = tracked.members
    again = tracked.command(5.0)
    assert again.flush()
    again._mirror.running.add(name)  # it is taken up before the queue has come to what it is
    again.add([known[name]])
    assert again.flush()
    assert tracked.runs()[name].info.status == "RUNNING"
    again.end(name)
    again.close("stopped")


def test_a_row_that_is_not_whole_yet_is_logged_when_it_is(tracked: Tracked) -> None:
    tracker = tracked.command(0.0)
    (name,) = tracked.names
    tracker.start(name)
    tracked.log(tracker, name, ROW_2)
    path = tracked.directory.member(tracked.members[name]).rows
    line = json.dumps(ROW_4) + "\n"
    for part in (line[:10], line[10:-1], line[-1:]):
        assert tracker.flush()
        assert tracked.steps() == [[2]]
        with path.open("a") as file:
            file.write(part)
        tracker.update(name)
    assert tracker.flush()
    assert tracked.steps() == [[2, 4]]


@pytest.mark.parametrize("has_rows", [True, False], ids=["rows", "none, as an earlier version left it"])
def test_the_index_is_rebuilt_from_the_folder_and_goes_on_to_a_raised_end(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, has_rows: bool
) -> None:
    """Also where the end of the raised command could not be sent, and MLflow knows the member as finished."""
    history = [ROW_2, ROW_4 | MEASURED]
    for member in tracked.members.values():
        files = tracked.directory.member(member)
        files.write_result(member, "finished", history)
        if has_rows:
            files.append_rows(history)
    assert tracked.command().close("finished")
    assert (tracked.statuses(), tracked.steps("mig")) == (3 * ["FINISHED"], [[4], [4]])
    raised = tracked.command(iterations=6)
    assert tracked.statuses() == ["RUNNING", "KILLED", "KILLED"]
    first = tracked.names[0]
    with monkeypatch.context() as patch:
        Outage(patch)
        raised.start(first)
        tracked.log(raised, first, *([] if has_rows else history), ROW_6 | {"mig": 0.3})
        tracked.end(raised, first)
        assert not raised.close("finished")
    assert tracked.command(iterations=6).close("finished")
    run = tracked.runs()[first]
    assert (run.info.status, run.data.tags["larvae.iterations"], run.data.metrics["mig"]) == ("FINISHED", "6", 0.3)
    assert tracked.steps() == [[2, 4, 6], [2, 4]]


# Outages


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("refused"), MlflowException("500"), OSError("broken pipe")], ids=repr
)
def test_nothing_is_lost_however_the_server_fails(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """It is left alone for a while: else each report of a trial would wait for it."""
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 600.0)
    tracker = tracked.command()
    first, second = tracked.names
    tracker.start(first)
    tracked.log(tracker, first, ROW_2)
    assert tracker.flush()
    with monkeypatch.context() as patch:
        outage = Outage(patch, error)
        tracker.start(second)
        assert not tracker.flush()
        asked = outage.calls
        assert asked >= 1
        for row in (ROW_4, ROW_6):
            tracked.log(tracker, first, row)
            assert not tracker.flush()
        assert outage.calls == asked
        tracked.log(tracker, second, ROW_2)
        tracked.end(tracker, second, "failed", "loss not finite")
        assert not tracker.close("failed")
    assert capsys.readouterr().err.count("MLflow does not answer") >= 1
    assert tracker.close("failed")
    assert (tracked.statuses(), tracked.steps()) == (["FAILED", "RUNNING", "FAILED"], [[2, 4, 6], [2]])
    assert tracked.runs()[second].data.tags["larvae.reason"] == "loss not finite"


def test_the_end_of_a_command_waits_for_a_server_that_comes_back_and_an_outage_is_told_once(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracker_module, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(backlog, "FIRST_RETRY_SECONDS", 0.01)
    tracker = tracked.command(0.0)
    (name,) = tracked.names
    tracker.start(name)
    assert tracker.flush()
    with monkeypatch.context() as patch:
        Outage(patch)
        tracked.log(tracker, name, ROW_2, ROW_4)
        tracked.end(tracker, name)
        for _ in range(5):
            assert not tracker.flush()
            time.sleep(0.02)
        assert not tracker.close("stopped")  # nobody who leaves is kept
        said = tracker_module.say

        def say_and_come_back(line: str) -> None:
            said(line)
            patch.undo()

        monkeypatch.setattr(tracker_module, "say", say_and_come_back)
        assert tracker.close("finished")
    assert tracked.statuses() == ["FINISHED", "FINISHED"]
    told = capsys.readouterr().err
    assert (told.count("MLflow does not answer"), told.count("waiting for MLflow")) == (1, 1)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_history_that_is_cut_off_between_batches_is_completed(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Rows of 7 metrics, which do not divide MLflow's 1000 points a batch."""
    names = [f"metric_{k}" for k in range(6)]
    history = [ROW_2 | dict.fromkeys(names, 1.0) | {"iteration": i} for i in range(1, 201)]
    tracker = tracked.command(0.0)
    tracker.start(tracked.names[0])
    assert tracker.flush()
    with monkeypatch.context() as patch:
        Outage(patch, after=1)
        tracked.log(tracker, tracked.names[0], *history)
        assert not tracker.flush()
    assert 0 < len(tracked.steps()[0]) < 200
    if restarted:
        tracker = tracked.command(0.0)
    assert tracker.close("finished")
    for metric in ("loss", *names):
        assert tracked.steps(metric) == [list(range(1, 201))], metric


def test_a_raised_end_that_is_cut_off_between_batches_is_completed_by_the_next_command(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member had finished, so that its first batch alone would tell the raised end of a finished run."""
    names = [f"metric_{k}" for k in range(6)]
    history = [ROW_2 | dict.fromkeys(names, 1.0) | {"iteration": i} for i in range(1, 201)]
    tracker = tracked.command(0.0, iterations=4)
    tracker.start(tracked.names[0])
    tracked.log(tracker, tracked.names[0], *history[:4])
    tracked.end(tracker, tracked.names[0])
    assert tracker.close("finished")
    files = tracked.directory.member(tracked.study.members[0])
    files.append_rows(history[4:])  # by a command without MLflow
    files.write_result(tracked.study.members[0], "finished", history)
    with monkeypatch.context() as patch:
        original = MlflowClient.log_batch

        def log_batch(client: MlflowClient, *arguments: Any, **named: Any) -> None:
            original(client, *arguments, **named)
            if named.get("metrics"):
                Outage(patch)

        patch.setattr(MlflowClient, "log_batch", log_batch)
        with pytest.raises(requests.ConnectionError):
            tracked.command(0.0, iterations=200)
    assert 4 < len(tracked.steps()[0]) < 200
    assert tracked.command(0.0, iterations=200).close("finished")
    assert tracked.steps() == [list(range(1, 201))]


def test_what_a_server_that_is_gone_raises_is_understood() -> None:
    with pytest.raises(UNREACHABLE):
        MlflowClient(f"http://127.0.0.1:{free_port()}").update_run("run", status="RUNNING")


# What people delete in MLflow's pages


@pytest.mark.parametrize("is_removed_whole", [False, True])
def test_a_run_that_is_deleted_is_made_anew_and_holds_up_no_other(
    tracked: Tracked, capsys: pytest.CaptureFixture[str], is_removed_whole: bool
) -> None:
    """Or removed whole, as `mlflow gc` does."""
    tracker = tracked.command()
    first, second = tracked.names
    for name in (first, second):
        tracker.start(name)
        tracked.log(tracker, name, ROW_2)
    assert tracker.flush()
    lost = tracked.runs()[first].info.run_id
    if is_removed_whole:
        tracked.client._tracking_client.store._hard_delete_run(lost)
    else:
        tracked.client.delete_run(lost)
    for name in (first, second):
        tracked.log(tracker, name, ROW_4)
    assert tracker.flush()
    assert (tracked.steps(), tracked.statuses()) == (2 * [[2, 4]], 3 * ["RUNNING"])
    run = tracked.runs()[first]
    assert run.info.run_id != lost
    assert run.data.params["tau"] == "0.0"
    assert capsys.readouterr().err.splitlines() == [
        "the run of tau=0 label_rate=0.01 seed=0 is no more in MLflow; it is made anew, with all its rows"
    ]


def test_a_run_deleted_while_it_is_looked_at_holds_up_nothing_where_it_is_no_members(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tracked.command()
    killed.start(tracked.names[0])
    assert killed.flush()

    def delete_what_is_known(client: MlflowClient, experiment: str) -> Any:
        study, runs = known_runs(client, experiment)
        client.delete_run(next(run.run_id for run in runs.values() if run.state.status == "RUNNING"))
        return study, runs

    monkeypatch.setattr(tracker_module, "known_runs", delete_what_is_known)
    assert tracked.command(1.0).close("finished")
    assert tracked.statuses() == ["FINISHED", NO_RUN]


def test_an_experiment_that_is_deleted_is_restored_by_the_same_command(
    tracked: Tracked, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = tracked.command(0.0)
    (name,) = tracked.names
    tracker.start(name)
    tracked.log(tracker, name, ROW_2)
    assert tracker.flush()
    experiment = tracked.client.get_experiment_by_name("study")
    assert experiment is not None
    tracked.client.delete_experiment(experiment.experiment_id)
    tracked.log(tracker, name, ROW_4)
    assert not tracker.close("failed")
    assert capsys.readouterr().err.splitlines() == [
        "MLflow refuses news of a member, whose experiment has been deleted, which the same command again restores; "
        "results are kept and sent later"
    ]
    again = tracked.command(0.0)
    assert capsys.readouterr().err.startswith("MLflow's experiment study had been deleted; it is restored")
    assert again.close("finished")
    assert tracked.steps() == [[2, 4]]


def test_what_is_refused_for_another_reason_is_kept_and_its_run_stays(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracked.command()
    first, second = tracked.names
    for name in (first, second):
        tracker.start(name)
    assert tracker.flush()
    run = tracked.runs()[first].info.run_id
    log_batch = MlflowClient.log_batch

    def refusing(client: MlflowClient, run_id: str, *arguments: Any, **named: Any) -> None:
        if run_id == run:
            raise MlflowException("no permission", PERMISSION_DENIED)
        log_batch(client, run_id, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", refusing)
        for row in (ROW_2, ROW_4):
            tracked.log(tracker, first, row)
            tracked.log(tracker, second, row)
            assert not tracker.flush()
    assert tracked.steps() == [[], [2, 4]]
    assert tracker.close("finished")
    assert tracked.runs()[first].info.run_id == run
    assert tracked.steps() == [[2, 4], [2, 4]]
