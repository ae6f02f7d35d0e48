"""Errors that are the user's to mend, and errors that end one member only."""

from __future__ import annotations

from collections.abc import Iterable


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
    return f"{type(error).__name__}: {error}".partition("\n")[0]
