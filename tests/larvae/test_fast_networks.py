"""Layers run channels last: the functions of `networks`, their gradients too, whatever the precision."""

from __future__ import annotations

import functools
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
FLOAT32_ERROR, BFLOAT16_ERROR = 1e-5, 2e-2
"""Largest norm of a difference by the norm of what was expected."""
BFLOAT16_COSINE = 0.96
"""Least cosine of a parameter's gradient in bfloat16 and in float32, at initialisation."""

PRECISIONS = (torch.float32, torch.bfloat16)
ARCHITECTURES = [
    Architecture(channels, NUM_LATENTS, instance_norm=instance_norm, has_discriminator=True)
    for channels in (1, 3)
    for instance_norm in (True, False)
]
each_architecture = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=[f"{a.channels} {'norm' if a.instance_norm else 'bias'}" for a in ARCHITECTURES]
)
each_precision = pytest.mark.parametrize("precision", PRECISIONS, ids=str)
as_products_or_not = pytest.mark.parametrize("products", [False, True], ids=["alone", "products"])

PARTS: dict[str, Callable[[Model, Tensor], Tensor]] = {
    "encode": lambda model, images: torch.cat(model.encode(images), dim=1),
    "decode": lambda model, latents: model.decode(latents),
    "discriminate": lambda model, latents: model.discriminate(latents, frozen=False),
    "discriminate frozen": lambda model, latents: model.discriminate(latents, frozen=True),
}
each_part = pytest.mark.parametrize("part", PARTS)


class Results(NamedTuple):
    """What a part of a model gives."""

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


@as_products_or_not
@each_architecture
@each_part
def test_float32_is_the_model_of_networks(architecture: Architecture, part: str, products: bool) -> None:
    """Values, and gradients of the input and of every parameter, next to `networks` in float64."""
    model = initialise(architecture, seed=0)
    exact = initialise(architecture, seed=0).double()
    run, inputs = PARTS[part], inputs_of(part, architecture)
    fast = fast_model(model, torch.float32, products)
    ours = results(lambda x: run(fast, x), inputs, dict(model.named_parameters()))
    expected = results(lambda x: run(exact, x), inputs.double(), dict(exact.named_parameters()))
    assert_same_results(ours, expected, FLOAT32_ERROR)
    network = {"encode": "encoder", "decode": "decoder", "discriminate": "discriminator"}.get(part)
    assert ours.gradients.keys() == {
        name for name, _ in model.named_parameters() if network is not None and name.startswith(f"{network}.")
    }  # all of this network's parameters, and none of a frozen one's


@as_products_or_not
@each_architecture
@each_part
def test_bfloat16_points_where_float32_does(architecture: Architecture, part: str, products: bool) -> None:
    """About as well as `torch.autocast` does with `networks`, the encoder's first layers least."""
    model = initialise(architecture, seed=0)
    parameters = dict(model.named_parameters())
    run, inputs = PARTS[part], inputs_of(part, architecture)
    models = [fast_model(model, precision, products) for precision in (torch.bfloat16, torch.float32)]
    ours, expected = (results(functools.partial(run, fast), inputs, parameters) for fast in models)
    assert not torch.equal(ours.value, expected.value)
    assert_close(ours.value, expected.value, BFLOAT16_ERROR)
    assert ours.gradients.keys() == expected.gradients.keys()
    cosines = {
        name: float(cosine_similarity(gradient.flatten(), expected.gradients[name].flatten(), dim=0))
        for name, gradient in ours.gradients.items()
    }
    assert {name: cosine for name, cosine in cosines.items() if cosine < BFLOAT16_COSINE} == {}


@as_products_or_not
@each_precision
@each_architecture
def test_results_and_gradients_are_float32_as_the_parameters_are(
    architecture: Architecture, precision: torch.dtype, products: bool
) -> None:
    model = initialise(architecture, seed=0)
    parameters = dict(model.named_parameters())
    for part, run in PARTS.items():
        fast = fast_model(model, precision, products)
        ours = results(lambda x, fast=fast, run=run: run(fast, x), inputs_of(part, architecture), parameters)
        assert ours.value.dtype == ours.input_gradient.dtype == torch.float32
        assert {gradient.dtype for gradient in ours.gradients.values()} <= {torch.float32}
        assert all(ours.gradients[name].stride() == parameters[name].stride() for name in ours.gradients)
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}


