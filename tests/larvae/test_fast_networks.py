"""Layers run channels last: the functions of `networks`, their gradients too, whatever the precision."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from larvae.fast_networks import FastModel, run_layer, run_layer_as_product
from larvae.networks import (
    Architecture,
    InstanceNormReLU,
    PatchConv2d,
    PatchConvTranspose2d,
    VariationalAutoencoder,
    initialise,
)
from larvae.objectives import Model

NUM_LATENTS = 4
BATCH_SIZE = 6
BFLOAT16_ERROR = 2e-2
"""Largest norm of a difference by the norm of what was expected."""
BFLOAT16_COSINE = 0.96
"""Least cosine of a parameter's gradient in bfloat16 and in float32, at initialisation."""

PRECISIONS = (torch.float32, torch.bfloat16)
ARCHITECTURES = [
    Architecture(channels, NUM_LATENTS, instance_norm=instance_norm, has_discriminator=True)
    for channels in (1, 3)
    for instance_norm in (True, False)
]

PARTS: dict[str, Callable[[Model, Tensor], Tensor]] = {
    "encode": lambda model, images: torch.cat(model.encode(images), dim=1),
    "decode": lambda model, latents: model.decode(latents),
    "discriminate": lambda model, latents: model.discriminate(latents, frozen=False),
    "discriminate frozen": lambda model, latents: model.discriminate(latents, frozen=True),
}


class Results(NamedTuple):
    """Results of a part of a model."""

    value: Tensor
    input_gradient: Tensor
    gradients: dict[str, Tensor]
    """Of those parameters that get one."""


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def blobs(channels: int, seed: int = 0) -> Tensor:
    """Binary images of a disc in each channel, float32 (B, channels, 64, 64)."""
    rng = np.random.default_rng(seed)
    row, column = rng.uniform(16, 48, (2, BATCH_SIZE, channels, 1, 1))
    radius = rng.uniform(4, 12, (BATCH_SIZE, channels, 1, 1))
    rows, columns = np.mgrid[:64, :64]
    return torch.from_numpy(((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.float32))


def inputs_of(part: str, architecture: Architecture) -> Tensor:
    return blobs(architecture.channels) if part == "encode" else random_tensor(BATCH_SIZE, NUM_LATENTS).float()


def fast_model(model: VariationalAutoencoder, precision: torch.dtype, products: bool = False) -> FastModel:
    """Of the model's own parameters, and of a skeleton that has no values."""
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(
            Architecture(
                model.encoder[0].in_channels,
                NUM_LATENTS,
                instance_norm=isinstance(model.encoder[1], InstanceNormReLU),
                has_discriminator=hasattr(model, "discriminator"),
            )
        )
    return FastModel(skeleton, dict(model.named_parameters()), precision, products=products)


def results(run: Callable[[Tensor], Tensor], inputs: Tensor, parameters: dict[str, Tensor]) -> Results:
    """Value and gradients of a random weighted sum of it, the same for all precisions."""
    inputs = inputs.detach().clone().requires_grad_()
    for parameter in parameters.values():
        parameter.grad = None
    value = run(inputs)
    value.backward(random_tensor(*value.shape, seed=9).to(value.dtype))
    assert inputs.grad is not None
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    return Results(value.detach(), inputs.grad, gradients)


def assert_close(ours: Tensor, expected: Tensor, error: float, name: str = "") -> None:
    assert ours.shape == expected.shape
    distance = float((ours.double() - expected.double()).detach().norm())
    assert distance <= error * float(expected.detach().double().norm()), name


def assert_same_results(ours: Results, expected: Results, error: float) -> None:
    assert_close(ours.value, expected.value, error, "value")
    assert_close(ours.input_gradient, expected.input_gradient, error, "input")
    assert ours.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        assert_close(ours.gradients[name], gradient, error, name)


# Whole models


@pytest.mark.parametrize("products", [False, True], ids=["alone", "products"])
@pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=[f"{a.channels} {'norm' if a.instance_norm else 'bias'}" for a in ARCHITECTURES]
)
def test_it_is_the_model_of_networks(architecture: Architecture, products: bool) -> None:
    """Values, and gradients of the input and of every parameter: in float32 next to `networks` in float64.

    In bfloat16 they point where float32's do, about as well as with `torch.autocast`. Parameters are only read.
    """
    model, exact = initialise(architecture, seed=0), initialise(architecture, seed=0).double()
    parameters, exact_parameters = dict(model.named_parameters()), dict(exact.named_parameters())
    for part, run in PARTS.items():
        inputs = inputs_of(part, architecture)
        kept = inputs.clone()
        single, half = (
            results(functools.partial(run, fast_model(model, precision, products)), inputs, parameters)
            for precision in PRECISIONS
        )
        assert_same_results(single, results(functools.partial(run, exact), inputs.double(), exact_parameters), 1e-5)
        network = {"encode": "encoder", "decode": "decoder", "discriminate": "discriminator"}.get(part, "none")
        assert (
            single.gradients.keys() == half.gradients.keys() == {n for n in parameters if n.startswith(f"{network}.")}
        )
        assert not torch.equal(half.value, single.value)
        assert_close(half.value, single.value, BFLOAT16_ERROR)
        for name, gradient in half.gradients.items():
            cosine = cosine_similarity(gradient.flatten(), single.gradients[name].flatten(), dim=0)
            assert float(cosine) >= BFLOAT16_COSINE, name
            assert gradient.stride() == parameters[name].stride()
        found = {tensor.dtype for r in (single, half) for tensor in (r.value, r.input_gradient, *r.gradients.values())}
        assert found == {torch.float32}
        assert torch.equal(inputs, kept)
    assert all(torch.equal(parameter.double(), exact_parameters[name]) for name, parameter in parameters.items())


