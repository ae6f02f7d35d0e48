"""The networks of Table D.2 and the layers that stand in for PyTorch's own."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from larvae.networks import (
    Architecture,
    Discriminator,
    InstanceNormReLU,
    PatchConv2d,
    PatchConvTranspose2d,
    VariationalAutoencoder,
    initialise,
)

ENCODER_CONVOLUTIONS = ((4, 1, 32), (4, 32, 32), (2, 32, 64), (2, 64, 64))
DECODER_CONVOLUTIONS = ((4, 64, 64), (4, 64, 32), (4, 32, 32), (4, 32, 1))
"""Kernel size, channels in and channels out of each, from Table D.2."""
FULLY_CONNECTED = ((1024, 256), (256, 20), (10, 256), (256, 1024))
"""At ten latents: two of the encoder, two of the decoder."""

TEN_LATENTS = Architecture(channels=1, num_latents=10)
FOUR_LATENTS = Architecture(channels=1, num_latents=4)
WITHOUT_NORM = TEN_LATENTS._replace(instance_norm=False)
WITH_DISCRIMINATOR = TEN_LATENTS._replace(has_discriminator=True)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_parameters_are_those_of_the_paper_without_biases_that_a_norm_takes_away() -> None:
    convolutions = ENCODER_CONVOLUTIONS + DECODER_CONVOLUTIONS
    weights = sum(kernel * kernel * inputs * outputs for kernel, inputs, outputs in convolutions)
    biases = sum(outputs for _, _, outputs in convolutions)
    fully_connected = sum(inputs * outputs + outputs for inputs, outputs in FULLY_CONNECTED)
    assert weights + biases + fully_connected == 690_517  # the count that Table D.2 leads to
    normalised = convolutions[:-1]  # all but the one that gives the logits
    removed = sum(outputs for _, _, outputs in normalised)
    assert len(normalised) == 7
    assert num_parameters(VariationalAutoencoder(TEN_LATENTS)) == 690_517 - removed
    assert num_parameters(VariationalAutoencoder(WITHOUT_NORM)) == 690_517


def test_exactly_the_layers_before_a_norm_have_no_bias() -> None:
    model = VariationalAutoencoder(TEN_LATENTS)
    for network in (model.encoder, model.decoder):
        layers = [*network, nn.Identity()]
        for layer, following in itertools.pairwise(layers):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert (layer.bias is None) == isinstance(following, InstanceNormReLU)


def test_without_norms_every_layer_has_a_bias() -> None:
    model = VariationalAutoencoder(WITHOUT_NORM)
    assert not any(isinstance(module, InstanceNormReLU) for module in model.modules())
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert len(layers) == 8 + 4
    assert all(layer.bias is not None for layer in layers)
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == 7 + 3  # as many as with norms


@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_norms_change_what_a_network_computes(network: str) -> None:
    """With the same weights and biases of zero, only the norms differ: they take an image's contrast away."""
    with_norm, without = initialise(TEN_LATENTS, seed=0).double(), initialise(WITHOUT_NORM, seed=0).double()
    for name, parameter in without.named_parameters():
        with torch.no_grad():
            parameter.copy_(with_norm.state_dict().get(name, torch.zeros_like(parameter)))
    x = random_tensor(2, 1, 64, 64) if network == "encoder" else random_tensor(2, 10)
    normalised, plain = (model.get_submodule(network)(x) for model in (with_norm, without))
    assert not torch.allclose(normalised, plain, atol=1e-3)
    if network == "encoder":
        doubled_normalised, doubled_plain = with_norm.encoder(2 * x), without.encoder(2 * x)
        assert torch.allclose(doubled_normalised, normalised, atol=1e-4)
        assert not torch.allclose(doubled_plain, plain, atol=1e-3)


def test_layers_without_norms_are_pytorch_s() -> None:
    """The convolutions of few channels have a bias then, which must be added."""
    model = initialise(WITHOUT_NORM, seed=0).double()
    first = model.encoder[0]
    theirs = nn.Conv2d(1, 32, 4, stride=2, padding=1).double()
    assert (first.bias != 0).all()
    assert_same_function(first, theirs, random_tensor(2, 1, 64, 64))


def test_bias_before_a_norm_would_change_nothing() -> None:
    x = random_tensor(2, 3, 8, 8)
    bias = random_tensor(3, seed=1)[:, None, None]
    assert torch.allclose(InstanceNormReLU()(x + bias), InstanceNormReLU()(x), atol=1e-12)


def test_instance_norm_relu_is_pytorch_s() -> None:
    x = 5 * random_tensor(4, 3, 8, 6) + 2
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = InstanceNormReLU()(ours), torch.relu(F.instance_norm(theirs))
    assert torch.allclose(y, expected, atol=1e-12)
    cotangent = random_tensor(*y.shape, seed=1)
    y.backward(cotangent)
    expected.backward(cotangent)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_instance_norm_relu_of_a_constant_image_is_zero_with_finite_gradient() -> None:
    x = torch.full((2, 3, 4, 4), 7.0, requires_grad=True)
    y = InstanceNormReLU()(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 3, 4, 4))
    assert torch.isfinite(x.grad).all()


