"""Members that were trained on GPUs and wait to be evaluated: by trials of their own, which need CPUs alone."""

from __future__ import annotations

from collections import deque
from typing import Any

from larvae.config import MemberConfig
from sweeps.resources.places import WITHOUT_GPU


class Evaluations:
    """Hands out members one by one, as many as CPUs are spare; all where nothing else waits for them."""

    def __init__(self) -> None:
        self.spare = 0
        """Trials that CPUs are spare for."""
        self._known: set[str] = set()
        self._waiting: deque[MemberConfig] = deque()
        self._given: set[str] = set()

    def add(self, member: MemberConfig) -> None:
        """A member has been trained; once more, perhaps, by a trial whose process was started anew."""
        if member.content_hash not in self._known:
            self._known.add(member.content_hash)
            self._waiting.append(member)

    @property
    def are_open(self) -> bool:
        """True while members wait for their evaluation, or are evaluated."""
        return bool(self._waiting or self._given)

    def suggest(self, trial_id: str, *, is_all: bool) -> dict[str, Any] | None:
        """The configuration of a trial that evaluates a member; None while there is none, or no room.

        is_all: nothing else waits for a trial.
        """
        if not self._waiting or (len(self._given) >= self.spare and not is_all):
            return None
        self._given.add(trial_id)
        return {"members": [self._waiting.popleft().to_dict()], **WITHOUT_GPU}

    def on_trial_complete(self, trial_id: str) -> None:
        """A trial has ended."""
        self._given.discard(trial_id)
