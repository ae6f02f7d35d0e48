"""Members of a grid, handed to Ray Tune as places for them become free."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from larvae.config import MemberConfig
from sweeps.places import Places
from sweeps.unsaved import UnsavedSearcher


class MemberQueue(UnsavedSearcher):
    """Suggests the trials of a grid in their order."""

    def __init__(self, trials: Sequence[list[MemberConfig]], places: Places) -> None:
        super().__init__()
        self._waiting = deque(trials)
        self._places = places

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The members of the next trial, and its place; None while no place is free; FINISHED at the end."""
        if not self._waiting:
            return self.FINISHED
        place = self._places.take(trial_id)
        if place is None:
            return None
        return {"members": [member.to_dict() for member in self._waiting.popleft()], **place}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, one way or the other."""
        self._places.give_back(trial_id)
