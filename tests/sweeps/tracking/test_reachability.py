"""Servers that answer, but not as an MLflow server that takes this user's requests, and such as do not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from larvae.errors import InvalidInputError
from sweeps.tracking import reachability
from sweeps.tracking.experiments import keep_to_group
from sweeps.tracking.reachability import is_away
from sweeps.tracking.tracker import require_reachable
from tests.sweeps.processes import answering_server

EXPIRED = (401, b'{"error_code": "UNAUTHENTICATED", "message": "Token expired"}')
REBINDING = (403, b"Invalid Host header - possible DNS rebinding attack detected")


def refusal(uri: str) -> str:
    """One line, which does not show the login that the address has."""
    with pytest.raises(InvalidInputError) as caught:
        require_reachable(uri.replace("http://", "http://user:secret@"))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_answers_and_silence_are_told_in_one_line_without_the_login() -> None:
    answer = EXPIRED
    with answering_server(lambda path: (200, b"OK") if path == "/health" else answer) as uri:
        message = refusal(uri)
        assert message.startswith(f"`tracking_uri` must take this user's requests, got {uri}: UNAUTHENTICATED")
        assert "Token expired; set MLFLOW_TRACKING_TOKEN" in message
        answer = REBINDING
        assert "--allowed-hosts" in refusal(uri)
        answer = (200, b'{"experiments": []}')
        require_reachable(uri)
    assert "got http://127.0.0.1:1: no answer" in refusal("http://127.0.0.1:1")


def test_a_server_is_asked_with_the_certificates_that_mlflow_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, object]] = []

    def get(uri: str, *, verify: object, cert: object, timeout: float) -> requests.Response:
        asked.append((verify, cert))
        return requests.Response()

    monkeypatch.setattr(reachability.requests, "get", get)
    reachability.health("https://mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/etc/ca.pem")
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", "/etc/own.pem")
    reachability.health("https://mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    reachability.health("https://mlflow")
    assert asked == [(True, None), ("/etc/ca.pem", "/etc/own.pem"), (False, "/etc/own.pem")]


def test_a_database_may_lie_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/folder/mlflow.db"
    require_reachable(uri)
    assert not (tmp_path / "new").exists()
    keep_to_group(uri)
    assert (tmp_path / "new/folder/mlflow.db").is_file()


def test_answers_tell_whether_the_server_is_away() -> None:
    """Or has something against what was asked."""
    away = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
    there = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")
    for code in (*away, *there):
        assert is_away(MlflowException("said", getattr(databricks_pb2, code))) == (code in away)
    for status in (502, 429, 404, 403):  # as artifacts are answered for
        response = requests.Response()
        response.status_code = status
        assert is_away(requests.HTTPError(response=response)) == (status in (502, 429))
