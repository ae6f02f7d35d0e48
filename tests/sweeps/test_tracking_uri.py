"""Which addresses are of which kind; what the commands answer is tested with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.tracking.addresses import is_server, kind_fault, masked, shown, sqlite_path, without_password


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
    assert shown("user:secret@host:5000") == "…@host:5000"
    assert shown("postgresql-psycopg2://user:sec?ret@host/db") == "postgresql-psycopg2://user@host/db"
    assert shown("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Ds&x=1") == "mssql+pyodbc:///?odbc_connect=…&x=1"
    assert shown("http://hub:8000/user/me@example.org/") == "http://hub:8000/user/me@example.org/"
    assert kind_fault("ftp://user:secret@host").endswith("got ftp://user@host")


@pytest.mark.parametrize(
    ("uri", "without", "variables"),
    [
        (
            "http://us%40er:p%2Fw@host:5000/x",
            "http://host:5000/x",
            {"MLFLOW_TRACKING_USERNAME": "us@er", "MLFLOW_TRACKING_PASSWORD": "p/w"},
        ),
        ("postgresql+psycopg2://u:s@h/db?x=1", "postgresql+psycopg2://u@h/db?x=1", {"PGPASSWORD": "s"}),
        ("postgresql+pg8000://u:s@h/db", "postgresql+pg8000://u:s@h/db", {}),
        ("mysql://u:s@h/db", "mysql://u:s@h/db", {}),
        ("https://key:@host", "https://key:@host", {}),
        ("http://[user:secret@host", "http://[user:secret@host", {}),
        ("http://hub:8000/user/me@example.org/", "http://hub:8000/user/me@example.org/", {}),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db", {}),
    ],
)
def test_passwords_move_into_the_variables_that_are_read(uri: str, without: str, variables: dict[str, str]) -> None:
    assert without_password(uri) == (without, variables)


def test_what_others_say_is_masked() -> None:
    said = "cannot log in to http://u:p%2Fw@host as u with p/w"
    assert masked(said, "http://u:p%2Fw@host") == "cannot log in to http://u:…@host as u with …"
    assert masked(said, "sqlite:///mlflow.db") == said
