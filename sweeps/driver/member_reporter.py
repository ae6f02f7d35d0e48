"""Passes on what Ray Tune's trials report."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray import tune

from larvae.config import MemberConfig
from sweeps.console.progress import StudyProgress
from sweeps.driver.deaths import death_of
from sweeps.driver.evaluating import Evaluations
from sweeps.driver.workarounds.unsaved import Unsaved
from sweeps.resources.places import WITHOUT_GPU
from sweeps.study import StudyDirectory
from sweeps.tracking.tracker import Tracker
from sweeps.trial.member_log import MemberLog

STARTING = "starting up"
"""The phase of a trial whose process has not told anything."""
_MEMBERS = "larvae_members"
"""Attribute of Tune's trials that keeps their members."""


class MemberReporter(Unsaved, tune.Callback):
    """Passes on to MLflow and the terminal what trials report."""

    def __init__(self, tracker: Tracker, progress: StudyProgress, directory: StudyDirectory) -> None:
        self.tracker = tracker
        self.progress = progress
        self.directory = directory
        self.members_of: Callable[[Any], list[MemberConfig]] = members_of
        """Members that a trial has now: a search hands some to it while it runs."""
        self.evaluations = Evaluations()
        self.open: dict[str, MemberConfig] = {}
        """Members that have been started and have not ended, by content hash."""
        self._advised: set[str] = set()
        self._in_phase: set[str] = set()  # trials
        self.out_of_memory: list[list[MemberConfig]] = []
        """Members of each trial that ran out of GPU memory, but those that had ended: to be tried again."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.start(self.members_of(trial))
        self._tell_phase(trial, STARTING)

    def start(self, members: Iterable[MemberConfig]) -> None:
        """Members are trained from now on."""
        for member in members:
            self.open[member.content_hash] = member
            self.tracker.start(member.content_hash)
            self.progress.start(member.content_hash)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for line in result.get("advice", ()):
            if line not in self._advised:
                self._advised.add(line)
                self.progress.note(line)
        self._tell_phase(trial, result.get("phase", ""))
        ran_out = []
        for name, news in result.get("members", {}).items():
            self.tracker.update(name)
            self.progress.update(name, news["rows"])
            if news["status"] in ("finished", "failed"):
                self._end(name, news["status"])
            elif name not in self.open:  # its evaluation, or the search's verdict, has ended it meanwhile
                continue
            elif news["status"] == "trained":
                self.progress.wait(name)
                self.evaluations.add(self.open[name])
            elif news["status"] == "out_of_memory":
                self.progress.wait(name)
                self.tracker.end(name)  # until it is tried again
                ran_out.append(self.open.pop(name))
        if ran_out:
            self.out_of_memory.append(ran_out)

    def _tell_phase(self, trial: Any, phase: str) -> None:
        """Tell that a trial's members are in a phase that takes long, or in none any more."""
        if phase or trial.trial_id in self._in_phase:  # seldom: their configurations are read for it
            (self._in_phase.add if phase else self._in_phase.discard)(trial.trial_id)
            for member in self.members_of(trial):
                if member.content_hash in self.open:
                    self.progress.enter(member.content_hash, phase)

    def named(self, members: Sequence[MemberConfig]) -> str:
        """Members in words: the first one, and how many more."""
        first, *more = members
        label = self.progress.labels[first.content_hash]
        return f"{label} and {len(more)} more" if more else label

    def take_out_of_memory(self) -> list[list[MemberConfig]]:
        """Hand over the members that ran out of GPU memory, a list a trial: whoever asks tries them again."""
        taken, self.out_of_memory = self.out_of_memory, []
        return taken

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial that a search has stopped ends without a last word; its members' results tell."""
        self.end_stopped(self.members_of(trial))

    def end_stopped(self, members: Iterable[MemberConfig]) -> None:
        """End those members that a search has stopped, as their results tell."""
        for member in members:
            result = self.directory.member(member).read_result() if member.content_hash in self.open else None
            if result and result["status"] == "stopped":
                self._end(member.content_hash, "stopped")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process has died, with its node perhaps; Tune starts it again when a place is free."""
        death, members = death_of(trial), self.members_of(trial)
        going_on = [member for member in members if member.content_hash in self.open]
        for member in going_on:
            self.progress.wait(member.content_hash)
            if death.is_machines and not death.is_told:
                log = MemberLog(self.directory.member(member).path)
                with contextlib.suppress(OSError):
                    log.write("fault", reason=death.reason, host=death.node, pid="")
        if going_on or death.is_at_start or death.is_machines:
            then = "its process could not start" if death.is_at_start else "its checkpoint waits for a place"
            self.progress.note(f"{self.named(going_on or members)}: {death.reason}; {then}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune has given a trial up: its process died again and again. Machines' faults are not the members'."""
        if death_of(trial).is_machines:
            return
        reason = "its process died again and again (killed, out of memory or node lost)"
        for member in self.members_of(trial):
            if member.content_hash in self.open:
                self.directory.member(member).write_result(member, "failed", [], reason)
                self._end(member.content_hash, "failed")

    def give_up_out_of_memory(self) -> None:
        """Members that even a GPU of their own was too small for have failed."""
        for member in itertools.chain(*self.take_out_of_memory()):
            reason = "out of memory, alone on a whole GPU"
            self.directory.member(member).write_result(member, "failed", [], reason)
            self._end(member.content_hash, "failed")

    def tell_of_stop(self) -> None:
        """The command has been told to stop: trials save what they have."""
        number = len(self.open)
        members = f"{number} member{'s' if number > 1 else ''}"
        self.progress.note(f"Stopping: {members} in training are saved, 10 s at most; once more leaves at once")

    def stop(self) -> None:
        """The command ends with members still training."""
        for name in list(self.open):
            self._end(name, "stopped")

    def _end(self, name: str, status: str) -> None:
        self.open.pop(name, None)
        self.tracker.end(name)
        self.progress.end(name, status)


def members_of(trial: Any) -> list[MemberConfig]:
    """The members that a trial trains, made once a trial: they are asked for at each of its events."""
    if _MEMBERS not in vars(trial):
        setattr(trial, _MEMBERS, [MemberConfig.from_dict(fields) for fields in trial.config["members"]])
    members: list[MemberConfig] = getattr(trial, _MEMBERS)
    return members


def trial_name(trial: Any) -> str:
    """A trial's name: its member's, or its first member's and how many more there are."""
    first, *more = members_of(trial)
    if trial.config.get("place") == WITHOUT_GPU["place"]:
        return f"{first.content_hash}-evaluated"
    return f"{first.content_hash}+{len(more)}" if more else first.content_hash
