"""Follows the nodes of each kind of GPU: trials of a kind that is lost move to others, and new nodes are filled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sweeps.driver.waiting import LOOK_SECONDS, LOST_SECONDS
from sweeps.driver.workarounds.starting_in_order import InOrder
from sweeps.driver.workarounds.unsaved import Unsaved
from sweeps.resources.places import BINDING, Places, fits, living_nodes
from sweeps.resources.shares import TrialResources


class Moving(Unsaved, InOrder):
    """Ends trials whose kind of GPU is lost, so that their searcher hands out their members anew; gives it places on
    nodes that have come.

    Ray Tune lets none but a scheduler end a trial that is pending.
    """

    def __init__(self, places: Places, cpus: int, tell: Callable[[str], None]) -> None:
        """places: those of the searcher. cpus: of a trial. tell: says a line to the user."""
        super().__init__()
        self._places = places
        self._cpus = cpus
        self._tell = tell
        self._lost_since: dict[str, float] = {}
        self._looked_at = 0.0

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Return None, as `InOrder` does; Tune asks at each of its steps."""
        now = time.monotonic()
        if not self._places.kinds or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        self._look(now)
        if self._places.lost:
            self._move(tune_controller)

    def _look(self, now: float) -> None:
        """See which kinds have more nodes, or none for long; none count as lost where no other is left."""
        nodes = living_nodes()
        for place in self._places.kinds:
            fitting = TrialResources(self._cpus, place.gpus).fitting_on
            self._places.widen(place, sum(fitting(node) for node in nodes if node.get(place.resource, 0) >= BINDING))
            if any(fits({"GPU": place.gpus, place.resource: BINDING}, node) for node in nodes):
                self._lost_since.pop(place.resource, None)
            else:
                self._lost_since.setdefault(place.resource, now)
        is_left = any(
            self._places.number[place] for place in self._places.kinds if place.resource not in self._lost_since
        )
        lost = {kind for kind, since in self._lost_since.items() if now - since >= LOST_SECONDS}
        self._places.lost = lost if is_left else set()

    def _move(self, tune_controller: Any) -> None:
        """End the trials that wait for a lost kind."""
        pending = [trial for trial in tune_controller.get_live_trials() if trial.status == "PENDING"]
        stranded = [trial for trial in pending if trial.config["place"].get("resource") in self._places.lost]
        for trial in stranded:
            tune_controller.stop_trial(trial)
        if stranded:
            kinds = ", ".join(sorted({trial.config["place"]["resource"] for trial in stranded}))
            number = f"{len(stranded)} trial{'s go' if len(stranded) > 1 else ' goes'} on"
            self._tell(f"No node with {kinds} is left: {number} on other GPUs, from the last checkpoints")
