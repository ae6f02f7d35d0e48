"""Looks for trials that give no sign of life, such as one of a stopped process, and has them started again."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from sweeps.console.progress import duration
from sweeps.driver.member_reporter import MemberReporter
from sweeps.driver.workarounds.unsaved import Unsaved
from sweeps.trial.member_log import MemberLog

LOOK_SECONDS = 5.0
SILENT_SECONDS = 120.0
"""Seconds without a sign of life after which a trial is started again, at least; of few trials they come every few."""
MOST_REPORTS = 4.0
"""Silence may last so many times as long as a trial gathers rows before it reports them, which of many is minutes."""
MOST_GAPS = 10.0
"""Silence may last so many times as long as the longest time between two signs of any trial."""
PHASE_SECONDS = 3600.0
"""Seconds for which one phase, which no iteration ends, counts as life."""


@dataclass(slots=True)
class _Signs:
    """The signs of life of one trial."""

    trial: Any
    last: float
    phase: str = ""
    phase_since: float = 0.0
    is_told: bool = False


class Watchdog(Unsaved, tune.Callback):
    """Ends the process of a trial that is silent for long: its members go on from their checkpoints.

    A member whose process is ended so again and again is given up by the trial that opens it (`Worker`).
    """

    def __init__(self, reporter: MemberReporter, report_seconds: float) -> None:
        """report_seconds: how long each trial gathers rows before it reports them."""
        self._reporter = reporter
        self._least = max(SILENT_SECONDS, MOST_REPORTS * report_seconds)
        self._signs: dict[str, _Signs] = {}
        self._longest_gap = 0.0
        self._looked_at = time.monotonic()

    @property
    def limit(self) -> float:
        """Seconds of silence after which a trial is started again."""
        return max(self._least, MOST_GAPS * self._longest_gap)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._signs[trial.trial_id] = _Signs(trial, time.monotonic())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        now = time.monotonic()
        signs = self._signs.setdefault(trial.trial_id, _Signs(trial, now))
        phase = result.get("phase", "")
        if phase != signs.phase:
            signs.phase, signs.phase_since = phase, now
        is_life = not result.get("is_waiting") or (phase and now - signs.phase_since < PHASE_SECONDS)
        if is_life:
            if not self._was_away(now):
                self._longest_gap = max(self._longest_gap, now - signs.last)
            signs.last, signs.is_told = now, False

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._signs.pop(trial.trial_id, None)

    on_trial_error = on_trial_recover = on_trial_complete

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        if self._was_away(now):  # what trials have told waits
            for signs in self._signs.values():
                signs.last = now
        self._looked_at = now
        for signs in list(self._signs.values()):
            silent = now - signs.last
            if silent > self.limit:
                self._end(signs, silent)
            elif silent > self.limit / 2 and not signs.is_told:
                signs.is_told = True
                then = f"after {duration(self.limit)} it is started again from its checkpoints"
                self._reporter.progress.note(f"{self._named(signs)}: {_silence(signs, silent)}; {then}")

    def _was_away(self, now: float) -> bool:
        """Tell whether this process itself was stopped, or busy, since it last looked."""
        return now - self._looked_at > 3 * LOOK_SECONDS

    def _end(self, signs: _Signs, silent: float) -> None:
        """End a trial's process; Tune starts the trial again."""
        del self._signs[signs.trial.trial_id]
        reason, host = _silence(signs, silent), (signs.trial.last_result or {}).get("hostname", "")
        for member in self._reporter.members_of(signs.trial):
            if member.content_hash in self._reporter.open:
                with contextlib.suppress(OSError):
                    MemberLog(self._reporter.directory.member(member).path).write(
                        "silent", reason=reason, host=host, pid=""
                    )
        self._reporter.progress.note(f"{self._named(signs)}: {reason}; it is started again from its checkpoints")
        if actor := signs.trial.temporary_state.ray_actor:
            ray.kill(actor)

    def _named(self, signs: _Signs) -> str:
        return self._reporter.named(self._reporter.members_of(signs.trial))


def _silence(signs: _Signs, silent: float) -> str:
    """The silence of a trial in words, with the process where it is known."""
    result = signs.trial.last_result or {}
    where = f" from process {result['pid']} on {result.get('hostname', '?')}" if "pid" in result else ""
    phase = f", which was {signs.phase}" if signs.phase else ""
    return f"no sign of life for {duration(silent)}{where}{phase}"
