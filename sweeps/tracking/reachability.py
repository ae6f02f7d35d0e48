"""Checks that MLflow can be written to at an address, before anything is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import LocationParseError

from larvae.errors import InvalidInputError
from sweeps.study import require_writable
from sweeps.tracking.addresses import is_server, kind_fault, masked, shown, sqlite_path
from sweeps.tracking.database import require_database

_ASKS_FOR_LOGIN = (401, 403)
"""Statuses of a server that is there; whether it takes this user's requests is for MLflow's client to find out."""


def require_answer(uri: str) -> None:
    """Raise InvalidInputError, within 10 s, unless something that may be MLflow is there. Writes nothing."""
    if fault := kind_fault(uri):
        raise InvalidInputError(fault)
    if path := sqlite_path(uri):
        require_writable("tracking_uri", path.absolute().parent)
        if path.exists() and not _is_database(path):
            raise InvalidInputError(f"`tracking_uri` must name an SQLite database, or none yet, got {shown(uri)}")
    elif is_server(uri):
        _require_answering_server(uri)
    else:
        require_database(uri)


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


def health(uri: str) -> requests.Response | None:
    """A server's answer on its health; None where it gives none within 5 s. Certificates are MLflow's client's."""
    is_any = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    verify = False if is_any else os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
    cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
    try:
        return requests.get(f"{uri.rstrip('/')}/health", timeout=5, verify=verify, cert=cert)
    except (OSError, LocationParseError):  # requests' own are of the former; so is a certificate that is not there
        return None


def _require_answering_server(uri: str) -> None:
    answer = health(uri)
    if answer is None or not (answer.ok or answer.status_code in _ASKS_FOR_LOGIN):
        reason = "no answer" if answer is None else f"answered {answer.status_code}"
        advice = "start one with `mlflow server`, or use sqlite:///mlflow.db"
        raise InvalidInputError(f"`tracking_uri` must be a running MLflow server, got {shown(uri)}: {reason}; {advice}")


def refusal(uri: str, error: Any) -> str:
    """One line on a server that is there and said this instead of an answer. error: an MlflowException, as a rule."""
    body = " ".join(str(error).rpartition("Response body: ")[2].split())
    if body == "''":
        body = f"answered {error.get_http_status_code()}"
    said = masked(body, uri)[:200]
    advice = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, anew"
    if "Host" in said:
        advice = "start it with --allowed-hosts and the name in --tracking-uri"
    return f"`tracking_uri` must take this user's requests, got {shown(uri)}: {said}; {advice}"


def is_away(answer: Any) -> bool:
    """True if an MlflowException or HTTPError is not about what was asked: the server, or its database, cannot now."""
    if isinstance(answer, requests.HTTPError):
        status = 500 if answer.response is None else answer.response.status_code
    else:
        status = answer.get_http_status_code()
    return status >= 500 or status == 429