@each_precision
@each_part
def test_parameters_are_only_read(part: str, precision: torch.dtype) -> None:
    model = initialise(ARCHITECTURES[0], seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    inputs = inputs_of(part, ARCHITECTURES[0])
    kept = inputs.clone()
    fast = fast_model(model, precision)
    results(lambda x: PARTS[part](fast, x), inputs, dict(model.named_parameters()))
    assert torch.equal(inputs, kept)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@each_precision
def test_values_are_those_of_the_parameters_given(precision: torch.dtype) -> None:
    """Of no others: the skeleton gives layers alone."""
    images = blobs(1)
    means = [
        fast_model(initialise(ARCHITECTURES[0], seed), precision).encode(images).mean.detach() for seed in (0, 1, 0)
    ]
    assert torch.equal(means[0], means[2])
    assert not torch.allclose(means[0], means[1], atol=1e-2)


@as_products_or_not
@each_precision
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_images_and_latents_without_contrast_stay_finite(
    part: str, level: float, precision: torch.dtype, products: bool
) -> None:
    """Their channels have variance 0 or next to it."""
    model = initialise(ARCHITECTURES[0], seed=0)
    inputs = torch.full_like(inputs_of(part, ARCHITECTURES[0]), level)
    fast = fast_model(model, precision, products)
    ours = results(lambda x: PARTS[part](fast, x), inputs, dict(model.named_parameters()))
    for tensor in (ours.value, ours.input_gradient, *ours.gradients.values()):
        assert torch.isfinite(tensor).all()


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
each_layer = pytest.mark.parametrize("name", LAYERS)
each_way = pytest.mark.parametrize("run", [run_layer, run_layer_as_product], ids=["alone", "product"])


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


@each_way
@each_layer
def test_each_layer_is_that_of_networks(name: str, run: Callable[..., Tensor]) -> None:
    layer, images = layer_in(name, torch.float64)
    parameters = dict(layer.named_parameters())
    ours = results(functools.partial(run_fast, run, layer, torch.float64), images, parameters)
    expected = results(layer, images, parameters)
    assert ours.gradients.keys() == expected.gradients.keys() == parameters.keys()
    assert_same_results(ours, expected, 1e-6 if name in IN_FLOAT32 else 1e-12)


@each_way
@each_layer
def test_each_layer_keeps_the_precision_between_convolutions(name: str, run: Callable[..., Tensor]) -> None:
    layer, images = layer_in(name, torch.bfloat16)
    parameters = dict(layer.named_parameters())
    ours = results(functools.partial(run_fast, run, layer, torch.bfloat16), images, parameters)
    expected = results(layer, images.float(), parameters)
    assert ours.value.dtype == (torch.float32 if isinstance(layer, PatchConvTranspose2d) else torch.bfloat16)
    assert ours.input_gradient.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in ours.gradients.values()} <= {torch.float32}
    assert_same_results(ours, expected, BFLOAT16_ERROR)


@each_way
@each_layer
def test_layers_take_features_however_they_lie_in_memory(name: str, run: Callable[..., Tensor]) -> None:
    """Channels last or first, or each second row of a larger tensor."""
    layer, images = layer_in(name, torch.float32)
    first = images.contiguous()
    strided = torch.stack([images, images], dim=3).flatten(2, 3)[:, :, ::2]
    assert torch.equal(strided, images)
    value, *others = (
        run_fast(run, layer, torch.float32, x)
        for x in (first, first.contiguous(memory_format=torch.channels_last), strided)
    )
    for other in others:
        assert_close(other, value, 1e-6)


