"""Several members of one structure, trained in the same operations.

A GPU is idle for most of one small model's step; K models in one step fill it. The parameters of a group lie
stacked in memory, `torch.func.vmap` runs the one objective over all of them, and Adam steps them at once. Each member
keeps its own `Trainer`, whose parameters and moments are slices of the group's: its checkpoint, evaluation and failure
are its own, as if it were trained alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from larvae.config import MemberConfig
from larvae.errors import InvalidInputError
from larvae.functional import Structure, group_functions, structure_of
from larvae.objectives import Weights, minimised
from larvae.together.captured import Captured
from larvae.together.feed import AHEAD, Feed
from larvae.together.stacked_adam import Moments, Rates
from larvae.training import Trainer

Tensors = TypeVar("Tensors", bound=tuple[Any, ...])


class Likeness(NamedTuple):
    """The traits that members must share to be trained in the same operations."""

    dataset: str
    structure: Structure
    batch_size: int
    uses_labels: bool
    label_loss: str


def likeness(config: MemberConfig) -> Likeness:
    """The likeness of a member; seeds, label and learning rates are free, and so are weights that are not zero."""
    return Likeness(config.dataset, structure_of(config), config.batch_size, config.uses_labels, config.label_loss)


class Group:
    """Members that take their steps together.

    A member whose loss is not finite spoils no other: nothing is summed over members but the losses, and a sum's
    gradient is one for each of them.
    """

    def __init__(self, trainers: Sequence[Trainer], ahead: int | None = None) -> None:
        """The trainers' parameters become slices of the group's, and so do Adam's moments and the terms' sums.

        ahead: iterations whose inputs a thread makes in advance. Left out: some on a GPU, none on a CPU.
        Raises InvalidInputError if the trainers are not alike.
        """
        require_alike(trainers)
        first, device, size = trainers[0], trainers[0].device, len(trainers)
        on_gpu = device.type == "cuda"
        self.trainers, self.active = list(trainers), list(trainers)
        self._functions = group_functions(first.structure, first.compiled_in)
        self._weights = stack_members(trainer.weights for trainer in trainers)
        # Tensors that stay where they are: a CUDA graph knows them by their addresses.
        self.parameters = {
            name: torch.empty((size, *parameter.shape), device=device, requires_grad=True)
            for name, parameter in first.parameters.items()
        }
        self._moments = {
            name: Moments(torch.zeros_like(p.data), torch.zeros_like(p.data), torch.zeros(size, device=device))
            for name, p in self.parameters.items()
        }
        self._rates = {
            name: Rates(torch.zeros(size, dtype=torch.float64, device=device), options["betas"])
            for name, (_, options) in _optimised(first).items()
        }
        self._sums: dict[str, Tensor] = {}
        self._is_active = torch.ones(size, dtype=torch.bool, device=device)
        for slot in range(size):
            self._adopt(slot)
        samplers, iterations = zip(*((t.sampler, t.iteration) for t in trainers), strict=True)
        self._feed = Feed(samplers, iterations, device, (AHEAD if on_gpu else 0) if ahead is None else ahead)
        self._run: Callable[[], object] = Captured(self._compute) if on_gpu else self._compute

    @property
    def is_captured(self) -> bool:
        """True once the step is replayed as a CUDA graph."""
        return isinstance(self._run, Captured) and self._run.is_captured

    def step(self) -> None:
        """One iteration of the active members; the others are computed too, but not changed."""
        self._feed.advance()
        self._run()
        for trainer in self.active:
            trainer.iteration += 1

    def rehearse(self) -> list[tuple[dict[str, float], dict[str, Tensor]]]:
        """Take the next step and take it back: each member's terms and parameters after it."""
        state = [*(p.detach() for p in self.parameters.values()), *itertools.chain(*self._moments.values())]
        before = [tensor.clone() for tensor in state]
        totals = [{name: float(total) for name, total in trainer.totals.items()} for trainer in self.trainers]
        self._feed.advance()
        terms = self._compute()
        parameters = {name: p.detach().clone() for name, p in self.parameters.items()}
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)
        for trainer, sums in zip(self.trainers, totals, strict=True):
            for name, total in trainer.totals.items():
                total.fill_(sums.get(name, 0.0))
        self._feed.restart(self._feed.samplers, [trainer.iteration for trainer in self.trainers])
        found = [
            ({name: float(of[slot]) for name, of in terms.items()}, {name: p[slot] for name, p in parameters.items()})
            for slot in range(len(self.trainers))
        ]
        if self._is_active.is_cuda:
            del terms, before
            torch.cuda.empty_cache()  # the rehearsal's blocks are of another stream than the steps', which need theirs
        return found

    def retire(self, trainer: Trainer) -> None:
        """Leave a member as it is from now on."""
        self._is_active[self.trainers.index(trainer)] = False
        self.active.remove(trainer)

    def replace(self, trainer: Trainer) -> None:
        """Give a retired member's slot to another trainer; the retired one is of no more use.

        Raises InvalidInputError if they are not alike.
        """
        require_alike([*self.trainers, trainer])
        slot = self._is_active.tolist().index(False)
        self.trainers[slot] = trainer
        self.active.append(trainer)
        self._is_active[slot] = True
        _put(self._weights, slot, trainer.weights)
        self._adopt(slot)
        for name, total in self._sums.items():
            total[slot] = trainer.totals.get(name, 0)
            trainer.totals[name] = total[slot]
        self._feed.restart([t.sampler for t in self.trainers], [t.iteration for t in self.trainers])

    def compacted(self) -> Group:
        """This group, or a smaller one where its active members are so few that half of the slots would be idle.

        Sizes go by halves, as each is compiled anew; members that have been retired fill up the last slots.
        """
        size = len(self.trainers)
        while self.active and len(self.active) <= size // 2:
            size //= 2
        if size == len(self.trainers):
            return self
        self.close()
        retired = [trainer for trainer in self.trainers if trainer not in self.active]
        smaller = Group([*self.active, *retired[: size - len(self.active)]], self._feed.ahead)
        for trainer in smaller.trainers[len(self.active) :]:
            smaller.retire(trainer)
        return smaller

    def close(self) -> None:
        """End the thread that makes inputs, if there is one, and let go of the captured step: no step comes after.

        A step that knows its group would keep it, and the GPU's memory, until Python looks for circles.
        """
        self._feed.stop()
        self._run = _closed

    def _compute(self) -> dict[str, Tensor]:
        """An iteration of the draws that the feed has come to, of tensors that stay where they are; its terms."""
        first = self.trainers[0]
        terms = self._functions.terms(
            self.parameters, self._feed.draws, first.receiver, self._weights, first.sampler.annealed
        )
        loss = minimised(terms).sum()
        gradients = dict(zip(self.parameters, torch.autograd.grad(loss, list(self.parameters.values())), strict=True))
        if not self._sums:
            self._begin_sums(terms)
        parameters = {name: parameter.detach() for name, parameter in self.parameters.items()}
        values = {name: value.detach() for name, value in terms.items()}
        self._functions.update(parameters, gradients, self._moments, self._rates, values, self._sums, self._is_active)
        return values

    def _adopt(self, slot: int) -> None:
        """Take over a trainer's state of training, and put slices of the group's tensors in its place."""
        trainer = self.trainers[slot]
        for name, (optimiser, options) in _optimised(trainer).items():
            parameter, moments = trainer.parameters[name], self._moments[name]
            self._rates[name].learning_rates[slot] = options["lr"]
            if state := optimiser.state.get(parameter):
                moments.first[slot], moments.second[slot] = state["exp_avg"], state["exp_avg_sq"]
                moments.steps[slot] = state["step"]
            else:  # it has taken no step, but another may have before it, in its slot
                for moment in moments:
                    moment[slot] = 0
            mine = self.parameters[name].detach()[slot]
            parameter.data, parameter.grad = mine.copy_(parameter.detach()), None
            optimiser.state[parameter] = {
                "step": moments.steps[slot],
                "exp_avg": moments.first[slot],
                "exp_avg_sq": moments.second[slot],
            }

    def _begin_sums(self, names: Iterable[str]) -> None:
        """Take over the trainers' sums of terms, whose names the first step tells."""
        for name in names:
            sums = [float(trainer.totals.get(name, 0)) for trainer in self.trainers]
            self._sums[name] = torch.tensor(sums, device=self._is_active.device)
            for slot, trainer in enumerate(self.trainers):
                trainer.totals[name] = self._sums[name][slot]


