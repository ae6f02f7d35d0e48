"""Ray Tune asks its scheduler for the next trial by looking at all of them, at each of its steps.

Discussed in https://github.com/ray-project/ray/issues/15504 (Tune's driver scans lists that grow with the trials).
"""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler


class InOrder(FIFOScheduler):
    """Starts trials in the order in which they were added, without looking at all of them each time."""

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: then Tune starts the pending trials in their order."""
