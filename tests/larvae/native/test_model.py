"""Convolutions and norms in C++: the functions of `networks`, their gradients too, in either precision."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from larvae.fast_networks import FastModel
from larvae.native import model as native
from larvae.native.library import COMPILERS, FLAGS, library
from larvae.native.operators import NORMED_CHANNELS
from larvae.networks import Architecture, InstanceNormReLU, VariationalAutoencoder, initialise
from larvae.objectives import Model

NUM_LATENTS, BATCH_SIZE = 4, 5
PRECISIONS = (torch.float32, torch.bfloat16)
ERROR = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Largest norm of a difference by the norm of what was expected."""
each_channels = pytest.mark.parametrize("channels", [1, 3])

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "4×4 of 1 channel": (nn.Conv2d(1, 32, 4, stride=2, padding=1, bias=False), (1, 8, 12)),
    "4×4 of 3 channels": (nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False), (3, 12, 8)),
    "4×4": (nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False), (32, 8, 12)),
    "2×2": (nn.Conv2d(32, 64, 2, stride=2, bias=False), (32, 12, 8)),
    "transposed": (nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False), (64, 4, 6)),
    "4×4 in strips": (nn.Conv2d(32, 32, 4, stride=2, padding=1, bias=False), (32, 48, 32)),
    "transposed in strips": (nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, bias=False), (32, 24, 16)),
    "4×4 to an odd height": (nn.Conv2d(32, 32, 4, stride=2, padding=1, bias=False), (32, 10, 12)),
    "transposed from an odd height": (nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, bias=False), (32, 5, 6)),
    "transposed, more small channels than a patch has": (
        nn.ConvTranspose2d(160, 32, 4, stride=2, padding=1, bias=False),
        (160, 4, 6),
    ),
    "transposed, many small channels": (nn.ConvTranspose2d(96, 64, 4, stride=2, padding=1, bias=False), (96, 6, 2)),
}
"""Convolutions of which a norm follows, with the shape (C, H, W) of an input, height and width not the same."""
each_layer = pytest.mark.parametrize("name", LAYERS)


INSTRUCTIONS = {
    "this processor": (),
    "no matrix unit": ("-mno-amx-bf16",),
    "AVX2": ("-march=x86-64-v3",),
}
"""Flags of the compiler after the usual ones: what of a processor may be used."""


@pytest.fixture(
    autouse=True,
    params=["this processor", *(pytest.param(name, marks=pytest.mark.slow) for name in list(INSTRUCTIONS)[1:])],
)
def two_threads(request: pytest.FixtureRequest, cache_directory: Path) -> Iterator[None]:
    """With each set of instructions, all but one of which take a minute to compile.

    Images are shared out unevenly, five to two threads.
    """
    flags = INSTRUCTIONS[request.param]
    if flags and platform.machine() != "x86_64":
        pytest.skip("the flags are of other processors")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("larvae.native.library.FLAGS", (*FLAGS, *flags))
        library.cache_clear()
        if not any(map(shutil.which, COMPILERS)):
            pytest.skip("no C++ compiler")
        assert library() is not None, "the source does not compile"
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(before)
    library.cache_clear()


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rounded(tensor: Tensor, precision: torch.dtype) -> Tensor:
    """As float64 numbers that the precision has."""
    return tensor.to(precision).double()


def error(ours: Tensor, expected: Tensor) -> float:
    assert ours.shape == expected.shape
    return float((ours.double() - expected.double()).detach().norm() / expected.detach().double().norm())


def native_model(model: VariationalAutoencoder, precision: torch.dtype, *, plain: bool = False) -> Model:
    """Of the model's own parameters. plain: PyTorch's kernels, in the same precision."""
    with torch.device("meta"):
        skeleton = VariationalAutoencoder(Architecture(model.encoder[0].in_channels, NUM_LATENTS))
    return (FastModel if plain else native.NativeModel)(skeleton, dict(model.named_parameters()), precision)


def blobs(channels: int) -> Tensor:
    """Binary images of a disc in each channel, (B, channels, 64, 64)."""
    row, column, radius = np.random.default_rng(0).uniform(16, 48, (3, BATCH_SIZE, channels, 1, 1))
    rows, columns = np.mgrid[:64, :64]
    return torch.from_numpy(((rows - row) ** 2 + (columns - column) ** 2 < (radius / 3) ** 2).astype(np.float32))


def gradients(model: Model, parameters: dict[str, Tensor], images: Tensor, latents: Tensor) -> dict[str, Tensor]:
    """Of a random sum of a model's results; the results are there under their names, and the latents' gradient."""
    latents = latents.clone().requires_grad_()
    values = {"means": model.encode(images).mean, "logits": model.decode(latents)}
    total = sum((v * random_tensor(*v.shape, seed=3).to(v.dtype)).sum() for v in values.values())
    names = list(parameters)
    found = torch.autograd.grad(total, [*(parameters[name] for name in names), latents])
    return {name: value.detach() for name, value in values.items()} | dict(zip([*names, "latents"], found, strict=True))


