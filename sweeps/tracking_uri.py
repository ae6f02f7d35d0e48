"""The kinds of addresses that MLflow's data may have. Nodes ask too: only the standard library is needed."""

from __future__ import annotations

import re
from pathlib import Path

_DATABASES = ("postgresql", "mysql", "mssql")


def is_server(uri: str) -> bool:
    """Whether it is the address of an MLflow server."""
    return uri.startswith(("http://", "https://"))


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite database; None where the address is of another kind."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def kind_fault(uri: str) -> str:
    """The rule that an address of no known kind breaks, in one line; empty where nothing is wrong."""
    if is_server(uri) or sqlite_path(uri) or re.split("[+:]", uri)[0] in _DATABASES:
        return ""
    return f"`tracking_uri` must be sqlite:///FILE, http://HOST:PORT or a database URL, got {shown(uri)}"


def shown(uri: str) -> str:
    """The address without user and password, for messages."""
    if uri.startswith("sqlite:"):
        return uri  # an @ is part of a folder's name
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1…", re.sub(r"//[^/@:]*(:[^?]*)?@", "//", uri))
