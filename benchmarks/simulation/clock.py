"""Simulated time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any


class Clock:
    """Simulated seconds: those that the driver computes, and those that are skipped because it has nothing to do."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.modelled = 0.0
        """Seconds that Ray's real calls would have taken, and that the driver has waited for a server."""
        self.simulating_seconds = 0.0
        """Processor seconds of the simulation itself, in the driver's thread."""
        self._started = time.process_time()

    @property
    def busy(self) -> float:
        """Seconds that the driver's process, all threads, has computed or waited, without those of the simulation."""
        return time.process_time() - self._started - self.simulating_seconds + self.modelled

    def now(self) -> float:
        return self.busy + self.skipped

    def skip_to(self, then: float) -> None:
        self.skipped += max(0.0, then - self.now())

    @contextlib.contextmanager
    def simulating(self) -> Iterator[None]:
        """Around what only the simulation does."""
        started = time.thread_time()
        try:
            yield
        finally:
            self.simulating_seconds += time.thread_time() - started


class SimulatedTime:
    """The module `time`, of simulated seconds."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic, self._clock = clock.now, clock

    def sleep(self, seconds: float) -> None:
        self._clock.skip_to(self._clock.now() + seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
