"""The networks of Table D.2 and the layers that stand in for PyTorch's own."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from larvae.networks import (
    Architecture,
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
    for architecture, norms in ((TEN_LATENTS, 7), (WITHOUT_NORM, 0)):
        model = VariationalAutoencoder(architecture)
        assert sum(isinstance(module, InstanceNormReLU) for module in model.modules()) == norms
        assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == 10 - norms
        for network in (model.encoder, model.decoder):
            for layer, following in itertools.pairwise([*network, nn.Identity()]):
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    assert (layer.bias is None) == isinstance(following, InstanceNormReLU)


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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_patch_convolutions_are_pytorch_s(channels: int, bias: bool) -> None:
    forwards = PatchConv2d(channels, 32, bias=bias), nn.Conv2d(channels, 32, 4, stride=2, padding=1, bias=bias)
    back = PatchConvTranspose2d(32, channels), nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1)
    for (ours, theirs), inputs in zip((forwards, back), ((3, channels, 32, 24), (3, 32, 16, 12)), strict=True):
        ours.double(), theirs.double()
        with torch.no_grad():
            for seed, parameter in enumerate(ours.parameters()):
                parameter.copy_(random_tensor(*parameter.shape, seed=3 + seed))
        assert_same_function(ours, theirs, random_tensor(*inputs, seed=1))


def test_shapes_and_images_that_do_not_mix() -> None:
    for channels, num_latents in ((1, 5), (3, 10)):
        model = initialise(Architecture(channels, num_latents), seed=0).double()
        images = random_tensor(3, channels, 64, 64)
        posterior = model.encode(images)
        assert posterior.mean.shape == posterior.log_variance.shape == (3, num_latents)
        assert torch.equal(torch.cat(posterior, dim=1), model.encoder(images))
        decoded = model.decode(posterior.mean)
        assert decoded.shape == (3, channels, 64, 64)
        assert torch.allclose(decoded[1:2], model.decode(model.encode(images[1:2]).mean), atol=1e-10)


def test_same_seed_gives_the_same_parameters_and_another_seed_others() -> None:
    """Without and beside a discriminator, encoder and decoder start alike; the global stream plays no part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first, other = (dict(initialise(WITH_DISCRIMINATOR, seed).named_parameters()) for seed in (5, 6))
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        without = dict(initialise(TEN_LATENTS, 5).named_parameters())
    assert all(torch.equal(first[name], value) for name, value in without.items())
    assert {name.split(".")[0] for name in first.keys() - without.keys()} == {"discriminator"}
    assert not any(torch.equal(first[name], other[name]) for name in first)


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
