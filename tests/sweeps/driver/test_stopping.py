"""Signals that tell a command to stop: heard by Tune where it runs, and by the command where it does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from sweeps.driver.stopping import is_asked, stoppable


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    kept = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    }
    yield
    with stoppable(lambda: None):  # forgets that it was asked
        pass
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_the_first_signal_is_tunes_and_the_second_leaves_at_once() -> None:
    """What is told waits for a terminal that takes nothing; the signal does not."""
    heard: list[str] = []
    is_stalled = threading.Event()
    with stoppable(is_stalled.wait):
        signal.signal(signal.SIGUSR1, lambda number, frame: heard.append("Tune"))  # as Tune does once it runs
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard[0] == "Tune"
        assert is_asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    is_stalled.set()


def test_a_signal_before_tune_listens_is_not_left_to_the_run_before() -> None:
    heard: list[str] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append("an earlier run of Tune"))
    with pytest.raises(KeyboardInterrupt), stoppable(lambda: heard.append("told")):
        os.kill(os.getpid(), signal.SIGINT)
    assert heard == []
    assert is_asked()