def assert_same_function(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Equal values, and equal gradients of the input and of every parameter."""
    theirs.load_state_dict(ours.state_dict())
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(value) for layer, value in zip((ours, theirs), inputs, strict=True)]
    assert outputs[0].shape == outputs[1].shape
    assert torch.allclose(*outputs, rtol=1e-10, atol=1e-10)
    cotangent = random_tensor(*outputs[0].shape, seed=2)
    for output in outputs:
        output.backward(cotangent)
    assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-10, atol=1e-10)
    for (name, parameter), (other_name, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other_name
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_patch_convolution_is_the_convolution(channels: int) -> None:
    ours = PatchConv2d(channels, 32, bias=False).double()
    theirs = nn.Conv2d(channels, 32, 4, stride=2, padding=1, bias=False).double()
    with torch.no_grad():
        ours.weight.copy_(random_tensor(*ours.weight.shape, seed=3))
    assert_same_function(ours, theirs, random_tensor(3, channels, 64, 48, seed=1))


@pytest.mark.parametrize("channels", [1, 3])
def test_patch_transposed_convolution_is_the_transposed_convolution(channels: int) -> None:
    ours = PatchConvTranspose2d(32, channels).double()
    theirs = nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1).double()
    with torch.no_grad():
        ours.weight.copy_(random_tensor(*ours.weight.shape, seed=3))
        ours.bias.copy_(random_tensor(channels, seed=4))
    assert_same_function(ours, theirs, random_tensor(3, 32, 32, 24, seed=1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_latents", [5, 10])  # dSprites without and with a nuisance
def test_shapes(channels: int, num_latents: int) -> None:
    model = initialise(Architecture(channels, num_latents), seed=0)
    posterior = model.encode(torch.rand(3, channels, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert posterior.mean.shape == posterior.log_variance.shape == (3, num_latents)
    assert model.decode(posterior.mean).shape == (3, channels, 64, 64)


def test_means_come_before_log_variances() -> None:
    model = initialise(FOUR_LATENTS, seed=0)
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    posterior = model.encode(images)
    assert torch.equal(torch.cat(posterior, dim=1), model.encoder(images))


def test_images_of_a_batch_do_not_mix() -> None:
    model = initialise(FOUR_LATENTS, seed=0).double()
    images = random_tensor(3, 1, 64, 64)
    alone = model.decode(model.encode(images[1:2]).mean)
    assert torch.allclose(model.decode(model.encode(images).mean)[1:2], alone, atol=1e-10)


@pytest.mark.parametrize("architecture", [TEN_LATENTS, WITHOUT_NORM, WITH_DISCRIMINATOR], ids=["plain", "bias", "D"])
def test_same_seed_gives_the_same_parameters_and_another_seed_others(architecture: Architecture) -> None:
    first, again, other = (dict(initialise(architecture, seed).named_parameters()) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_initialisation_neither_reads_nor_moves_the_global_stream() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first = initialise(TEN_LATENTS, seed=0).decoder[0].weight
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(initialise(TEN_LATENTS, seed=0).decoder[0].weight, first)


# The discriminator of FactorVAE


def test_discriminator_is_the_paper_s() -> None:
    """Kim & Mnih (2018), Appendix A: six layers of 1000 units, leaky ReLU of 0.2, two logits."""
    layers = list(VariationalAutoencoder(WITH_DISCRIMINATOR).discriminator)
    linear, activations = layers[::2], layers[1::2]
    assert all(isinstance(layer, nn.Linear) for layer in linear)
    sizes = [(layer.in_features, layer.out_features) for layer in linear]
    assert sizes == [(10, 1000)] + [(1000, 1000)] * 5 + [(1000, 2)]
    assert all(layer.bias is not None for layer in linear)
    assert [(type(layer), layer.negative_slope) for layer in activations] == [(nn.LeakyReLU, 0.2)] * 6


def test_models_have_a_discriminator_only_when_asked() -> None:
    names = {name for name, _ in VariationalAutoencoder(TEN_LATENTS).named_children()}
    assert names == {"encoder", "decoder"}
    difference = num_parameters(VariationalAutoencoder(WITH_DISCRIMINATOR)) - num_parameters(
        VariationalAutoencoder(TEN_LATENTS)
    )
    assert difference == num_parameters(Discriminator(10)) == 10 * 1000 + 5 * 1000**2 + 1000 * 2 + 6 * 1000 + 2


def test_encoder_and_decoder_start_alike_with_and_without_a_discriminator() -> None:
    without = initialise(TEN_LATENTS, seed=3).state_dict()
    beside = initialise(WITH_DISCRIMINATOR, seed=3).state_dict()
    assert {name.split(".")[0] for name in beside.keys() - without.keys()} == {"discriminator"}
    assert all(torch.equal(beside[name], value) for name, value in without.items())


def test_frozen_discriminator_computes_the_same_and_passes_the_gradient_on_to_latents_only() -> None:
    model = initialise(WITH_DISCRIMINATOR, seed=0)
    latents = [torch.linspace(-1, 1, 30).view(3, 10).requires_grad_() for _ in range(2)]
    frozen, free = (model.discriminate(x, frozen=f) for x, f in zip(latents, (True, False), strict=True))
    assert frozen.shape == (3, 2)
    assert torch.equal(frozen, free)
    frozen[:, 0].sum().backward()
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())
    free[:, 0].sum().backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in model.discriminator.parameters())
    assert torch.equal(latents[0].grad, latents[1].grad)
    assert float(latents[0].grad.abs().min()) > 0
