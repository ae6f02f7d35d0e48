"""A study's experiment in MLflow."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from larvae.config import FORMAT
from sweeps.tracking import mlflow_names
from sweeps.tracking.addresses import sqlite_path
from sweeps.tracking.backlog import say

_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow 3's pages expect a chat bot


def refresh_artifacts(database: Path) -> None:
    """Tell MLflow where the artifacts lie of experiments whose folder was moved, or copied, with their database."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT experiments.experiment_id, name, artifact_location FROM experiments JOIN experiment_tags"
            " ON experiments.experiment_id = experiment_tags.experiment_id WHERE key = ?",
            (mlflow_names.FORMAT,),
        ).fetchall()
        for experiment, name, before in found:
            now = (_artifacts(database) / name).as_uri()
            if before != now and (_artifacts(database) / name).is_dir():
                connection.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, experiment)
                )
                connection.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
                    " WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                    (now, len(before) + 1, experiment, len(before), before),
                )
        connection.commit()


def keep_to_group(uri: str) -> None:
    """Make a database on this machine, and its artifacts' folder, for owner and group; those there stay as they are."""
    if database := sqlite_path(uri):
        if database.exists():
            refresh_artifacts(database)
        database.parent.mkdir(parents=True, exist_ok=True)
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


def delete_experiment(client: Any, experiment: Any) -> None:
    """Delete an experiment, and free its name: a later study of it begins anew, without these runs."""
    client.rename_experiment(experiment.experiment_id, f"{experiment.name} (removed, {experiment.experiment_id})")
    client.delete_experiment(experiment.experiment_id)


def is_deleted(experiment: Any) -> bool:
    """Tell whether somebody has deleted an experiment of MLflow's."""
    return experiment.lifecycle_stage == "deleted"
