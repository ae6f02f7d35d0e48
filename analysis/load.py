"""MLflow to pandas: the only reader of what sweeps/tracking.py writes.

A study is an experiment; its members are the runs tagged `larvae.role` = `member`.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError

METRICS = ("mig", "mig_y", "mig_aligned", "l2")
FINISHED = "FINISHED"
REPEATED_OVER = ("label_rate", "seed")
"""What a sweep of one parameter varies besides it: label rates become lines, seeds become intervals."""

_CASTS: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float}
_CONVERTERS = {field.name: _CASTS[str(field.type)] for field in fields(MemberConfig)}
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def load_members(tracking_uri: str, study: str) -> pd.DataFrame:
    """All members of a study, one row each, in the order of their parameters.

    Columns: name, hash, status (MLflow's), iterations (trained so far), reason (of a failure), the fields
    of MemberConfig and METRICS. Metrics are the last logged ones: results where status is FINISHED,
    NaN where none was logged. Of several runs of one member the finished one counts, else the newest.
    Raises InvalidInputError when the server, the study or its members cannot be found.
    """
    with _connection(tracking_uri) as client:
        experiments = {experiment.name: experiment for experiment in _experiments(client)}
        if study not in experiments:
            known = ", ".join(sorted(experiments)) or "(there is none)"
            raise InvalidInputError(f"`study` must be one of {known}, got {study}")
        runs = _member_runs(client, experiments[study])
        if not runs:
            raise InvalidInputError(f"`study` must have members, got {study} without any")
        rows = [_row(client, run) for run in runs]
    members = pd.DataFrame(rows).drop_duplicates("hash", keep="last", ignore_index=True)
    parameters = [name for name in _CONVERTERS if name in members]
    return members.sort_values(parameters, ignore_index=True)


def find_study(tracking_uri: str, parameter: str) -> str:
    """Name of the most recently created study that sweeps the parameter.

    Its members vary the parameter and, beside label rate and seed, nothing else: searches are passed over.
    Raises InvalidInputError when there is none.
    """
    with _connection(tracking_uri) as client:
        for experiment in _experiments(client):
            members = pd.DataFrame([_parameters(run) for run in _member_runs(client, experiment)])
            if varied_parameters(members) == [parameter]:
                return str(experiment.name)
    raise InvalidInputError(f"`tracking_uri` must hold a study that varies {parameter}, got {_shown(tracking_uri)}")


def varied_parameters(members: pd.DataFrame) -> list[str]:
    """Fields of MemberConfig, label rate and seed apart, in which members differ."""
    names = [name for name in _CONVERTERS if name in members and name not in REPEATED_OVER]
    return [name for name in names if members[name].nunique() > 1]


def _row(client: Any, run: Any) -> dict[str, object]:
    """One member as a row of `load_members`."""
    tags, status = run.data.tags, run.info.status
    return {
        "name": run.info.run_name,
        "hash": tags.get("larvae.member", run.info.run_id),
        "status": status,
        "iterations": int(tags["larvae.iterations"]) if status == FINISHED else _iterations_so_far(client, run),
        "reason": " ".join(tags.get("larvae.reason", "").split()),
        **_parameters(run),
        **{metric: run.data.metrics.get(metric, float("nan")) for metric in METRICS},
    }


def _parameters(run: Any) -> dict[str, object]:
    return {name: convert(run.data.params[name]) for name, convert in _CONVERTERS.items() if name in run.data.params}


def _iterations_so_far(client: Any, run: Any) -> int:
    """The step of the last row an unfinished member logged."""
    if "seconds_per_iteration" not in run.data.metrics:
        return 0
    return max(point.step for point in client.get_metric_history(run.info.run_id, "seconds_per_iteration"))


def _experiments(client: Any) -> list[Any]:
    """Experiments, newest first, without the one MLflow makes for itself."""
    experiments = _all_pages(client.search_experiments, order_by=["creation_time DESC"])
    return [experiment for experiment in experiments if experiment.experiment_id != "0"]


def _member_runs(client: Any, experiment: Any) -> list[Any]:
    """The member runs of an experiment: unfinished ones first, then by start."""
    runs = _all_pages(
        client.search_runs,
        experiment_ids=[experiment.experiment_id],
        filter_string="tags.`larvae.role` = 'member'",
    )
    return sorted(runs, key=lambda run: (run.info.status == FINISHED, run.info.start_time))


def _all_pages(search: Callable[..., Any], **arguments: object) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = search(page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def _connection(tracking_uri: str) -> Iterator[Any]:
    """An MlflowClient that gives up within seconds and turns MLflow's errors into InvalidInputError.

    MLflow is imported here because that takes seconds, and after the environment, which it reads, is set.
    """
    _require_reachable_kind(tracking_uri)
    for name, value in _IMPATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        yield MlflowClient(tracking_uri)
    except MlflowException as error:
        cause = str(error).splitlines()[0][:300]
        raise InvalidInputError(
            f"`tracking_uri` must name a reachable MLflow, got {_shown(tracking_uri)}: {cause}"
        ) from error


def _require_reachable_kind(tracking_uri: str) -> None:
    """Check what MLflow would not: it creates a missing database and fills a foreign one with tables."""
    if tracking_uri.startswith(("http://", "https://")):
        return
    path = Path(tracking_uri.removeprefix("sqlite:///").split("?")[0])
    if not tracking_uri.startswith("sqlite:///") or path == Path():
        rule = "`tracking_uri` must be sqlite:///FILE or http(s)://HOST"
        raise InvalidInputError(f"{rule}, got {_shown(tracking_uri)}")
    if not path.is_file():
        raise InvalidInputError(f"`tracking_uri` must name an existing file, got {tracking_uri}")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT experiment_id FROM experiments LIMIT 1")
    except sqlite3.DatabaseError as error:
        raise InvalidInputError(
            f"`tracking_uri` must name a database of MLflow, got {tracking_uri}: {error}"
        ) from error


def _shown(tracking_uri: str) -> str:
    """The address without user and password."""
    return re.sub(r"//[^/@]*@", "//", tracking_uri)
