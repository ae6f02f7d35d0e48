from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from larvae.errors import InvalidInputError
from sweeps.study import Study, StudyDirectory
from sweeps.tracking import Tracker, require_reachable

Build = Callable[..., Study]


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
    tracker = Tracker(uri, study, study_directory, {"tag": "value"})
    assert statuses(uri, study) == ["RUNNING"] + 4 * ["SCHEDULED"]
    for member in (finished, failed, stopped):
        tracker.start(member)
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
    assert runs[finished].data.params == {k: str(v) for k, v in study.members[0].to_dict().items()}
    assert runs[finished].data.tags["mlflow.parentRunId"] == runs["study"].info.run_id
    assert runs[finished].info.run_name == "tau=0 label_rate=0.01 seed=0"


def test_rows_reported_again_are_logged_once(uri: str, small_study: Build, study_directory: StudyDirectory) -> None:
    study = small_study("again")
    member = study.members[0].content_hash
    tracker = Tracker(uri, study, study_directory, {})
    tracker.log(member, [row(2), row(4)])
    tracker.log(member, [row(2), row(4), row(6)])
    Tracker(uri, study, study_directory, {}).log(member, [row(2), row(4), row(6), row(8)])
    assert steps(uri, runs_of(uri, study)[member]) == [2, 4, 6, 8]


def test_run_that_a_killed_command_left_running_is_killed(
    uri: str, small_study: Build, study_directory: StudyDirectory
) -> None:
    study = small_study("left")
    Tracker(uri, study, study_directory, {}).start(study.members[0].content_hash)
    assert statuses(uri, study) == ["RUNNING", "RUNNING", "SCHEDULED"]
    fewer = small_study("left", taus=(1.0,))  # the run left over is not even a member of the next command
    Tracker(uri, fewer, study_directory, {}).close("finished")
    assert statuses(uri, study) == ["FINISHED", "KILLED", "SCHEDULED"]


def test_index_is_rebuilt_from_the_folder(
    uri: str, small_study: Build, study_directory: StudyDirectory, tmp_path: Path
) -> None:
    study = small_study("rebuilt")
    history = [row(2), row(4, mig=0.2, l2=0.5)]
    for member in study.members:
        study_directory.member(member).write_result(member, "finished", history)
    tracker = Tracker(uri, study, study_directory, {})
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
    Tracker(uri, study, study_directory, {}).close("finished")
    raised = small_study("raised", taus=(0.0,), iterations=8)
    tracker = Tracker(uri, raised, study_directory, {})
    assert statuses(uri, raised) == ["RUNNING", "SCHEDULED"]
    tracker.start(member.content_hash)
    assert runs_of(uri, raised)[member.content_hash].data.tags["larvae.iterations"] == "8"


def test_server_that_goes_away_loses_nothing(
    uri: str, small_study: Build, study_directory: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study("away")
    first, second = (member.content_hash for member in study.members)
    tracker = Tracker(uri, study, study_directory, {})
    tracker.log(first, [row(2)])

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
