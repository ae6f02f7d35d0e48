"""Compares a group's step with the plain one before it counts: on a new kind of GPU, nobody has seen it compute yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from larvae.functional import functions
from larvae.objectives import minimised
from larvae.together.group import Group
from larvae.training import Trainer, make_optimisers


class Deviation(NamedTuple):
    """The deviation of a group's step from its members' plain steps in float32."""

    loss: float
    """Largest difference of a member's term, by the term or by 1, whichever is larger."""
    update: float
    """Largest norm of the difference of a member's updated parameters, by the norm of their update."""

    def is_within(self, tolerance: Deviation) -> bool:
        """False also where one is not a number."""
        return self.loss <= tolerance.loss and self.update <= tolerance.update

    def as_row(self) -> dict[str, float]:
        """Entries of a member's row."""
        return {"fused_loss_deviation": self.loss, "fused_update_deviation": self.update}


TOLERANCES = {
    torch.float32: Deviation(loss=1e-4, update=0.05),
    torch.bfloat16: Deviation(loss=1e-2, update=0.6),
}
"""Largest deviations by a step's precision: in bfloat16 seven times the largest losses' and 1.5 times the largest
updates' that a CPU has shown, in float32 more, for a GPU's other sums. Adam's first steps have the size of the learning
rate however small the gradient is, so that rounding decides about the sign of many: updates then deviate far more than
gradients, and a wrong gradient's by 1.4."""


class _Stepped(NamedTuple):
    """A member after a step."""

    terms: Mapping[str, float]
    parameters: Mapping[str, Tensor]


def deviation(group: Group) -> Deviation:
    """The deviation of the group's next step, after which all is as it was. Takes a few seconds, and a compilation.

    Of members that have not diverged; none where all have.
    """
    before = [{name: p.detach().clone() for name, p in trainer.parameters.items()} for trainer in group.trainers]
    expected = [_plain_step(trainer) for trainer in group.trainers]
    found = [_Stepped(*stepped) for stepped in group.rehearse()]
    losses, updates = [], []
    for start, ours, theirs in zip(before, found, expected, strict=True):
        if not all(map(math.isfinite, theirs.terms.values())):
            continue  # it has diverged, which its next row will tell
        losses += [abs(ours.terms[name] - term) / max(1, abs(term)) for name, term in theirs.terms.items()]
        moved, apart = _distance(theirs.parameters, start), _distance(theirs.parameters, ours.parameters)
        updates.append(apart / moved if moved else apart)
    return Deviation(_largest(losses), _largest(updates))


def _plain_step(trainer: Trainer) -> _Stepped:
    """A member after its next step as `networks` and PyTorch's Adam have it, on copies of its state."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in trainer.parameters.items()}
    optimisers = make_optimisers(parameters, trainer.config.learning_rate)
    states = trainer.state_dict()["optimisers"]
    for name, optimiser in optimisers.items():
        optimiser.load_state_dict(states[name])
    objective = functions(trainer.structure, None, trainer.device.type).objective
    terms = objective(parameters, *trainer.inputs(trainer.iteration))
    minimised(terms).backward()
    for optimiser in optimisers.values():
        optimiser.step()
    return _Stepped({name: term.item() for name, term in terms.items()}, parameters)


def _distance(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """Euclidean distance of parameters; in float64, as those of a member that diverges are large."""
    return sum(float((some[name].detach().double() - others[name]).square().sum()) for name in some) ** 0.5


def _largest(values: list[float]) -> float:
    """The maximum, 0 of none; not a number if one of them is none."""
    return float(torch.tensor(values or [0.0]).max())