def test_flatten_and_unflatten_keep_the_order_of_channels_first() -> None:
    images = random_tensor(3, 5, 4, 6)
    flat = run_layer(nn.Flatten(), images.permute(0, 2, 3, 1), torch.float64)
    assert torch.equal(flat, images.flatten(1))
    assert torch.equal(run_layer(nn.Unflatten(1, (5, 4, 6)), flat, torch.float64), images.permute(0, 2, 3, 1))


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("num_latents", [2, 128, 300])
def test_however_many_latents_they_are_float32(num_latents: int, products: bool) -> None:
    """So are the discriminator's logits; layers between features are not."""
    model = initialise(Architecture(1, num_latents, has_discriminator=True), seed=0)
    fast = FastModel(model, dict(model.named_parameters()), torch.bfloat16, products=products)
    posterior = fast.encode(random_tensor(2, 1, 64, 64).float())
    latents = random_tensor(2, num_latents).float()
    found = {posterior.mean.dtype, posterior.log_variance.dtype, fast.discriminate(latents, frozen=False).dtype}
    assert found == {torch.float32}
    linear = [
        (layer.in_features, layer.out_features, fast.precision_of(part, name, layer))
        for part, network in model.named_children()
        for name, layer in network.named_children()
        if isinstance(layer, nn.Linear)
    ]
    in_bfloat16 = [(inputs, outputs) for inputs, outputs, precision in linear if precision == torch.bfloat16]
    assert in_bfloat16 == [(1024, 256), (256, 1024)] + 5 * [(1000, 1000)]


def test_norm_s_gradient_is_that_of_its_value() -> None:
    """By finite differences; values keep off the ReLU's edge. It computes in float32, hence the wide steps."""
    sizes = 1 + torch.rand(2, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signs = 1 - 2 * (torch.arange(12).view(4, 3, 1) % 2)
    features = (sizes * signs).requires_grad_()
    run = lambda x: run_layer(InstanceNormReLU(), x, torch.float64)  # noqa: E731
    assert torch.autograd.gradcheck(run, (features,), eps=1e-3, atol=1e-3, rtol=1e-3)


def test_transposed_patches_gradients_are_those_of_their_values() -> None:
    """By finite differences; the layer is linear in either of its arguments, so wide steps are exact."""
    layer = PatchConvTranspose2d(3, 2).double()
    features = random_tensor(2, 3, 2, 3).requires_grad_()
    weight, bias = (parameter.detach().clone().requires_grad_() for parameter in layer.parameters())
    run = lambda x, w, b: run_layer(layer, x, torch.float64, weight=w, bias=b)  # noqa: E731
    assert torch.autograd.gradcheck(run, (features, weight, bias), eps=0.1, atol=1e-4, rtol=1e-4)


@each_way
@each_precision
@pytest.mark.parametrize("level", [0.0, 7.0, 0.1, -1e4])
def test_norm_of_a_constant_channel_is_next_to_zero_with_finite_gradient(
    level: float, precision: torch.dtype, run: Callable[..., Tensor]
) -> None:
    features = random_tensor(2, 4, 4, 3).to(precision)
    features[..., 1] = level
    features.requires_grad_()
    value = run(InstanceNormReLU(), features, precision)
    value.backward(random_tensor(*value.shape, seed=1).to(precision))
    assert float(value[..., 1].detach().abs().max()) <= 1e-6 * abs(level) * 320  # rounding, divided by √ε
    assert float(value[..., 0].detach().max()) > 0.5
    assert torch.isfinite(features.grad).all()


def test_norm_s_result_and_gradient_depend_on_no_other_image_or_channel() -> None:
    features = random_tensor(2, 4, 4, 3).float().requires_grad_()
    value = run_layer(InstanceNormReLU(), features, torch.float32)
    value[0, :, :, 1].square().sum().backward()
    others = features.grad.clone()
    others[0, :, :, 1] = 0
    assert not others.any()
    assert features.grad[0, :, :, 1].any()
    alone = run_layer(InstanceNormReLU(), features[:1, :, :, 1:2], torch.float32)
    assert torch.allclose(alone, value[:1, :, :, 1:2], atol=1e-6)


def test_norm_keeps_no_more_than_its_input_for_its_gradient() -> None:
    """Its reason to exist: what autograd would keep is several float32 copies of the features."""
    kept: list[Tensor] = []
    features = random_tensor(2, 8, 8, 16).to(torch.bfloat16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        run_layer(InstanceNormReLU(), features, torch.bfloat16)
    large = [tensor for tensor in kept if tensor.numel() >= features.numel()]
    assert [tensor.data_ptr() for tensor in large] == [features.data_ptr()]
