"""Servers that answer, but not as an MLflow server that takes this user's requests."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from larvae.errors import InvalidInputError
from sweeps.tracking.reachability import is_away
from sweeps.tracking.tracker import require_reachable
from tests.sweeps.processes import answering_server

EXPIRED = (401, b'{"error_code": "UNAUTHENTICATED", "message": "Token expired"}')
REBINDING = (403, b"Invalid Host header - possible DNS rebinding attack detected")


def server(code: int, body: bytes) -> AbstractContextManager[str]:
    """A healthy server that answers everything else in one way."""
    return answering_server(lambda path: (200, b"OK") if path == "/health" else (code, body))


def test_an_expired_token_is_told() -> None:
    with server(*EXPIRED) as uri, pytest.raises(InvalidInputError) as caught:
        require_reachable(uri)
    assert str(caught.value).startswith(f"`tracking_uri` must take this user's requests, got {uri}: UNAUTHENTICATED")
    assert "Token expired; set MLFLOW_TRACKING_TOKEN" in str(caught.value)


def test_messages_do_not_show_logins() -> None:
    def message(uri: str) -> str:
        with pytest.raises(InvalidInputError) as caught:
            require_reachable(uri.replace("http://", "http://user:secret@"))
        return str(caught.value)

    with server(*EXPIRED) as uri:
        assert f"got {uri}: UNAUTHENTICATED" in message(uri)
    assert "got http://127.0.0.1:1: no answer" in message("http://127.0.0.1:1")


def test_a_name_that_the_server_does_not_know_is_told() -> None:
    with server(*REBINDING) as uri, pytest.raises(InvalidInputError, match="--allowed-hosts"):
        require_reachable(uri)


def test_a_server_that_answers_is_taken() -> None:
    with server(200, b'{"experiments": []}') as uri:
        require_reachable(uri)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (INTERNAL_ERROR, True),
        (TEMPORARILY_UNAVAILABLE, True),
        (REQUEST_LIMIT_EXCEEDED, True),
        (RESOURCE_DOES_NOT_EXIST, False),
        (INVALID_PARAMETER_VALUE, False),
        (PERMISSION_DENIED, False),
    ],
)
def test_answers_tell_whether_the_server_is_away(code: int, expected: bool) -> None:
    assert is_away(MlflowException("said", code)) == expected


@pytest.mark.parametrize(("status", "expected"), [(502, True), (429, True), (404, False), (403, False)])
def test_statuses_tell_whether_the_server_is_away(status: int, expected: bool) -> None:
    """As artifacts are answered for."""
    response = requests.Response()
    response.status_code = status
    assert is_away(requests.HTTPError(response=response)) == expected
