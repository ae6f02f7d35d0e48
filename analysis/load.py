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
import requests

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError

METRICS = ("mig", "mig_y", "mig_aligned", "l2")
FINISHED = "FINISHED"
REPEATED_OVER = ("label_rate", "seed")
"""What a sweep of one parameter varies besides it: label rates become lines, seeds become intervals."""

_CASTS: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float}
_CONVERTERS = {field.name: _CASTS[str(field.type)] for field in fields(MemberConfig)}
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # needs no internet
}


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
        "reason": " ".join(tags.get("larvae.reason", "").split()) if status in ("FAILED", "KILLED") else "",
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
    _require_database_or_server(tracking_uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        yield MlflowClient(tracking_uri)
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        raise _not_readable(tracking_uri, error) from error


def _require_database_or_server(tracking_uri: str) -> None:
    """Raise InvalidInputError within seconds unless MLflow's data are there; create nothing."""
    if tracking_uri.startswith("sqlite:///"):
        _require_tables(tracking_uri)
    elif tracking_uri.startswith(("http://", "https://")):
        try:
            requests.get(f"{tracking_uri.rstrip('/')}/health", timeout=5)
        except requests.RequestException as error:
            raise _not_readable(tracking_uri, f"no answer ({type(error).__name__})") from error
    elif re.split(r"[+:]", tracking_uri)[0] not in ("postgresql", "mysql", "mssql"):
        rule = "`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database's URL"
        raise InvalidInputError(f"{rule}, got {_shown(tracking_uri)}")


def _require_tables(tracking_uri: str) -> None:
    """Check what MLflow does not: it creates a missing database, and makes its tables in a foreign one."""
    path = Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])
    if not path.is_file():
        raise _not_readable(tracking_uri, "no such file")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT experiment_id FROM experiments LIMIT 1")
    except sqlite3.DatabaseError as error:
        raise _not_readable(tracking_uri, error) from error


def _not_readable(tracking_uri: str, cause: object) -> InvalidInputError:
    """One line, whatever MLflow's message is."""
    lines = str(cause).splitlines() or [type(cause).__name__]
    return InvalidInputError(f"`tracking_uri` must name MLflow's data, got {_shown(tracking_uri)}: {lines[0][:300]}")


def _shown(tracking_uri: str) -> str:
    """The address without user and password."""
    return re.sub(r"//[^/@]*@", "//", tracking_uri)
