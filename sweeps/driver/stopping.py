"""A command that is told to stop, by a person or by the scheduler of a cluster."""

from __future__ import annotations

import signal
import threading
from types import FrameType

STOPPED = "Stopped. The same command again goes on from the last checkpoints."
_asked = threading.Event()


def take_signals() -> None:
    """Have SIGTERM do as Ctrl-C does, which Tune takes itself."""
    _asked.clear()
    signal.signal(signal.SIGTERM, _stop)


def is_asked() -> bool:
    """Tell whether SIGTERM has come."""
    return _asked.is_set()


def _stop(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
