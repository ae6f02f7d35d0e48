"""Files of a study's own run in MLflow: its plan, which has members that have no run yet, too, and figures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweeps.study import Study
from sweeps.tracking import mlflow_names

_FILE = "study.json"
ENVIRONMENT = "environment.json"


def write_plan(client: Any, run: str, study: Study) -> None:
    """Write down a study's members with its run."""
    members = {study.label(member): member.to_dict() for member in study.members}
    client.log_dict(run, {"study": study.name, "members": members}, _FILE)


def read_plan(client: Any, run: str) -> dict[str, dict[str, Any]]:
    """The fields of a study's members, by their labels; none where MLflow does not have them."""
    try:
        return dict(_read(client, run, _FILE)["members"])
    except (KeyError, TypeError, ValueError):
        return {}


def read_environment(client: Any, run: str) -> dict[str, str]:
    """Host and versions of the command that ran a study last; none where MLflow does not have them."""
    try:
        return {str(name): str(value) for name, value in dict(_read(client, run, ENVIRONMENT)).items()}
    except (TypeError, ValueError):
        return {}


def _read(client: Any, run: str, file: str) -> Any:
    """The content of a JSON file; an empty one where MLflow does not have it whole."""
    from mlflow.exceptions import MlflowException  # late: it takes seconds

    try:
        return json.loads(Path(client.download_artifacts(run, file)).read_text())
    except (MlflowException, OSError, ValueError):
        return {}


def log_figures(client: Any, study: str, paths: Iterable[Path]) -> None:
    """Log a study's figures, and their numbers, with its run, if MLflow has it still."""
    experiment = client.get_experiment_by_name(study)
    run = experiment and find_study_run(client, experiment.experiment_id)
    for path in paths if run else ():
        client.log_artifact(run.info.run_id, str(path), "figures")


def find_study_run(client: Any, experiment: str) -> Any:
    """A study's own run; None where a killed command left it without one."""
    is_study = mlflow_names.tagged(mlflow_names.ROLE, mlflow_names.STUDY_ROLE)
    found = client.search_runs([experiment], is_study, max_results=1)
    return found[0] if found else None


def parameter_text(value: object) -> str:
    """A field's value as MLflow's parameters have it."""
    return " ".join(value) if isinstance(value, list) else str(value)
