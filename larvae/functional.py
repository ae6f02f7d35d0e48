"""The objective and the encoder as functions of parameters, plain or fused by `torch.compile`.

They are kept for each structure, so that all members that a process trains share one compilation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch._functorch.config
from torch import Tensor
from torch.func import functional_call

from larvae import datasets, phases, regularisers
from larvae.compiling import keep_code_private
from larvae.config import MemberConfig
from larvae.datasets.on_device import Receiver
from larvae.distributions import Gaussian, Likelihood
from larvae.fast_networks import FastModel
from larvae.inputs import Draws, inputs_of
from larvae.native.library import is_faster
from larvae.native.model import NativeModel
from larvae.networks import Architecture, VariationalAutoencoder
from larvae.objectives import Batch, Model, Noise, Terms, Weights, inferred_posterior, larvae_objective
from larvae.together.stacked_adam import update

Parameters = Mapping[str, Tensor]

COMPILING = "compiling the step, once, about a minute"
CACHE_OUR_GRADIENTS = "autograd_cache_allow_custom_autograd_functions"
"""PyTorch's setting, from 2.8 on, that lets the compile cache keep graphs with autograd functions; their code is in its
key. Without it each process traces the gradients of `fast_networks` and `native.model` anew."""


class Structure(NamedTuple):
    """All of a member that shapes its step rather than weighs it: members of one structure share a compilation."""

    architecture: Architecture
    terms: Terms


Objective = Callable[[Parameters, Batch, Noise, Weights], dict[str, Tensor]]


class Functions(NamedTuple):
    """The functions that training and evaluation call."""

    objective: Objective
    """Terms by name, each 0-d."""
    encode: Callable[[Parameters, Tensor], Tensor]
    """Posterior means (B, |y| + |z|), float32, of images (B, C, 64, 64)."""
    native: bool
    """True if convolutions run in this project's own code, `larvae.native`."""


def structure_of(config: MemberConfig) -> Structure:
    """The structure of a member."""
    specification = datasets.specification(config.dataset)
    regulariser = regularisers.of_weight(config.regulariser, config.gamma_tc)
    architecture = Architecture(
        channels=specification.channels,
        num_latents=len(config.labels) + config.z_dim,
        instance_norm=config.instance_norm,
        has_discriminator=regulariser is not None and regulariser.has_discriminator,
        num_conditions=len(config.labels) if config.is_conditional else 0,
    )
    terms = Terms(
        penalise=regularisers.computation(regulariser.name) if regulariser else None,
        replaces_kl=regulariser is not None and regulariser.replaces_kl,
        density_estimator=config.density_estimator,
        likelihood=Likelihood(config.likelihood, config.pixel_mean),
        replacement_likelihood=Likelihood(config.replacement_likelihood or config.likelihood, config.pixel_mean),
        dataset_size=specification.num_images,
        replaces_labels=config.replaces_labels,
        replacement=config.replacement,
        detaches_nuisance=config.detach_nuisance,
        num_labels=len(config.labels),
        fixes_label_variance=config.label_variance > 0,
        fixes_nuisance_variance=config.nuisance_variance > 0,
        is_conditional=config.is_conditional,
    )
    return Structure(architecture, terms)


def fast_precision(device: torch.device) -> torch.dtype:
    """The precision of a fused step: bfloat16 where the hardware multiplies matrices in it, float32 elsewhere."""
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # PyTorch before 2.11 does not tell.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        supported = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return torch.bfloat16 if supported else torch.float32


@functools.lru_cache(maxsize=32)
def functions(structure: Structure, compiled_in: torch.dtype | None, device: str = "cpu") -> Functions:
    """A structure's functions. compiled_in: the precision of a fused step; None for the plain one, in float32.

    device: its type.
    """
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(structure.architecture)
    native = device == "cpu" and structure.architecture.instance_norm and is_faster(compiled_in)

    def model(parameters: Parameters) -> Model:
        if native and compiled_in is not None:
            return NativeModel(skeleton, parameters, compiled_in)
        if compiled_in == torch.bfloat16:
            return FastModel(skeleton, parameters, compiled_in)
        return PlainModel(skeleton, parameters)  # in float32 the compiler does as well with these

    def objective(parameters: Parameters, batch: Batch, noise: Noise, weights: Weights) -> dict[str, Tensor]:
        return larvae_objective(model(parameters), batch, noise, weights, structure.terms)

    def encode(parameters: Parameters, images: Tensor) -> Tensor:
        return inferred_posterior(model(parameters), images, structure.terms).mean

    if compiled_in is None:
        return Functions(objective, encode, native)
    return Functions(_fused(objective), _fused(encode), native)


