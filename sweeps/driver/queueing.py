"""Members of a grid, handed to Ray Tune as places for them become free."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from larvae.config import MemberConfig
from sweeps.driver.workarounds.unsaved import UnsavedSearcher
from sweeps.resources.places import Places


class MemberQueue(UnsavedSearcher):
    """Suggests the trials of a grid in their order."""

    def __init__(self, trials: Sequence[list[MemberConfig]], places: Places) -> None:
        super().__init__()
        self.places = places
        self._waiting = deque(trials)
        self._bound: dict[str, list[MemberConfig]] = {}
        """Members of the trials that hold a place, which may be lost."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The members of the next trial, and its place; None while there is none; FINISHED at the end."""
        if not self._waiting:
            return None if self._bound else self.FINISHED
        place = self.places.take(trial_id)
        if place is None:
            return None
        members = self._waiting.popleft()
        if place:
            self._bound[trial_id] = members
        return {"members": [member.to_dict() for member in members], **place}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or the other; with neither a result nor an error it is to move."""
        self.places.give_back(trial_id)
        members = self._bound.pop(trial_id, None)
        if members and result is None and not error:
            self._waiting.appendleft(members)
