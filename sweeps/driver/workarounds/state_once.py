"""Ray Tune writes its own state of all trials again and again; studies are resumed from their members' folders.

Discussed in https://github.com/ray-project/ray/issues/11233 (writing it takes most of the driver's time).
"""

from __future__ import annotations

from collections.abc import Callable

from ray.tune.execution.experiment_state import _ExperimentCheckpointManager


class StateOnce(_ExperimentCheckpointManager):
    """Has Tune write its own state of all trials at the start and never again: nothing here reads it."""

    def sync_up_experiment_state(self, save_fn: Callable[[], None], force: bool = False, wait: bool = False) -> None:
        """Write the state once only; Tune calls this after each event and at the end."""
        if self._last_save_time == float("-inf"):
            super().sync_up_experiment_state(save_fn, force, wait)
