"""An adaptive study as Ray Tune sees it: a searcher that suggests trials and a stopper that ends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from ray import tune

from larvae.config import MemberConfig
from larvae.together.group import Likeness, likeness
from sweeps.adaptive.search_reporter import SearchReporter
from sweeps.adaptive.searching import Search
from sweeps.driver.member_reporter import MemberReporter, members_of
from sweeps.driver.workarounds.unsaved import Unsaved, UnsavedSearcher
from sweeps.resources.places import Place, Places
from sweeps.study import StudyDirectory
from sweeps.trial.machine_faults import fault_in
from sweeps.trial.mailbox import Mailbox


class Suggester(UnsavedSearcher):
    """Suggests the trials of a search. Members that have ended on disk are told to the search, not trained again.

    Where a trial has several members, they are any that are alike, and one that ends or is stopped gives its slot to
    the next: the trial's mailbox brings it.
    """

    def __init__(
        self,
        search: Search,
        directory: StudyDirectory,
        members_per_trial: int,
        reporter: SearchReporter,
        members: MemberReporter,
        places: Sequence[Place] = (),
    ) -> None:
        super().__init__()
        self.places = Places(places)
        self.search = search
        self.directory = directory
        self.members_per_trial = members_per_trial
        self.reporter = reporter
        self.members = members
        members.members_of = self._members_of
        self._waiting: deque[MemberConfig] = deque()
        self._trials: dict[str, list[MemberConfig]] = {}
        self._open: set[str] = set()  # members that have reported and not ended
        self._ended: set[str] = set()

    @property
    def has_ended(self) -> bool:
        """True if nothing is left to suggest."""
        self._fill()
        return not self._waiting and self.search.is_done

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The members of another trial, and its place; None while there is none; FINISHED at the end."""
        if evaluating := self.members.evaluations.suggest(trial_id, is_all=self.has_ended):
            return evaluating
        if self.has_ended:  # Tune asks no more after FINISHED: the last ones may still have to be evaluated
            return None if self._is_training or self.members.evaluations.are_open else self.FINISHED
        place = self.places.take(trial_id) if self._waiting else None
        if place is None:
            return None
        members = self._trials[trial_id] = self._take(likeness(self._waiting[0]), self.members_per_trial)
        config = {"members": [member.to_dict() for member in members], **place}
        return config | {"mailbox": str(self._mailbox(trial_id).path)} if self.members_per_trial > 1 else config

    @property
    def _is_training(self) -> bool:
        return any(member.content_hash not in self._ended for members in self._trials.values() for member in members)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended; members that it has not told the end of have failed with their process.

        Those that it had not come to, without an error, wait again: it had been handed them, or with neither a result
        nor an error it is to move.
        """
        self.places.give_back(trial_id)
        self.members.evaluations.on_trial_complete(trial_id)
        left = [m for m in self._trials.get(trial_id, []) if m.content_hash not in self._ended]
        is_to_move = result is None and not error
        failed = [] if is_to_move else [m for m in left if error or m.content_hash in self._open]
        for member in failed:
            self._end(member.content_hash, "failed")
        if waiting := [member for member in left if member not in failed]:
            self._waiting.extendleft(reversed(waiting))
            self._trials[trial_id] = failed

    def must_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell the search what a trial reports; whether to stop it, as none of its members is left.

        Members of configurations that the search stops are written as stopped. One that is trained has finished as far
        as the search goes: its trial gives the slot to the next, and another evaluates it.
        """
        if trial_id not in self._trials or result.get("is_waiting"):
            return False  # one that computes tells nothing new; stopped now, it would write its end after all
        ended = []
        for name, news in result.get("members", {}).items():
            self._open.add(name)
            self.search.observe(name, news["rows"])
            if news["status"] != "running":
                ended.append(name)
                self._end(name, "finished" if news["status"] in ("trained", "finished") else "failed")
                self.reporter.follow(self.search)
        members = self._trials.get(trial_id, [])
        stopped = [member for member in members if member.content_hash in self._open and self._stop_if_lost(member)]
        left = [member for member in members if member.content_hash not in self._ended]
        if self.members_per_trial == 1 or not members or result.get("done"):
            return bool(stopped)
        is_leaving = fault_in(result)  # its machine, and would keep others waiting meanwhile
        taken = [] if is_leaving else self._next_alike(members[0], self.members_per_trial - len(left))
        # Those that have ended, too: another process in its place, which reads all lines, shall not open them again.
        self._mailbox(trial_id).send(taken, [*ended, *(member.content_hash for member in stopped)])
        self.members.end_stopped(stopped)
        self.members.start(taken)
        members[:] = left + taken
        return not left and not taken

    def stop_finished(self) -> list[MemberConfig]:
        """Write members as stopped that had finished when the search came to stop their configurations; these members.

        To be called when no trial is left: one that evaluates them would write their end again.
        """
        stopped = []
        for configuration in self.search.configurations:
            for run in configuration.first:
                if configuration.stopped_at is not None and run.status == "finished":
                    self._stop(run.config, configuration.stopped_at)
                    stopped.append(run.config)
        return stopped

    def stopper(self) -> tune.Stopper:
        """The stopper that tells Tune which trials to stop."""
        return _Losers(self)

    def _members_of(self, trial: Any) -> list[MemberConfig]:
        return self._trials[trial.trial_id] if trial.trial_id in self._trials else members_of(trial)

    def _fill(self) -> None:
        """Ask the search until a whole trial waits or there is nothing to do but wait."""
        while len(self._waiting) < self.members_per_trial and (members := self.search.next()) is not None:
            self.reporter.welcome(self.search.configuration_of(members[0].content_hash), members)
            todo = [member for member in members if not self._found_on_disk(member)]
            self.reporter.expect(todo)
            self._waiting.extend(todo)
            self.reporter.follow(self.search)

    def _next_alike(self, member: MemberConfig, count: int) -> list[MemberConfig]:
        """Up to so many of the next members that are like one, which wait no longer."""
        if count:
            self._fill()
        return self._take(likeness(member), count)

    def _take(self, kind: Likeness, count: int) -> list[MemberConfig]:
        taken = [member for member in self._waiting if likeness(member) == kind][:count]
        for member in taken:
            self._waiting.remove(member)
        return taken

    def _mailbox(self, trial_id: str) -> Mailbox:
        return Mailbox(self.directory.scheduler_files / "mailboxes" / f"{trial_id}.jsonl")

    def _stop_if_lost(self, member: MemberConfig) -> bool:
        """Stop a member if the search has stopped its configuration. Seeds that were added are trained to the end."""
        configuration = self.search.configuration_of(member.content_hash)
        if configuration.stopped_at is None or all(run.config != member for run in configuration.first):
            return False
        self._stop(member, configuration.stopped_at)
        return True

    def _found_on_disk(self, member: MemberConfig) -> bool:
        """Tell whether a member has ended in an earlier command, which is then told to the search."""
        files, name = self.directory.member(member), member.content_hash
        # Also of one that trains on: where another seed stopped the configuration, their mean at the rung is known.
        self.search.observe(name, files.read_rows()[0])
        result = files.read_result()
        if result is None or result["status"] == "failed":
            return False
        if result["status"] == "finished" and result["history"][-1]["iteration"] < self.search.rules.iterations:
            return False
        self.search.observe(name, result["history"])
        self.search.end(name, result["status"], result.get("stopped_at"))
        return True

    def _stop(self, member: MemberConfig, rung: int) -> None:
        files = self.directory.member(member)
        reason = f"stopped at iteration {rung}: not among the best 1/{self.search.rules.reduction}"
        files.write_result(member, "stopped", files.read_rows()[0], reason, stopped_at=rung)
        self._end(member.content_hash, "stopped", rung)

    def _end(self, name: str, status: str, stopped_at: int | None = None) -> None:
        self._open.discard(name)
        self._ended.add(name)
        self.search.end(name, status, stopped_at)


class _Losers(Unsaved, tune.Stopper):
    def __init__(self, suggester: Suggester) -> None:
        self.suggester = suggester

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.suggester.must_stop(trial_id, result)

    def stop_all(self) -> bool:
        return False
