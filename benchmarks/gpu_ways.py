"""Ways to train many members on one GPU: what `gpu.py` compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from textbook import TextbookTrainer
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from larvae.fast_networks import FastModel, run_layer_as_product
from larvae.functional import Objective, Parameters, fast_precision, over_members
from larvae.group import Group, stack_members
from larvae.networks import VariationalAutoencoder
from larvae.objectives import Batch, Noise, Weights, larvae_objective
from larvae.training import Trainer

EAGER = 12
"""Iterations before a step is captured as a graph; PyTorch asks for 11."""


class Loop(NamedTuple):
    """Members in training, however they are trained."""

    step: Callable[[], None]
    """One iteration of all of them."""
    loss: Callable[[], float | None]
    """Mean loss of all so far; None where it is not known."""


class Captured:
    """A step (forward, backward, Adam) as one CUDA graph over buffers of its own, replayed on a stream of its own.

    Inputs are made while the last replay runs, and stay alive until the next has been waited for.
    """

    def __init__(
        self, objective: Objective, parameters: Parameters, weights: Weights, inputs: Callable[[int], tuple]
    ) -> None:
        """inputs: of an iteration, as `Trainer.inputs`. With stacked parameters, all have a dimension of members."""
        self._objective, self._parameters, self._weights, self._make_inputs = objective, parameters, weights, inputs
        self._optimiser = torch.optim.Adam(parameters.values(), lr=1e-4, capturable=True, fused=True)
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._buffers: tuple[Batch, Noise] | None = None
        self._total: Tensor | None = None
        self._iteration = 0

    def step(self) -> None:
        """One iteration; returns before the GPU has finished it."""
        inputs = self._make_inputs(self._iteration)
        self._stream.synchronize()
        self._inputs = inputs
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if self._buffers is None:
                self._buffers = tree_map_only(Tensor, torch.clone, inputs)
            torch._foreach_copy_(_tensors(self._buffers), _tensors(inputs))
            if self._iteration < EAGER:
                self._compute()
            else:
                self._replay()
        self._iteration += 1

    def loss(self) -> float:
        self._stream.synchronize()
        return float(self._total[self._loss_index].mean()) / self._iteration

    def _compute(self) -> None:
        terms = self._objective(self._parameters, *self._buffers, self._weights)
        self._optimiser.zero_grad(set_to_none=True)
        terms["loss"].sum().backward()
        self._optimiser.step()
        values = torch.stack([value.detach() for value in terms.values()])  # all, as training adds them up
        if self._total is None:
            self._total, self._loss_index = torch.zeros_like(values), list(terms).index("loss")
        self._total += values

    def _replay(self) -> None:
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._compute()
        self._graph.replay()


def _looped(trainers: Sequence[Trainer | TextbookTrainer]) -> Loop:
    def step() -> None:
        for trainer in trainers:
            trainer.step()

    return Loop(step, lambda: _mean_loss(trainers))


def _captured(trainers: list[Trainer]) -> Loop:
    graphs = [Captured(t._functions.objective, t.parameters, t.weights, t.inputs) for t in trainers]
    return Loop(_looped(graphs).step, lambda: sum(graph.loss() for graph in graphs) / len(graphs))


def _grouped(trainers: list[Trainer], objective: Objective | None = None) -> Loop:
    """A `Group`. objective: another than the group's own."""
    group = Group(trainers)
    group._objective = objective or group._objective
    for stacked in group.parameters.values():  # else `reduce-overhead` would copy them in each step
        torch._dynamo.mark_static_address(stacked)
    return Loop(group.step, lambda: _mean_loss(trainers))


def _grouped_reduced(trainers: list[Trainer]) -> Loop:
    loop = _grouped(trainers, torch.compile(_of_members(trainers[0]), dynamic=False, mode="reduce-overhead"))

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        loop.step()

    return loop._replace(step=step)


def _grouped_captured(trainers: list[Trainer]) -> Loop:
    def inputs(iteration: int) -> tuple[Batch, Noise]:
        batches, noises = zip(*(trainer.inputs(iteration) for trainer in trainers), strict=True)
        return stack_members(batches), stack_members(noises)

    objective = torch.compile(_of_members(trainers[0]), dynamic=False)
    weights = stack_members([trainer.weights for trainer in trainers])
    captured = Captured(objective, Group(trainers).parameters, weights, inputs)
    return Loop(captured.step, captured.loss)


def _of_members(trainer: Trainer, run_layer: Callable[..., Tensor] = run_layer_as_product) -> Objective:
    """`functional.group_objective`, not yet compiled. run_layer: how the model runs a layer."""
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(trainer.structure.architecture)
    precision, terms = fast_precision(trainer.device), trainer.structure.terms

    def objective(parameters: Parameters, batch: Batch, noise: Noise, weights: Weights) -> dict[str, Tensor]:
        model = FastModel(skeleton, parameters, precision)
        model.run_layer = run_layer
        return larvae_objective(model, batch, noise, weights, terms)

    return over_members(objective)


def _run_convolution(layer: nn.Module, features: Tensor, precision: torch.dtype, **weights: Tensor) -> Tensor:
    """Convolutions as they are, which `vmap` groups; all else as products."""
    kinds = {nn.Conv2d: F.conv2d, nn.ConvTranspose2d: F.conv_transpose2d}
    if type(layer) not in kinds:
        return run_layer_as_product(layer, features, precision, **weights)
    weights = {name: weight.to(precision) for name, weight in weights.items()}
    convolve = kinds[type(layer)]
    result = convolve(features.permute(0, 3, 1, 2), **weights, stride=layer.stride, padding=layer.padding)
    return result.permute(0, 2, 3, 1)


def _convolutions(trainers: list[Trainer]) -> Loop:
    objective = _of_members(trainers[0], _run_convolution)
    return _grouped(trainers, torch.compile(objective, dynamic=False) if trainers[0].compiled_in else objective)


def _mean_loss(trainers: Sequence[Trainer | TextbookTrainer]) -> float | None:
    losses = [trainer.take_means()["loss"] for trainer in trainers if isinstance(trainer, Trainer)]
    return sum(losses) / len(losses) if losses else None


def _tensors(inputs: tuple[Batch, Noise]) -> list[Tensor]:
    return [tensor for tensors in inputs for tensor in tensors if tensor is not None]


class Variant(NamedTuple):
    """A way to train many members."""

    title: str
    make: Callable[[list[Any]], Loop]
    compiled: bool = False
    needs_gpu: bool = False
    is_textbook: bool = False
    """True if each member has a process of its own."""


VARIANTS = {
    "processes": Variant("textbook PyTorch, a process each", _looped, is_textbook=True),
    "mps": Variant("the same, under NVIDIA MPS", _looped, needs_gpu=True, is_textbook=True),
    "eager": Variant("our plain step, looped", _looped),
    "compiled": Variant("our compiled step, looped", _looped, compiled=True),
    "graphs": Variant("our plain step, a CUDA graph each", _captured, needs_gpu=True),
    "graphs-compiled": Variant("our compiled step, a CUDA graph each", _captured, compiled=True, needs_gpu=True),
    "vmap": Variant("a group, compiled", _grouped, compiled=True),
    "vmap-graphs": Variant("a group, reduce-overhead", _grouped_reduced, needs_gpu=True),
    "vmap-captured": Variant("a group's whole step, one CUDA graph", _grouped_captured, needs_gpu=True),
    "grouped-convolutions": Variant("a group, grouped convolutions", _convolutions),
    "grouped-convolutions-compiled": Variant("the same, compiled", _convolutions, compiled=True),
}
