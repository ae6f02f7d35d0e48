"""Errors that are the user's to mend, and errors that end one member only."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TypeGuard

_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "have it mounted for writing",
}
"""Remedies for a disk that takes no file, by the system's number."""


class InvalidInputError(ValueError):
    """The user's input breaks a rule. The message is one line that states rule and value."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a value of a damaged file, say, may have several


class NonFiniteLossError(ArithmeticError):
    """A loss became NaN or infinite: this member has failed, the others go on."""


def require_known(name: str, value: str, known: Iterable[str]) -> None:
    """Raise InvalidInputError, naming what is allowed, unless a value is among it."""
    known = tuple(known)
    if value not in known:
        raise InvalidInputError(f"`{name}` must be one of {', '.join(known)}, got {value}")


def one_line(error: Exception) -> str:
    """An error's kind and the first line of its message."""
    return f"{type(error).__name__}: {in_words(error)}".partition("\n")[0]


def is_of_disk(error: Exception) -> TypeGuard[OSError]:
    """Tell whether an error is of a disk that takes no file: it is full, or can only be read."""
    return isinstance(error, OSError) and error.errno in _REMEDIES


def in_words(error: Exception) -> str:
    """An error's message: of a disk that takes no file, the file, the system's words, and what to do."""
    if is_of_disk(error) and error.filename is not None:
        return f"`{error.filename}` cannot be written: {error.strerror}; {_REMEDIES[error.errno]}"
    return str(error)