# Layers alone

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "strided 4×4": (nn.Conv2d(8, 6, 4, stride=2, padding=1, bias=False), (8, 12, 8)),
    "strided 4×4 with bias": (nn.Conv2d(8, 6, 4, stride=2, padding=1), (8, 12, 8)),
    "2×2": (nn.Conv2d(5, 6, 2, stride=2, bias=False), (5, 8, 12)),
    "2×2 with bias": (nn.Conv2d(5, 6, 2, stride=2), (5, 8, 12)),
    "patches of 1": (PatchConv2d(1, 7, bias=False), (1, 8, 12)),
    "patches of 3": (PatchConv2d(3, 7, bias=False), (3, 12, 8)),
    "patches of 3 with bias": (PatchConv2d(3, 7, bias=True), (3, 12, 8)),
    "transposed": (nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1, bias=False), (6, 4, 6)),
    "transposed with bias": (nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1), (6, 6, 4)),
    "transposed patches of 1": (PatchConvTranspose2d(7, 1), (7, 6, 4)),
    "transposed patches of 3": (PatchConvTranspose2d(7, 3), (7, 4, 6)),
    "norm": (InstanceNormReLU(), (5, 6, 4)),
    "ReLU": (nn.ReLU(), (5, 6, 4)),
}
"""Layers of images, with the shape (C, H, W) of an input, height and width not the same."""
IN_FLOAT32 = ("transposed patches of 1", "transposed patches of 3", "norm")
"""These take part of their way in float32, whatever the precision."""


