"""A command that is told to stop: by a person, by the scheduler of a cluster, or by a terminal that is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from sweeps.console.terminal import print_nowhere

STOPPED = "Stopped. The same command again goes on from the last checkpoints."
_BY_TUNE = "TUNE_DISABLE_SIGINT_HANDLER"
"""Tune's setting that leaves Ctrl-C to others; SIGUSR1 it takes as it would Ctrl-C."""
_asked = threading.Event()


@contextlib.contextmanager
def stoppable(tell: Callable[[], None]) -> Iterator[None]:
    """Within this, Ctrl-C, SIGTERM and SIGHUP end Tune, whose trials save what they have; a second one raises at once.

    Afterwards they raise KeyboardInterrupt. tell: called at the first one. Where SIGHUP is ignored, by `nohup` say, it
    stays so.
    """
    _asked.clear()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # an earlier run of Tune would still take it, and do nothing

    def stop(number: int, frame: FrameType | None) -> None:
        _let_go_of_terminal(number)
        is_second, is_heard = _asked.is_set(), callable(signal.getsignal(signal.SIGUSR1))
        _asked.set()
        if is_second or not is_heard:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGUSR1)
        threading.Thread(target=tell, name="telling", daemon=True).start()  # a stalled terminal would hold us here

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
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, handler)


def _let_go_of_terminal(number: int) -> None:
    """Print nowhere after SIGHUP, if that was on the terminal that has been closed: it would raise."""
    if number == signal.SIGHUP:
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                print_nowhere(stream)


def _raise(number: int, frame: FrameType | None) -> None:
    _let_go_of_terminal(number)
    _asked.set()
    raise KeyboardInterrupt
