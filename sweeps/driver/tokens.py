"""Ray's token: whoever has it runs code as the cluster's user. It is made and checked before Ray looks for it.

Ray reads RAY_AUTH_TOKEN, else the file RAY_AUTH_TOKEN_PATH, else `~/.ray/auth_token`. A file that it makes itself every
user of the machine can read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from larvae.errors import InvalidInputError
from larvae.private_folder import make_private_folder
from sweeps.console.hints import program

VARIABLE = "RAY_AUTH_TOKEN"
PATH_VARIABLE = "RAY_AUTH_TOKEN_PATH"


class Token(NamedTuple):
    """A token, and the file that it was read from; None where it was the variable."""

    value: str
    path: Path | None


def find_token() -> Token | None:
    """The token that Ray would read; None if there is none yet.

    Raises InvalidInputError for one that is empty, that cannot be read, or that others can read.
    """
    if VARIABLE in os.environ:
        return Token(_checked(os.environ[VARIABLE], f"`{VARIABLE}`", "set it anew, or unset it"), None)
    given = os.environ.get(PATH_VARIABLE)
    path = Path(given) if given else _usual_file()
    return _read(path) if path and (given or os.path.lexists(path)) else None


def find_or_make_token() -> Token:
    """The token that Ray would read, else a new one: in the usual file, or where no home can take it, elsewhere.

    Raises InvalidInputError as `find_token` does.
    """
    return find_token() or _made()


def how_to_read_token() -> str:
    """The command that prints the token for the dashboard's page."""
    if VARIABLE in os.environ:
        return f"echo ${VARIABLE}"
    path = os.environ.get(PATH_VARIABLE, "")
    if path not in ("", str(_usual_file())):
        return f"cat {shlex.quote(path)}"
    return f"{shlex.quote(program('ray'))} get-auth-token"


def _usual_file() -> Path | None:
    """`~/.ray/auth_token`; None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        return Path.home() / ".ray" / "auth_token"
    return None


def _made() -> Token:
    """A new token, or the one that another command has made meanwhile."""
    usual = _usual_file()
    with contextlib.suppress(OSError):
        if usual:
            _write_once(usual, secrets.token_hex(32))
            return _read(usual)
    path = make_private_folder() / "auth_token"
    _write_once(path, secrets.token_hex(32))
    return _read(path)


def _write_once(path: Path, value: str) -> None:
    """Write a file for its owner alone, whole or not at all, unless there is one already."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        file.write(value)
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


def _read(path: Path) -> Token:
    """The token in a file, which Ray and its processes will read too, whatever they take for the user's home."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is none")
        value = path.read_text(errors="replace")
    except OSError as error:
        fault = error.strerror or str(error)
        raise InvalidInputError(f"Ray's token must be a file that you can read, got `{path}`: {fault}") from None
    name = shlex.quote(str(path))
    if _others_can_read(found):
        rule = (
            f"Ray's token must be readable by its owner alone, got `{path}` of mode {stat.S_IMODE(found.st_mode):04o}"
        )
        advice = f"`chmod 600 {name}`; where others may have read it, delete it and start Ray anew"
        raise InvalidInputError(f"{rule}: {advice}")
    token = Token(_checked(value, f"`{path}`", f"write the cluster's there, or `rm {name}` for a new one"), path)
    os.environ[PATH_VARIABLE] = str(path)
    return token


def _others_can_read(found: os.stat_result) -> bool:
    """Tell whether others can read a file, as for SSH's keys; one that is another's may be meant for its group."""
    return bool(found.st_mode & (0o077 if found.st_uid == os.getuid() else 0o007))


def _checked(value: str, place: str, remedy: str) -> str:
    """A token without the white space around it, which Ray ignores too; never shown where it is wrong."""
    value = value.strip()
    if not value:
        raise InvalidInputError(f"Ray's token must not be empty, but {place} is: {remedy}")
    if not (value.isascii() and value.isprintable()) or len(value.split()) > 1:
        raise InvalidInputError(f"Ray's token must be one word of ASCII characters, but {place} holds others: {remedy}")
    return value