@each_channels
def test_float32_is_the_model_of_networks(channels: int) -> None:
    """Values, and gradients of the latents and of every parameter, next to `networks` in float64."""
    model, exact = (initialise(Architecture(channels, NUM_LATENTS), seed=0) for _ in range(2))
    images, latents = blobs(channels), random_tensor(BATCH_SIZE, NUM_LATENTS)
    ours = gradients(native_model(model, torch.float32), dict(model.named_parameters()), images, latents.float())
    exact.double()
    expected = gradients(exact, dict(exact.named_parameters()), images.double(), latents)
    assert {name: e for name, g in expected.items() if (e := error(ours[name], g)) > 5e-5} == {}


@each_channels
def test_bfloat16_points_where_float32_does(channels: int) -> None:
    """As well as with PyTorch's kernels in that precision, or nearly."""
    model = initialise(Architecture(channels, NUM_LATENTS), seed=0)
    parameters = dict(model.named_parameters())
    images, latents = blobs(channels), random_tensor(BATCH_SIZE, NUM_LATENTS).float()
    exact = gradients(model, parameters, images, latents)
    ours = gradients(native_model(model, torch.bfloat16), parameters, images, latents)
    theirs = gradients(native_model(model, torch.bfloat16, plain=True), parameters, images, latents)
    assert not torch.equal(ours["logits"], exact["logits"])
    cosines, theirs_cosines = (
        {name: float(cosine_similarity(other[name].flatten(), g.flatten(), dim=0)) for name, g in exact.items()}
        for other in (ours, theirs)
    )
    assert {name: cosine for name, cosine in cosines.items() if cosine < 0.9} == {}
    assert 1 - np.mean(list(cosines.values())) <= 2 * (1 - np.mean(list(theirs_cosines.values())))
    assert {value.dtype for value in ours.values()} == {torch.float32}
    assert all(ours[name].stride() == parameter.stride() for name, parameter in parameters.items())


def test_the_same_on_any_number_of_threads_but_for_rounding() -> None:
    model = initialise(Architecture(1, NUM_LATENTS), seed=0)
    inputs = dict(model.named_parameters()), blobs(1), random_tensor(BATCH_SIZE, NUM_LATENTS).float()
    results = []
    for threads in (1, 2, 2, 16):
        torch.set_num_threads(threads)
        results.append(gradients(native_model(model, torch.float32), *inputs))
    alone, shared, again, many = results
    assert all(torch.equal(shared[name], again[name]) for name in shared)
    assert all(error(other[name], alone[name]) < 1e-5 for other in (shared, many) for name in alone)


def normed(images: Tensor, layer: nn.Module, relu: bool) -> Tensor:
    """A block written out: images, weights and result are those of `layer`."""
    features = layer(torch.relu(images) if relu else images)
    centred = features - features.mean((2, 3), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + 1e-5)


@each_layer
def test_each_block_is_its_convolution_and_norm(name: str) -> None:
    """Next to float64, of inputs, weights and gradients that the precision has."""
    layer, shape = LAYERS[name]
    layer = layer.double()
    transposed, first = isinstance(layer, nn.ConvTranspose2d), shape[0] < 32
    for precision, relu in product(PRECISIONS, (False, True)):
        weight = rounded(0.3 * random_tensor(*layer.weight.shape, seed=1), precision)
        images = rounded(random_tensor(BATCH_SIZE, *shape, seed=2), precision).requires_grad_()
        layer.weight = nn.Parameter(weight)
        expected = normed(images, layer, relu)
        factor = rounded(random_tensor(*expected.shape, seed=3), precision)
        of_images, of_weight = torch.autograd.grad(expected, (images, layer.weight), factor)

        features = images.detach().to(precision).permute(0, 2, 3, 1).requires_grad_(not first)
        float_weight = weight.float().requires_grad_()
        ours = native._Normed.apply(features, float_weight, relu, transposed)
        ours.backward(factor.to(precision).permute(0, 2, 3, 1))
        assert ours.dtype == precision
        assert error(ours.permute(0, 3, 1, 2), expected) < ERROR[precision]
        assert error(float_weight.grad, of_weight) < ERROR[precision]
        if not first:
            assert features.grad.dtype == precision
            assert error(features.grad.permute(0, 3, 1, 2), of_images) < ERROR[precision]


