"""MLflow in simulated time: what it is sent is counted, and the tracker's threads write when they would be free."""

from __future__ import annotations

import threading
import time
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

from simulation.clock import Clock


class CountingClient:
    """Takes the place of MlflowClient: passes calls on to a real one, or answers like an empty MLflow; counts them."""

    def __init__(self, clock: Clock, real: Callable[..., Any] | None) -> None:
        """real: MlflowClient itself, where calls are to be passed on."""
        self.clock, self.calls, self.points = clock, Counter[str](), 0
        self._make, self._real, self._lock, self._runs = real, None, threading.Lock(), 0

    def __call__(self, tracking_uri: str) -> CountingClient:
        """Return a client, as a call of the class MlflowClient does."""
        self._real = self._make(tracking_uri) if self._make else None
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.calls[name] += 1
                self.points += len(named.get("metrics", ()))
            if self._real is None:
                return self._answer(name)
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return getattr(self._real, name)(*arguments, **named)
            finally:
                if threading.current_thread() is threading.main_thread():  # the driver itself waits for the server
                    waited = time.perf_counter() - wall - (time.thread_time() - processor)
                    self.clock.modelled += max(0.0, waited)

        return call

    def _answer(self, name: str) -> Any:
        if name == "search_runs":
            return _Page()
        if name == "create_run":
            with self._lock:
                self._runs += 1
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"run-{self._runs}"))
        return {"create_experiment": "1", "get_metric_history": []}.get(name)


class _Page(list[Any]):
    token = None


class WriterInSimulatedTime:
    """Holds the tracker's threads and lets them send what there is when, in simulated time, they have sent the last.

    What they need on the wall is the simulated time that it takes; meanwhile Tune's thread goes on.
    """

    def __init__(self, tracker: Any, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0
        """Seconds that the threads have been writing."""
        self.processor_seconds = 0.0
        """Seconds that they have computed."""
        self._backlog = tracker._backlog
        self._free_at = 0.0
        self._hold()

    def send_when_free(self) -> float | None:
        """Let the threads send if they are free; when they want to be asked again, if there is something to send."""
        if not self._backlog._has_work():
            return None
        if self.clock.now() >= self._free_at:
            started, processor, own = time.perf_counter(), time.process_time(), time.thread_time()
            self._backlog.flush(again=True)
            self._hold()
            took, computed = time.perf_counter() - started, time.process_time() - processor
            threads = computed - (time.thread_time() - own)
            self.clock.simulating_seconds += threads
            self.seconds += took
            self.processor_seconds += threads
            self._free_at = self.clock.now() + took
        return self._free_at

    def let_go(self) -> None:
        """The threads may write as they like."""
        self._backlog._asleep_until = 0.0

    def _hold(self) -> None:
        self._backlog._asleep_until = float("inf")
