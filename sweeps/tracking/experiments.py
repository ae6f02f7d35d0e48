"""A study's experiment in MLflow, and the study's own run in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larvae.config import FORMAT
from sweeps.study import Study
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import sqlite_path
from sweeps.tracking.backlog import say
from sweeps.tracking.provenance import environment

_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow 3's pages expect a chat bot


def keep_to_group(uri: str) -> None:
    """Make a database on this machine, and its artifacts' folder, for owner and group; those there stay as they are."""
    if database := sqlite_path(uri):
        database.touch(mode=0o640)
        _artifacts(database).mkdir(mode=0o750, exist_ok=True)


def _artifacts(database: Path) -> Path:
    return database.absolute().parent / "mlartifacts"


def find_experiment(client: Any, name: str) -> Any:
    """A study's experiment, deleted or not; None where there is none. InvalidInputError where its format is another."""
    if experiment := client.get_experiment_by_name(name):
        mlflow_names.require_format(experiment.tags, f"MLflow's experiment {name} was written", "give another --study")
    return experiment


def find_or_make_experiment(client: Any, name: str, uri: str) -> str:
    """The id of a study's experiment. One that somebody has deleted is restored: MLflow keeps its name taken."""
    if experiment := find_experiment(client, name):
        if is_deleted(experiment):
            client.restore_experiment(experiment.experiment_id)
            say(f"MLflow's experiment {name} had been deleted; it is restored, with its runs")
        return experiment.experiment_id
    location = None  # a server has its own place for artifacts
    if database := sqlite_path(uri):
        location = (_artifacts(database) / name).as_uri()
    tags = {**_KIND, mlflow_names.FORMAT: str(FORMAT)}
    return client.create_experiment(name, artifact_location=location, tags=tags)


def is_deleted(experiment: Any) -> bool:
    """Tell whether somebody has deleted an experiment of MLflow's."""
    return experiment.lifecycle_stage == "deleted"


def find_or_make_study_run(
    client: Any, experiment: str, known: str | None, study: Study, tags: Mapping[str, str]
) -> str:
    """The id of the study's own run, RUNNING, with what the study is. known: where it is there. tags: of a new one."""
    if known is None:
        all_tags = {mlflow_names.FORMAT: str(FORMAT), mlflow_names.ROLE: mlflow_names.STUDY_ROLE, **tags}
        run = client.create_run(experiment, run_name=study.name, tags=all_tags).info.run_id
    else:
        run = known
    client.update_run(run, status=mlflow_names.RUNNING)
    members = {study.label(member): member.to_dict() for member in study.members}
    client.log_dict(run, {"study": study.name, "members": members}, "study.json")
    client.log_dict(run, environment(), "environment.json")
    return run
