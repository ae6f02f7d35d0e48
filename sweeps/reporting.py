"""Passes on what Ray Tune's trials report."""

from __future__ import annotations

from typing import Any

from ray import tune

from larvae.config import MemberConfig
from larvae.member import Row
from sweeps.progress import StudyProgress
from sweeps.study import StudyDirectory
from sweeps.tracking import Tracker


class MemberReporter(tune.Callback):
    """Passes on to MLflow and the terminal what trials report."""

    def __init__(self, tracker: Tracker, progress: StudyProgress, directory: StudyDirectory) -> None:
        self.tracker = tracker
        self.progress = progress
        self.directory = directory
        self.open: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its callbacks to disk, and this one's work is never restored from there."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        member = member_of(trial)
        self.open.add(member.content_hash)
        self.tracker.start(member.content_hash)
        self.progress.start(member.content_hash)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = member_of(trial).content_hash
        rows: list[Row] = result.get("rows", [])
        self.tracker.log(name, rows)
        self.progress.update(name, rows)
        if result.get("status") in ("finished", "failed"):
            self._end(name, result["status"], result["reason"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune has given a trial up: its process died again and again."""
        member = member_of(trial)
        reason = "its process died again and again (killed, out of memory or node lost)"
        self.directory.member(member).write_result(member, "failed", [], reason)
        self._end(member.content_hash, "failed", reason)

    def stop(self) -> None:
        """The command ends with members still training."""
        for name in self.open.copy():
            self._end(name, "stopped")

    def _end(self, name: str, status: str, reason: str = "") -> None:
        self.open.discard(name)
        self.tracker.end(name, status, reason)
        self.progress.end(name, status)


def member_of(trial: Any) -> MemberConfig:
    """The member that a trial trains."""
    return MemberConfig(**trial.config["member"])
