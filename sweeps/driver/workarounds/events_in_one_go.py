"""Ray Tune copies, shuffles and hands to `ray.wait` the futures of all trials for each event.

That takes 1.5 µs a trial, 70 ms an event where 48,000 run; here it is done once for all events that have arrived.
Discussed in https://github.com/ray-project/ray/issues/15504 (`ray.wait` takes most of the driver's time).
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import ray

from sweeps.driver.workarounds.deaths_of_all_kinds import TolerantActorManager

ASKING_SHARE = 0.1
"""Share of the driver's time, at most, that goes into asking Ray what has arrived."""


_NEEDED = (
    *("_actor_state_events", "_actor_task_events", "_handle_ready_resource_future", "_pending_actors_to_attrs"),
    *("_resource_manager", "_try_kill_actor", "_try_start_actors"),
)
"""Ray's privates that are used here, as Ray 2.60 has them: a Ray that lacks one takes events as it likes."""


class BatchingActorManager(TolerantActorManager):
    """Tune's actor manager, which takes events from a store that it fills in one go."""

    def __init__(self, resource_manager: Any) -> None:
        super().__init__(resource_manager)
        self._is_known = all(hasattr(self, name) for name in _NEEDED)
        self._arrived: deque[ray.ObjectRef] = deque()
        self._ask_at = 0.0

    def next(self, timeout: float | None = None) -> bool:
        """Handle one event, waiting for it for some seconds; whether there was one."""
        if not self._is_known:
            return super().next(timeout)
        was_killed = self._try_kill_actor()
        self._try_start_actors()
        if was_killed:
            return True
        while True:
            while self._arrived:
                if self._handle(self._arrived.popleft()):
                    self._try_start_actors()
                    return True
            if not self._ask(timeout):
                return False

    @property
    def num_pending_actors(self) -> int:
        """The number of waiting actors; Tune asks whenever it adds one, and would list them all each time."""
        return len(self._pending_actors_to_attrs) if self._is_known else super().num_pending_actors

    def _ask(self, timeout: float | None) -> bool:
        """Ask Ray what has arrived, waiting for something; whether there is anything."""
        time.sleep(max(0.0, self._ask_at - time.monotonic()))
        resources = self._resource_manager.get_resource_futures()
        futures = [*resources, *self._actor_state_events.get_futures(), *self._actor_task_events.get_futures()]
        if not futures:
            time.sleep(timeout or 0.0)
            return False
        ready, _ = ray.wait(futures, num_returns=1, timeout=timeout)
        started = time.monotonic()
        if ready:
            ready, _ = ray.wait(futures, num_returns=len(futures), timeout=0)
        asking = 2 * (time.monotonic() - started)
        self._ask_at = time.monotonic() + asking / ASKING_SHARE
        self._arrived.extend(ready)
        return bool(ready)

    def _handle(self, future: ray.ObjectRef) -> bool:
        """Handle an event; False where it is none: of resources, or of an actor that has been removed meanwhile."""
        for events in (self._actor_state_events, self._actor_task_events):
            if future in events._tracked_futures:
                events.resolve_future(future)
                return True
        if future in self._resource_manager.get_resource_futures():
            self._handle_ready_resource_future()
        return False