class GroupFunctions(NamedTuple):
    """The functions of a group's step: all tensors, and each term, have a first dimension of members."""

    terms: Callable[[Parameters, Draws, Receiver, Weights, tuple[str, ...]], dict[str, Tensor]]
    """Terms by name, (K,) each, of draws that a receiver makes images of; see `inputs.inputs_of`."""
    update: Callable[..., None]
    """`stacked_adam.update`."""


@functools.lru_cache(maxsize=32)
def group_functions(structure: Structure, compiled_in: torch.dtype | None) -> GroupFunctions:
    """A structure's functions for many members at once.

    compiled_in: the precision of a fused step; None for one that runs as it is written, in float32.
    """
    objective = group_objective(structure, compiled_in or torch.float32)

    def terms(
        parameters: Parameters, draws: Draws, receiver: Receiver, weights: Weights, annealed: tuple[str, ...]
    ) -> dict[str, Tensor]:
        return objective(parameters, *inputs_of(draws, receiver, weights, annealed))

    if compiled_in is None:
        return GroupFunctions(terms, update)
    return GroupFunctions(_fused(terms), _fused(update))


def group_objective(structure: Structure, precision: torch.dtype) -> Objective:
    """The objective of many members at once, as it is written."""
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(structure.architecture)

    def objective(parameters: Parameters, batch: Batch, noise: Noise, weights: Weights) -> dict[str, Tensor]:
        model = FastModel(skeleton, parameters, precision, products=True)
        return larvae_objective(model, batch, noise, weights, structure.terms)

    return over_members(objective)


def over_members(objective: Objective) -> Objective:
    """An objective of one member as one of many, with a first dimension of members in all that it takes and gives."""

    def of_members(parameters: Parameters, batch: Batch, noise: Noise, weights: Weights) -> dict[str, Tensor]:
        dimensions = (0, _first_dimensions(batch), _first_dimensions(noise), 0)
        return torch.func.vmap(objective, in_dims=dimensions)(parameters, batch, noise, weights)

    return of_members


def _first_dimensions(tensors: Batch | Noise) -> Batch | Noise:
    """The dimensions of a tuple for vmap: 0, the dimension of members, for tensors and None for None."""
    return type(tensors)(*(None if tensor is None else 0 for tensor in tensors))  # type: ignore[arg-type]


def _fused(function: Callable[..., Any]) -> Callable[..., Any]:
    keep_code_private()
    _tell_of_compiling()
    torch._dynamo.config.recompile_limit = 64  # one entry a structure, and a sweep may have many
    if hasattr(torch._functorch.config, CACHE_OUR_GRADIENTS):
        setattr(torch._functorch.config, CACHE_OUR_GRADIENTS, True)
    return torch.compile(function, dynamic=False)


@functools.cache
def _tell_of_compiling() -> None:
    """Have PyTorch tell when it compiles: at a function's first call, and where a group comes to another size."""
    handler = getattr(torch._dynamo, "callback_handler", None)
    if handler is not None:
        handler.register_start_callback(lambda _: phases.begin(COMPILING))
        handler.register_end_callback(lambda _: phases.end(COMPILING))


class PlainModel:
    """A model whose parameters are passed in, its layers run as `networks` writes them."""

    def __init__(self, skeleton: VariationalAutoencoder, parameters: Parameters) -> None:
        self.skeleton = skeleton
        self.parts = {
            part: {name.removeprefix(f"{part}."): p for name, p in parameters.items() if name.startswith(part)}
            for part, _ in skeleton.named_children()
        }

    def encode(self, images: Tensor) -> Gaussian:
        return Gaussian(*functional_call(self.skeleton.encoder, self.parts["encoder"], (images,)).chunk(2, dim=1))

    def decode(self, latents: Tensor) -> Tensor:
        return functional_call(self.skeleton.decoder, self.parts["decoder"], (latents,))

    def condition(self, labels: Tensor) -> Tensor:
        return functional_call(self.skeleton.conditioner, self.parts["conditioner"], (labels,))

    def discriminate(self, latents: Tensor, *, frozen: bool) -> Tensor:
        parameters = self.parts["discriminator"]
        if frozen:
            parameters = {name: parameter.detach() for name, parameter in parameters.items()}
        return functional_call(self.skeleton.discriminator, parameters, (latents,))
