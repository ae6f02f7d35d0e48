"""Several members of one structure, trained in the same operations.

A GPU is idle for most of one small model's step; K models in one step fill it. The parameters of a group lie
stacked in memory and `torch.func.vmap` runs the one objective over all of them. Each member keeps its own
`Trainer`, whose parameters and gradients are slices of the group's: its optimiser, checkpoint, evaluation and
failure are its own, as if it were trained alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.functional import Structure, group_objective, structure_of
from larvae.member import Member
from larvae.member_directory import Row
from larvae.training import Trainer

Tensors = TypeVar("Tensors", bound=tuple[Any, ...])


NO_MEMBERS_OWN = (torch.OutOfMemoryError, OSError)
"""Errors of the process and its machine, which are raised; others end the one member that they are of."""


class Likeness(NamedTuple):
    """The traits that members must share to be trained in the same operations."""

    dataset: str
    structure: Structure
    batch_size: int
    uses_labels: bool


def likeness(config: MemberConfig) -> Likeness:
    """The likeness of a member; seeds, label and learning rates are free, and so are weights that are not zero."""
    return Likeness(config.dataset, structure_of(config), config.batch_size, config.uses_labels)


class Group:
    """Members that take their steps together.

    A member whose loss is not finite spoils no other: nothing is summed over members but the losses, and a sum's
    gradient is one for each of them.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        """The trainers' parameters become slices of the group's. Raises InvalidInputError if they are not alike."""
        alike = {likeness(trainer.config) for trainer in trainers}
        if len(alike) != 1:
            raise InvalidInputError(
                f"members of a group must be alike, got {len(alike)} kinds: {sorted(map(str, alike))}"
            )
        self.trainers = tuple(trainers)
        self._objective = group_objective(trainers[0].structure, trainers[0].compiled_in)
        self._weights = stack_members(trainer.weights for trainer in trainers)
        names = trainers[0].parameters
        self.parameters = {
            name: torch.stack([trainer.parameters[name].detach() for trainer in trainers]).requires_grad_()
            for name in names
        }
        for name, stacked in self.parameters.items():
            stacked.grad = torch.zeros_like(stacked)
            for slot, trainer in enumerate(trainers):
                trainer.parameters[name].data = stacked.data[slot]
                trainer.parameters[name].grad = stacked.grad[slot]

    def step(self, active: Sequence[Trainer] | None = None) -> None:
        """One iteration of the active members, all if none are named; the others are computed too, but not changed."""
        inputs = [trainer.inputs(trainer.iteration) for trainer in self.trainers]
        batch, noise = stack_members(batch for batch, _ in inputs), stack_members(noise for _, noise in inputs)
        for stacked in self.parameters.values():
            assert stacked.grad is not None
            stacked.grad.zero_()
        if self.trainers[0].anneals:
            self._weights = stack_members(trainer.weights for trainer in self.trainers)
        terms = self._objective(self.parameters, batch, noise, self._weights)
        (terms["loss"] + terms.get("discriminator_loss", 0)).sum().backward()
        for slot, trainer in enumerate(self.trainers):
            if active is None or trainer in active:
                trainer.update({name: values[slot] for name, values in terms.items()})


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
    group = Group([member.trainer for member in training]) if fused and len(training) > 1 else None
    while training:
        for member in training:
            member.before_step()
        if group is not None:
            group.step([member.trainer for member in training])
        for report in [_after_step(member, stepped=group is not None) for member in training]:
            if report is None:
                continue
            if report.status != "running":
                training = [member for member in training if member.name != report.name]
            yield report


def _after_step(member: Member, *, stepped: bool) -> Report | None:
    """The report of one iteration: None if it is only one of many. stepped: the group has taken it already."""
    try:
        if not stepped:
            member.trainer.step()
        row = member.after_step()
        if member.is_at_the_end:
            return _finished(member, [row] if row else [])
        return Report(member.name, [row]) if row else None
    except NO_MEMBERS_OWN:
        raise
    except Exception as error:  # whatever it is, it is this member's alone, and must be told
        return Report(member.name, [], "failed", member.fail(error))


def _finished(member: Member, rows: list[Row]) -> Report:
    member.finish()
    return Report(member.name, rows, "finished")


def stack_members(rows: Iterable[Tensors]) -> Tensors:
    """Named tuples of tensors, or of tensors by name, as one of stacked tensors; None stays None."""
    rows = list(rows)
    return type(rows[0])(*map(_stacked, zip(*rows, strict=True)))


def _stacked(column: Sequence[Any]) -> Any:
    if isinstance(column[0], Mapping):
        return {name: torch.stack([tensors[name] for tensors in column]) for name in column[0]}
    return None if column[0] is None else torch.stack(list(column))