def _closed() -> None:
    raise RuntimeError("a group that is closed takes no step")


def require_alike(trainers: Iterable[Trainer]) -> None:
    """Raise InvalidInputError unless trainers can be of one group."""
    alike = {likeness(trainer.config) for trainer in trainers}
    if len(alike) != 1:
        raise InvalidInputError(f"members of a group must be alike, got {len(alike)} kinds: {sorted(map(str, alike))}")


def _optimised(trainer: Trainer) -> dict[str, tuple[torch.optim.Optimizer, dict[str, Any]]]:
    """Each parameter's optimiser and the options that it has there, by the parameter's name."""
    names = {parameter: name for name, parameter in trainer.parameters.items()}
    return {
        names[parameter]: (optimiser, options)
        for optimiser in trainer.optimisers.values()
        for options in optimiser.param_groups
        for parameter in options["params"]
    }


def stack_members(rows: Iterable[Tensors]) -> Tensors:
    """Named tuples of tensors, or of tensors by name, as one of stacked tensors; None stays None."""
    rows = list(rows)
    return type(rows[0])(*map(_stacked, zip(*rows, strict=True)))


def _stacked(column: Sequence[Any]) -> Any:
    if isinstance(column[0], Mapping):
        return {name: torch.stack([tensors[name] for tensors in column]) for name in column[0]}
    return None if column[0] is None else torch.stack(list(column))


def _put(stacked: Weights, slot: int, weights: Weights) -> None:
    """Put one member's weights into its slot of stacked ones."""
    pairs: Iterable[tuple[Any, Any]] = zip(stacked, weights, strict=True)
    for ours, theirs in pairs:
        if isinstance(theirs, Mapping):
            for name, weight in theirs.items():
                ours[name][slot] = weight
        else:
            ours[slot] = theirs
