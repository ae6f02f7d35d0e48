"""Advice: what a user can mend, or should know, though the work goes on. Trials pass it on to the terminal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any


class Advice(UserWarning):
    """A warning of this project's, one line."""


def advise(line: str) -> None:
    """Warn."""
    warnings.warn(line, Advice, stacklevel=3)


@contextlib.contextmanager
def advice_taken() -> Iterator[list[str]]:
    """Within this, lines of advice go into a list; other warnings are shown as ever."""
    taken: list[str] = []
    with advice_given_to(taken.append):
        yield taken


@contextlib.contextmanager
def advice_given_to(hear: Callable[[str], object]) -> Iterator[None]:
    """Within this, a function hears each line of advice; other warnings are shown as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Advice)
        show = warnings.showwarning

        def take(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
            if issubclass(category, Advice):
                hear(str(message))
            else:
                show(message, category, *more, **named)

        warnings.showwarning = take
        yield
