"""A study's own run in MLflow: what the study is, at its start, and what has come of it, at the end of each command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.entities import Param
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from larvae.config import FORMAT
from sweeps.outcome import Outcome
from sweeps.study import Study
from sweeps.tracking import mlflow_names
from sweeps.tracking.provenance import environment
from sweeps.tracking.study_files import ENVIRONMENT, parameter_text, write_plan

_MOST_ROWS = 30


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
    logged = client.get_run(run).data.params  # which MLflow lets nobody change
    fixed = [Param(name, parameter_text(value)) for name, value in study.fixed.items() if name not in logged]
    client.log_batch(run, params=fixed)
    client.set_tag(run, MLFLOW_RUN_NOTE, _description(study, tags))
    write_plan(client, run, study)
    client.log_dict(run, environment(), ENVIRONMENT)
    return run


def end_study_run(client: Any, run: str, status: str, study: Study, outcome: Outcome | None) -> None:
    """Log what has come of the study, and end its run, also where its artifacts cannot be written."""
    try:
        if outcome is not None:
            tags = client.get_run(run).data.tags
            for name, value in outcome.metrics.items():
                client.log_metric(run, name, value, step=study.schedule.iterations)
            client.set_tag(run, MLFLOW_RUN_NOTE, _description(study, tags, outcome))
            client.log_text(run, outcome.table.as_csv(), "table.csv")
    finally:
        client.set_terminated(run, status)


def _description(study: Study, tags: Mapping[str, str], outcome: Outcome | None = None) -> str:
    """The study in Markdown, for MLflow's page of its run."""
    size = f"{len(study.members)} members × {study.schedule.iterations:,} iterations"
    varied = "; ".join(f"{name}: {', '.join(values)}" for name, values in _varied_values(study).items())
    lines = [
        f"**{study.name}**: {size}. {varied}",
        f"`{tags.get(mlflow_names.COMMAND, '')}`",
        *([outcome.table.as_markdown(_MOST_ROWS)] if outcome else []),
    ]
    return "\n\n".join(lines)[: mlflow_names.MOST_CHARACTERS]


def _varied_values(study: Study) -> dict[str, list[str]]:
    """The values of each field that members differ in."""
    fields = [member.to_dict() for member in study.members]
    return {
        name: list(dict.fromkeys(parameter_text(values[name]) for values in fields if name in values))
        for name in study.varied
    }
