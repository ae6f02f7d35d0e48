"""Kinds of addresses; their passwords are never shown, and left where others cannot read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import sensitivity
from sweeps import studies
from sweeps.tracking.addresses import default_uri, is_server, kind_fault, masked, shown, sqlite_path, without_password


def test_kinds_are_told_apart_and_others_refused() -> None:
    paths = {"sqlite:///mlflow.db": Path("mlflow.db"), "sqlite:////s/m.db?timeout=60": Path("/s/m.db")}
    others = [
        "http://127.0.0.1:5000",
        "https://user:secret@mlflow",
        "postgresql+psycopg2://m@h:5432/m",
        "mysql://m@h/m",
    ]
    for uri in (*paths, *others):
        assert (sqlite_path(uri), is_server(uri), kind_fault(uri)) == (paths.get(uri), uri.startswith("http"), "")
    for uri in ("", "mlruns", "file:///mlruns", "sqlite://mlflow.db", "sqlite:", "htp://host"):
        assert (sqlite_path(uri), is_server(uri)) == (None, False)
        rule = "`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got "
        assert kind_fault(uri) == rule + uri
    assert kind_fault("ftp://user:secret@host").endswith("got ftp://user@host")


SHOWN = {
    "http://user:secret@host:5000/path": "http://host:5000/path",
    "https://token@host": "https://host",
    "postgresql+psycopg2://user@host/data": "postgresql+psycopg2://user@host/data",
    "mysql://user:se@cr/et@host/data?password=secret&x=1": "mysql://user@host/data?password=…&x=1",
    "sqlite:////home/user@host/mlflow.db": "sqlite:////home/user@host/mlflow.db",
    "user:secret@host:5000": "…@host:5000",
    "postgresql://host/data?sslpassword=secret&x=1": "postgresql://host/data?sslpassword=…&x=1",
    "postgresql-psycopg2://user:sec?ret@host/db": "postgresql-psycopg2://user@host/db",
    "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Ds&x=1": "mssql+pyodbc:///?odbc_connect=…&x=1",
    "http://hub:8000/user/me@example.org/": "http://hub:8000/user/me@example.org/",
}


def test_messages_do_not_show_logins() -> None:
    assert {uri: shown(uri) for uri in SHOWN} == SHOWN
    said = "cannot log in to http://u:p%2Fw@host as u with p/w"
    assert masked(said, "http://u:p%2Fw@host") == "cannot log in to http://u:…@host as u with …"
    assert masked(said, "sqlite:///mlflow.db") == said


@pytest.mark.parametrize(
    ("uri", "without", "variables"),
    [
        (
            "http://us%40er:p%2Fw@host:5000/x",
            "http://host:5000/x",
            {"MLFLOW_TRACKING_USERNAME": "us@er", "MLFLOW_TRACKING_PASSWORD": "p/w"},
        ),
        ("postgresql+psycopg2://u:s@h/db?x=1", "postgresql+psycopg2://u@h/db?x=1", {"PGPASSWORD": "s"}),
        *(
            (uri, uri, {})  # none would be read in its place, or there is none
            for uri in ("postgresql+pg8000://u:s@h/db", "mysql://u:s@h/db", "https://key:@host", "http://[u:s@h",
                        "http://hub:8000/user/me@example.org/", "sqlite:////home/a:b@c/mlflow.db")
        ),
    ],
)  # fmt: skip
def test_passwords_move_into_the_variables_that_are_read(uri: str, without: str, variables: dict[str, str]) -> None:
    assert without_password(uri) == (without, variables)


def test_the_environments_address_is_meant_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password does not come into help, nor into commands that are told."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "before")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@host:5000")
    assert default_uri() == "http://host:5000"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"


@pytest.mark.parametrize(
    "uri",
    [
        "mysql+pymysql://ada:s3cret@host/db",
        "postgresql+pg8000://ada:s3cret@host/db",
        "postgresql+psycopg2://ada@host/db?password=s3cret",
        "http://ada:s3/cret@host:5000",
    ],
)
@pytest.mark.parametrize("command", [studies.run, sensitivity.main])
def test_help_shows_the_environments_address_without_its_password(
    uri: str, command: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD"):
        monkeypatch.setenv(name, uri if name == "MLFLOW_TRACKING_URI" else "")
    with pytest.raises(SystemExit):
        command(["--help"])
    shown_help = "".join(capsys.readouterr().out.split())
    assert "host" in shown_help
    assert "s3" not in shown_help