def layer_in(name: str, precision: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A layer with values of its own, its parameters in float64 or else float32, and an input (B, C, H, W)."""
    layer, shape = LAYERS[name]
    kind = torch.float64 if precision == torch.float64 else torch.float32
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(0.3 * random_tensor(*parameter.shape, seed=seed))
    return layer.to(kind).requires_grad_(), random_tensor(3, *shape, seed=5).to(precision)


def run_fast(run: Callable[..., Tensor], layer: nn.Module, precision: torch.dtype, images: Tensor) -> Tensor:
    """From channels first to channels first."""
    result = run(layer, images.permute(0, 2, 3, 1), precision, **dict(layer.named_parameters()))
    return result if isinstance(layer, PatchConvTranspose2d) else result.permute(0, 3, 1, 2)


@pytest.mark.parametrize("run", [run_layer, run_layer_as_product], ids=["alone", "product"])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_is_that_of_networks(name: str, run: Callable[..., Tensor]) -> None:
    """In float64, and between convolutions in bfloat16; wherever features lie: channels last, first or strided."""
    layer, images = layer_in(name, torch.float64)
    parameters = dict(layer.named_parameters())
    ours = results(functools.partial(run_fast, run, layer, torch.float64), images, parameters)
    expected = results(layer, images, parameters)
    assert ours.gradients.keys() == expected.gradients.keys() == parameters.keys()
    assert_same_results(ours, expected, 1e-6 if name in IN_FLOAT32 else 1e-12)
    strided = torch.stack([images, images], dim=3).flatten(2, 3)[:, :, ::2]
    for other in (images.contiguous(memory_format=torch.channels_last), strided):
        assert_close(run_fast(run, layer, torch.float64, other), ours.value, 1e-6)

    layer, images = layer_in(name, torch.bfloat16)
    parameters = dict(layer.named_parameters())
    ours = results(functools.partial(run_fast, run, layer, torch.bfloat16), images, parameters)
    assert ours.value.dtype == (torch.float32 if isinstance(layer, PatchConvTranspose2d) else torch.bfloat16)
    assert ours.input_gradient.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in ours.gradients.values()} <= {torch.float32}
    assert_same_results(ours, results(layer, images.float(), parameters), BFLOAT16_ERROR)


def test_layers_at_latents_and_logits_are_float32_whatever_their_number() -> None:
    """Layers between features are not."""
    for num_latents in (2, 128, 300):
        model = initialise(Architecture(1, num_latents, has_discriminator=True), seed=0)
        fast = FastModel(model, dict(model.named_parameters()), torch.bfloat16, products=False)
        linear = [
            (layer.in_features, layer.out_features, fast.precision_of(part, name, layer))
            for part, network in model.named_children()
            for name, layer in network.named_children()
            if isinstance(layer, nn.Linear)
        ]
        in_bfloat16 = [(inputs, outputs) for inputs, outputs, precision in linear if precision == torch.bfloat16]
        assert in_bfloat16 == [(1024, 256), (256, 1024)] + 5 * [(1000, 1000)]


@pytest.mark.parametrize("run", [run_layer, run_layer_as_product], ids=["alone", "product"])
def test_norm_of_a_constant_channel_is_next_to_zero_with_finite_gradient(run: Callable[..., Tensor]) -> None:
    """Images and latents without contrast have such channels."""
    for level, precision in itertools.product((0.0, 7.0, 0.1, -1e4), PRECISIONS):
        features = random_tensor(2, 4, 4, 3).to(precision)
        features[..., 1] = level
        features.requires_grad_()
        value = run(InstanceNormReLU(), features, precision)
        value.backward(random_tensor(*value.shape, seed=1).to(precision))
        assert float(value[..., 1].detach().abs().max()) <= 1e-6 * abs(level) * 320  # rounding, divided by √ε
        assert float(value[..., 0].detach().max()) > 0.5
        assert torch.isfinite(features.grad).all()


def test_norm_keeps_no_more_than_its_input_for_its_gradient() -> None:
    """Its reason to exist: what autograd would keep is several float32 copies of the features."""
    kept: list[Tensor] = []
    features = random_tensor(2, 8, 8, 16).to(torch.bfloat16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        run_layer(InstanceNormReLU(), features, torch.bfloat16)
    large = [tensor for tensor in kept if tensor.numel() >= features.numel()]
    assert [tensor.data_ptr() for tensor in large] == [features.data_ptr()]
