"""What lets one driver serve many trials: how often they report, and how Ray Tune asks for what they have reported.

For each event Tune copies, shuffles and hands to `ray.wait` the futures of all trials: 1.5 µs a trial, 70 ms an event
where 48,000 run. Here that is done once for all events that have arrived. docs/scaling.md has the measurements.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.air.execution._internal import RayActorManager
from ray.tune.execution import tune_controller
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.schedulers import FIFOScheduler

from sweeps.trial.trainable import REPORT_SECONDS

SECONDS_PER_RESULT = 0.005
"""Of the driver's time, for one report of one trial and all that comes with it."""
REPORTING_SHARE = 0.25
"""Of the driver's time, at most, that goes into reports."""
FEW_TRIALS = 100
"""Up to so many, Tune's own way costs less than what it then does with a result, and is left as it is."""
ASKING_SHARE = 0.1
"""Of the driver's time, at most, that goes into asking Ray what has arrived."""
PENDING = "TUNE_MAX_PENDING_TRIALS_PG"
"""Tune's setting of how many trials may wait for their processes: else one starts after the other, 10 s each."""
MOST_PENDING = 2_000
"""Of those, at most: after each event Tune goes through all of them, twice as long as they are twice as many."""


class InOrder(FIFOScheduler):
    """Starts trials in the order in which they were added, without looking at all of them each time."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: then Tune starts the pending trials in their order."""


class StateOnce(_ExperimentCheckpointManager):
    """Has Tune write its own state of all trials at the start and never again: nothing here reads it."""

    def sync_up_experiment_state(self, save_fn: Callable[[], None], force: bool = False, wait: bool = False) -> None:
        """As Tune calls it, after each event and at the end."""
        if self._last_save_time == float("-inf"):
            super().sync_up_experiment_state(save_fn, force, wait)


class BatchingActorManager(RayActorManager):
    """Tune's actor manager, which takes events from a store that it fills in one go."""

    def __init__(self, resource_manager: Any) -> None:
        super().__init__(resource_manager)
        self._arrived: deque[ray.ObjectRef] = deque()
        self._ask_at = 0.0

    def next(self, timeout: float | None = None) -> bool:
        """Handle one event, waiting for it for some seconds; whether there was one."""
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
        """How many wait for their resources; Tune asks whenever it adds one, and would list them all each time."""
        return len(self._pending_actors_to_attrs)

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


def report_seconds(trials_at_once: int) -> float:
    """How long each trial gathers rows before it reports them, so that the driver can serve them all."""
    return max(REPORT_SECONDS, trials_at_once * SECONDS_PER_RESULT / REPORTING_SHARE)


@contextlib.contextmanager
def tune_for(trials_at_once: int) -> Iterator[None]:
    """Within this, Tune starts as many trials at once as there is room for, and writes no files that nobody reads."""
    parts = {"_ExperimentCheckpointManager": StateOnce}
    if trials_at_once > FEW_TRIALS:
        parts["RayActorManager"] = BatchingActorManager
    is_ours = PENDING not in os.environ
    earlier_parts = {name: getattr(tune_controller, name) for name in parts}
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)  # it misses those files
    try:
        if is_ours:
            os.environ[PENDING] = str(min(trials_at_once, MOST_PENDING))
        for name, part in parts.items():
            setattr(tune_controller, name, part)
        yield
    finally:
        for name, part in earlier_parts.items():
            setattr(tune_controller, name, part)
        if is_ours:
            os.environ.pop(PENDING, None)
