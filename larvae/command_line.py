"""Behaviour that all commands share: one line for bad input, and the exit code of one that was stopped."""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from larvae.advice import advice_given_to
from larvae.errors import InvalidInputError, in_words

INTERRUPTED = 130
"""Exit code of a command that was told to stop."""
_OBJECTS_A_COLLECTION = 10_000
"""Objects made between two searches for cyclic garbage: with Python's 700 these take a tenth of loading's time."""

Parsed = TypeVar("Parsed")


def run(command: Callable[[], int], stopped: str = "", faults: tuple[type[Exception], ...] = (OSError,)) -> int:
    """Run a command; its exit code, or after one line: 2 for bad input, 1 for the machine's faults, 130 for Ctrl-C.

    Characters that a terminal cannot show are replaced. Advice is a line on stderr.

    stopped: what to say after Ctrl-C. faults: errors that are the machine's, such as a full disk.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with _seldom_collected(), advice_given_to(lambda line: print(f"advice: {line}", file=sys.stderr)):
            return command()
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except faults as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2 if getattr(error, "errno", None) == errno.ENAMETOOLONG else 1  # no machine could have such a file
    except KeyboardInterrupt:
        if stopped:
            print(stopped, file=sys.stderr)
        return INTERRUPTED


@contextlib.contextmanager
def _seldom_collected() -> Iterator[None]:
    """Within this, cyclic garbage is seldom looked for: most of a million objects, of libraries, stay anyway."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_A_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def parse(parser: Callable[[], Parsed]) -> Parsed:
    """Call one of tyro's parsers; InvalidInputError, of one line, in place of its own many lines."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return parser()
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InvalidInputError(_message(errors.getvalue())) from None


def _message(boxed: str) -> str:
    """The parser's message out of its box: the lines between its first two rules, drawn in any alphabet."""
    _, between, *advice = [*re.split(r"[─-]{3,}", boxed.translate(str.maketrans("│╮╰", "   "))), "", ""]
    message = " ".join(between.split())
    message = re.sub(r"^Error parsing \w+: (?=`)", "", message)  # a group's own rule names its option
    meant = _meant(message, " ".join(advice)) if message.startswith("Unrecognized") else ""
    return message + meant or "see --help"


def _meant(message: str, advice: str) -> str:
    """The options that were meant, of those that the parser advises, in words."""
    known = re.findall(r"(?<!\S)--[a-z][\w-]*", advice)
    given = re.findall(r"--[\w-]+", message)
    close = [difflib.get_close_matches(word, known, 1) for word in given if word not in known]
    meant = dict.fromkeys(option for found in close for option in found)
    return f"; perhaps you meant {' and '.join(meant)}" if meant else ""
