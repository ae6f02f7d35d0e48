"""Members of a process trained to their ends, one after the other or in the same operations, each with its reports."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from larvae.group import Group
from larvae.member import Member
from larvae.member_directory import Row
from larvae.out_of_memory import is_no_members_own
from larvae.self_check import TOLERANCES, deviation


class Report(NamedTuple):
    """The progress of one member."""

    name: str
    """Its content hash."""
    rows: list[Row]
    status: str = "running"
    """running, finished, failed or, of a trial's report, out_of_memory."""
    reason: str = ""
    """Reason of its end or, running, of that of its process: what is wrong with the machine."""


def train_together(members: Sequence[Member], *, fused: bool) -> Iterator[Report]:
    """Train members to their ends, an iteration of all before the next; the first rows are those of their checkpoints.

    A member that fails is reported and the others go on. An error of the step that they share is raised.
    fused: in the same operations, as `Group` does it; else one after the other, each as if it were alone.
    """
    for member in members:
        yield Report(member.name, member.history.copy())
        if member.is_at_the_end:
            yield _finished(member, [])
    training = [member for member in members if not member.is_at_the_end]
    group = _checked_group(training) if fused and training else None
    try:
        while training:
            reports = _iteration(training, group)
            ended = {report.name for report in reports if report.status != "running"}
            if group is not None and ended:
                for member in training:
                    if member.name in ended:
                        group.retire(member.trainer)
                group = group.compacted()
            training = [member for member in training if member.name not in ended]
            yield from reports
    finally:
        if group is not None:
            group.close()


def _checked_group(members: Sequence[Member]) -> Group | None:
    """A group of members, whose step is the plain one as far as its precision goes; None, with a warning, if not.

    Members then go on alone with the plain step.
    """
    group = Group([member.trainer for member in members])
    found, tolerance = deviation(group), TOLERANCES[members[0].trainer.compiled_in or torch.float32]
    for member in members:
        member.note(found.as_row())
    if found.is_within(tolerance):
        return group
    group.close()
    for member in members:
        member.trainer.become_plain()
    rule = f"the fused step must deviate from the plain one by {tolerance.loss:g} in losses and {tolerance.update:g} in"
    warnings.warn(
        f"{rule} updates at most, got {found.loss:.2g} and {found.update:.2g}: the plain one runs, which is far slower",
        stacklevel=2,
    )
    return None


def _iteration(members: Sequence[Member], group: Group | None) -> list[Report]:
    """One iteration of members; what there is to report."""
    for member in members:
        member.before_step()
    if group is not None:
        group.step()
    return [report for member in members if (report := _after_step(member, stepped=group is not None))]


def _after_step(member: Member, *, stepped: bool) -> Report | None:
    """The report of one iteration: None if it is only one of many. stepped: the group has taken it already."""
    try:
        if not stepped:
            member.trainer.step()
        row = member.after_step()
        if member.is_at_the_end:
            return _finished(member, [row] if row else [])
        return Report(member.name, [row]) if row else None
    except Exception as error:  # whatever it is, if it is this member's alone, it must be told
        if is_no_members_own(error):
            raise
        return Report(member.name, [], "failed", member.fail(error))


def _finished(member: Member, rows: list[Row]) -> Report:
    member.finish()
    return Report(member.name, rows, "finished")
