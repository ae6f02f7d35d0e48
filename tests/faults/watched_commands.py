"""Commands that run to their end, in time and without a traceback, and a sweep whose one trial is watched."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from sweeps.trial.trial_settings import REPORT_SECONDS
from tests.sweeps.processes import running, wait_until

SECONDS = 300.0
"""Seconds after which a command hangs."""


def run(command: list[str], folder: Path, log: Path) -> tuple[int, str]:
    """Run a command to its end, in time; its exit code, and what it has printed, which is no traceback."""
    log.unlink(missing_ok=True)
    with running(command, folder, log) as process:
        code = process.wait(timeout=SECONDS)
    told = log.read_text()
    assert "Traceback" not in told, told
    return code, told


def errors(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith("error: ")]


class Sweep:
    """A sweep that runs, and what it has told."""

    def __init__(self, process: subprocess.Popen[bytes], member: Path, log: Path) -> None:
        self.process, self.log, self._events = process, log, member / "log.jsonl"

    def wait_for_start(self, number: int) -> None:
        """Wait until the member has been started so often."""
        self._wait(lambda: self._events.exists() and self._events.read_text().count('"started"') == number, "a start")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within this, the member's process, which has just been started, is stopped."""
        trial = self._trial()
        trial.suspend()
        yield
        trial.resume()

    def let_report(self) -> None:
        """Stop the member's process once it has made rows, until they are due on disk."""
        trial = self._trial()
        before = sum(trial.cpu_times()[:2])
        self._wait(lambda: sum(trial.cpu_times()[:2]) > before + 0.5, "rows")
        trial.suspend()
        time.sleep(REPORT_SECONDS + 1)
        trial.resume()

    def wait_for(self, words: str) -> None:
        """Wait until something has been told."""
        self._wait(lambda: words in self.log.read_text(), words)

    def wait_for_fault(self, number: int, words: str) -> None:
        """Wait until the member's trial has met so many faults, cut its half minute's rest short, and have it told."""
        self._wait(lambda: self._events.read_text().count('"fault"') == number, "a fault")
        time.sleep(10)  # until its last words are with the driver
        self._trial().kill()
        self.wait_for(words)

    def _trial(self) -> psutil.Process:
        return psutil.Process(json.loads(self._events.read_text().splitlines()[-1])["pid"])

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        wait_until(lambda: is_so() or self.process.poll() is not None, what, SECONDS)
        assert self.process.poll() is None, self.log.read_text()
