"""The phase that work is in, in words, where it takes long: compiling, say. Other threads look at it meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_phases: list[str] = []


@contextlib.contextmanager
def phase(words: str) -> Iterator[None]:
    """Within this, the work is in a phase; in one within another, in that one."""
    begin(words)
    try:
        yield
    finally:
        end(words)


def begin(words: str) -> None:
    """The work comes into a phase, until `end` is told of the same."""
    _phases.append(words)


def end(words: str) -> None:
    """The work leaves a phase."""
    del _phases[len(_phases) - 1 - _phases[::-1].index(words)]


def current_phase() -> str:
    """The phase that the work is in; empty where it is in none that takes long."""
    return next(iter(_phases[-1:]), "")
