"""A folder with MLflow's database and studies that is moved, or copied: nothing looks for the place where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils

from sweeps.analysis.destination import Destination
from sweeps.analysis.load import load_members
from sweeps.outcome import outcome
from sweeps.study import Study, StudyDirectory
from sweeps.tracking.tracker import Tracker

ROW = {"iteration": 4, "loss": 2.0, "mig": 0.2, "l2": 0.5, "timestamp": 1e9, "seconds": 1.0, "seconds_per_iteration": 1}


def train(folder: Path, study: Study, *numbers: int) -> None:
    """A command in a folder, in which some members end."""
    directory = StudyDirectory(folder / "results" / study.name)
    tracker = Tracker(f"sqlite:///{folder}/mlflow.db", study, directory, {"dsprites": "fingerprint"}, {})
    for member in (study.members[number] for number in numbers):
        tracker.start(member.content_hash)
        files = directory.member(member)
        files.append_rows([ROW])
        files.write_result(member, "finished", [ROW])
        files.traversal.write_bytes(b"a picture")
        tracker.end(member.content_hash)
    assert tracker.close("finished", outcome(study, directory))


@pytest.mark.parametrize("is_copied", [False, True], ids=["moved", "copied"])
def test_what_comes_later_is_of_the_place_where_the_folder_is(
    tmp_path: Path, empty_database: Path, small_study: Callable[..., Study], is_copied: bool
) -> None:
    before, after = tmp_path / "it's 5_% here", tmp_path / "there"
    before.mkdir()
    shutil.copy(empty_database, before / "mlflow.db")
    study = small_study("study", (0.0, 1.0, 5.0))
    train(before, study, 0)
    files = {path.relative_to(before) for path in before.rglob("*")}
    (shutil.copytree if is_copied else shutil.move)(before, after)
    utils._artifact_repos_cache.clear()  # as a new process has none

    uri = f"sqlite:///{after}/mlflow.db"
    members = load_members(uri, "study")
    assert list(members["status"]) == ["FINISHED", "SCHEDULED", "SCHEDULED"]
    assert Path(members["directory"][0]) == after / "results" / "study" / "members" / members["hash"][0]
    place = Destination("study", after / "figures", uri)
    place.write({"picture.png": b"drawn"})
    place.tell({"picture.png": b"drawn"})
    train(after, study, 1)
    assert {path.relative_to(before) for path in before.rglob("*")} == (files if is_copied else set())
    artifacts = {path.name for path in (after / "mlartifacts").rglob("*") if path.is_file()}
    assert artifacts == {"picture.png", "environment.json", "study.json", "table.csv", "traversal.png"}
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id]):
        assert {Path(file.path).name for file in client.list_artifacts(run.info.run_id)}


def test_a_studys_run_does_not_stay_running_where_its_artifacts_cannot_be_written(
    tmp_path: Path, empty_database: Path, small_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    study, directory = small_study("study"), StudyDirectory(tmp_path / "results" / "study")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(uri, study, directory, {"dsprites": "fingerprint"}, {})
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_text", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
        assert not tracker.close("stopped", outcome(study, directory))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]
