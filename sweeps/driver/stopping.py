"""A command that is told to stop, by a person or by the scheduler of a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOPPED = "Stopped. The same command again goes on from the last checkpoints."
_BY_TUNE = "TUNE_DISABLE_SIGINT_HANDLER"
"""Tune's setting that leaves Ctrl-C to others; SIGUSR1 it takes as it would Ctrl-C."""
_asked = threading.Event()


@contextlib.contextmanager
def stoppable(tell: Callable[[], None]) -> Iterator[None]:
    """Within this, Ctrl-C and SIGTERM end Tune, whose trials save what they have; a second one raises at once.

    Afterwards both raise KeyboardInterrupt. tell: called at the first one.
    """
    _asked.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        if _asked.is_set() or not callable(signal.getsignal(signal.SIGUSR1)):
            raise KeyboardInterrupt
        _asked.set()
        tell()
        os.kill(os.getpid(), signal.SIGUSR1)

    ours = {_BY_TUNE: "1"} if _BY_TUNE not in os.environ else {}
    os.environ.update(ours)
    _handle(stop)
    try:
        yield
    finally:
        _handle(_raise)
        for name in ours:
            del os.environ[name]


def is_asked() -> bool:
    """Tell whether the command has been told to stop."""
    return _asked.is_set()


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
