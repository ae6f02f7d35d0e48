"""Which addresses are of which kind; what the commands answer is tested with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.tracking_uri import is_server, kind_fault, shown, sqlite_path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("sqlite:////shared/mlflow.db?timeout=60", Path("/shared/mlflow.db")),
        ("http://127.0.0.1:5000", None),
        ("https://user:secret@mlflow", None),
        ("postgresql+psycopg2://mlflow@127.0.0.1:5432/mlflow", None),
        ("mysql://mlflow@127.0.0.1/mlflow", None),
    ],
)
def test_known_kinds_are_told_apart(uri: str, path: Path | None) -> None:
    assert sqlite_path(uri) == path
    assert is_server(uri) == uri.startswith("http")
    assert kind_fault(uri) == ""


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///mlruns", "sqlite://mlflow.db", "sqlite:", "htp://host"])
def test_other_kinds_are_refused(uri: str) -> None:
    assert not is_server(uri)
    assert sqlite_path(uri) is None
    assert kind_fault(uri) == f"`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got {uri}"


def test_messages_do_not_show_logins() -> None:
    assert shown("http://user:secret@host:5000/path") == "http://host:5000/path"
    assert shown("https://token@host") == "https://host"
    assert shown("postgresql+psycopg2://user@host/data") == "postgresql+psycopg2://user@host/data"
    assert shown("mysql://user:se@cr/et@host/data?password=secret&x=1") == "mysql://user@host/data?password=…&x=1"
    assert shown("sqlite:////home/user@host/mlflow.db") == "sqlite:////home/user@host/mlflow.db"
    assert kind_fault("ftp://user:secret@host").endswith("got ftp://user@host")
