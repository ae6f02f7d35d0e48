"""Members of a process trained to their ends, one after the other or in the same operations, each with its reports."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import torch

from larvae.advice import advise
from larvae.member import Member
from larvae.member_directory import Row
from larvae.out_of_memory import is_no_members_own
from larvae.together.group import Group
from larvae.together.self_check import TOLERANCES, deviation


class Report(NamedTuple):
    """The progress of one member."""

    name: str
    """Its content hash."""
    rows: list[Row]
    status: str = "running"
    """running, trained (its metrics are left to others), finished, failed or, of a trial's report, out_of_memory."""
    reason: str = ""
    """Reason of its end or, running, of that of its process: what is wrong with the machine."""


class Together:
    """Members in training in one process: one after the other, or in the same operations. They may come and go."""

    def __init__(self, *, fused: bool, evaluates: bool = True, slots: int = 0) -> None:
        """fused: in the same operations, as `Group` does it; else each as if it were alone.

        evaluates: members are evaluated at their ends, for minutes perhaps, while the others wait; else they are
        reported as trained, with a last row that lacks metrics, for another process to go on from their checkpoints.

        slots: members that there is room for while others come and go, without compiling anew; left out, a group is
        as large as its members are many, and shrinks with them.
        """
        self.members: list[Member] = []
        self._fused, self._evaluates, self._slots = fused, evaluates, slots
        self._group: Group | None = None
        self._is_plain = False

    def add(self, members: Sequence[Member]) -> list[Report]:
        """Take on members; their first rows are those of their checkpoints."""
        reports = []
        for member in members:
            reports.append(Report(member.name, member.history.copy()))
            if member.is_trained:
                reports += _guarded(self._ended, member)
        new = [member for member in members if not member.is_trained]
        self.members += new
        for member in new if self._is_plain else []:
            member.become_plain()
        if self._group is not None:
            if len(self._group.active) + len(new) <= len(self._group.trainers):
                for member in new:
                    self._group.replace(member.trainer)
            else:
                self._group.close()
                self._group = None
        return reports

    def drop(self, name: str) -> None:
        """Let go of a member, if it is still there, as it is."""
        for member in [member for member in self.members if member.name == name]:
            self.members.remove(member)
            if self._group is not None:
                self._group.retire(member.trainer)

    def iterate(self) -> list[Report]:
        """One iteration of all members; what there is to report. An error of the step that they share is raised."""
        if self._fused and self._group is None:
            self._group = self._checked_group()
            self._fused = self._group is not None
        for member in self.members:
            member.before_step()
        if self._group is not None:
            self._group.step()
        reports = [report for member in self.members for report in _guarded(self._after_step, member)]
        for report in reports:
            if report.status != "running":
                self.drop(report.name)
        if self._group is not None and not self._slots:
            self._group = self._group.compacted()
        return reports

    def close(self) -> None:
        """End the thread that makes inputs, if there is one."""
        if self._group is not None:
            self._group.close()

    def _after_step(self, member: Member) -> list[Report]:
        """The report of one iteration, which a group has taken already: none if it is only one of many."""
        if self._group is None:
            member.trainer.step()
        row = member.after_step()
        if member.is_trained:
            return self._ended(member)
        return [Report(member.name, [row])] if row else []

    def _ended(self, member: Member) -> list[Report]:
        """The last report of a member that has trained to its end."""
        rows = [] if member.last_row is None else [member.last_row]
        if rows and not self._evaluates:
            return [Report(member.name, rows, "trained")]
        if rows:
            rows = [member.evaluate()]
        member.finish()
        return [Report(member.name, rows, "finished")]

    def _checked_group(self) -> Group | None:
        """A group of the members, if its step is the plain one as far as its precision goes.

        Else None, with a warning: members then go on alone, with the plain step.
        """
        trainers = [member.trainer for member in self.members]
        spare = [trainers[0].again() for _ in range(len(trainers), self._slots)]
        group = Group([*trainers, *spare])
        try:
            found, tolerance = deviation(group), TOLERANCES[trainers[0].compiled_in or torch.float32]
        except BaseException:
            group.close()
            raise
        for trainer in spare:  # not before: a step leaves those that have retired as they are
            group.retire(trainer)
        for member in self.members:
            member.note(found.as_row())
        if found.is_within(tolerance):
            return group
        group.close()
        self._is_plain = True
        for member in self.members:
            member.become_plain()
        most = f"{tolerance.loss:g} in losses and {tolerance.update:g} in updates at most"
        got = f"got {found.loss:.2g} and {found.update:.2g}: the plain one runs, which is far slower"
        advise(f"the fused step must deviate from the plain one by {most}, {got}")
        return None


def train_together(members: Sequence[Member], *, fused: bool) -> Generator[Report]:
    """Train members to their ends, an iteration of all before the next; the first rows are those of their checkpoints.

    A member that fails is reported and the others go on. An error of the step that they share is raised.
    fused: in the same operations, as `Group` does it; else one after the other, each as if it were alone.
    """
    together = Together(fused=fused)
    try:
        yield from together.add(members)
        while together.members:
            yield from together.iterate()
    finally:
        together.close()


def _guarded(reports: Callable[[Member], list[Report]], member: Member) -> list[Report]:
    """The reports of a member, or of its failure."""
    try:
        return reports(member)
    except Exception as error:  # whatever it is, if it is this member's alone, it must be told
        if is_no_members_own(error):
            raise
        return [Report(member.name, [], "failed", member.fail(error))]
