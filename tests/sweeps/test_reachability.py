"""Servers that answer, but not as an MLflow server that takes this user's requests."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from larvae.errors import InvalidInputError
from sweeps.tracking import require_reachable

EXPIRED = (401, b'{"error_code": "UNAUTHENTICATED", "message": "Token expired"}')
REBINDING = (403, b"Invalid Host header - possible DNS rebinding attack detected")


@contextmanager
def server(code: int, body: bytes) -> Iterator[str]:
    """A healthy server that answers everything else in one way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = (200, b"OK") if self.path == "/health" else (code, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


def test_an_expired_token_is_told() -> None:
    with server(*EXPIRED) as uri, pytest.raises(InvalidInputError) as caught:
        require_reachable(uri)
    assert str(caught.value).startswith(f"`tracking_uri` must take this user's requests, got {uri}: UNAUTHENTICATED")
    assert "Token expired; set MLFLOW_TRACKING_TOKEN" in str(caught.value)


def test_a_name_that_the_server_does_not_know_is_told() -> None:
    with server(*REBINDING) as uri, pytest.raises(InvalidInputError, match="--allowed-hosts"):
        require_reachable(uri)


def test_a_server_that_answers_is_taken() -> None:
    with server(200, b'{"experiments": []}') as uri:
        require_reachable(uri)
