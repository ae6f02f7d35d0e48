"""Members of a grid, handed to Ray Tune as places for them become free."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from larvae.config import MemberConfig
from sweeps.driver.evaluating import Evaluations
from sweeps.driver.workarounds.unsaved import UnsavedSearcher
from sweeps.resources.places import Places


class MemberQueue(UnsavedSearcher):
    """Suggests the trials of a grid in their order, and those that evaluate what they have trained."""

    def __init__(self, trials: Sequence[list[MemberConfig]], places: Places, evaluations: Evaluations) -> None:
        super().__init__()
        self.places = places
        self._waiting = deque(trials)
        self._evaluations = evaluations
        self._given: dict[str, list[MemberConfig]] = {}
        """Members of the trials that run: their places may be lost, or they may have to be evaluated."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The members of the next trial, and its place; None while there is none; FINISHED at the end."""
        if evaluating := self._evaluations.suggest(trial_id, is_all=not self._waiting):
            return evaluating
        if not self._waiting:
            return None if self._given else self.FINISHED
        place = self.places.take(trial_id)
        if place is None:
            return None
        members = self._given[trial_id] = self._waiting.popleft()
        return {"members": [member.to_dict() for member in members], **place}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or the other; with neither a result nor an error it is to move."""
        self.places.give_back(trial_id)
        self._evaluations.on_trial_complete(trial_id)
        members = self._given.pop(trial_id, None)
        if members and result is None and not error:
            self._waiting.appendleft(members)
