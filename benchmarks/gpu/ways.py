"""Ways to train many members on one GPU, ours and peers', all seen from outside in the same manner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from textbook import TextbookTrainer
from torch import Tensor

from larvae.config import MemberConfig
from larvae.datasets import Dataset
from larvae.functional import functions, over_members
from larvae.inputs import inputs_of
from larvae.together.feed import AHEAD, Feed
from larvae.together.group import Group, stack_members
from larvae.training import Trainer

Gradients = Mapping[str, Tensor]
"""A member's, on the CPU, by the parameters' names."""


class Way(Protocol):
    """Members in training."""

    precision: torch.dtype
    """That of most of its arithmetic."""

    @property
    def is_captured(self) -> bool:
        """True if its step is one CUDA graph by now."""

    def step(self) -> None:
        """One iteration of all members; it may return before the GPU has finished it."""

    def take_losses(self) -> list[float]:
        """The mean loss of each member since this was last called."""

    def gradients(self) -> list[Gradients]:
        """Gradients of each member's first step, right after it: Adam's first moments are 1 − β₁ of them then."""

    def close(self) -> None:
        """End what runs besides."""


class Alone:
    """Our trainers, one after the other."""

    def __init__(self, configs: Sequence[MemberConfig], dataset: Dataset, device: str, *, compiled: bool) -> None:
        self.trainers = [Trainer(config, dataset, device=device, compiled=compiled) for config in configs]
        self.precision = self.trainers[0].compiled_in or torch.float32

    @property
    def is_captured(self) -> bool:
        return False

    def step(self) -> None:
        for trainer in self.trainers:
            trainer.step()

    def take_losses(self) -> list[float]:
        return [trainer.take_means()["loss"] for trainer in self.trainers]

    def gradients(self) -> list[Gradients]:
        return [_gradients(trainer.parameters, trainer.optimisers.values()) for trainer in self.trainers]

    def close(self) -> None:
        pass


class Together(Alone):
    """Our trainers as a `Group`: on a GPU its step is one CUDA graph from the twelfth on."""

    def __init__(self, configs: Sequence[MemberConfig], dataset: Dataset, device: str, *, compiled: bool) -> None:
        super().__init__(configs, dataset, device, compiled=compiled)
        self.group = Group(self.trainers)

    @property
    def is_captured(self) -> bool:
        return self.group.is_captured

    def step(self) -> None:
        self.group.step()

    def close(self) -> None:
        self.group.close()


class Stacked:
    """Members stacked as others do it: `vmap` over the plain modules, one Adam over the stacked parameters.

    Their inputs come as ours do, ahead of time, so that it is the steps that are compared.
    """

    is_captured = False

    def __init__(self, configs: Sequence[MemberConfig], dataset: Dataset, device: str, *, compiled: bool) -> None:
        trainers = [Trainer(config, dataset, device=device) for config in configs]
        self.precision = torch.float32
        first = self._first = trainers[0]
        stacked = {name: torch.stack([t.parameters[name].detach() for t in trainers]) for name in first.parameters}
        self._parameters = {name: parameter.requires_grad_() for name, parameter in stacked.items()}
        self._weights = stack_members(trainer.weights for trainer in trainers)
        samplers, start = [trainer.sampler for trainer in trainers], [0] * len(trainers)
        self._feed = Feed(samplers, start, first.device, AHEAD if device == "cuda" else 0)
        objective = over_members(functions(first.structure, None, first.device.type).objective)
        self._objective = torch.compile(objective, dynamic=False) if compiled else objective
        self._adam = torch.optim.Adam(self._parameters.values(), lr=first.config.learning_rate, fused=True)
        self._total = torch.zeros(len(configs), device=device)
        self._iteration = self._taken_at = 0
        torch.backends.cudnn.allow_tf32 = True  # PyTorch's default, as others have it; a Trainer switches it off

    def step(self) -> None:
        self._feed.advance()
        inputs = inputs_of(self._feed.draws, self._first.receiver, self._weights, self._first.sampler.annealed)
        loss = self._objective(self._parameters, *inputs)["loss"]
        self._adam.zero_grad()
        loss.sum().backward()
        self._adam.step()
        self._total += loss.detach()
        self._iteration += 1

    def take_losses(self) -> list[float]:
        count, self._taken_at = self._iteration - self._taken_at, self._iteration
        means = (self._total / count).tolist()
        self._total.zero_()
        return means

    def gradients(self) -> list[Gradients]:
        whole = _gradients(self._parameters, [self._adam])
        return [{name: gradient[slot] for name, gradient in whole.items()} for slot in range(len(self._total))]

    def close(self) -> None:
        self._feed.stop()


class Textbook:
    """Stock PyTorch. Until the first losses are taken twice its noise is the host's, by which CPU and GPU compare."""

    is_captured = False

    def __init__(self, configs: Sequence[MemberConfig], dataset: Dataset, device: str, *, compiled: bool) -> None:
        self.trainers = [_textbook_trainer(config, dataset, device) for config in configs]
        self.precision = torch.float32
        self._totals = [torch.zeros((), device=device) for _ in configs]
        self._steps = self._times_taken = 0

    def step(self) -> None:
        for trainer, total in zip(self.trainers, self._totals, strict=True):
            total += trainer.step()
        self._steps += 1

    def take_losses(self) -> list[float]:
        means = [float(total) / self._steps for total in self._totals]
        for total in self._totals:
            total.zero_()
        self._steps, self._times_taken = 0, self._times_taken + 1
        if self._times_taken == 2:  # what follows is timed
            for trainer in self.trainers:
                trainer.noise = torch.randn_like
        return means

    def gradients(self) -> list[Gradients]:
        return [_gradients(dict(t.model.named_parameters()), [t.optimiser]) for t in self.trainers]

    def close(self) -> None:
        pass


def _textbook_trainer(config: MemberConfig, dataset: Dataset, device: str) -> TextbookTrainer:
    """A trainer that starts from the same parameters on every device, and has the same noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        trainer = TextbookTrainer(config, dataset, device)
    trainer.noise = _HostNoise(config.seed)
    return trainer


class _HostNoise:
    """Standard normal noise that is the same on every device."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._generator).to(like.device)


def _gradients(parameters: Mapping[str, Tensor], optimisers: Iterable[torch.optim.Optimizer]) -> Gradients:
    names = {parameter: name for name, parameter in parameters.items()}
    return {
        names[parameter]: optimiser.state[parameter]["exp_avg"].float().cpu() / (1 - options["betas"][0])
        for optimiser in optimisers
        for options in optimiser.param_groups
        for parameter in options["params"]
    }


class Kind(NamedTuple):
    """A way by its name."""

    title: str
    make: Callable[..., Way]
    is_compiled: bool = False
    reference: Callable[..., Way] = Alone
    """Computes the same on the CPU, in float32."""
    captures: bool = False
    """True if its step must be a CUDA graph on a GPU."""


WAYS = {
    "textbook": Kind("stock PyTorch, eager", Textbook, reference=Textbook),
    "eager": Kind("our plain step", Alone),
    "compiled": Kind("our compiled step", Alone, is_compiled=True),
    "group": Kind("a group", Together, is_compiled=True, captures=True),
    "vmap": Kind("vmap of plain modules, stacked Adam", Stacked),
    "vmap-compiled": Kind("vmap of plain modules, compiled", Stacked, is_compiled=True),
}
