"""Connects to MLflow's data to read them: within seconds or not at all, and nothing is made."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from larvae.errors import InvalidInputError
from sweeps.tracking.addresses import is_server, kind_fault, masked, shown, sqlite_path
from sweeps.tracking.database import require_database
from sweeps.tracking.experiments import refresh_artifacts
from sweeps.tracking.reachability import health

MOST_VALUES = 25_000
"""Values that a server gives at once."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # needs no internet
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # of files of a few bytes
}


@contextmanager
def connection(tracking_uri: str) -> Iterator[Any]:
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
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    try:
        yield MlflowClient(tracking_uri)
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        raise _not_readable(tracking_uri, error) from error


def bulk_history(tracking_uri: str, runs: Sequence[str], metric: str) -> list[dict[str, Any]] | None:
    """A server's history of one metric of 100 runs at most: key, value, timestamp, step and run_id of each value.

    None where it gives none, or not all: it stops at MOST_VALUES. Within `connection` only.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    parameters = {"run_id": list(runs), "metric_key": metric, "max_results": MOST_VALUES}
    path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    answer = http_request(get_default_host_creds(tracking_uri), path, "GET", params=parameters)
    if answer.status_code != 200:
        return None
    try:
        values = list(answer.json()["metrics"])
    except (ValueError, KeyError, TypeError):
        return None
    return values if len(values) < MOST_VALUES else None


def _require_database_or_server(tracking_uri: str) -> None:
    """Raise InvalidInputError within seconds unless MLflow's data are there; create nothing."""
    if fault := kind_fault(tracking_uri):
        raise InvalidInputError(fault)
    if path := sqlite_path(tracking_uri):
        _require_tables(tracking_uri, path)
        refresh_artifacts(path)
    elif is_server(tracking_uri):
        if health(tracking_uri) is None:
            raise _not_readable(tracking_uri, "no answer")
    else:
        require_database(tracking_uri)


def _require_tables(tracking_uri: str, path: Path) -> None:
    """Check what MLflow does not: it creates a missing database, and makes its tables in a foreign one."""
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
    reason = masked(lines[0], tracking_uri)[:300]
    return InvalidInputError(f"`tracking_uri` must name MLflow's data, got {shown(tracking_uri)}: {reason}")