def test_a_large_image_is_as_exact_as_with_pytorch_s_norm() -> None:
    """A sum of a thousand pixels one after another would be fifty times as wrong."""
    layer, _ = LAYERS["4×4 of 1 channel"]
    images, factor = blobs(1), random_tensor(BATCH_SIZE, 32, 32, 32, seed=3) + 3  # the norm takes the 3 out again

    def of(precision: torch.dtype, run: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        weight = random_tensor(*layer.weight.shape, seed=1).to(precision).requires_grad_()
        result = run(images.to(precision), weight)
        result.backward(factor.to(precision))
        assert weight.grad is not None
        return result.detach(), weight.grad

    def plain(images: Tensor, weight: Tensor) -> Tensor:
        return F.instance_norm(F.conv2d(images, weight, stride=2, padding=1))

    def ours(images: Tensor, weight: Tensor) -> Tensor:
        return native._Normed.apply(images.permute(0, 2, 3, 1), weight, False, False).permute(0, 3, 1, 2)

    expected = of(torch.float64, plain)
    theirs, found = of(torch.float32, plain), of(torch.float32, ours)
    for exact, their, our in zip(expected, theirs, found, strict=True):
        assert error(our, exact) < 4 * error(their, exact)


@each_channels
def test_laid_patches_are_a_transposed_convolution(channels: int) -> None:
    for precision, relu in product(PRECISIONS, (False, True)):
        weight = rounded(random_tensor(32, channels, 4, 4, seed=1), precision).requires_grad_()
        images = rounded(random_tensor(BATCH_SIZE, 32, 4, 6, seed=2), precision).requires_grad_()
        activated = torch.relu(images) if relu else images
        expected = torch.nn.functional.conv_transpose2d(activated, weight, stride=2, padding=1)
        factor = rounded(random_tensor(*expected.shape, seed=3), precision)
        of_images, of_weight = torch.autograd.grad(expected, (images, weight), factor)

        features = images.detach().to(precision).permute(0, 2, 3, 1).requires_grad_()
        float_weight = weight.detach().float().requires_grad_()
        ours = native._LaidPatches.apply(features, float_weight, relu)
        ours.backward(factor.float())
        assert ours.dtype == torch.float32
        assert error(ours, expected) < 1e-5
        assert error(float_weight.grad, of_weight) < 1e-5
        assert error(features.grad.permute(0, 3, 1, 2), of_images) < ERROR[precision]


def test_a_constant_channel_is_next_to_zero_with_a_finite_gradient() -> None:
    for precision, level in product(PRECISIONS, (0.0, 7.0, -1e4)):
        features = torch.full((2, 4, 4, 64), level, dtype=precision, requires_grad=True)
        weight = torch.zeros(64, 32, 4, 4)
        weight[:, :, 1:3, 1:3] = 0.1
        weight.requires_grad_()
        result = native._Normed.apply(features, weight, False, True)
        result.backward(random_tensor(*result.shape).to(precision))
        assert float(result.detach().abs().max()) <= 1e-5 * abs(level) * 320  # rounding, divided by √ε
        assert torch.isfinite(features.grad).all()
        assert torch.isfinite(weight.grad).all()


def test_what_is_not_finite_is_not_lost() -> None:
    """A ReLU that took a NaN for a negative number would let a broken member train on; no other image is touched."""
    for value, precision in product((float("nan"), float("inf"), -float("nan"), -float("inf")), PRECISIONS):
        features = random_tensor(2, 8, 8, 32).to(precision)
        features[1, 3, 3, 5] = value
        weight = random_tensor(32, 32, 4, 4, seed=1).float()
        first = native._Normed.apply(features, weight, False, False)
        second = native._Normed.apply(first, weight[:, :, :2, :2], True, False)
        assert torch.isfinite(first[0]).all()
        assert torch.isfinite(second[0]).all()
        assert torch.isnan(first[1]).any()
        assert torch.isnan(second[1]).all()


def test_channels_without_a_norm_are_refused() -> None:
    features, weight = random_tensor(1, 4, 4, 32).float(), random_tensor(48, 32, 2, 2).float()
    with pytest.raises(ValueError, match=r"must be one of \(32, 64\), got 48"):
        native._Normed.apply(features, weight, False, False)


def test_every_layer_before_a_norm_is_one_of_these() -> None:
    """`blocks.cpp` knows norms of some channels, and kernels of 4 and 2."""
    model = VariationalAutoencoder(Architecture(3, NUM_LATENTS))
    for network in (model.encoder, model.decoder):
        for layer, following in zip(network, list(network)[1:], strict=False):
            if isinstance(following, InstanceNormReLU):
                assert layer.out_channels in NORMED_CHANNELS
                assert (layer.kernel_size[0], layer.padding[0]) in ((4, 1), (2, 0))
                assert layer.stride == (2, 2)
