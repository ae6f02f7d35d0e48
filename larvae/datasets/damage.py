"""Damage to files: whatever error it gives where one is read, the user gets a line that names the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from larvae.errors import InvalidInputError


@contextlib.contextmanager
def told(rule: str) -> Iterator[None]:
    """Within this a file is read, and nothing else done: an error says that the rule is broken, and why.

    Parsers raise whatever they come across in damaged files, of which no list is complete.
    Raises InvalidInputError, as it is where it was raised as one.
    """
    try:
        yield
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(f"{rule}, but: {reason(error)}") from None


def reason(error: Exception) -> str:
    """The reason of an error in one line: the system's words where there are some."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
