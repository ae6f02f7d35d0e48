"""Ray Tune ends with a traceback where a process dies of what is neither Ray's `RayActorError` nor its `RayTaskError`.

Its memory monitor's `OutOfMemoryError` is such, a full disk's and a runtime environment's are others. Here they are
deaths as any: the trial is tried again, after a rest where memory is short, and the others go on. No discussion of it
is known.
"""

from __future__ import annotations

import time
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError

from sweeps.driver.deaths import is_low_on_memory
from sweeps.trial.machine_faults import FAULT_SECONDS


class TolerantActorManager(RayActorManager):
    """Tune's actor manager, which takes all errors of Ray's as deaths of the process that they befall."""

    def __init__(self, resource_manager: Any) -> None:
        super().__init__(resource_manager)
        self._start_at = 0.0

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, self._as_death(exception))

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, self._as_death(exception))

    def _as_death(self, error: Exception) -> Exception:
        if is_low_on_memory(str(error)):
            self._start_at = time.monotonic() + FAULT_SECONDS
        if isinstance(error, RayError) and not isinstance(error, RayActorError | RayTaskError):
            return RayActorError(error_msg=f"{type(error).__name__}: {error}")
        return error

    def _try_start_actors(self, max_actors: int | None = None) -> int:
        if time.monotonic() < self._start_at:
            return 0
        started: int = super()._try_start_actors(max_actors)
        return started
