"""The kinds of addresses that MLflow's data may have. Nodes ask too: only the standard library is needed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

_DATABASES = ("postgresql", "mysql", "mssql")
_LOGIN = re.compile(r"//([^/@:]*)(?::(?!\d+/)(.*))?@", re.DOTALL)
"""User and password, even one with characters that should have been written as %2F and the like; no port and path."""
_IN_QUERY = re.compile(r"([?&]\w*(?:password|passwd|pwd|odbc_connect)=)([^&]*)", re.IGNORECASE)
_READ_PGPASSWORD = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
"""PostgreSQL's drivers that are built on its own library."""


def default_uri() -> str:
    """The address where none is given: the environment's MLFLOW_TRACKING_URI, else a file in the working directory.

    A password that it holds goes into the variables that MLflow reads, where its driver reads some.
    """
    uri, variables = without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    return uri or "sqlite:///mlflow.db"


def is_server(uri: str) -> bool:
    """Tell whether an address is that of an MLflow server."""
    return uri.startswith(("http://", "https://"))


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite database; None where the address is of another kind."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def written_place(path: Path, uri: str) -> str:
    """A folder as tags have it: from the folder of an SQLite database where it lies below, and both may be moved."""
    home = _home(uri)
    return str(path.relative_to(home) if home and path.is_relative_to(home) else path)


def read_place(place: str, uri: str) -> str:
    """The folder that a tag names; a place that is whole, or none, is as it is."""
    home = _home(uri)
    return str(home / place) if home and place else place


def _home(uri: str) -> Path | None:
    database = sqlite_path(uri)
    return database.absolute().parent if database else None


def kind_fault(uri: str) -> str:
    """The rule that an address of no known kind breaks, in one line; empty where nothing is wrong."""
    if is_server(uri) or sqlite_path(uri) or re.split("[+:]", uri)[0] in _DATABASES:
        return ""
    return f"`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got {shown(uri)}"


def shown(uri: str) -> str:
    """The address without password, and a server's without user, for messages."""
    if uri.startswith("sqlite:"):
        return uri  # an @ is part of a folder's name
    if "://" not in uri:
        return "…@" + uri.rpartition("@")[2] if "@" in uri else uri
    return _IN_QUERY.sub(r"\1…", _LOGIN.sub("//" if is_server(uri) else r"//\1@", uri))


def masked(text: str, uri: str) -> str:
    """A text, somebody's message say, without the passwords of an address."""
    for password in _passwords(uri):
        text = text.replace(password, "…").replace(unquote(password), "…")
    return text


def without_password(uri: str) -> tuple[str, dict[str, str]]:
    """The address without its password, and the variables that are read in its place; none where none would be."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # brackets that hold no address
        return uri, {}
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    host = parts.netloc.rpartition("@")[2]
    if password and is_server(uri):
        variables = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
        return parts._replace(netloc=host).geturl(), variables
    if password and parts.scheme in _READ_PGPASSWORD:
        return parts._replace(netloc=f"{parts.username or ''}@{host}").geturl(), {"PGPASSWORD": password}
    return uri, {}


def take_passwords_off_command_line() -> None:
    """Start this process anew where its command line shows a password, with variables in its place; tells so.

    Every user of the machine reads command lines, and Ray and MLflow write them down.
    """
    words: list[str] = []
    variables: dict[str, str] = {}
    for word in sys.orig_argv:
        flag, uri = _flag_and_uri(word)
        if _passwords(uri):
            place = f"{flag}{shown(uri)}"
            uri, read_instead = without_password(uri)
            variables |= read_instead
            advice = (
                f"set {' and '.join(read_instead)} instead" if read_instead else "let its driver's own file have it"
            )
            print(f"warning: others can read the password that came with {place}: {advice}", file=sys.stderr)
        words.append(flag + uri)
    if variables:
        from larvae import restart  # late: nodes ask this module, and load nothing else

        restart.begin_anew(variables, words[1:])


def _flag_and_uri(word: str) -> tuple[str, str]:
    """`--flag=` and an address, or nothing and the whole word."""
    flag = re.match(r"--[\w-]+=(?=\w)", word)
    return (flag[0], word[flag.end() :]) if flag else ("", word)


def _passwords(uri: str) -> list[str]:
    """The passwords in an address, as they are spelt there."""
    if uri.startswith("sqlite:") or "://" not in uri:
        return []
    found = [login[2] for login in _LOGIN.finditer(uri)] + [query[2] for query in _IN_QUERY.finditer(uri)]
    with contextlib.suppress(ValueError):  # brackets that hold no address
        found.append(urlsplit(uri).password)  # shorter, where a path has an @ too
    return [password for password in found if password]
